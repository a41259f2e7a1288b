"""Batches made in the background by worker processes."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from train.task import Batch, BatchSource


class _Stream(IterableDataset[Batch]):
    def __init__(self, source: BatchSource, seed: int) -> None:
        self.source, self.seed = source, seed

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        return self.source(self.seed + (info.id if info else 0))


def prefetch(source: BatchSource, seed: int, workers: int = 1, depth: int = 4) -> Iterator[Batch]:
    """Endless batches of `source`, made by `workers` spawned processes of one thread each, `depth` ahead.

    Worker i is seeded with `seed + i`. With 0 workers batches are made in this process when asked for.
    An error in a worker is raised here.
    """
    if workers == 0:
        return source(seed)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read by the workers' numpy: its threads would take our cores
    options: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": depth, "worker_init_fn": _quiet}
    return iter(DataLoader(_Stream(source, seed), batch_size=None, num_workers=workers, **options))


def _quiet(worker: int) -> None:
    """One thread a worker; an interrupt from the keyboard is the loop's affair."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
