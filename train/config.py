"""What a training run is told: frozen dataclasses, two sizes (`fast`, `paper`), and `name=value` changes to them.

A stage may subclass `TrainConfig` with fields of its own and list its sizes in a `CONFIGS` of its module.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW and its learning rate as a function of progress (train.schedule)."""

    learning_rate: float = 2e-3  # at the peak
    weight_decay: float = 0.05  # on matrices and kernels only
    beta2: float = 0.99
    warmup_fraction: float = 0.04  # of the run
    final_fraction: float = 0.002  # of the peak, at the end of the run
    clip_norm: float = 5.0
    ema_decay: float = 0.999  # of the averaged weights that are validated and exported


@dataclass(frozen=True)
class TrainConfig:
    """One size of a stage: batch, length, precision, optimiser; the networks' sizes are the stages' own fields."""

    name: str = "fast"
    batch_size: int = 32
    accumulate: int = 1  # batches whose gradients are averaged for one step
    steps: int = 20_000  # where the command gives neither --steps nor --minutes
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = True
    seed: int = 0
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


FAST = TrainConfig()
PAPER = TrainConfig(
    name="paper",
    steps=200_000,
    precision="bf16-mixed",
    optimiser=OptimiserConfig(learning_rate=5e-4, ema_decay=0.9998),
)
CONFIGS: dict[str, TrainConfig] = {"fast": FAST, "paper": PAPER}


@dataclass(frozen=True)
class Inputs:
    """Files a stage reads: the folder of real data, pseudo-label files, weights of earlier stages, anything else."""

    data_dir: Path
    labels: tuple[Path, ...] = ()
    weights: tuple[Path, ...] = ()
    extra: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; changes nothing that is learned but how long it may take."""

    out: Path
    steps: int | None = None
    minutes: float | None = None
    resume: bool = False
    workers: int = 1  # processes that prepare batches; 0: none, the batches are made between the steps
    log_steps: int = 20
    validate_minutes: float = 5.0
    checkpoint_minutes: float = 5.0
    keep: int = 3  # checkpoints


Config = TypeVar("Config")


def change(config: Config, changes: Sequence[str]) -> Config:
    """Apply `name=value` or `part.name=value` changes; values are read as the field's type.

    Raises ValueError for an unknown name, listing the known ones, or a value of another type.
    """
    for text in changes:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"cannot read the change {text!r}: expected NAME=VALUE.")
        config = _replace(config, name.split("."), value)
    return config


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _replace(config: Any, path: list[str], value: str) -> Any:
    known = [f.name for f in dataclasses.fields(config)]
    if path[0] not in known:
        raise ValueError(f"{type(config).__name__} has no {path[0]!r}; it has {', '.join(known)}.")
    current = getattr(config, path[0])
    if dataclasses.is_dataclass(current):
        if len(path) < 2:
            raise ValueError(f"{path[0]!r} has parts: name one of {[f.name for f in dataclasses.fields(current)]}.")
        return dataclasses.replace(config, **{path[0]: _replace(current, path[1:], value)})
    return dataclasses.replace(config, **{path[0]: _parse(path[0], value, current)})


def _parse(name: str, value: str, current: Any) -> Any:
    if isinstance(current, str):
        return value
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"cannot read {name}={value!r} as {type(current).__name__}.") from error
    if isinstance(current, float) and isinstance(parsed, int) and not isinstance(parsed, bool):
        return float(parsed)
    if isinstance(current, tuple) and isinstance(parsed, list):
        return tuple(parsed)
    if type(parsed) is not type(current):
        raise ValueError(f"{name} must be {type(current).__name__}, got {value!r}.")
    return parsed
