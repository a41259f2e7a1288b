"""Pictures moved by optical flow, flow at other sizes, and what is occluded between two frames.

A flow field (B,2,H,W) of frame 1 says where each of its pixels lies in frame 2: ``p_2 = p_1 + flow(p_1)``. Channel 0 is
x (right), channel 1 is y (down), both in pixels of that picture; pixel centres lie at integers.
Masks of occlusion are hard and carry no gradient: it would reward calling pixels occluded (Jonschkowski et al., "What
matters in unsupervised optical flow", ECCV 2020).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

HALF_A_PIXEL = 0.5


class Warped(NamedTuple):
    """Values sampled where a flow points, and whether that point lies within [0, W-1] x [0, H-1]."""

    values: Float[Tensor, "B C H W"]
    inside: Bool[Tensor, "B H W"]


def warp_by_flow(values: Float[Tensor, "B C H W"], flow_px: Float[Tensor, "B 2 H W"]) -> Warped:
    """Sample frame 2 where the flow of frame 1 points, ``values(p + flow(p))``: bilinear, zero outside of the picture.

    Gradients flow to the values and to the flow. Beyond the outermost pixel centres the values fade to zero over one
    pixel, so that they stay continuous.
    """
    height, width = flow_px.shape[-2:]
    points = _targets(flow_px)
    # Normalised to [-1, 1] between the outer edges of the pixels, which is defined for a picture one pixel wide too.
    size = points.new_tensor([width, height])
    grid = (2 * points.permute(0, 2, 3, 1) + 1) / size - 1
    sampled = functional.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return Warped(sampled, _is_inside(points))


def occluded_by_consistency(
    forward_px: Float[Tensor, "B 2 H W"],
    backward_px: Float[Tensor, "B 2 H W"],
    alpha1: float = 0.01,
    alpha2: float = 0.5,
) -> Bool[Tensor, "B H W"]:
    """Pixels of frame 1 that frame 2 does not show: forward and backward flow disagree, or the pixel leaves the frame.

    With b = backward(p + forward(p)), occluded where ``|f + b|^2 > alpha1 (|f|^2 + |b|^2) + alpha2`` (Sundaram et al.,
    "Dense point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010; Meister et al., "UnFlow",
    AAAI 2018). A pixel leaves the frame where its centre leaves the area of the frame's pixels. alpha2 is in square
    pixels; the papers of DDFlow and SelFlow print 0.05, their experiments used 0.5.
    """
    with torch.no_grad():
        returned = warp_by_flow(backward_px, forward_px).values
        inside = _is_inside(_targets(forward_px), HALF_A_PIXEL)
        difference = (forward_px + returned).square().sum(dim=1)
        length = forward_px.square().sum(dim=1) + returned.square().sum(dim=1)
        return (difference > alpha1 * length + alpha2) | ~inside


def occluded_by_range(backward_px: Float[Tensor, "B 2 H W"], threshold: float = 0.2) -> Bool[Tensor, "B H W"]:
    """Pixels of frame 1 that too little of frame 2 comes from, by the backward flow (2 -> 1) alone.

    Every pixel of frame 2 gives one unit, bilinearly, to the place in frame 1 that it comes from; occluded where less
    than `threshold` arrives (Wang et al., "Occlusion aware unsupervised learning of optical flow", CVPR 2018). 0.2 is
    ARFlow's (Liu et al., CVPR 2020). A surface that shrinks by more than a third from frame 1 to frame 2 leaves holes,
    which count as occluded. Unlike the check of consistency, a fresh network's flow does not make everything occluded.
    """
    with torch.no_grad():
        batch, _, height, width = backward_px.shape
        points = _targets(backward_px)
        low = points.floor()
        arrived = points.new_zeros(batch * height * width)
        first_of_image = torch.arange(batch, device=points.device).view(-1, 1, 1) * (height * width)
        for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corner = low + points.new_tensor(step).view(1, 2, 1, 1)
            share = (1 - (points - corner).abs()).prod(dim=1)
            inside = _is_inside(corner)
            x, y = corner.unbind(dim=1)
            index = first_of_image + torch.where(inside, y * width + x, 0).long()
            arrived.index_add_(0, index.flatten(), torch.where(inside, share, 0).flatten())
        return arrived.view(batch, height, width) < threshold


def resize_flow(flow_px: Float[Tensor, "B 2 h w"], size_hw: tuple[int, int]) -> Float[Tensor, "B 2 H W"]:
    """The flow of the same pictures at another size: bilinear, corners on corners, in pixels of the new size.

    x is scaled by the ratio of the widths and y by that of the heights.
    """
    height, width = flow_px.shape[-2:]
    if (height, width) == tuple(size_hw):
        return flow_px
    ratio = flow_px.new_tensor([size_hw[1] / width, size_hw[0] / height]).view(1, 2, 1, 1)
    return functional.interpolate(flow_px, size=size_hw, mode="bilinear", align_corners=True) * ratio


def _targets(flow_px: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 2 H W"]:
    """The points (x, y) that the flow of every pixel leads to."""
    height, width = flow_px.shape[-2:]
    y = torch.arange(height, device=flow_px.device, dtype=flow_px.dtype).view(1, height, 1)
    x = torch.arange(width, device=flow_px.device, dtype=flow_px.dtype).view(1, 1, width)
    return torch.stack([flow_px[:, 0] + x, flow_px[:, 1] + y], dim=1)


def _is_inside(points_px: Float[Tensor, "B 2 H W"], margin_px: float = 0.0) -> Bool[Tensor, "B H W"]:
    """Whether points lie between the outermost pixel centres, or a margin beyond; what is not a number does not."""
    height, width = points_px.shape[-2:]
    x, y = points_px.unbind(dim=1)
    low, right, bottom = -margin_px, width - 1 + margin_px, height - 1 + margin_px
    return (x >= low) & (x <= right) & (y >= low) & (y <= bottom)
