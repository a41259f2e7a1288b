"""Sources gone through in several processes, none of which takes the others down with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import islice
from multiprocessing.connection import wait as wait_for

import cv2
import torch

from train.people_folders import Source
from train.people_tracks import Track

Finder = Callable[[Source], list[Track]]


def tracks_of(
    sources: Iterator[Source], open_finder: Callable[[], Finder], workers: int
) -> Iterator[tuple[Source, list[Track] | str]]:
    """Tracks of each source, or why it cannot be read, as they come; 0 `workers`: in this process.

    `open_finder` is hashable and picklable, and called once a process; what it raises is raised here."""
    if workers == 0:
        for source in sources:
            yield source, _work(open_finder, source)
        return
    while died := (yield from _pool(sources, open_finder, workers)):
        for source in died:  # one of them did it: each alone
            if (yield from _pool(iter([source]), open_finder, 1)):
                yield source, "the process that read it died"


def _pool(
    sources: Iterator[Source], open_finder: Callable[[], Finder], workers: int
) -> Generator[tuple[Source, list[Track] | str], None, list[Source]]:
    """Go through the sources in processes. Returns those whose outcome is not known because a process died."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_process)
    flying: dict[Source, Future[list[Track] | str]] = {}
    try:
        while True:
            for source in islice(sources, 2 * workers - len(flying)):
                flying[source] = Future()  # known even if the next line fails
                flying[source] = pool.submit(_work, open_finder, source)
            if not flying:
                return []
            finished = wait(flying.values(), return_when=FIRST_COMPLETED).done
            for source in [source for source, future in flying.items() if future in finished]:
                result = flying[source].result()
                del flying[source]
                yield source, result
    except BrokenProcessPool:
        return list(flying)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """One thread; the keyboard's interrupt is the parent's affair, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


@lru_cache(maxsize=1)
def _opened(open_finder: Callable[[], Finder]) -> Finder:
    return open_finder()


def _work(open_finder: Callable[[], Finder], source: Source) -> list[Track] | str:
    """Tracks, or why the source cannot be read; what `open_finder` raises is raised."""
    finder = _opened(open_finder)
    try:
        return finder(source)
    except (ValueError, OSError, cv2.error) as error:
        return str(error) or type(error).__name__
