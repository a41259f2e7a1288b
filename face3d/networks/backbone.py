"""Image encoders: a MobileNet of fused blocks, MobileNetV3-small and ResNet-50, written out, without torchvision.

All take images (B,3,H,W) in [0,1] and return feature maps at strides 8, 16 and 32.
Fused blocks (a full 3x3 convolution in place of 1x1 and depthwise): Tan & Le, "EfficientNetV2", 2021, figure 2; Qin
et al., "MobileNetV4", 2024, section 3. MobileNetV3: Howard et al., "Searching for MobileNetV3", 2019, table 2. ResNet:
He et al., 2015, table 1, with the stride in the 3x3 convolution ("v1.5").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """Feature maps at strides 8, 16 and 32."""

    stride8: Float[Tensor, "B c8 h8 w8"]
    stride16: Float[Tensor, "B c16 h16 w16"]
    stride32: Float[Tensor, "B c32 h32 w32"]


@dataclass(frozen=True)
class BackboneConfig:
    """Which encoder. `width` scales a MobileNet's channels; ResNet-50 has only 1.0."""

    name: Literal["mobilenet_fused", "mobilenet_v3_small", "resnet50"] = "mobilenet_fused"
    width: float = 1.0


class Backbone(nn.Module):
    """Stem and three stages that end at strides 8, 16 and 32; `channels` are those stages' outputs."""

    mean: Tensor
    std: Tensor

    def __init__(self, stages: list[nn.Module], channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels = channels
        self.to8, self.to16, self.to32 = stages
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Features:
        """Encode images in [0,1]; H and W are multiples of 32."""
        stride8 = self.to8((image - self.mean) / self.std)
        stride16 = self.to16(stride8)
        return Features(stride8, stride16, self.to32(stride16))


def build_backbone(config: BackboneConfig) -> Backbone:
    """Make the encoder that a configuration names, with fresh weights."""
    if config.name == "mobilenet_fused":
        return mobilenet_fused(config.width)
    if config.name == "mobilenet_v3_small":
        return mobilenet_v3_small(config.width)
    if config.name == "resnet50" and config.width == 1.0:
        return resnet50()
    raise ValueError(
        f"no backbone {config}: expected mobilenet_fused or mobilenet_v3_small of any width, or resnet50 of 1.0."
    )


def round_channels(channels: int | float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below what was asked."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, activation (None: linear)."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def relu_in_place() -> nn.Module:
    """ReLU that overwrites its input: on a CPU, memory is what a small network waits for."""
    return nn.ReLU(inplace=True)


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_channels(channels / 4)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Gate x."""
        gate = self.expand(nn.functional.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * nn.functional.hardsigmoid(gate)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise KxK, squeeze-excite, project 1x1; residual where the shape allows."""

    def __init__(
        self, inputs: int, expanded: int, outputs: int, kernel: int, stride: int, squeeze: bool, hard_swish: bool
    ) -> None:
        super().__init__()
        activation: Callable[[], nn.Module] = nn.Hardswish if hard_swish else nn.ReLU
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(conv_norm(inputs, expanded, 1, activation=activation))
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, activation))
        if squeeze:
            layers.append(SqueezeExcite(expanded))
        self.layers = nn.Sequential(*layers, conv_norm(expanded, outputs, 1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Transform x."""
        return x + self.layers(x) if self.residual else self.layers(x)


# kernel, expanded, outputs, squeeze-excite, hard-swish, stride
_MOBILENET_V3_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def mobilenet_v3_small(width: float = 1.0) -> Backbone:
    """MobileNetV3-small without its classifier: 927,008 parameters at width 1; channels (24, 48, 576)."""
    inputs = round_channels(16 * width)
    layers: list[nn.Module] = [conv_norm(3, inputs, 3, 2, activation=nn.Hardswish)]
    for kernel, expanded, outputs, squeeze, hard_swish, stride in _MOBILENET_V3_SMALL:
        expanded, outputs = round_channels(expanded * width), round_channels(outputs * width)
        layers.append(InvertedResidual(inputs, expanded, outputs, kernel, stride, squeeze, hard_swish))
        inputs = outputs
    layers.append(conv_norm(inputs, 6 * inputs, 1, activation=nn.Hardswish))
    stages: list[nn.Module] = [nn.Sequential(*layers[:4]), nn.Sequential(*layers[4:9]), nn.Sequential(*layers[9:])]
    backbone = Backbone(stages, (round_channels(24 * width), round_channels(48 * width), 6 * inputs))
    initialise(backbone)
    return backbone


class FusedInvertedResidual(nn.Module):
    """Expand with a full 3x3 convolution, project 1x1; residual where the shape allows."""

    def __init__(self, inputs: int, expanded: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv_norm(inputs, expanded, 3, stride, activation=relu_in_place), conv_norm(expanded, outputs, 1)
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Transform x."""
        return x + self.layers(x) if self.residual else self.layers(x)


# blocks, expanded, outputs; the first block of each row halves the resolution
_MOBILENET_FUSED = ((1, 96, 32), (2, 128, 64), (3, 256, 96), (2, 384, 160))


def mobilenet_fused(width: float = 1.0) -> Backbone:
    """Seven times the arithmetic of MobileNetV3-small. A training step takes two thirds of its time in bf16 on a CPU
    with matrix units, 1.3 times as long in float32: full convolutions keep a CPU busy, depthwise ones wait for memory.

    1,928,416 parameters at width 1; channels (64, 96, 576)."""
    inputs = round_channels(32 * width)
    rows: list[list[nn.Module]] = [[conv_norm(3, inputs, 3, 2, activation=relu_in_place)]]
    for blocks, expanded, outputs in _MOBILENET_FUSED:
        expanded, outputs = round_channels(expanded * width), round_channels(outputs * width)
        rows.append([])
        for index in range(blocks):
            rows[-1].append(FusedInvertedResidual(inputs, expanded, outputs, 2 if index == 0 else 1))
            inputs = outputs
    last = round_channels(576 * width)
    stem, to4, to8, to16, to32 = rows
    to32.append(conv_norm(inputs, last, 1, activation=relu_in_place))
    stages: list[nn.Module] = [nn.Sequential(*stem, *to4, *to8), nn.Sequential(*to16), nn.Sequential(*to32)]
    backbone = Backbone(stages, (round_channels(64 * width), round_channels(96 * width), last))
    initialise(backbone)
    return backbone


class Bottleneck(nn.Module):
    """ResNet's 1x1, 3x3, 1x1 block with a projected shortcut where the shape changes."""

    def __init__(self, inputs: int, middle: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * middle
        self.layers = nn.Sequential(
            conv_norm(inputs, middle, 1, activation=nn.ReLU),
            conv_norm(middle, middle, 3, stride, activation=nn.ReLU),
            conv_norm(middle, outputs, 1),
        )
        changes = stride != 1 or inputs != outputs
        self.shortcut = conv_norm(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Transform x."""
        return nn.functional.relu(self.shortcut(x) + self.layers(x))


def resnet50() -> Backbone:
    """ResNet-50 without its classifier: 23,508,032 parameters; channels (512, 1024, 2048)."""
    stages, inputs = [], 64
    for middle, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        layers: list[nn.Module] = []
        for index in range(blocks):
            layers.append(Bottleneck(inputs, middle, stride if index == 0 else 1))
            inputs = 4 * middle
        stages.append(nn.Sequential(*layers))
    stem = nn.Sequential(conv_norm(3, 64, 7, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1))
    backbone = Backbone([nn.Sequential(stem, stages[0], stages[1]), stages[2], stages[3]], (512, 1024, 2048))
    initialise(backbone)
    for module in backbone.modules():
        if isinstance(module, Bottleneck):  # blocks start as the identity (Goyal et al., 2017)
            last = module.layers[2]
            assert isinstance(last, nn.Sequential) and isinstance(last[1], nn.BatchNorm2d)
            nn.init.zeros_(last[1].weight)
    return backbone


def initialise(module: nn.Module) -> None:
    """He initialisation (fan out) of convolutions, ones and zeros in normalisations, small normal linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)


def fuse_norms(module: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution before it, in place; for inference only."""
    for child in list(module.modules()):
        if isinstance(child, nn.Sequential) and len(child) >= 2:
            first, second = child[0], child[1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                child[0] = torch.nn.utils.fuse_conv_bn_eval(first.eval(), second.eval())
                del child[1]
    return module.eval()
