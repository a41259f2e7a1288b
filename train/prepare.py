"""`python -m train.prepare STEP`: everything that is made once before training.

photos      fit the morphable model to pseudo-labelled photos and clips
albedo      learn skin colour from the fitted photos, for `python -m bfm build --albedo`
turned      draw fitted photos turned in depth
synthetic   draw people who do not exist
people      find, label and crop the faces in videos and in several photos of a person, as shards for training on pairs
clips       draw clips of people who do not exist, as frames in VoxCeleb's folders: videos for `people` without labels
refined     refine the shapes of such people by the flow between their frames, for stage `multi`'s recipe
            `pseudo_labels`
flow        draw unseen scenes with their flow or disparity, for `python -m eval flow|stereo --layout generated`;
            or take frames of unseen clips, for `python -m eval clips`
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Model = Annotated[Path, typer.Option(help="morphable model, .npz", exists=True)]
Photos = Annotated[Path, typer.Option(help="folder made by the step `photos`", exists=True)]
Out = Annotated[Path, typer.Option("--output", "-o", help="what to write")]
EMBEDDED = Path("face3d/assets/face3d_model.npz")


@app.command()
def photos(
    data: Annotated[Path, typer.Option(help="folder with the tars and videos", exists=True)],
    labels: Annotated[list[Path], typer.Option(help="pseudo-label files, .npz", exists=True)],
    bfm68: Annotated[Path, typer.Option(help="folder with 3DDFA's 68-point basis", exists=True)],
    out: Out,
    model: Model = EMBEDDED,
    every: Annotated[int, typer.Option(help="take each so many-th frame of a video", min=1)] = 4,
) -> None:
    """Fit the model to all labelled images."""
    from train.photos import build_photos

    typer.echo(f"{build_photos(model, data, labels, bfm68, out, every)} photos in {out}")


@app.command()
def albedo(photos: Photos, out: Out, model: Model = EMBEDDED) -> None:
    """Learn the mean and the components of skin colour."""
    from train.albedo import save_albedo

    save_albedo(model, photos, out)


@app.command()
def turned(photos: Photos, out: Out, count: int = 15000, seed: int = 0, model: Model = EMBEDDED) -> None:
    """Draw photos turned in depth."""
    from train.views import draw_turned

    draw_turned(model, photos, out, count, seed)


@app.command()
def synthetic(photos: Photos, out: Out, count: int = 15000, seed: int = 0, model: Model = EMBEDDED) -> None:
    """Draw synthetic people."""
    from train.synthetic import draw_synthetic

    draw_synthetic(model, photos, out, count, seed)


@app.command()
def people(
    out: Out,
    videos: Annotated[list[Path] | None, typer.Option(help="VoxCeleb, or any folder of videos", exists=True)] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="tar or folder of photos, as LFW", exists=True)] = None,
    workers: Annotated[int, typer.Option(help="processes; 0: none beside this one", min=0)] = 2,
    size: Annotated[int, typer.Option(help="side of the crops in pixels", min=32)] = 224,
    every: Annotated[int | None, typer.Option(help="look at each so many-th frame (five a second)", min=1)] = None,
    weights: Annotated[Path | None, typer.Option(help="of stage `single` (the embedded ones)", exists=True)] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ... (CUDA where there is one)")] = None,
) -> None:
    """Faces of people in many poses, tracked and labelled; goes on where an earlier run ended."""
    from train.people_folders import find_people
    from train.people_shards import make_people
    from train.people_tracks import OpenFinder, TrackConfig

    config = TrackConfig(size=size, every=every)
    found = find_people(videos or (), photos or ())
    typer.echo(make_people(found, out, OpenFinder(config, weights, device), workers))


@app.command()
def refined(
    people: Annotated[list[Path], typer.Option(help="shards of the step `people`", exists=True)],
    out: Out,
    weights: Annotated[Path | None, typer.Option(help="of stage `single` or `multi` (the embedded ones)")] = None,
    flow: Annotated[Path | None, typer.Option(help="of stage `flow` (the embedded ones)", exists=True)] = None,
    frames: Annotated[int, typer.Option(help="of a track, at most", min=2)] = 6,
    workers: Annotated[int, typer.Option(help="processes; 0: none beside this one", min=0)] = 2,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ... (CUDA where there is one)")] = None,
    model: Model = EMBEDDED,
) -> None:
    """Refine the shapes of tracked people by the flow between their frames; shards that are there stay."""
    from train.people_refined import OpenRefiner, write_refined

    open_refiner = OpenRefiner(model, weights, flow, device, frames)
    typer.echo(write_refined(people, out, open_refiner, open_refiner.settings(), workers))


@app.command()
def clips(
    photos: Photos,
    out: Out,
    count: Annotated[int, typer.Option(min=1)] = 500,
    frames: Annotated[int, typer.Option(min=2)] = 8,
    size: Annotated[int, typer.Option(help="side of the frames in pixels", min=64)] = 288,
    model: Model = EMBEDDED,
) -> None:
    """Draw turning, talking heads of people who do not exist; goes on where an earlier run ended.

    For `people --videos OUT --every 1`."""
    from train.people_clips import write_people

    write_people(model, photos, out, count, frames, size)


@app.command()
def flow(
    out: Out,
    kind: Annotated[Literal["scenes", "faces", "stereo", "clips"], typer.Option(help="what moves")] = "scenes",
    count: Annotated[int, typer.Option(min=1)] = 200,
    size: Annotated[int, typer.Option(help="side of the frames in pixels; of clips, the longer", min=16)] = 224,
    extra: Annotated[list[Path] | None, typer.Option(help="as for `python -m train flow`", exists=True)] = None,
) -> None:
    """Draw scenes of pictures and people that are not trained on, or cut frames of such clips, the same each time."""
    from train.flow_export import write_scenes

    write_scenes(kind, out, count, size, tuple(extra or ()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app()
