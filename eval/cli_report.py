"""`python -m eval report F.json ... -o report.html`: one page of runs that were measured before."""

from pathlib import Path
from typing import Annotated

import typer

from eval import tables


def report(
    files: Annotated[list[Path], typer.Argument(help="What benchmarks wrote with --json.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """One HTML page of runs: figures beside published ones, curves, pictures, meshes; nothing is measured again."""
    from eval.page.page import page_of
    from eval.page.runs import read_page_file
    from face3d.io import replace_files

    content = page_of([read_page_file(file) for file in files]).encode("utf-8")
    replace_files({output: content})
    tables.say(f"wrote {output}, {len(content) / 1e6:.1f} MB")
