"""Items gone through in several processes, none of which takes the others down with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

import cv2
import torch

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")
Open = Callable[[], Callable[[Item], Result]]


def results_of(
    items: Iterator[Item], open_worker: Open[Item, Result], workers: int
) -> Iterator[tuple[Item, Result | str]]:
    """What comes of each item, or why nothing does, as they come; 0 `workers`: in this process.

    `open_worker` is hashable and picklable, and called once a process; what it raises is raised here. Of what the
    worker then raises, ValueError, OSError and OpenCV's errors are an item's own affair."""
    if workers == 0:
        for item in items:
            yield item, _work(open_worker, item)
        return
    while died := (yield from _pool(items, open_worker, workers)):
        for item in died:  # one of them did it: each alone
            if (yield from _pool(iter([item]), open_worker, 1)):
                yield item, "the process that read it died"


def _pool(
    items: Iterator[Item], open_worker: Open[Item, Result], workers: int
) -> Generator[tuple[Item, Result | str], None, list[Item]]:
    """Go through the items in processes. Returns those whose outcome is not known because a process died."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_process)
    flying: dict[Item, Future[Result | str]] = {}
    try:
        while True:
            for item in islice(items, 2 * workers - len(flying)):
                flying[item] = Future()  # known even if the next line fails
                flying[item] = pool.submit(_work, open_worker, item)
            if not flying:
                return []
            finished = wait(flying.values(), return_when=FIRST_COMPLETED).done
            for item in [item for item, future in flying.items() if future in finished]:
                result = flying[item].result()
                del flying[item]
                yield item, result
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
def _opened(open_worker: Callable[[], Any]) -> Any:
    return open_worker()


def _work(open_worker: Open[Item, Result], item: Item) -> Result | str:
    """What comes of the item, or why nothing does; what `open_worker` raises is raised."""
    worker: Callable[[Item], Result] = _opened(open_worker)
    try:
        return worker(item)
    except (ValueError, OSError, cv2.error) as error:
        return str(error) or type(error).__name__
