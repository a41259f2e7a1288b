"""The command line: ``face3d demo``, ``face3d reconstruct``, ``face3d video`` and ``face3d flow``.

Exit codes: 0 all done, 2 something could not be read or written (or a wrong option), 3 a photo or video shows no face.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from face3d._version import __version__
from face3d.cli_shared import Device, ExitCode, fail, require_writable
from face3d.cli_video import video

if TYPE_CHECKING:
    from face3d.optical_flow import OpticalFlow
    from face3d.pipeline import Reconstructor
    from face3d.reconstruction import Reconstruction
else:
    OpticalFlow = Reconstructor = Reconstruction = Any  # `face3d --help` must not load torch

_OVERLAY_SIDE_PX = 2048
_DEMO_PHOTO = "astronaut.jpg"


app = typer.Typer(
    help="From a photo or a video to a textured 3D face, offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the ``face3d`` command."""
    app(prog_name="face3d")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"face3d {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path("out/demo"),
    device: Device = None,
) -> None:
    """Reconstruct the astronaut's face from the photo that comes with face3d: nothing else is needed."""
    try:
        require_writable(out)
        from face3d.checkpoint import asset_path

        photo, model = asset_path(_DEMO_PHOTO), _load(None, None, device)
        faces = _process(model, photo, out / "astronaut", ["glb", "obj", "json"], texture=True)
    except (OSError, ValueError) as error:
        fail(error)
    if not faces:
        typer.echo("no face found in the demo photo", err=True)
        raise typer.Exit(ExitCode.NO_FACE)
    pitch, yaw, roll = faces[0].euler_deg
    typer.echo(f"pitch {pitch:.1f}, yaw {yaw:.1f}, roll {roll:.1f} degrees; {faces[0].vertices_mm.shape[0]} vertices")
    typer.echo(f"written to {out}: {', '.join(sorted(path.name for path in out.glob('astronaut*')))}")


@app.command()
def reconstruct(
    photos: Annotated[list[Path], typer.Argument(help="Photos: JPEG, PNG, WebP, TIFF, ...", metavar="PHOTO...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files; made where missing.")],
    formats: Annotated[
        str, typer.Option("--format", help="Any of glb,obj,ply,json,npz, separated by commas.", metavar="LIST")
    ] = "glb",
    texture: Annotated[bool, typer.Option("--texture/--no-texture", help="With the photo's colours, or not.")] = True,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Also write NAME_overlay.png.")] = True,
    device: Device = None,
    weights: Annotated[Path | None, typer.Option(help="Networks trained by `python -m train`.")] = None,
    morphable_model: Annotated[Path | None, typer.Option(help="The .npz model of these weights.")] = None,
) -> None:
    """Reconstruct every face: OUT/NAME.glb is the largest one of NAME.jpg, OUT/NAME_face2.glb the next."""
    try:
        kinds = _checked_formats(formats)
        require_writable(out)
        model = _load(weights, morphable_model, device)
    except (OSError, ValueError) as error:
        fail(error)
    counts = [_attempt(model, photo, base, kinds, texture, overlay) for photo, base in _bases(photos, out).items()]
    failed, empty = counts.count(None), counts.count(0)
    if len(counts) > 1:
        faces = sum(count or 0 for count in counts)
        typer.echo(f"{len(counts)} photos: {faces} faces, {empty} photos without a face, {failed} failed")
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if empty:
        raise typer.Exit(ExitCode.NO_FACE)


app.command()(video)


