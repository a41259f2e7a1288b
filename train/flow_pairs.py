"""Pairs of frames and the flow between them, both ways, from one call of a network of two or three frames.

Two frames: any pairs of a sequence. Three frames, after SelFlow (Liu et al., CVPR 2019, section 3): a sequence of five
gives three overlapping triples; the pair (1, 2) has its forward flow from the triple around frame 1 and its backward
flow from that around frame 2, and so the pair (2, 3).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.networks.flow import Flows

STEREO_PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
"""Left and right, then left and right one moment later: stereo, stereo, left in time, right in time, across, across."""


class Pairs(NamedTuple):
    """P pairs of each of B sequences, pair after pair: N = P B. Flow as in `Flows`, backward always second -> first."""

    first: Float[Tensor, "N 3 H W"]
    second: Float[Tensor, "N 3 H W"]
    forward_px: Float[Tensor, "N 2 H W"]
    backward_px: Float[Tensor, "N 2 H W"]
    quarter_forward_px: Float[Tensor, "N 2 h w"]
    quarter_backward_px: Float[Tensor, "N 2 h w"]


def between(frames: int, stereo: bool = False) -> tuple[tuple[int, int], ...]:
    """Which frames of a sequence are paired. ValueError for a length that is none of 2, 4 (stereo) and 5."""
    if stereo and frames == 4:
        return STEREO_PAIRS
    if not stereo and frames in (2, 5):
        return ((0, 1),) if frames == 2 else ((1, 2), (2, 3))
    raise ValueError(f"got {'stereo ' if stereo else ''}sequences of {frames} frames; expected 2, 5, or stereo of 4")


def estimate(
    model: nn.Module, frames_of_network: int, frames: Float[Tensor, "B T 3 H W"], stereo: bool = False
) -> Pairs:
    """Flow of the pairs of sequences. ValueError for a network of three frames on anything but five."""
    pairs = between(frames.shape[1], stereo)
    if frames_of_network == 2:
        flows: Flows = model(torch.cat([frames[:, list(pair)] for pair in pairs]))
        return Pairs(*_frames(frames, pairs), *flows)
    if frames.shape[1] != 5:
        raise ValueError(f"a network of three frames learns from sequences of five, got {frames.shape[1]}")
    flows = model(torch.cat([frames[:, at : at + 3] for at in range(3)]))
    forward = (torch.cat(flow.chunk(3)[:2]) for flow in (flows.forward_px, flows.quarter_forward_px))
    backward = (torch.cat(flow.chunk(3)[1:]) for flow in (flows.backward_px, flows.quarter_backward_px))
    (full, quarter), (full_back, quarter_back) = forward, backward
    return Pairs(*_frames(frames, pairs), full, full_back, quarter, quarter_back)


def _frames(frames: Tensor, pairs: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    first, second = (torch.cat([frames[:, pair[side]] for pair in pairs]) for side in (0, 1))
    return first, second
