"""`python -m benchmarks.refinement`: what refining a track brings on clips whose shape is known, and what it costs."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from eval.clip_scores import per_vertex_mm
from eval.clips import GeneratedClips
from face3d.pipeline import Reconstructor
from face3d.video import reconstruct_video


class Row(NamedTuple):
    """One clip: error of the neutral mesh before and after, how long refining took, and whether it was kept."""

    before_mm: float
    after_mm: float
    seconds: float
    kept: bool


def main(
    weights: Path | None = typer.Option(None, help="Networks trained by `python -m train`."),
    clips: int = typer.Option(8, min=1, help="People, a clip each."),
    frames: int = typer.Option(24, min=2, help="Of a clip."),
    threads: int = typer.Option(1, min=1, help="Threads of torch."),
) -> None:
    """Per-vertex error of the neutral face after the best similarity, with and without refinement."""
    torch.set_num_threads(threads)
    model = Reconstructor(weights, device="cpu")
    made = GeneratedClips(model.model, clips, frames)
    rows = [row for index in range(clips) if (row := measured(model, made, index)) is not None]
    table = Table("clip", "before mm", "after mm", "s", "kept")
    for number, row in enumerate(rows):
        table.add_row(str(number), f"{row.before_mm:.2f}", f"{row.after_mm:.2f}", f"{row.seconds:.1f}", str(row.kept))
    if rows:
        table.add_row("mean", *(f"{mean:.2f}" for mean in np.mean(rows, axis=0)))
    Console().print(table)


def measured(model: Reconstructor, made: GeneratedClips, index: int) -> Row | None:
    """One clip; None where no face is found in it."""
    clip, clocks = made.clip(index), [time.perf_counter()]
    tracks = []
    for refine in (False, True):
        found = reconstruct_video(clip.images, model, refine=refine)
        clocks.append(time.perf_counter())
        if not found.tracks:
            return None
        tracks.append(found.tracks[0])
    before, after = (
        per_vertex_mm(track.neutral_mm.astype(np.float64), clip.truth.neutral.vertices, made.face) for track in tracks
    )
    about = tracks[1].refinement
    return Row(before, after, clocks[2] - 2 * clocks[1] + clocks[0], about is not None and about.kept)


if __name__ == "__main__":
    typer.run(main)