@app.command("flow")
def flow_command(
    frame1: Annotated[Path, typer.Argument(help="A frame: JPEG, PNG, ...")],
    frame2: Annotated[Path, typer.Argument(help="The next frame, of the same size.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="NAME.flo, or NAME.png with KITTI's 16 bits.")],
    weights: Annotated[
        Path | None, typer.Option(help="Flow network trained by `python -m train`; else the embedded one.")
    ] = None,
    previous: Annotated[Path | None, typer.Option(help="The frame before FRAME1, for networks of three.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also write the flow as colours: NAME.png.")] = None,
    occlusion: Annotated[Path | None, typer.Option(help="Also write NAME.png, 255 where FRAME2 hides FRAME1.")] = None,
    refine: Annotated[bool, typer.Option(help="Fit the network's flow to the frames.")] = True,
    device: Device = None,
) -> None:
    """Optical flow from FRAME1 to FRAME2, in pixels, x right and y down."""
    outputs = [path for path in (out, picture, occlusion) if path is not None]
    try:
        _check_flow_names([path for path in (frame1, frame2, previous) if path is not None], outputs)
        for path in outputs:
            require_writable(path.parent)
        from face3d.optical_flow import FlowEstimator

        found = FlowEstimator(weights, device, refine)(frame1, frame2, previous)
        _write_flow(found, out, picture, occlusion)
    except (OSError, ValueError) as error:
        fail(error)
    share = f"{found.occluded.mean():.1%} of {frame1} occluded"
    typer.echo(f"{frame1} to {frame2}: {share} -> {', '.join(map(str, outputs))}")


def _check_flow_names(frames: list[Path], outputs: list[Path]) -> None:
    """Kinds of files that can be written, no two of one name, and none that would replace a frame."""
    kinds = [(".flo", ".png"), *[(".png",)] * (len(outputs) - 1)]
    for path, known in zip(outputs, kinds, strict=True):
        if path.suffix.lower() not in known:
            raise ValueError(f"{path} is to be written: name a file that ends in {' or '.join(known)}")
    taken = {path.resolve() for path in frames}
    for path in outputs:
        if path.resolve() in taken:
            raise ValueError(f"{path} is also a frame or another output: give every output a name of its own")
        taken.add(path.resolve())


def _write_flow(found: OpticalFlow, out: Path, picture: Path | None, occlusion: Path | None) -> None:
    import numpy as np

    from face3d.flow_files import write_flo, write_kitti_flow
    from face3d.flow_picture import flow_picture
    from face3d.io import png_bytes, replace_files

    pictures: dict[Path, bytes] = {}
    if picture is not None:
        pictures[picture] = png_bytes(flow_picture(found.forward_px))
    if occlusion is not None:
        pictures[occlusion] = png_bytes(np.where(found.occluded, 255, 0).astype(np.uint8))
    if out.suffix.lower() == ".flo":
        write_flo(out, found.forward_px)
    else:
        write_kitti_flow(out, found.forward_px, np.ones_like(found.occluded))
    replace_files(pictures)


def _attempt(
    model: Reconstructor, photo: Path, base: Path, kinds: list[str], texture: bool, overlay: bool
) -> int | None:
    """Faces found in one photo, None where it could not be read or its files not be written."""
    try:
        faces = _process(model, photo, base, kinds, texture, overlay)
    except (OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        return None
    if faces:
        names = ", ".join(str(_numbered(base, i)) + f".{'|'.join(kinds)}" for i in range(len(faces)))
        typer.echo(f"{photo}: {len(faces)} face{'s' * (len(faces) > 1)} -> {names}")
    else:
        typer.echo(f"{photo}: no face found", err=True)
    return len(faces)


def _process(
    model: Reconstructor, photo: Path, base: Path, kinds: list[str], texture: bool, overlay: bool = True
) -> list[Reconstruction]:
    from face3d.io import read_image

    pixels = read_image(photo)
    faces = model(pixels, texture=texture)
    for index, face in enumerate(faces):
        for kind in kinds:
            stem = _numbered(base, index)
            face.save(stem.with_name(f"{stem.name}.{kind}"))
    if faces and overlay:
        _write_overlay(faces, pixels, base.with_name(f"{base.name}_overlay.png"))
    return faces


def _write_overlay(faces: list[Reconstruction], pixels: object, path: Path) -> None:
    import numpy as np

    from face3d.io import png_bytes, replace_files
    from face3d.overlay import OPACITY, draw_faces

    meshes = [(face.vertices_px, face.triangles, OPACITY * face.fade) for face in faces]
    replace_files({path: png_bytes(draw_faces(np.asarray(pixels), meshes, _OVERLAY_SIDE_PX))})


def _load(weights: Path | None, morphable_model: Path | None, device: str | None) -> Reconstructor:
    from face3d import pipeline

    return pipeline.Reconstructor(weights, morphable_model, device)


def _checked_formats(text: str) -> list[str]:
    from face3d.export import FORMATS

    kinds = list(dict.fromkeys(kind.strip().lower().removeprefix(".") for kind in text.split(",") if kind.strip()))
    unknown = [kind for kind in kinds if kind not in FORMATS]
    if unknown or not kinds:
        raise ValueError(f"unknown format {', '.join(unknown) or text!r}: use any of {','.join(FORMATS)}")
    return kinds


def _bases(photos: list[Path], out: Path) -> dict[Path, Path]:
    """The output path without extension of each photo; photos of one name in several folders are numbered."""
    bases: dict[Path, Path] = {}
    taken: set[str] = set()
    for photo in dict.fromkeys(photos):
        name, number = photo.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{photo.stem}-{number}"
        taken.add(name.lower())
        bases[photo] = out / name
    return bases


def _numbered(base: Path, index: int) -> Path:
    return base if index == 0 else base.with_name(f"{base.name}_face{index + 1}")
