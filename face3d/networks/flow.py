"""Optical flow from a pyramid of features, coarse to fine: the networks of SelFlow and DDFlow, and a small one.

Three frames: Liu, Lyu, King, Xu, "SelFlow: Self-supervised learning of optical flow", CVPR 2019, section 3. Two frames:
Liu, King, Lyu, Xu, "DDFlow: Learning optical flow with unlabeled data distillation", AAAI 2019. Both are lighter forms
of PWC-Net (Sun et al., CVPR 2018). One decoder for all levels on features of one width, and residual decoding: Liu et
al., "Learning by analogy" (ARFlow, CVPR 2020), PWC-Lite. Convex upsampling: RAFT and SMURF.

Level l has 1 / 2^l of the resolution; flow is decoded from the coarsest level to level 2. Both directions run through
the same weights as one batch, forward half first; within it, a pixel's own frame is `own`, the frame it is matched
with is `other`, and its partner is the same pixel of the other half.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.convex_upsampling import ConvexUpsampler
from face3d.networks.cost_volume import cost_volume, unit_features
from face3d.warping import resize_flow, warp_by_flow

_SLOPE = 0.2
_FLOW_HEAD_STD = 1e-3
_LEAKY = partial(nn.LeakyReLU, _SLOPE, inplace=True)


@dataclass(frozen=True)
class FlowConfig:
    """A flow network. The defaults are SelFlow's.

    Attributes:
        frames: 2, or 3: previous, first, second.
        pyramid: channels of the levels from 1 (half the resolution) on.
        decoder: channels of a level's decoder before its flow.
        context: channels of the context network before its flow; `dilations` are those of these convolutions.
        radius: range of the cost volume in pixels of a level.
        cosine_cost: cost volume of normalised features, else the mean of products.
        unit_features: the decoder sees the frame's features at unit length, else as they are.
        residual_decoder: a decoder corrects the coarser level's flow, else it gives the flow itself.
        residual_context: likewise the context network, of the finest level's flow.
        shared_width: one decoder serves all levels, on features that 1x1 convolutions bring to this many channels;
            None: each level has its own decoder.
        convex_upsampling: the full resolution is reached by learned weights, else bilinearly.
    """

    frames: int = 3
    pyramid: tuple[int, ...] = (16, 32, 64, 96, 128, 192)
    decoder: tuple[int, ...] = (128, 128, 96, 64, 32)
    context: tuple[int, ...] = (128, 128, 128, 96, 64, 32)
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 1)
    radius: int = 4
    cosine_cost: bool = True
    unit_features: bool = False
    residual_decoder: bool = False
    residual_context: bool = False
    shared_width: int | None = None
    convex_upsampling: bool = False

    def __post_init__(self) -> None:
        if self.frames not in (2, 3):
            raise ValueError(f"frames is {self.frames}; a flow network takes 2 or 3")
        if len(self.pyramid) < 2 or not self.decoder:
            raise ValueError(f"expected two levels or more and a decoder, got {self.pyramid} and {self.decoder}")
        if len(self.dilations) != len(self.context):
            raise ValueError(f"context has {len(self.context)} convolutions, dilations has {len(self.dilations)}")

    @property
    def stride(self) -> int:
        """Pixels of the input that a pixel of the coarsest level covers."""
        return 2 ** len(self.pyramid)


SELFLOW = FlowConfig()
DDFLOW = FlowConfig(frames=2, unit_features=True, residual_context=True)
SMALL = FlowConfig(
    frames=2,
    pyramid=(16, 32, 64, 96, 128),
    decoder=(64, 48, 32),
    context=(32, 32, 32),
    dilations=(1, 2, 4),
    residual_decoder=True,
    residual_context=True,
    shared_width=32,
    convex_upsampling=True,
)


class Flows(NamedTuple):
    """Flow in pixels: of the input for the first two, of a quarter of its resolution for the others.

    Forward is first -> second, on the pixels of the first frame. Backward is second -> first on those of the second for
    two frames, and first -> previous on those of the first for three.
    """

    forward_px: Float[Tensor, "B 2 H W"]
    backward_px: Float[Tensor, "B 2 H W"]
    quarter_forward_px: Float[Tensor, "B 2 h w"]
    quarter_backward_px: Float[Tensor, "B 2 h w"]


class Decoder(nn.Module):
    """Cost volume, features and the coarser flow of a level -> its last features and its flow."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = _convolutions(inputs, channels, (1,) * len(channels))
        self.flow = _flow_head(channels[-1])

    def forward(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B 2 h w"]]:
        """Decode."""
        hidden = self.layers(x)
        return hidden, self.flow(hidden).float()


class FlowNetwork(nn.Module):
    """Frames in [0,1] to the flow between them in both directions. 4,790,876 parameters as `SELFLOW`, 4,273,628 as
    `DDFLOW`."""

    def __init__(self, config: FlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SELFLOW
        shared = config.shared_width
        decoded = config.pyramid[1:]
        directions = config.frames - 1  # with three frames, a decoder sees its partner's cost volume and flow too
        beside_features = directions * ((2 * config.radius + 1) ** 2 + 2)
        widths = decoded if shared is None else (shared,)
        self.pyramid = nn.ModuleList(
            _pyramid_level(a, b) for a, b in zip((3, *config.pyramid), config.pyramid, strict=False)
        )
        self.decoders = nn.ModuleList(Decoder(beside_features + width, config.decoder) for width in widths)
        self.narrow = nn.ModuleList(() if shared is None else (_narrowing(width, shared) for width in decoded))
        inputs = directions * (config.decoder[-1] + 2)
        self.context = nn.Sequential(
            _convolutions(inputs, config.context, config.dilations), _flow_head((inputs, *config.context)[-1])
        )
        self.upsampler = ConvexUpsampler(config.decoder[-1] + decoded[0]) if config.convex_upsampling else None
        _initialise(self)

    def forward(self, frames: Float[Tensor, "B T 3 H W"]) -> Flows:
        """Estimate flow. Any size: the frames are extended to the right and below by their border, the flow cut back.

        Raises:
            ValueError: another number of frames than the configuration's.
        """
        if frames.shape[1] != self.config.frames:
            raise ValueError(f"got {frames.shape[1]} frames; this network takes {self.config.frames}: (B,T,3,H,W)")
        height, width = frames.shape[-2:]
        stride = self.config.stride
        images = frames.transpose(0, 1).flatten(0, 1)
        images = nn.functional.pad(images, (0, -width % stride, 0, -height % stride), mode="replicate")
        features = self._features(images)
        quarter, hidden = self._finest(features)
        if self.upsampler is None:
            full = resize_flow(quarter, (images.shape[-2], images.shape[-1]))
        else:
            full = self.upsampler(torch.cat([hidden, self._own(features[1])], dim=1), quarter)
        full = full[..., :height, :width]
        quarter = quarter[..., : -(-height // 4), : -(-width // 4)]
        return Flows(*full.chunk(2), *quarter.chunk(2))

    def _features(self, images: Float[Tensor, "N 3 H W"]) -> list[Tensor]:
        """Features of levels 1, 2, ... of all frames."""
        features = [images]
        for level in self.pyramid:
            features.append(level(features[-1]))
        return features[1:]

    def _own(self, features: Float[Tensor, "M C h w"]) -> Float[Tensor, "N C h w"]:
        """Features of all frames to those of the frames that the pairs' flow lies on."""
        if self.config.frames == 2:
            return features
        first = features.chunk(3)[1]
        return torch.cat([first, first])

    def _finest(self, features: list[Tensor]) -> tuple[Float[Tensor, "N 2 h w"], Float[Tensor, "N D h w"]]:
        """Flow of level 2, from the coarsest level on, and the decoder's last features."""
        pairs = len(features[0]) // self.config.frames * 2
        flow = features[-1].new_zeros(pairs, 2, *features[-1].shape[-2:]).float()
        hidden = flow
        for level in range(len(features) - 1, 0, -1):
            flow = resize_flow(flow, (features[level].shape[-2], features[level].shape[-1]))
            hidden, decoded = self._decode(level, features[level], flow)
            flow = decoded + flow if self.config.residual_decoder else decoded  # a sum's memory is as the first term's
        refined = self.context(torch.cat([*self._with_partner(hidden), *self._with_partner(flow, -1)], dim=1)).float()
        return (refined + flow if self.config.residual_context else refined), hidden

    def _decode(
        self, level: int, features: Float[Tensor, "M C h w"], flow: Float[Tensor, "N 2 h w"]
    ) -> tuple[Float[Tensor, "N D h w"], Float[Tensor, "N 2 h w"]]:
        """What the decoder of a level makes of its features (of all frames) and of the flow so far."""
        config = self.config
        own = self._own(features)
        if config.frames == 2:
            other = _swapped(features)
        else:
            previous, _, second = features.chunk(3)
            other = torch.cat([second, previous])
        cost = cost_volume(own, warp_by_flow(other, flow.to(other)).values, config.radius, config.cosine_cost)
        seen = unit_features(own) if config.unit_features else own
        if config.shared_width is not None:
            seen = self.narrow[level - 1](seen)
        decoder = self.decoders[level - 1 if config.shared_width is None else 0]
        return decoder(torch.cat([*self._with_partner(cost), seen, *self._with_partner(flow, -1)], dim=1))

    def _with_partner(self, values: Float[Tensor, "N C h w"], sign: int = 1) -> tuple[Tensor, ...]:
        """Values of a direction and, with three frames, those of the opposite one (flow with its sign turned)."""
        return (values,) if self.config.frames == 2 else (values, sign * _swapped(values))


def _swapped(values: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
    """The two halves of a batch, exchanged."""
    return torch.cat(values.chunk(2)[::-1])


def _pyramid_level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), _LEAKY(), nn.Conv2d(outputs, outputs, 3, 1, 1), _LEAKY())


def _narrowing(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), _LEAKY())


def _convolutions(inputs: int, channels: tuple[int, ...], dilations: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs, dilation in zip(channels, dilations, strict=True):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation), _LEAKY()]
        inputs = outputs
    return nn.Sequential(*layers)


def _flow_head(inputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, 2, 3, padding=1)


def _initialise(network: FlowNetwork) -> None:
    """He initialisation; the convolutions that give flow are so small that a fresh network moves hardly anything."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            if layer.out_channels == 2:
                nn.init.normal_(layer.weight, 0, _FLOW_HEAD_STD)
            else:
                nn.init.kaiming_normal_(layer.weight, _SLOPE, nonlinearity="leaky_relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    if network.upsampler is not None:
        network.upsampler.start_bilinear()  # a fresh network's flow is smooth
