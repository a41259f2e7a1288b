"""`python -m train ablation`: what each loss between frames brings, every row with the same budget.

The rows of Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020), table 1: the single-frame
weights as they are, then stage `multi` from them with more and more of its losses. Shapes are measured by
`python -m eval clips-shape`, on generated clips of unseen people. Rows that are measured are kept: a run that was
stopped goes on with the next.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from train.config import Inputs, RunOptions, TrainConfig, change
from train.multi import CONFIGS, by_stage

ROWS: dict[str, str | None] = {
    "step 2 only": None,
    "L_p-": "rgb",
    "L_p": "census",
    "L_p + L_f": "census_flow",
    "L_p + L_s": "census_semantic",
    "all": "all",
}
FIGURES = ("per_vertex_mm", "neutral_mm", "pooled_neutral_mm", "point_to_plane_mm", "identity_spread")

Train = Callable[[str, TrainConfig, Inputs, RunOptions, Fabric], Path]
"""`train.__main__.run`."""


def run_ablation(train: Train, inputs: Inputs, options: RunOptions, changes: list[str], accelerator: str) -> None:
    """Train and measure every row, print the table, and write it to `<out>/table.json`.

    ValueError: a length is not given, or no weights of stage single."""
    started = by_stage(inputs.weights).get("single")
    if started is None:
        raise ValueError("the ablation starts from stage single: pass --weights runs/single/weights.safetensors")
    if options.steps is None and options.minutes is None:
        raise ValueError("the rows need the same budget: pass --steps or --minutes")
    rows = {}
    for name, recipe in ROWS.items():
        folder = options.out / (recipe or "step_2")
        measured = folder / "clips_shape.json"
        if not measured.is_file():
            weights = started
            if recipe is not None:
                config = change(CONFIGS[recipe], changes)
                fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)
                weights = train("multi", config, inputs, replace(options, out=folder, resume=True), fabric)
            measure(weights, measured, inputs)
        rows[name] = _summary(measured)
    content = json.dumps({"steps": options.steps, "minutes": options.minutes, "rows": rows}, indent=1) + "\n"
    (options.out / "table.json").write_text(content, encoding="utf-8")
    _show(rows)


def measure(weights: Path, out: Path, inputs: Inputs) -> None:
    """Errors of weights as `eval clips-shape` writes them. subprocess.CalledProcessError: it failed, and said why."""
    out.parent.mkdir(parents=True, exist_ok=True)
    models = [path for path in inputs.extra if path.suffix == ".npz"]
    model = ["--model", str(models[0])] if models else []
    where = ["--data", str(inputs.data_dir), "--weights", str(weights), "--json", str(out)]
    subprocess.run([sys.executable, "-m", "eval", "clips-shape", *where, *model], check=True)


def _summary(measured: Path) -> dict[str, float]:
    people = json.loads(measured.read_text(encoding="utf-8"))["people"]["summary"]
    return {name: people[name]["mean"] for name in FIGURES}


def _show(rows: dict[str, dict[str, float]]) -> None:
    table = Table("row", *FIGURES, title="generated clips of unseen people")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    Console().print(table)
