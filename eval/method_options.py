"""Options of the commands that measure any method, stated once: which one, and what some methods take."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.command import Device, Model, Weights

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


def choose(
    method: MethodName = "face3d",
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    python: Python = None,
    predictions: Predictions = None,
    export: Export = None,
) -> "Choice":
    """What these options ask for."""
    from eval.methods import Choice

    return Choice(method, weights, model, device, python, predictions, export)


def of_any_method(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `choose` in place of its parameter `choice`, which it gets as their result."""
    asked = inspect.signature(choose).parameters
    own = inspect.signature(command).parameters
    options = [option for name, one in own.items() for option in (asked.values() if name == "choice" else (one,))]

    @wraps(command, assigned=("__module__", "__name__", "__doc__"))
    def with_options(**given: Any) -> None:
        choice = choose(**{name: given.pop(name) for name in asked})
        command(choice=choice, **given)

    named = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    vars(with_options)["__signature__"] = inspect.Signature(named)  # what typer makes the options of
    return with_options


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
