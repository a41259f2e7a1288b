"""`python -m benchmarks.refinement`: what refining a track brings on clips whose shape is known, and what it costs."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from jaxtyping import Bool
from rich.console import Console
from rich.table import Table

from eval.clip_scores import per_vertex_mm
from eval.clips import GeneratedClips, ScanClip, Truth
from eval.protocol import Prediction
from eval.scan_shape import scan_error
from face3d.face_track import FaceTrack
from face3d.pipeline import Reconstructor
from face3d.video import reconstruct_video


class Errors(NamedTuple):
    """Per-vertex errors of a track after the best similarity: of the neutral face, and in its frames."""

    neutral_mm: float
    frames_mm: float


class Row(NamedTuple):
    """One clip: errors before and after, how long refining took, and whether it was kept."""

    before: Errors
    after: Errors
    seconds: float
    kept: bool


def main(
    weights: Path | None = typer.Option(None, help="Networks trained by `python -m train`."),
    clips: int = typer.Option(8, min=1, help="People, a clip each."),
    frames: int = typer.Option(24, min=2, help="Of a clip."),
    threads: int = typer.Option(1, min=1, help="Threads of torch."),
    scan: Path | None = typer.Option(None, help="Folder of the Lee Perry-Smith scan: its clips in place of people's."),
) -> None:
    """Per-vertex errors after the best similarity, with and without refinement; t of the change over the clips.

    Of the scan: the median scan-to-mesh distance (`python -m eval shape`) of the neutral face, under other cameras and
    lights in each clip."""
    torch.set_num_threads(threads)
    model = Reconstructor(weights, device="cpu")
    if scan is not None:
        show_scan(model, scan, clips, frames)
        return
    made = GeneratedClips(model.model, clips, frames)
    rows = [row for index in range(clips) if (row := measured(model, made, index)) is not None]
    table = Table("clip", "neutral, mm", "refined", "with expression, mm", "refined", "s", "kept")
    for number, row in enumerate(rows):
        table.add_row(str(number), *_figures(row), f"{row.seconds:.1f}", str(row.kept))
    if rows:
        before, after = (np.array([part[at] for part in rows]) for at in (0, 1))
        means = [f"{value:.3f}" for pair in zip(before.mean(0), after.mean(0), strict=True) for value in pair]
        share = float(np.mean([row.kept for row in rows]))
        table.add_row("mean", *means, f"{np.mean([row.seconds for row in rows]):.1f}", f"{share:.2f}")
        change = after - before
        t = change.mean(0) / np.maximum(change.std(0, ddof=min(1, len(rows) - 1)) / len(rows) ** 0.5, 1e-12)
        table.add_row("t", "", f"{t[0]:.1f}", "", f"{t[1]:.1f}", "", "")
    Console().print(table)


def show_scan(model: Reconstructor, folder: Path, clips: int, frames: int) -> None:
    """The errors of the scan's neutral face in so many clips."""
    table = Table("clip", "scan to mesh, mm", "refined", "kept")
    rows = []
    for seed in range(clips):
        made = ScanClip(folder, model.model, frames, seed)
        images = made.clip().images
        tracks = [reconstruct_video(images, model, refine=refine).tracks[0] for refine in (False, True)]
        before, after = (scan_error(made.scan, neutral_face(track))["median_mm"] for track in tracks)
        about = tracks[1].refinement
        rows.append((before, after, about is not None and about.kept))
        table.add_row(str(seed), f"{before:.2f}", f"{after:.2f}", str(rows[-1][2]))
    table.add_row("mean", *(f"{mean:.3f}" for mean in np.mean(rows, axis=0)))
    Console().print(table)


def neutral_face(track: FaceTrack) -> Prediction:
    """The neutral mesh of a track as `eval.scan_shape` takes it."""
    neutral_mm = torch.from_numpy(track.neutral_mm)[None]
    landmarks_mm = track.model.landmarks_of(neutral_mm)[0].numpy().astype(np.float64)
    return Prediction(
        neutral_mm=track.neutral_mm.astype(np.float64), triangles=track.triangles, model_landmarks_mm=landmarks_mm
    )


def _figures(row: Row) -> list[str]:
    return [f"{value:.2f}" for pair in zip(row.before, row.after, strict=True) for value in pair]


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
    before, after = (errors_of(track, clip.truth, made.face) for track in tracks)
    about = tracks[1].refinement
    return Row(before, after, clocks[2] - 2 * clocks[1] + clocks[0], about is not None and about.kept)


def errors_of(track: FaceTrack, truth: Truth, face: Bool[np.ndarray, " V"]) -> Errors:
    """Of a track, over the frames in which it is."""
    assert truth.vertices_mm is not None
    frames = [per_vertex_mm(track.vertices_mm(frame), truth.vertices_mm[frame], face) for frame in track.frames]
    neutral = per_vertex_mm(track.neutral_mm, truth.neutral.vertices, face)
    return Errors(neutral, float(np.mean(frames)))


if __name__ == "__main__":
    typer.run(main)
