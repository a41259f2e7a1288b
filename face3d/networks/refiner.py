"""A second look: the features under each texel of a first position map say how far the texel still is from its place.

A map decoded from one global vector is right about the pose and vague about details. Features sampled where the map
lies see the details themselves: mesh-aligned features, Zhang et al., "PyMAF" (ICCV 2021), equation 4, here in UV.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import Features, relu_in_place


@dataclass(frozen=True)
class RefinerConfig:
    """Channels taken from strides 8 and 16, of a code learned for each texel, and widths of the layers on
    every second texel, every fourth, every eighth and on all together."""

    fine: int = 32
    coarse: int = 16
    code: int = 12
    width: int = 48
    wide: int = 64
    pooled: int = 32
    hidden: int = 256


class Refiner(nn.Module):
    """Corrections of a map of 4 channels (x, y, depth in units of half the crop, log variance); zero at the start.

    Three parts add up: one for every second texel, one for every fourth, and one of what all texels have in common."""

    def __init__(self, config: RefinerConfig, channels: tuple[int, int, int], map_size: int) -> None:
        super().__init__()
        if (map_size - 1) % 4:
            raise ValueError(f"a refined position map needs 4 n + 1 texels along a side, got {map_size}")
        size, self.small = (map_size - 1) // 2 + 1, (map_size - 1) // 8 + 1
        self.fine = nn.Conv2d(channels[0], config.fine, 1)
        self.coarse = nn.Conv2d(channels[1], config.coarse, 1)
        self.code = nn.Parameter(torch.zeros(config.code, size, size))
        inputs = config.fine + config.coarse + config.code + 4
        self.enter = _conv_relu(inputs, config.width)
        self.down = nn.Sequential(_conv_relu(config.width, config.wide, 2), _conv_relu(config.wide, config.wide))
        self.pool = nn.Sequential(_conv_relu(config.wide, config.pooled, 2), nn.Flatten())
        cells = self.small**2
        self.common = nn.Sequential(nn.Linear(config.pooled * cells, config.hidden), nn.ReLU())
        self.heads = nn.ModuleList(
            [nn.Conv2d(config.width, 4, 1), nn.Conv2d(config.wide, 4, 1), nn.Linear(config.hidden, 4 * cells)]
        )
        nn.init.normal_(self.code, 0, 0.1)
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, features: Features, places: Float[Tensor, "B N N 2"], raw: Float[Tensor, "B 4 N N"]
    ) -> Float[Tensor, "B 4 N N"]:
        """What to add to `raw`, whose texels lie at `places` in [-1, 1] of the crop; no gradient flows into either."""
        places, seen = places[:, ::2, ::2].detach(), raw[:, :, ::2, ::2].detach()
        under = [
            nn.functional.grid_sample(level.float(), places, align_corners=False)
            for level in (self.fine(features.stride8), self.coarse(features.stride16))
        ]
        code = self.code.expand(raw.shape[0], -1, -1, -1)  # len(raw) would be one number in an exported graph
        found = torch.cat([*under, code, seen], dim=1)
        each = self.enter(found.contiguous(memory_format=torch.channels_last))
        fourth = self.down(each)
        common = self.heads[2](self.common(self.pool(fourth))).unflatten(1, (4, self.small, self.small))
        own = self.heads[0](each).float()
        wider = [_resize(part.float(), own.shape[-1]) for part in (self.heads[1](fourth), common)]
        return _resize(own + wider[0] + wider[1], raw.shape[-1])


def _conv_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3; without normalisation, which costs more than the convolution at this size."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), relu_in_place())


def _resize(x: Float[Tensor, "B C n n"], size: int) -> Float[Tensor, "B C N N"]:
    """Bilinear, corners in place."""
    return nn.functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)
