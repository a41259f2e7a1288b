"""Median and fastest time of a function."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_MOST_CALLS = 300


class Timing(NamedTuple):
    """What was measured, how often, and the milliseconds of wall time."""

    name: str
    median_ms: float
    fastest_ms: float
    calls: int


def measure(name: str, function: Callable[[], object], seconds: float = 1.0, least_calls: int = 3) -> Timing:
    """Call the function for about `seconds`, after one call to warm it up; none where `least_calls` is 1."""
    if least_calls > 1:
        function()
    times: list[float] = []
    while len(times) < least_calls or (least_calls > 1 and sum(times) < seconds and len(times) < _MOST_CALLS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return Timing(name, 1e3 * float(np.median(times)), 1e3 * min(times), len(times))
