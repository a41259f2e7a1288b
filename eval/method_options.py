"""Options of the commands that measure any method: which one, its Python, results that are there, where they go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from eval.methods import Choice
    from eval.protocol import Run

MethodName = Annotated[
    str,
    typer.Option(
        "--method", help="face3d, mean-face, mediapipe, face-alignment, or files: any system's, in --predictions."
    ),
]
Python = Annotated[
    Path | None,
    typer.Option("--python", envvar="FACE3D_EVAL_PYTHON", help="Python of the system, for --method mediapipe."),
]
Predictions = Annotated[
    Path | None, typer.Option(help="Score these: any system's with --method files, else what --export wrote.")
]
Export = Annotated[Path | None, typer.Option(help="Write what the method says of each sample here, then score it.")]
Samples = Annotated[
    Path | None, typer.Option(help="Only write the pictures and boxes here, for another system to run on.")
]


def write_method_run(path: Path | None, choice: "Choice", content: dict[str, Any]) -> None:
    """Write a run as JSON; face3d's with the file of its weights. Nothing without a path."""
    from eval.command import save, write_run

    if choice.method == "face3d":
        write_run(path, choice.weights, content)
    else:
        save(path, content)


def require_scored(run: "Run") -> None:
    """Raises ValueError, with the first reason, where no sample of a run could be scored."""
    if run.records and all(record.problem is not None for record in run.records):
        first = run.records[0]
        raise ValueError(f"none of {len(run.records)} samples could be scored; {first.name}: {first.problem}")
