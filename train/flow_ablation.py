"""`python -m train.flow_ablation`: what each part of SelFlow brings, every row with the same budget.

As the table of SelFlow (Liu et al., CVPR 2019, table 3): nothing, occlusion, three frames, self-supervision with noise
in rectangles and in superpixels. A student's budget includes its teacher's: both have half of it. Errors are of unseen
generated scenes. The budget is steps, or with `--minutes` time. Finished rows are kept, so that a run that was stopped
goes on with the next.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from face3d.checkpoint import load_weights
from train.__main__ import run
from train.config import Inputs, RunOptions
from train.config import change as changed
from train.flow import CONFIGS, FlowTrainConfig

SMALL_RUN = ("data.size=112", "batch_size=4", "optimiser.learning_rate=0.001")
FIGURES = ("epe", "epe_visible", "epe_occluded")


@dataclass(frozen=True)
class Row:
    """A row of the table: recipe and network, the share of the budget, and the row whose network teaches it."""

    name: str
    recipe: str
    network: str
    share: float = 1.0
    teacher: str | None = None
    shown: bool = True


ROWS = (
    Row("nothing", "photometric", "small"),
    Row("occlusion", "occlusion", "small"),
    Row("occlusion, three frames", "occlusion", "small3"),
    Row("teacher", "occlusion", "small3", 0.5, shown=False),
    Row("+ rectangles", "rectangles", "small3", 0.5, "teacher"),
    Row("+ superpixels", "selflow", "small3", 0.5, "teacher"),
)


@dataclass(frozen=True)
class Budget:
    """Of a row: steps, or minutes where they are given; and the processes that prepare its batches."""

    steps: int
    minutes: float | None = None
    workers: int = 1

    def options(self, share: float, folder: Path) -> RunOptions:
        """A run with a share of it."""
        length = {"steps": round(share * self.steps)} if self.minutes is None else {"minutes": share * self.minutes}
        return RunOptions(folder, **length, resume=True, workers=self.workers, validate_minutes=float("inf"))

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.minutes is None else f"{self.minutes:g} minutes"


def train_row(row: Row, out: Path, budget: Budget, changes: list[str], inputs: Inputs) -> dict[str, float]:
    """Train a row, unless it was before, and give its figures."""
    folder = out / row.name.replace(" ", "_").replace(",", "").replace("+_", "")
    weights = folder / "weights.safetensors"
    done = folder / "done.json"
    if not done.is_file():
        config = CONFIGS[row.recipe]
        assert isinstance(config, FlowTrainConfig)
        config = changed(config, [f"network={row.network}", *changes])
        teacher = (out / row.teacher / "weights.safetensors",) if row.teacher else ()
        fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)
        options = budget.options(row.share, folder)
        run("flow", config, replace(inputs, weights=teacher), options, fabric)
        meta = load_weights(weights)[1]
        if not _finished(meta, options):
            raise SystemExit(f"{row.name!r} was stopped at step {meta['step']}: the same command goes on from there")
        done.write_text(json.dumps(meta["figures"]) + "\n", encoding="utf-8")
    return json.loads(done.read_text(encoding="utf-8"))


def _finished(meta: dict[str, Any], options: RunOptions) -> bool:
    """Whether weights are of a run that came to its end; a signal ends one before."""
    if options.steps is not None:
        return bool(meta["step"] >= options.steps)
    assert options.minutes is not None
    return bool(meta["minutes"] + 0.05 >= options.minutes)  # they are stored with one decimal


def command(
    out: Annotated[Path, typer.Option(help="Folder of the rows' runs.")] = Path("runs/flow_ablation"),
    steps: Annotated[int, typer.Option(help="Budget of each row.", min=2)] = 4000,
    minutes: Annotated[float | None, typer.Option(help="Budget of each row in time instead.", min=0.01)] = None,
    workers: Annotated[int, typer.Option(help="As for `python -m train flow`.", min=0)] = 1,
    extra: Annotated[list[Path] | None, typer.Option(help="As for `python -m train flow`.", exists=True)] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, for every row.")] = None,
) -> None:
    """Train every row, on small scenes unless --set says otherwise, and print the table, also in <out>/table.json."""
    changes = [*SMALL_RUN, "validation_scenes=200", *(change or [])]
    inputs, budget = Inputs(Path("."), extra=tuple(extra or ())), Budget(steps, minutes, workers)
    figures = {row.name: train_row(row, out, budget, changes, inputs) for row in ROWS}
    shown = {row.name: {name: figures[row.name][name] for name in FIGURES} for row in ROWS if row.shown}
    (out / "table.json").write_text(
        json.dumps({"budget": str(budget), "rows": shown}, indent=1) + "\n", encoding="utf-8"
    )
    table = Table("row", *FIGURES, title=f"unseen generated scenes, end-point error in px, {budget} a row")
    for name, values in shown.items():
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(command)
