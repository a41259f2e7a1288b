"""``face3d video``: the faces of a clip into files, with progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from face3d.cli_shared import Device, ExitCode, fail, require_writable

if TYPE_CHECKING:
    from face3d.face_track import Refinement
    from face3d.pipeline import Reconstructor
    from face3d.video import VideoReconstruction
else:
    Reconstructor = Refinement = VideoReconstruction = Any  # `face3d --help` must not load torch

_COMPLETE = 0.9  # of the frames that a file announces; few files count theirs exactly


def video(
    clip: Annotated[Path, typer.Argument(help="MP4, WebM, MOV, AVI, ...; or a folder of frames.", metavar="CLIP")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files; made where missing.")],
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Also write NAME_overlay.mp4.")] = True,
    smooth: Annotated[bool, typer.Option("--smooth/--no-smooth", help="Take out the jitter, or not.")] = True,
    refine: Annotated[bool, typer.Option(help="Improve each face on its own pictures, some seconds a face.")] = False,
    device: Device = None,
    weights: Annotated[Path | None, typer.Option(help="Networks trained by `python -m train`.")] = None,
    morphable_model: Annotated[Path | None, typer.Option(help="The .npz model of these weights.")] = None,
) -> None:
    """Follow every face: OUT/NAME.npz and .json for all frames, OUT/NAME_track0.glb the mesh seen longest."""
    try:
        length = _announced_length(clip)
        require_writable(out)
        found = _reconstruct(clip, _load(weights, morphable_model, device), length, smooth, refine)
        if found.tracks:
            written = _write(found, clip, out, overlay)
    except (OSError, ValueError) as error:
        fail(error)
    if length is not None and found.frame_count < _COMPLETE * length:
        typer.echo(f"{clip}: only {found.frame_count} of {length} frames could be read, is it cut short?", err=True)
    if not found.tracks:
        typer.echo(f"{clip}: no face found in {found.frame_count} frames", err=True)
        raise typer.Exit(ExitCode.NO_FACE)
    for track in found.tracks:
        if track.refinement is not None:
            typer.echo(f"{clip}: track {track.number}: {_told(track.refinement)}")
    faces, cuts = _counted(len(found.tracks), "face"), _counted(len(found.cuts), "cut")
    typer.echo(f"{clip}: {_counted(found.frame_count, 'frame')}, {faces}, {cuts} -> {', '.join(map(str, written))}")


def _announced_length(clip: Path) -> int | None:
    """The number of frames as the file tells. What is no video is said here, before anything is loaded or made."""
    from face3d.video_io import FrameSource

    return FrameSource(clip).length


def _load(weights: Path | None, morphable_model: Path | None, device: str | None) -> Reconstructor:
    from face3d import pipeline

    return pipeline.Reconstructor(weights, morphable_model, device)


def _reconstruct(
    clip: Path, model: Reconstructor, length: int | None, smooth: bool, refine: bool
) -> VideoReconstruction:
    from face3d.video import reconstruct_video

    with _bars() as shown:
        progress, refining = _bar(shown, "following faces", length), _bar(shown, "refining faces")
        return reconstruct_video(clip, model, smooth, progress=progress, refine=refine, refining=refining)


def _write(found: VideoReconstruction, clip: Path, out: Path, overlay: bool) -> list[Path]:
    name = clip.resolve().name if clip.is_dir() else clip.stem
    parameters = [out / f"{name}{extension}" for extension in (".npz", ".json")]
    meshes = [out / f"{name}_track{track.number}.glb" for track in found.tracks]
    for path in parameters:
        found.save(path)
    for path, track in zip(meshes, found.tracks, strict=True):
        track.save(path)
    if not overlay:
        return [*parameters, *meshes]
    picture = out / f"{name}_overlay.mp4"
    with _bars() as shown:
        found.write_overlay(clip, picture, _bar(shown, "drawing", found.frame_count))
    return [*parameters, *meshes, picture]


@contextmanager
def _bars() -> Iterator[Any]:
    """Room for bars on stderr."""
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), *_times())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield shown


def _bar(shown: Any, what: str, total: int | None = None) -> Callable[..., None]:
    """What moves a new bar, which is seen from the first move on; a total too small becomes what was reached."""
    task = shown.add_task(what, total=total, visible=False)

    def advance(done: int, of: int | None = total) -> None:
        shown.update(task, completed=done, total=of if of is None else max(of, done), visible=True)

    return advance


def _times() -> tuple[Any, ...]:
    from rich import progress as bars

    return bars.TimeElapsedColumn(), bars.TimeRemainingColumn()


def _told(refinement: Refinement) -> str:
    before, after = refinement.flow_before_px, refinement.flow_after_px
    figures = "" if before is None or after is None else f" (flow {before:.2f} -> {after:.2f} px)"
    return f"{'refined' if refinement.kept else 'not refined'}: {refinement.reason}{figures}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
