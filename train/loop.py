"""The training loop: it knows no faces. Lightning Fabric places the model (CPU, one GPU, many) and the precision.

Every step: a batch, the task's losses, clipped gradients, AdamW at the rate of train.schedule, averaged weights.
The run ends when its steps or minutes are used up, or after SIGINT / SIGTERM; either way its state is kept, and
`--resume` goes on from there. A loss or gradient that is not finite stops the run.
"""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn

from face3d._version import __version__
from face3d.checkpoint import save_weights
from train import checkpoints
from train.average import Average
from train.config import RunOptions, TrainConfig, as_dict
from train.journal import Journal
from train.prefetch import prefetch
from train.schedule import learning_rate, progress_of
from train.task import Batch, Task


class NonFiniteError(RuntimeError):
    """A loss or gradient became NaN or infinite."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters: matrices and kernels with weight decay, vectors (biases, norms) without."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameter: everything is frozen.")
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


class Loop:
    """One run of a task."""

    def __init__(self, task: Task, config: TrainConfig, options: RunOptions, fabric: Fabric, stage: str) -> None:
        self.task, self.config, self.options, self.fabric, self.stage = task, config, options, fabric, stage
        self.steps = options.steps if options.steps or options.minutes else config.steps
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        task.model.to(memory_format=layout)  # type: ignore[call-overload]
        groups = parameter_groups(task.model, config.optimiser.weight_decay)
        betas = (0.9, config.optimiser.beta2)
        optimiser = torch.optim.AdamW(groups, lr=config.optimiser.learning_rate, betas=betas, fused=True)
        self.model, self.optimiser = fabric.setup(task.model, optimiser)
        self.average = Average(task.model, config.optimiser.ema_decay)
        self.journal = Journal(options.out, fabric.is_global_zero)
        self.step, self.elapsed_s = 0, 0.0
        self.figures: dict[str, float] = {}

    @property
    def progress(self) -> float:
        """Fraction of the run that is done."""
        return progress_of(self.step, self.elapsed_s, self.steps, self.options.minutes)

    def run(self) -> Path:
        """Train to the end or to a signal. Returns the exported weights' path."""
        with self.journal, _signals() as stopped:
            if self.options.resume:
                self._resume()
            batches = self._batches()
            started = time.monotonic() - self.elapsed_s
            checked = saved = time.monotonic()
            ending = False
            while self.progress < 1.0 and not ending:
                self._train(batches)
                # the first process's clock and signals count, so that all processes end at the same step
                self.elapsed_s, ending = self.fabric.broadcast((time.monotonic() - started, bool(stopped)))
                if time.monotonic() - checked > 60 * self.options.validate_minutes:
                    self._validate()
                    checked = time.monotonic()
                if time.monotonic() - saved > 60 * self.options.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
            self.elapsed_s = time.monotonic() - started
            self._save()
            if ending:
                self.journal.say(f"stopped by a signal at step {self.step}; --resume goes on from there")
            else:
                self._validate()
            return self._export()

    def _batches(self) -> Iterator[Batch]:
        seed = self.config.seed * 1_000_003 + self.step * 1009 + self.fabric.global_rank * 101
        return prefetch(self.task.train_data(), seed, self.options.workers)

    def _train(self, batches: Iterator[Batch]) -> None:
        """One step of the optimiser."""
        rate = learning_rate(self.progress, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        for left in reversed(range(self.config.accumulate)):
            batch = self.fabric.to_device(next(batches))
            with self.fabric.no_backward_sync(self.model, enabled=left > 0):
                scalars = self.task.train_step(self.model, batch, self.progress)
                self._check(scalars, batch)
                self.fabric.backward(scalars["loss"] / self.config.accumulate)
        clip = self.config.optimiser.clip_norm
        norm = self.fabric.clip_gradients(self.model, self.optimiser, max_norm=clip, error_if_nonfinite=False)
        self._check({"gradient": torch.as_tensor(norm)}, batch)
        self.optimiser.step()
        self.average.update(self.task.model, self.step)
        self.step += 1
        if self.step % self.options.log_steps == 0 or self.step == 1:
            values = {name: float(value.detach()) for name, value in scalars.items()}
            speed = {"gradient": float(norm or 0.0), "rate": rate, "minutes": self.elapsed_s / 60}
            self.journal.scalars(self.step, self.progress, "train", values | speed)

    def _check(self, scalars: Mapping[str, Tensor], batch: Batch) -> None:
        bad = [name for name, value in scalars.items() if not bool(torch.isfinite(value).all())]
        if not bad:
            return
        path = self.options.out / f"bad-batch-{self.step}.safetensors"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in batch.items()}, str(path))
        raise NonFiniteError(
            f"{', '.join(bad)} not finite at step {self.step}; the batch is in {path}. "
            "Look for bad data there, or lower optimiser.learning_rate, and go on with --resume."
        )

    @torch.no_grad()
    def _validate(self) -> None:
        if self.fabric.is_global_zero:
            model = self.average.model.eval()
            self.figures = {name: float(value) for name, value in self.task.validate(model).items()}
            self.journal.scalars(self.step, self.progress, "valid", self.figures)
            for name, image in self.task.pictures(model).items():
                self.journal.picture(self.step, name, np.ascontiguousarray(image))
        self.fabric.barrier()

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "stage": self.stage,
                "step": self.step,
                "elapsed_s": self.elapsed_s,
                "model": self.task.model.state_dict(),
                "average": self.average.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "rng": torch.get_rng_state(),
                "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "figures": self.figures,
            }
            checkpoints.save_state(self.options.out / "checkpoints", self.step, state, self.options.keep)
        self.fabric.barrier()

    def _resume(self) -> None:
        state, damaged = checkpoints.load_latest(self.options.out / "checkpoints")
        for path in damaged:
            self.journal.say(f"{path} is damaged; looking at the one before")
        if state is None:
            self.journal.say(f"no whole checkpoint in {self.options.out}: starting anew")
            return
        if state["stage"] != self.stage:
            raise ValueError(f"{self.options.out} holds a run of stage {state['stage']!r}, not {self.stage!r}.")
        self.task.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and len(state["rng_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["rng_cuda"])
        self.step, self.elapsed_s, self.figures = state["step"], state["elapsed_s"], state["figures"]
        self.journal.say(f"going on from step {self.step}")

    def _export(self) -> Path:
        path = self.options.out / "weights.safetensors"
        if self.fabric.is_global_zero:
            meta = {
                "stage": self.stage,
                "network": self.task.describe(),
                "config": as_dict(self.config),
                "step": self.step,
                "minutes": round(self.elapsed_s / 60, 1),
                "figures": self.figures,
                "face3d": __version__,
            }
            save_weights(path, self.average.model.state_dict(), meta)
            self.journal.say(f"weights: {path}")
        return path


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM add themselves to; a second one acts as usual. Handlers are put back after."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {int(number): signal.getsignal(number) for number in numbers}

    def remember(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, remember)
    try:
        yield received
    finally:
        for saved, handler in before.items():
            signal.signal(saved, handler)
