"""Stage `parser`: the face parser, from views whose mesh says what each pixel shows.

`python -m train parser --extra PHOTOS [--extra MODEL.npz] [--weights EARLIER]`; PHOTOS is a folder of
`python -m train.prepare photos`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from face3d.checkpoint import load_weights
from face3d.networks.parser import CLASSES, UNKNOWN, ParserConfig, ParserNetwork
from face3d.parse_labels import coloured, confusion, intersection_over_union
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.parser_data import ParserBatches, parser_held_out
from train.pgn import split_extra
from train.task import Batch, BatchSource

PICTURED, IN_A_ROW = 16, 8
ADJUSTED = 0.75
"""How far the logits are freed of the classes' weights: 0 takes brows and lips for broader than they are, 1 for
narrower; chosen on held-out people."""


@dataclass(frozen=True)
class ParserTrainConfig(TrainConfig):
    """Network, how much a pixel of each of CLASSES counts in the loss, and how many views are validated on."""

    network: ParserConfig = field(default_factory=ParserConfig)
    class_weights: tuple[float, ...] = (1.0, 1.0, 4.0, 6.0, 1.5, 4.0, 5.0, 4.0, 1.5)
    validation_views: int = 300


FAST = ParserTrainConfig(
    batch_size=32, steps=10_000, optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.02, ema_decay=0.998)
)
PAPER = ParserTrainConfig(
    name="paper",
    batch_size=64,
    precision="bf16-mixed",
    steps=60_000,
    optimiser=OptimiserConfig(learning_rate=2e-3, weight_decay=0.02, ema_decay=0.9998),
)
CONFIGS: dict[str, TrainConfig] = {"fast": FAST, "paper": PAPER}


def parser_losses(
    logits: Float[Tensor, "B C S S"], labels: UInt8[Tensor, "B S S"], class_weights: Float[Tensor, " C"]
) -> Float[Tensor, " B"]:
    """Cross entropy of each sample: the mean over its pixels, each counted with the weight of its class.

    The weights make small classes count; so that they are not found too often, logits are adjusted for them before
    (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10).
    Pixels labelled UNKNOWN do not count; a sample of nothing else has loss 0."""
    known = labels != UNKNOWN
    goal = labels.long()
    adjusted = logits.float() + ADJUSTED * class_weights.log()[:, None, None]
    entropy = nn.functional.cross_entropy(adjusted, goal, class_weights, ignore_index=UNKNOWN, reduction="none")
    weight = class_weights[goal.masked_fill(~known, 0)] * known
    return entropy.sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-6)


class ParserTask:
    """The parser against the labels of rasterised meshes (train.task.Task)."""

    def __init__(self, config: ParserTrainConfig, inputs: Inputs, device: torch.device) -> None:
        if len(config.class_weights) != len(CLASSES):
            raise ValueError(f"class_weights has {len(config.class_weights)} values: expected one of each of {CLASSES}")
        self.config, self.device = config, device
        self.model_path, folders = split_extra(inputs)
        if len(folders) != 1 or not (folders[0] / "fits.npz").is_file():
            raise ValueError(
                "stage parser draws its views: pass one --extra FOLDER of `python -m train.prepare photos`"
            )
        self.photos_dir = folders[0]
        self.model = ParserNetwork(config.network)
        for path in inputs.weights:  # go on from an earlier run
            self.model.load_state_dict(load_weights(path)[0])
        self.class_weights = torch.tensor(config.class_weights, device=device)
        self.held_out: Batch | None = None

    def train_data(self) -> BatchSource:
        """Random augmented views with labels."""
        return ParserBatches(
            self.model_path, self.photos_dir, self.config.network.crop_size, batch_size=self.config.batch_size
        )

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """The loss, and the share of known pixels that are right."""
        labels = batch["labels"]
        logits = model(as_float(batch["crop"]))
        right = (logits.detach().argmax(1) == labels).sum() / (labels != UNKNOWN).sum().clamp(min=1)
        return {"loss": parser_losses(logits, labels, self.class_weights).mean(), "right": right}

    def _validation(self) -> Batch:
        if self.held_out is None:
            size, count = self.config.network.crop_size, self.config.validation_views
            self.held_out = parser_held_out(self.model_path, self.photos_dir, size, count)
        return self.held_out

    def _parse(self, model: nn.Module, crops: Tensor) -> Tensor:
        """The likeliest class (B,S,S) uint8 of each pixel, on the CPU."""
        parts = [model(as_float(part.to(self.device))).argmax(1).to(torch.uint8).cpu() for part in crops.split(50)]
        return torch.cat(parts)

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """IoU of each class on held-out people, and their mean over the classes that occur."""
        batch = self._validation()
        return intersection_over_union(confusion(self._parse(model, batch["crop"]), batch["labels"]))

    def pictures(self, model: nn.Module) -> Mapping[str, np.ndarray]:
        """Held-out crops with what was found coloured over them, and below each row what is true."""
        batch = {name: value[:PICTURED] for name, value in self._validation().items()}
        found = coloured(batch["crop"], self._parse(model, batch["crop"]))
        true = coloured(batch["crop"], batch["labels"])
        rows = []
        for start in range(0, len(found), IN_A_ROW):
            for tiles in (found, true):
                part = tiles[start : start + IN_A_ROW]
                filled = np.concatenate([part, np.zeros((IN_A_ROW - len(part), *part.shape[1:]), np.uint8)])
                rows.append(np.concatenate(list(filled), 1))
        return {"held_out": np.concatenate(rows)}

    def describe(self) -> dict[str, Any]:
        """The network, as face3d.parse reads it."""
        return {"config": asdict(self.config.network)}


def as_float(crops: Tensor) -> Tensor:
    """uint8 crops (B,3,S,S) to [0,1], channels last."""
    return crops.contiguous(memory_format=torch.channels_last).float().div_(255)


def task(config: TrainConfig, inputs: Inputs, device: torch.device) -> ParserTask:
    """The stage for `python -m train parser`."""
    if not isinstance(config, ParserTrainConfig):
        raise ValueError(f"the parser needs a ParserTrainConfig, got {type(config).__name__}.")
    return ParserTask(config, inputs, device)
