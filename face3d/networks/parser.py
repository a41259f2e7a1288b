"""A face parser of about 440,000 parameters: which part of the face, or what lies over it, each pixel of a crop shows.

A U-Net (Ronneberger et al., 2015) with additive skips (LinkNet: Chaurasia & Culurciello, 2017) of plain convolutions
and fused blocks (see face3d.networks.backbone), which keep a CPU busy. What is told at stride 2 is enlarged to full
resolution bilinearly.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.backbone import FusedInvertedResidual, conv_norm, initialise, relu_in_place

CLASSES = ("background", "skin", "brows", "eyes", "nose", "upper_lip", "inner_mouth", "lower_lip", "occluder")
"""What a pixel may show, by number. Hair, neck and clothes are background, ears are skin."""

UNKNOWN = 255
"""The label of pixels of which the class is not known."""

STRIDE = 16
_BLOCKS = (1, 2, 2, 2)  # at strides 2, 4, 8 and 16; the field of view is then wider than a crop of 128 px


@dataclass(frozen=True)
class ParserConfig:
    """Channels of strides 2, 4, 8 and 16, and the side of the crops that are trained on, in pixels."""

    channels: tuple[int, int, int, int] = (24, 32, 64, 96)
    crop_size: int = 128


class ParserNetwork(nn.Module):
    """Crops (B,3,S,S) in [0,1], S a multiple of 16, to a logit of each class at every pixel."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ParserConfig | None = None) -> None:
        super().__init__()
        self.config = config or ParserConfig()
        channels = self.config.channels
        self.down, self.lateral, self.smooth = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for inputs, outputs, blocks in zip((3, *channels), channels, _BLOCKS, strict=False):
            self.down.append(_stage(inputs, outputs, blocks))
        for finer, coarser in zip(channels, channels[1:], strict=False):
            self.lateral.append(conv_norm(coarser, finer, 1))
            self.smooth.append(conv_norm(finer, finer, 3, activation=relu_in_place))
        self.predict = nn.Conv2d(channels[0], len(CLASSES), 1)
        self.register_buffer("mean", torch.tensor(0.45), persistent=False)
        self.register_buffer("std", torch.tensor(0.25), persistent=False)
        initialise(self)
        nn.init.normal_(self.predict.weight, 0, 0.01)  # a fresh network holds every class for equally likely

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 9 S S"]:
        """Logits of CLASSES."""
        x = (images - self.mean) / self.std
        skips: list[Tensor] = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        for index in (2, 1, 0):
            x = self.smooth[index](skips[index] + _twice(self.lateral[index](x)))
        return _twice(self.predict(x))

    def probabilities(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 9 S S"]:
        """How likely each of CLASSES is at each pixel; they sum to 1 over the classes."""
        return self(images).softmax(1)


def _twice(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Enlarged bilinearly, pixel centres kept in place."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Half the resolution, then residual blocks."""
    layers: list[nn.Module] = [conv_norm(inputs, outputs, 3, 2, activation=relu_in_place)]
    return nn.Sequential(*layers, *(FusedInvertedResidual(outputs, outputs, outputs, 1) for _ in range(blocks)))
