"""A one-shot face detector of about 170,000 parameters: faces of any yaw, rolled up to 45 degrees, from 12 px.

Anchor-free, one prediction a cell at strides 8, 16 and 32 (FCOS: Tian et al., 2019; YuNet: Wu et al., 2023, for the
size). The score is trained to be the overlap with the face (generalized focal loss: Li et al., 2020, equation 4).
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import conv_norm, initialise

STRIDES = (8, 16, 32)
_RELU = partial(nn.ReLU, inplace=True)


@dataclass(frozen=True)
class DetectorConfig:
    """Channels of the stem, of strides 8, 16 and 32, and of the heads; blocks a stride."""

    stem: int = 16
    channels: tuple[int, int, int] = (48, 96, 128)
    blocks: tuple[int, int, int] = (3, 4, 4)
    head: int = 56


class CellPredictions(NamedTuple):
    """One row a cell of all strides, row-major within a stride, strides in turn. Pixels are the network input's."""

    logit: Float[Tensor, "B N"]
    box_px: Float[Tensor, "B N 4"]
    roll: Float[Tensor, "B N 2"]


class DetectorNetwork(nn.Module):
    """Images (B,3,H,W) in [0,1], H and W multiples of 32, to a score, a box and a roll for every cell."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__()
        config = config or DetectorConfig()
        c8, c16, c32 = config.channels
        half = config.stem
        self.stem = nn.Sequential(
            conv_norm(3, half, 3, 2, activation=_RELU),
            _separable(half, 2 * half, 2),
            _separable(2 * half, 2 * half, 1),
        )
        self.to8 = _stage(2 * half, c8, config.blocks[0], 3)
        self.to16 = _stage(c8, c16, config.blocks[1], 5)
        self.to32 = _stage(c16, c32, config.blocks[2], 5)
        self.lateral = nn.ModuleList(conv_norm(c, config.head, 1) for c in config.channels)
        self.smooth = nn.ModuleList(_separable(config.head, config.head, 1) for _ in STRIDES)
        self.tower = nn.ModuleList(_separable(config.head, config.head, 1, 5) for _ in STRIDES)
        self.predict = nn.ModuleList(nn.Conv2d(config.head, 7, 1) for _ in STRIDES)
        self.register_buffer("mean", torch.tensor(0.45), persistent=False)
        self.register_buffer("std", torch.tensor(0.25), persistent=False)
        initialise(self)
        for layer in self.predict:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.constant_(layer.bias[0:1], -4.6)  # scores start at 0.01 (Lin et al., 2017, section 3.3)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> CellPredictions:
        """Predict at every cell; the score is `sigmoid(logit)`, the roll a (cos, sin) that is not normalised."""
        x8 = self.to8(self.stem((image - self.mean) / self.std))
        x16 = self.to16(x8)
        laterals = [layer(x) for layer, x in zip(self.lateral, (x8, x16, self.to32(x16)), strict=True)]
        maps: list[Tensor] = []
        for index in (2, 1, 0):
            x = laterals[index]
            if maps:
                x = x + nn.functional.interpolate(maps[0], scale_factor=2.0, mode="nearest")
            maps.insert(0, self.smooth[index](x))
        raw = [predict(tower(x)) for predict, tower, x in zip(self.predict, self.tower, maps, strict=True)]
        return decode(raw)


def decode(raw: list[Float[Tensor, "B 7 _ _"]]) -> CellPredictions:
    """Raw maps of the three strides to boxes: side distances from the cell's centre are `2 stride exp(raw)`."""
    rows, boxes = [], []
    for stride, values in zip(STRIDES, raw, strict=True):
        centre = cell_centres_px(values.shape[2], values.shape[3], stride, values)
        rows.append(values.flatten(2).transpose(1, 2))
        distance = 2.0 * stride * rows[-1][..., 1:5].clamp(-6.0, 4.0).exp()
        boxes.append(torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1))
    row = torch.cat(rows, 1)
    return CellPredictions(row[..., 0], torch.cat(boxes, 1), row[..., 5:7])


def cell_centres_px(rows: int, columns: int, stride: int, like: Float[Tensor, "..."]) -> Float[Tensor, "N 2"]:
    """Centres of a stride's cells, row-major, pixel centres at integers."""
    y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) * stride - 0.5
    x = (torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) * stride - 0.5
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], -1)


class _Residual(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = conv_norm(channels, channels, kernel, 1, channels)
        self.pointwise = conv_norm(channels, channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return nn.functional.relu(x + self.pointwise(self.depthwise(x)), inplace=True)


def _separable(inputs: int, outputs: int, stride: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(inputs, inputs, kernel, stride, inputs), conv_norm(inputs, outputs, 1, activation=_RELU)
    )


def _stage(inputs: int, outputs: int, blocks: int, kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = [_separable(inputs, outputs, 2, 5)]
    return nn.Sequential(*layers, *(_Residual(outputs, kernel) for _ in range(blocks - 1)))
