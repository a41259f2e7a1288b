"""`python -m benchmarks`: how long the steps take on this machine. One thread unless --threads says otherwise."""

import cv2
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import distances, end_to_end, multi_step, optical_flow, rasteriser
from benchmarks.timing import Timing

BENCHMARKS = {
    "rasteriser": rasteriser.run,
    "end_to_end": end_to_end.run,
    "optical_flow": optical_flow.run,
    "distances": distances.run,
    "multi_step": multi_step.run,
}
_NAMES = ", ".join(BENCHMARKS)


def main(
    only: list[str] = typer.Argument(None, help=f"Which: {_NAMES}. All where none is named."),
    quick: bool = typer.Option(False, help="Leave out what takes seconds."),
    threads: int = typer.Option(1, min=1, help="Threads of torch and OpenCV."),
) -> None:
    """Time the library's steps and print a table."""
    unknown = sorted(set(only or []) - set(BENCHMARKS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected {_NAMES}")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    for name in only or BENCHMARKS:
        _show(name, BENCHMARKS[name](quick), threads)


def _show(name: str, timings: list[Timing], threads: int) -> None:
    table = Table("step", "median ms", "fastest ms", "calls", title=f"{name}, {threads} thread{'s' * (threads > 1)}")
    for timing in timings:
        table.add_row(timing.name, f"{timing.median_ms:.2f}", f"{timing.fastest_ms:.2f}", str(timing.calls))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
