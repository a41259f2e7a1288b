"""Pose regressed from a crop: what the pose guidance network and its closed-form pose are compared with.

Nine numbers a crop, all zero at the start, which is a frontal face of usual size in the middle of the crop:

    0..5  what is added to the first two columns of diag(1, -1, -1), one column after the other; the rotation is their
          orthonormalisation (Zhou et al., "On the continuity of rotation representations in neural networks",
          CVPR 2019, section 4.2)
    6     log of the scale over the usual one
    7, 8  place of the face's middle, right and down from the crop's, in halves of the crop
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import BackboneConfig, build_backbone, conv_norm
from face3d.types import ScaledOrthography

NUMBERS = 9
_FRONTAL = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
_MIRRORED = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0)


@dataclass(frozen=True)
class PoseRegressorConfig:
    """Encoder, size of the crops and of the layers behind the encoder."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    crop_size: int = 128
    squeeze: int = 96
    hidden: int = 256


class PoseRegressor(nn.Module):
    """An encoder and a hidden layer; the last layer starts at zero.

    `middle_mm` (model frame) is the point whose place is regressed, `usual_scale` (px/mm of the crop) that of the
    start. Neither is in `state_dict`."""

    middle_mm: Tensor
    usual_scale: Tensor
    frontal: Tensor
    mirrored: Tensor

    def __init__(self, config: PoseRegressorConfig, middle_mm: Float[Tensor, " 3"], usual_scale: float) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_backbone(config.backbone)
        cells = (config.crop_size // 32) ** 2
        self.squeeze = conv_norm(self.encoder.channels[-1], config.squeeze, 1, activation=nn.Hardswish)
        out = nn.Linear(config.hidden, NUMBERS)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.head = nn.Sequential(nn.Linear(config.squeeze * cells, config.hidden), nn.Hardswish(), out)
        self.register_buffer("middle_mm", middle_mm.clone(), persistent=False)
        self.register_buffer("usual_scale", torch.tensor(usual_scale), persistent=False)
        self.register_buffer("frontal", torch.tensor(_FRONTAL), persistent=False)
        self.register_buffer("mirrored", torch.tensor(_MIRRORED), persistent=False)

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> ScaledOrthography:
        """Poses of faces in crops in [0,1], in the pixels of the crops."""
        return self.pose(self.numbers(crops))

    def both_ways(self, crops: Float[Tensor, "B 3 S S"]) -> ScaledOrthography:
        """Poses from the numbers averaged over the crops and their mirror images."""
        plain, turned = self.numbers(torch.cat([crops, crops.flip(3)])).chunk(2)
        return self.pose((plain + turned * self.mirrored) / 2)

    def numbers(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 9"]:
        """The numbers of crops in [0,1]; behind the encoder in float32, as half precision is too coarse for places."""
        features = self.squeeze(self.encoder(crops).stride32).flatten(1)
        with torch.autocast(crops.device.type, enabled=False):
            return self.head(features.to(self.head[0].weight.dtype))

    def pose(self, numbers: Float[Tensor, "B 9"]) -> ScaledOrthography:
        """The poses that numbers stand for: proper rotations, positive scales, whatever the numbers."""
        rotation = rotation_from_columns((self.frontal + numbers[:, :6]).unflatten(1, (2, 3)))
        scale = self.usual_scale * numbers[:, 6].exp()
        half = self.config.crop_size / 2
        middle_px = half - 0.5 + half * numbers[:, 7:]
        return ScaledOrthography(
            rotation, scale, middle_px - scale[:, None] * (rotation[:, :2] * self.middle_mm).sum(-1)
        )


def rotation_from_columns(columns: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 3 3"]:
    """Proper rotations whose first column points along the first vector, the second as near to the second vector as a
    right angle allows (Gram-Schmidt). Neither vector may be zero, nor the two parallel."""
    first = nn.functional.normalize(columns[:, 0], dim=-1)
    across = columns[:, 1] - (first * columns[:, 1]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(across, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)
