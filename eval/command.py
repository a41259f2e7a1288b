"""What commands with a module of their own share: their options, the method under test, and where the JSON goes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eval import tables

if TYPE_CHECKING:
    from eval.method_face3d import Face3d

Data = Annotated[Path, typer.Option("--data", help="Folder of the data: the benchmark's own, or the one above it.")]
Weights = Annotated[Path | None, typer.Option(help="Networks written by `python -m train`; else the embedded ones.")]
Model = Annotated[Path | None, typer.Option(help="Morphable model .npz; else the embedded one.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; else CUDA where there is one.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write every value and the environment here.")]
BoxChoice = Literal["gt", "detector"]


def face3d_method(weights: Path | None, model: Path | None, device: str | None) -> "Face3d":
    """face3d with the given files, else the embedded ones."""
    from eval.method_face3d import Face3d
    from face3d import Reconstructor

    return Face3d(Reconstructor(weights=weights, morphable_model=model, device=device))


def data_folder(data: Path, name: str) -> Path:
    """`data` itself, or the benchmark's folder in it."""
    return data / name if (data / name).is_dir() else data


def source_of(weights: Path | None) -> dict[str, str]:
    """What the JSON says of the weights that made a run."""
    from face3d.checkpoint import sha256_of

    return {"file": "embedded"} if weights is None else {"file": weights.name, "sha256": sha256_of(weights)}


def save(path: Path | None, content: dict[str, Any]) -> None:
    """Write a run as JSON and say so; nothing without a path."""
    from eval.report import write_json

    if path is not None:
        write_json(path, content)
        tables.say(f"wrote {path}")


def write_run(path: Path | None, weights: Path | None, content: dict[str, Any]) -> None:
    """Write a run of face3d as JSON with the weights that made it; nothing without a path."""
    save(path, {"weights": source_of(weights), **content})
