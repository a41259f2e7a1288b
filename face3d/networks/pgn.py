"""The pose guidance network: an encoder and a decoder of a UV position map with a confidence for every texel.

Liu et al., "Unsupervised (self-supervised) 3D face reconstruction with pose guidance" (PGN, ACCV 2020): landmarks are
read
from a UV position map in the manner of PRNet (Feng et al., ECCV 2018), and pose is solved from them in closed form. The
confidence is the variance of a Gaussian, as in Wood et al., "3D face reconstruction with dense landmarks" (ECCV 2022).

Texel (i, j) of an N x N map lies at uv = (j, i) / (N - 1); maps double from 2^k n + 1 to 2^(k+1) n + 1 texels with
their
corners in place, so that a map is a subset of the model's UV grid at every size.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import BackboneConfig, Features, build_backbone, conv_norm, relu_in_place
from face3d.networks.refiner import Refiner, RefinerConfig

LOG_VARIANCE_LIMITS = (-8.0, 8.0)


@dataclass(frozen=True)
class PgnConfig:
    """Size of the network: `seed_size` doubles (n -> 2 n - 1) once for each entry of `channels` after the first."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    crop_size: int = 128
    squeeze: int = 96
    seed_size: int = 7
    channels: tuple[int, ...] = (32, 32, 24, 16)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)

    @property
    def map_size(self) -> int:
        """Texels along a side of the position map."""
        return (self.seed_size - 1) * 2 ** (len(self.channels) - 1) + 1


class PositionMap(NamedTuple):
    """A UV position map in the crop: x, y px and depth px (0 at the model's origin), and the log variance of each
    texel.

    The variance is that of one coordinate in units of (half the crop)^2."""

    position_px: Float[Tensor, "B 3 N N"]
    log_variance: Float[Tensor, "B N N"]


class Decoder(nn.Module):
    """Feature map at stride 32 -> UV maps of 4 channels: offsets of x, y, depth from the mean map, and log variance."""

    def __init__(self, inputs: int, cells: int, config: PgnConfig) -> None:
        super().__init__()
        first, *rest = config.channels
        self.seed_shape = (first, config.seed_size, config.seed_size)
        self.squeeze = conv_norm(inputs, config.squeeze, 1, activation=nn.Hardswish)
        self.seed = nn.Linear(config.squeeze * cells, first * config.seed_size**2)
        widths = list(config.channels)
        self.refine = nn.ModuleList(
            conv_norm(a, b, 3, activation=relu_in_place) for a, b in zip(widths[:-1], rest, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], 4, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 4 N N"]:
        """Decode."""
        x = self.seed(self.squeeze(features).flatten(1)).unflatten(1, self.seed_shape)
        x = nn.functional.relu(x)
        for layer in self.refine:
            size = 2 * x.shape[-1] - 1
            x = layer(nn.functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=True))
        return self.head(x)


class Pgn(nn.Module):
    """Encoder and PGN. `mean_map` (3,N,N) is the map of the mean face, in units of half the crop; it is learned
    further.

    `landmark_uv` (68,2) are the landmarks' places in the map."""

    landmark_uv: Tensor

    def __init__(self, config: PgnConfig, mean_map: Float[Tensor, "3 N N"], landmark_uv: Float[Tensor, "L 2"]) -> None:
        super().__init__()
        size = config.map_size
        if mean_map.shape != (3, size, size):
            raise ValueError(
                f"mean_map is {tuple(mean_map.shape)}; expected (3, {size}, {size}) for this configuration"
            )
        self.config = config
        self.encoder = build_backbone(config.backbone)
        cells = (config.crop_size // 32) ** 2
        self.decoder = Decoder(self.encoder.channels[-1], cells, config)
        self.refiner = Refiner(config.refiner, self.encoder.channels, size)
        self.mean_map = nn.Parameter(mean_map.clone())
        self.register_buffer("landmark_uv", landmark_uv.clone())

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> tuple[PositionMap, Features]:
        """Position map of crops in [0,1], and the encoder's features for the regressors."""
        features = self.encoder(crops)
        raw = self.decoder(features.stride32).float()
        places = (self.mean_map[:2] + raw[:, :2]).permute(0, 2, 3, 1)
        raw = raw + self.refiner(features, places, raw).float()
        half = self.config.crop_size / 2
        position = (self.mean_map + raw[:, :3]) * half
        position = torch.cat([position[:, :2] + (half - 0.5), position[:, 2:]], dim=1)
        return PositionMap(position, raw[:, 3].clamp(*LOG_VARIANCE_LIMITS)), features

    def read(self, values: Float[Tensor, "B C N N"]) -> Float[Tensor, "B C L"]:
        """Bilinear values of maps at the landmarks."""
        places = (2 * self.landmark_uv - 1)[None, None].expand(len(values), -1, -1, -1).to(values)
        return nn.functional.grid_sample(values, places, align_corners=True)[:, :, 0]

    def landmarks(self, maps: PositionMap) -> tuple[Float[Tensor, "B L 3"], Float[Tensor, "B L"]]:
        """Landmarks in the crop (px, depth px) and their standard deviation in pixels."""
        points = self.read(maps.position_px).transpose(1, 2)
        log_variance = self.read(maps.log_variance[:, None])[:, 0]
        return points, (0.5 * log_variance).exp() * (self.config.crop_size / 2)
