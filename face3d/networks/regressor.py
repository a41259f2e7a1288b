"""Identity and expression from the face seen upright, and from the points that the PGN found.

The points come with their pose taken out (model frame, centimetres), and the picture with roll, place and scale taken
out (face3d.networks.upright), so the network sees shape, not pose. It has an encoder of its own: the PGN's features,
made from crops of any roll and scale, told less than half as much of the shape (docs/training.md).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import BackboneConfig, build_backbone, conv_norm
from face3d.networks.upright import Upright


@dataclass(frozen=True)
class RegressorConfig:
    """Sizes, how many coefficients come out, and what of the face is seen: `crop_size` pixels over `half_mm` to either
    side."""

    hidden: int = 512
    identity: int = 80
    expression: int = 53
    dropout: float = 0.1
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    crop_size: int = 96
    half_mm: float = 95.0
    squeeze: int = 96


class RegressedCoefficients(NamedTuple):
    """Identity in standard deviations, expression in the model's own unit."""

    identity: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]


class Regressor(nn.Module):
    """An encoder and two hidden layers; the last layer starts at zero: the mean face."""

    def __init__(self, config: RegressorConfig, points: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_backbone(config.backbone)
        channels, cells = self.encoder.channels[-1], (config.crop_size // 32) ** 2
        self.squeeze = conv_norm(channels, config.squeeze, 1, activation=nn.Hardswish)
        inputs = config.squeeze * cells + channels + 9 + 3 * points
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Sequential(
            nn.Linear(inputs, config.hidden),
            nn.Hardswish(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.Hardswish(),
        )
        self.out = nn.Linear(config.hidden, config.identity + config.expression)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, upright: Upright, offsets_cm: Float[Tensor, "B N 3"]) -> RegressedCoefficients:
        """Coefficients from upright crops and the points' offsets from the mean face, in centimetres of the model
        frame."""
        features = self.encoder(upright.crops).stride32
        everywhere = self.squeeze(features).flatten(1)
        parts = [everywhere, features.mean((2, 3)), upright.rotation.flatten(1), offsets_cm.flatten(1)]
        out = self.out(self.hidden(self.norm(torch.cat([part.float() for part in parts], dim=1)))).float()
        return RegressedCoefficients(*out.split([self.config.identity, self.config.expression], dim=1))
