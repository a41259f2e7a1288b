"""Identity and expression from the frozen encoder's features and the landmarks that the PGN found.

The landmarks come with their pose taken out (model frame, millimetres), so the network sees shape, not pose.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import Features


@dataclass(frozen=True)
class RegressorConfig:
    """Width of the two hidden layers, and how many coefficients come out."""

    hidden: int = 512
    identity: int = 80
    expression: int = 53
    dropout: float = 0.1


class RegressedCoefficients(NamedTuple):
    """Identity in standard deviations, expression in the model's own unit."""

    identity: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]


class Regressor(nn.Module):
    """Two hidden layers on pooled features and pose-free points; the last layer starts at zero: the mean face."""

    def __init__(self, config: RegressorConfig, channels: tuple[int, int, int], points: int) -> None:
        super().__init__()
        self.config = config
        self.reduce = nn.Sequential(
            nn.Conv2d(channels[1], 32, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        inputs = channels[2] + 32 * 16 + 3 * points
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Sequential(
            nn.Linear(inputs, config.hidden),
            nn.Hardswish(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.Hardswish(),
        )
        self.out = nn.Linear(config.hidden + 3 * points, config.identity + config.expression)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Features, offsets_cm: Float[Tensor, "B N 3"]) -> RegressedCoefficients:
        """Coefficients from features and the points' offsets from the mean face, in centimetres of the model frame."""
        flat = offsets_cm.flatten(1)
        pooled = features.stride32.mean((2, 3))
        x = torch.cat([pooled, self.reduce(features.stride16), flat], dim=1)
        out = self.out(torch.cat([self.hidden(self.norm(x)), flat], dim=1))
        return RegressedCoefficients(*out.split([self.config.identity, self.config.expression], dim=1))
