"""`python -m train.flow_ablation`: what each part of the methods of flow brings, with the same budget for every row.

`--table selflow`: as table 3 of SelFlow (Liu et al., CVPR 2019): nothing, occlusion, three frames, self-supervision
with noise in rectangles and in superpixels. `students`: DDFlow's and DistillFlow's, the latter of one teacher and of
two. `stereo`: Flow2Stereo without its constraints, with them, and its student, all from the row "occlusion", which must
be there. A student's budget includes its teacher's: both have half of it. Errors are of unseen generated scenes. The
budget is steps, or with `--minutes` time. Finished rows are kept, so that a run that was stopped goes on with the next,
and a row that several tables have is trained once.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

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
WEIGHTS = "weights.safetensors"
STEREO_FIGURES = ("disparity", "disparity_visible", "disparity_occluded")


@dataclass(frozen=True)
class Row:
    """A row of a table: recipe and network, the share of the budget, the rows whose networks teach it or are its start,
    and what else its configuration changes."""

    name: str
    recipe: str
    network: str = "small"
    share: float = 1.0
    teachers: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


_OCCLUSION = Row("occlusion", "occlusion")
_STEREO = Row("stereo", "stereo", teachers=(_OCCLUSION.name,), changes=("objective.occlusion_from=0.0",))
_CONSTRAINED = replace(_STEREO, name="Flow2Stereo", recipe="flow2stereo")
TABLES = {
    "selflow": (
        Row("nothing", "photometric"),
        _OCCLUSION,
        Row("occlusion, three frames", "occlusion", "small3"),
        Row("teacher", "occlusion", "small3", 0.5),
        Row("+ rectangles", "rectangles", "small3", 0.5, ("teacher",)),
        Row("+ superpixels", "selflow", "small3", 0.5, ("teacher",)),
    ),
    "students": (
        Row("teacher, two frames", "occlusion", share=0.5),
        Row("another teacher", "occlusion", share=0.5, changes=("seed=1",)),
        Row("DDFlow", "ddflow", share=0.5, teachers=("teacher, two frames",)),
        Row("DistillFlow", "distillflow", share=0.5, teachers=("teacher, two frames",)),
        Row("DistillFlow, two teachers", "distillflow", share=0.5, teachers=("teacher, two frames", "another teacher")),
        _OCCLUSION,
    ),
    "stereo": (
        _STEREO,
        _CONSTRAINED,
        replace(_CONSTRAINED, name="Flow2Stereo, half as long", share=0.5),
        Row("its student", "flow2stereo_student", share=0.5, teachers=("Flow2Stereo, half as long",)),
    ),
}


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
    """Train a row, unless it was before, and give its figures. SystemExit where a row that it needs has no weights."""
    folder = _folder(out, row.name)
    weights = folder / WEIGHTS
    done = folder / "done.json"
    if not done.is_file():
        config = CONFIGS[row.recipe]
        assert isinstance(config, FlowTrainConfig)
        config = changed(config, [f"network={row.network}", *row.changes, *changes])
        teachers = tuple(_folder(out, name) / WEIGHTS for name in row.teachers)
        missing = [path for path in teachers if not path.is_file()]
        if missing:
            raise SystemExit(f"{row.name!r} needs {missing[0]}: train the table that has this row first.")
        fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)
        options = budget.options(row.share, folder)
        run("flow", config, replace(inputs, weights=teachers), options, fabric)
        meta = load_weights(weights)[1]
        if not _finished(meta, options):
            raise SystemExit(f"{row.name!r} was stopped at step {meta['step']}: the same command goes on from there")
        done.write_text(json.dumps(meta["figures"]) + "\n", encoding="utf-8")
    return json.loads(done.read_text(encoding="utf-8"))


def _folder(out: Path, row: str) -> Path:
    return out / row.replace(" ", "_").replace(",", "").replace("+_", "")


def _finished(meta: dict[str, Any], options: RunOptions) -> bool:
    """Whether weights are of a run that came to its end; a signal ends one before."""
    if options.steps is not None:
        return bool(meta["step"] >= options.steps)
    assert options.minutes is not None
    return bool(meta["minutes"] + 0.05 >= options.minutes)  # they are stored with one decimal


def command(
    table: Annotated[Literal["selflow", "students", "stereo"], typer.Option(help="Which rows.")] = "selflow",
    out: Annotated[Path, typer.Option(help="Folder of the rows' runs.")] = Path("runs/flow_ablation"),
    steps: Annotated[int, typer.Option(help="Budget of each row.", min=2)] = 4000,
    minutes: Annotated[float | None, typer.Option(help="Budget of each row in time instead.", min=0.01)] = None,
    workers: Annotated[int, typer.Option(help="As for `python -m train flow`.", min=0)] = 1,
    extra: Annotated[list[Path] | None, typer.Option(help="As for `python -m train flow`.", exists=True)] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, for every row.")] = None,
) -> None:
    """Train every row, on small scenes unless --set says otherwise, and print the table, also in <out>/TABLE.json."""
    changes = [*SMALL_RUN, "validation_scenes=200", *(change or [])]
    inputs, budget = Inputs(Path("."), extra=tuple(extra or ())), Budget(steps, minutes, workers)
    rows = {row.name: train_row(row, out, budget, changes, inputs) for row in TABLES[table]}
    names = STEREO_FIGURES + FIGURES if table == "stereo" else FIGURES
    figures = {row: {name: values[name] for name in names} for row, values in rows.items()}
    (out / f"{table}.json").write_text(
        json.dumps({"budget": str(budget), "rows": figures}, indent=1) + "\n", encoding="utf-8"
    )
    printed = Table("row", *names, title=f"unseen generated scenes, end-point error in px, {budget} a row")
    for row, values in figures.items():
        printed.add_row(row, *(f"{value:.3f}" for value in values.values()))
    Console().print(printed)


if __name__ == "__main__":
    typer.run(command)
