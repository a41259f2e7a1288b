"""`python -m train STAGE`: train one stage and write its weights.

A stage is a module of this package with `task(config: TrainConfig, inputs: Inputs, device: torch.device) -> Task`,
where its sizes differ from train.config's, a `CONFIGS: dict[str, TrainConfig]`, and where it can do with less than all
of its inputs, `complete_inputs(inputs: Inputs, options: RunOptions, fabric: Fabric) -> Inputs`. It is imported when
asked for.
"""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from lightning_fabric import Fabric

from train.config import CONFIGS, Inputs, RunOptions, TrainConfig, as_dict, change
from train.loop import Loop, NonFiniteError
from train.memory import keep_freed_memory
from train.processes import leave

STAGES = ("detector", "flow", "multi", "parser", "pgn", "single")
ABLATION = "ablation"  # of stage multi: train.ablation
Files = Annotated[list[Path] | None, typer.Option(exists=True)]


def run(stage: str, config: TrainConfig, inputs: Inputs, options: RunOptions, fabric: Fabric) -> Path:
    """Train a stage; returns the path of its weights. `<out>/config.json` tells how."""
    fabric.seed_everything(config.seed + fabric.global_rank, verbose=False)
    task = importlib.import_module(f"train.{stage}").task(config, inputs, fabric.device)
    if fabric.is_global_zero:
        options.out.mkdir(parents=True, exist_ok=True)
        told = {"stage": stage, "command": sys.argv, "config": as_dict(config), "inputs": as_dict(inputs)}
        (options.out / "config.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return Loop(task, config, options, fabric, stage).run()


def choose_config(stage: str, name: str, changes: list[str]) -> TrainConfig:
    """The named size of a stage, with `NAME=VALUE` changes."""
    if stage not in STAGES or importlib.util.find_spec(f"train.{stage}") is None:
        raise ValueError(f"no stage {stage!r}; there are {', '.join(STAGES)}.")
    configs = getattr(importlib.import_module(f"train.{stage}"), "CONFIGS", CONFIGS)
    if name not in configs:
        raise ValueError(f"stage {stage} has no configuration {name!r}; it has {', '.join(configs)}.")
    return change(configs[name], changes)


def command(
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}; or {ABLATION}, of multi's losses.")],
    data: Annotated[Path, typer.Option(help="Folder of the real data.", exists=True)] = Path("../shared/data"),
    labels: Files = None,
    weights: Files = None,
    extra: Files = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/STAGE where not given.")] = None,
    config: Annotated[str, typer.Option(help="fast or paper.")] = "fast",
    change: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE: change the configuration.")] = None,
    steps: Annotated[int | None, typer.Option(help="End after so many steps.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="End after so many minutes; the rate anneals to it.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run folder's last whole checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many; start with torchrun for more than one.", min=1)] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the training process.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes that prepare batches; 0: none.", min=0)] = 1,
) -> None:
    """Train a stage. Its weights are <out>/weights.safetensors, its story log.jsonl and tensorboard/."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    inputs = Inputs(data, tuple(labels or ()), tuple(weights or ()), tuple(extra or ()))
    options = RunOptions(out or Path("runs") / stage, steps, minutes, resume, workers)
    try:
        if stage == ABLATION:
            importlib.import_module("train.ablation").run_ablation(run, inputs, options, change or [], device)
            return
        settings = choose_config(stage, config, change or [])
        fabric = Fabric(accelerator=device, devices=devices, precision=settings.precision)
        fabric.launch()
        complete = getattr(importlib.import_module(f"train.{stage}"), "complete_inputs", None)
        run(stage, settings, complete(inputs, options, fabric) if complete else inputs, options, fabric)
        leave(fabric)
    except (ValueError, FileNotFoundError, NonFiniteError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(command)
