"""`python -m train ablation`: what each loss between frames brings, every row with the same budget.

The rows of Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020), table 1: the single-frame
weights as they are, then stage `multi` from them with more and more of its losses. Rows the paper does not have: "step
2, as long", trained as they are without any loss between frames (what more training alone brings); two in which the
flow that no rigid motion explains counts beside all of the paper's losses; one that learns shapes adjusted to the
flow, without losses on pictures; and the single-frame weights with the frames of a clip refined together. Shapes are
measured by `python -m eval clips-shape`, on generated clips of unseen people. Rows that are measured are kept: a run
that was stopped goes on with the next. Where weights of stage `single` without pose guidance are given (too), so are
the rows "pose regressed", single- and multi-frame: the paper's "without PGN".
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from face3d.checkpoint import load_weights
from face3d.networks_file import is_unguided
from train.config import Inputs, RunOptions, TrainConfig, change
from train.multi import CONFIGS
from train.weights_files import by_stage


class Row(NamedTuple):
    """A line of the table: folder of its run, recipe of stage `multi` (None: the single-frame weights as they are), and
    how the frames of a clip are seen together."""

    name: str
    folder: str
    recipe: str | None
    together: Literal["frames", "refined"] = "frames"


ROWS = (
    Row("step 2 only", "step_2", None),
    Row("step 2, as long", "no_pairs", "no_pairs"),
    Row("L_p-", "rgb", "rgb"),
    Row("L_p", "census", "census"),
    Row("L_p + L_f", "census_flow", "census_flow"),
    Row("L_p + L_s", "census_semantic", "census_semantic"),
    Row("all", "all", "all"),
    Row("all, residual flow", "residual", "residual"),
    Row("the same, expressions held", "held", "held"),
    Row("shapes adjusted to the flow", "adjusted", "adjusted"),
    Row("step 2, clips refined", "step_2_refined", None, "refined"),
)
UNGUIDED_ROWS = (
    Row("pose regressed, step 2 only", "pose_regressed_step_2", None),
    Row("pose regressed, all", "pose_regressed_all", "all"),
)
FIGURES = ("per_vertex_mm", "neutral_mm", "pooled_neutral_mm", "point_to_plane_mm", "identity_spread")

Train = Callable[[str, TrainConfig, Inputs, RunOptions, Fabric], Path]
"""`train.__main__.run`."""


def run_ablation(train: Train, inputs: Inputs, options: RunOptions, changes: list[str], accelerator: str) -> None:
    """Train and measure every row, print the table, and write it to `<out>/table.json`.

    ValueError: a length is not given, or no weights of stage single."""
    parts = by_kind(inputs)
    if not parts:
        raise ValueError("the ablation starts from stage single: pass --weights runs/single/weights.safetensors")
    if options.steps is None and options.minutes is None:
        raise ValueError("the rows need the same budget: pass --steps or --minutes")
    rows = {}
    for lines, given in parts:
        for row in lines:
            measured = options.out / row.folder / "clips_shape.json"
            if not measured.is_file():
                weights = by_stage(given.weights)["single"]
                if row.recipe is not None:
                    config = change(CONFIGS[row.recipe], changes)
                    fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)
                    weights = train("multi", config, given, replace(options, out=measured.parent, resume=True), fabric)
                measure(weights, measured, given, row.together)
            rows[row.name] = _summary(measured)
    content = json.dumps({"steps": options.steps, "minutes": options.minutes, "rows": rows}, indent=1) + "\n"
    (options.out / "table.json").write_text(content, encoding="utf-8")
    _show(rows)


def by_kind(inputs: Inputs) -> list[tuple[tuple[Row, ...], Inputs]]:
    """The rows for each kind of weights of stage single that is given, and the inputs with those of this kind alone.

    ValueError: two weights of one kind, or of another stage."""
    single = [path for path in inputs.weights if load_weights(path)[1].get("stage") == "single"]
    others = [path for path in inputs.weights if path not in single]
    parts: list[tuple[tuple[Row, ...], Inputs]] = []
    for lines, unguided in ((ROWS, False), (UNGUIDED_ROWS, True)):
        weights = tuple(path for path in single if is_unguided(path) == unguided)
        if weights:
            by_stage((*weights, *others))
            parts.append((lines, replace(inputs, weights=(*weights, *others))))
    return parts


def measure(weights: Path, out: Path, inputs: Inputs, together: str) -> None:
    """Errors of weights as `eval clips-shape` writes them. subprocess.CalledProcessError: it failed, and said why."""
    out.parent.mkdir(parents=True, exist_ok=True)
    models = [path for path in inputs.extra if path.suffix == ".npz"]
    model = ["--model", str(models[0])] if models else []
    where = ["--data", str(inputs.data_dir), "--weights", str(weights), "--together", together, "--json", str(out)]
    subprocess.run([sys.executable, "-m", "eval", "clips-shape", *where, *model], check=True)


def _summary(measured: Path) -> dict[str, float]:
    people = json.loads(measured.read_text(encoding="utf-8"))["people"]["summary"]
    return {name: people[name]["mean"] for name in FIGURES}


def _show(rows: dict[str, dict[str, float]]) -> None:
    table = Table("row", *(name.replace("_", " ") for name in FIGURES), title="generated clips of unseen people")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    Console().print(table)
