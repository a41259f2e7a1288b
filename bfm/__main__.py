"""`python -m bfm convert FILE -o model.npz`, `python -m bfm show model.npz`, `python -m bfm build`."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from face3d.morphable_file import MorphableArrays, Storage

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
_ARRAY_NOTES = {"mean": "mm", "identity_basis": "mm for one standard deviation", "expression_basis": "mm for 1"}


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="official model file or folder (bfm/README.md lists them)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="face3d model to write, .npz")],
    expression: Annotated[Path | None, typer.Option(help="expressions of BFM 2009, where not beside the file")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="68 landmarks, for files that have none")] = None,
    bases: Annotated[str, typer.Option(help="float32, float16 or int8")] = "float32",
) -> None:
    """Convert an official model file to the face3d format."""
    from bfm.convert import convert as convert_file

    model = convert_file(file, expression, landmarks)
    model.save(output, _storage(bases))
    _console().print(f"wrote {escape(str(output))}")
    _show(model)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="face3d model, .npz")]) -> None:
    """Print what a model file holds."""
    _show(MorphableArrays.load(file))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Errors about files are one line on stderr and status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments or arguments[0] == "build" or arguments[0].startswith("-"):
            _add_build()
        app(arguments, prog_name="python -m bfm", standalone_mode=True)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except (ValueError, OSError, ImportError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")
        return 1
    return 0


def _add_build() -> None:
    """The builder is imported only where it is asked for: it needs the data it builds from."""
    from bfm.build import command

    if "build" not in {info.name for info in app.registered_commands}:
        app.command("build")(command)


def _storage(name: str) -> Storage:
    storages: dict[str, Storage] = {"float32": "float32", "float16": "float16", "int8": "int8"}
    if name not in storages:
        raise ValueError(f"--bases is {name!r}, expected one of {', '.join(storages)}")
    return storages[name]


def _show(model: MorphableArrays) -> None:
    meta = model.meta
    table = Table(show_header=False, box=None)
    for name in ("name", "source", "licence", "created_by", "axes", "notes"):
        table.add_row(name, escape(str(getattr(meta, name))))
    for name, array in model.fields().items():
        table.add_row(name, f"{array.shape} {array.dtype} {_ARRAY_NOTES.get(name, '')}")
    size = np.ptp(model.mean, axis=0)
    table.add_row("size", f"{size[0]:.1f} x {size[1]:.1f} x {size[2]:.1f} mm")
    table.add_row("landmarks", str(len(model.landmark_triangles)))
    table.add_row("regions", ", ".join(meta.region_names))
    names = ", ".join(meta.expression_names or ()) or f"{len(model.expression_basis)} components"
    table.add_row("expressions", f"{meta.expression_kind}: {names}")
    _console().print(table)


def _console() -> Console:
    return Console(soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
