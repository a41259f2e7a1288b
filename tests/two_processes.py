"""A run of a few steps, for `torchrun`: with two processes each has half of every batch, alone one has it all.

python -m torch.distributed.run --nproc-per-node 2 -m tests.two_processes OUT
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.config import OptimiserConfig, RunOptions, TrainConfig
from train.loop import Loop
from train.processes import leave
from train.task import Batch

ROWS = 16
STEPS = 6
RANK_SEED = 101  # what a process's seed is more than the one's before


@dataclass(frozen=True)
class SharedSource:
    """The same endless batches for all; each of `parts` processes takes its rows."""

    parts: int

    def __call__(self, seed: int) -> Iterator[Batch]:
        part, generator = seed // RANK_SEED, torch.Generator().manual_seed(0)
        while True:
            x = torch.randn(ROWS, 3, generator=generator)
            rows = slice(part * ROWS // self.parts, (part + 1) * ROWS // self.parts)
            yield {"x": x[rows], "y": (x[:, :1] * x[:, 1:2]).sin()[rows]}


class CurveTask:
    def __init__(self, parts: int) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.parts = parts

    def train_data(self) -> SharedSource:
        return SharedSource(self.parts)

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        return {}

    def pictures(self, model: nn.Module) -> Mapping[str, Any]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class SplitSource:
    """The batches of `SharedSource` in two halves, one after the other."""

    def __call__(self, seed: int) -> Iterator[Batch]:
        for batch in SharedSource(1)(seed):
            for half in (slice(ROWS // 2), slice(ROWS // 2, ROWS)):
                yield {name: values[half] for name, values in batch.items()}


def train(out: Path, processes: int) -> Path:
    """A run; the path of its weights."""
    fabric = Fabric(accelerator="cpu", devices=processes)
    fabric.launch()
    config = TrainConfig(batch_size=ROWS // processes, optimiser=OptimiserConfig(clip_norm=0.5, ema_decay=0.0))
    options = RunOptions(out, steps=STEPS, workers=0, log_steps=1)
    weights = Loop(CurveTask(processes), config, options, fabric, "curve").run()
    leave(fabric)
    return weights


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
