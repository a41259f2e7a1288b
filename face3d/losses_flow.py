"""Losses of optical flow learned without labels: pure functions of pictures, flows and masks, one value per sample.

Pictures are (B,C,H,W) in [0, 1], flows (B,2,H,W) in pixels (x right, y down), masks (B,H,W) with one where a pixel
counts. The second picture comes already warped to the first by the flow, so nothing here depends on how that is done.
A mask without any pixel gives zero, and zero gradients. Masks carry no gradient.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from face3d.census_numba import SOFTNESS, SQUASH, CensusDistance

CENSUS_RADIUS = 3
"""Pixels from the centre of the 7 x 7 census patch to its edge, and so the border that the census loss leaves out."""

_GREY_OF_RGB = (0.2989, 0.5870, 0.1140)
_OFFSETS = [(y, x) for y in range(2 * CENSUS_RADIUS + 1) for x in range(2 * CENSUS_RADIUS + 1)]
_NEIGHBOURS = [offset for offset in _OFFSETS if offset != (CENSUS_RADIUS, CENSUS_RADIUS)]  # the centre's own bit is 0

Mask = Float[Tensor, "B H W"] | Bool[Tensor, "B H W"]


def robust(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``psi(x) = (|x| + 0.01)^0.4``, of each value; 0.158 at zero (Liu et al., "DDFlow", AAAI 2019, section 3)."""
    return (difference.abs() + 0.01) ** 0.4


def masked_mean(values: Float[Tensor, "B C H W"], mask: Mask) -> Float[Tensor, " B"]:
    """``sum(values * mask) / sum(mask)`` of each sample, channels summed; zero where the mask is empty.

    The mask is counted once however many channels there are, as in the published code of DDFlow and SelFlow. What the
    mask leaves out may be infinite or NaN.
    """
    weights = mask.detach().to(values.dtype).unsqueeze(1)
    kept = torch.where(weights > 0, values, torch.zeros_like(values)) * weights
    return kept.sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3)).clamp_min(1e-6)


def soft_census(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 48 h w"]:
    """Differences to the centre of each 7 x 7 patch, squashed to (-1, 1): a ternary census that has a gradient.

    ``t_k = d_k / sqrt(0.81 + d_k^2)`` with ``d_k = g(p + k) - g(p)`` of the grey values in 0-255 (Meister et al.,
    "UnFlow", AAAI 2018, section 3.3, with the patch and constants of DDFlow). The 48 neighbours are channels; only
    patches inside of the picture are there: h = H - 6, w = W - 6.
    """
    grey = 255 * _grey(image)
    height, width = (max(side - 2 * CENSUS_RADIUS, 0) for side in grey.shape[-2:])
    centre = grey[..., CENSUS_RADIUS : CENSUS_RADIUS + height, CENSUS_RADIUS : CENSUS_RADIUS + width]
    patches = torch.cat([grey[..., y : y + height, x : x + width] for y, x in _NEIGHBOURS], dim=1)
    difference = patches - centre
    return difference * (SQUASH + difference.square()).rsqrt()


def census_distance(first: Float[Tensor, "B C H W"], second: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """How many of a pixel's 48 neighbours compare differently with it in the two pictures; zero on a border of 3 px.

    ``sum_k (t_k - t'_k)^2 / (0.1 + (t_k - t'_k)^2)``, a soft Hamming distance (as `soft_census`). Single precision on
    a CPU goes through `face3d.census_numba`, which has the first derivative only.
    """
    height, width = first.shape[-2:]
    if min(height, width) <= 2 * CENSUS_RADIUS:
        return (first + second).sum(dim=1) * 0
    if first.device.type == "cpu" and first.dtype == second.dtype == torch.float32:
        grey = [255 * _grey(picture)[:, 0] for picture in (first, second)]
        distance: Tensor = CensusDistance.apply(*grey, CENSUS_RADIUS)
        return distance
    return census_distance_reference(first, second)


def census_distance_reference(
    first: Float[Tensor, "B C H W"], second: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B H W"]:
    """`census_distance` in torch's own operations, on any device and in any precision."""
    squared = (soft_census(first) - soft_census(second)).square()
    return functional.pad((squared / (SOFTNESS + squared)).sum(dim=1), [CENSUS_RADIUS] * 4)


def census_loss(
    first: Float[Tensor, "B C H W"], warped: Float[Tensor, "B C H W"], visible: Mask
) -> Float[Tensor, " B"]:
    """Mean robust census distance of visible pixels, without the 3 px border; at best psi(0) = 0.158.

    ``sum psi(d) M / sum M`` (DDFlow, equation 1, with the census of its code; SelFlow, CVPR 2019, equation 2).
    """
    inner = visible.new_zeros(visible.shape)
    inside = (..., slice(CENSUS_RADIUS, -CENSUS_RADIUS), slice(CENSUS_RADIUS, -CENSUS_RADIUS))
    inner[inside] = visible[inside]
    return masked_mean(robust(census_distance(first, warped)).unsqueeze(1), inner)


def rgb_loss(first: Float[Tensor, "B C H W"], warped: Float[Tensor, "B C H W"], visible: Mask) -> Float[Tensor, " B"]:
    """Mean robust difference of the colours of visible pixels, channels summed (SelFlow, equation 2)."""
    return masked_mean(robust(first - warped), visible)


def self_supervision_loss(
    teacher_px: Float[Tensor, "B 2 H W"], student_px: Float[Tensor, "B 2 H W"], mask: Mask
) -> Float[Tensor, " B"]:
    """``sum psi(w_teacher - w_student) M / sum M``, both components summed; only the student has a gradient.

    DDFlow equation 3 and SelFlow equation 4 with M the pixels that are occluded for the student alone; DistillFlow and
    Flow2Stereo with M all pixels of which the teacher is confident. With the true flow and its known pixels this is
    the loss of supervised fine-tuning; unknown flow may then be NaN or infinite.
    """
    known = (mask > 0).unsqueeze(1)
    difference = torch.where(known, teacher_px.detach(), student_px.detach()) - student_px
    return masked_mean(robust(difference), mask)


def smoothness_first_order(
    flow: Float[Tensor, "B 2 H W"], image: Float[Tensor, "B C H W"], edge_weight: float = 150.0
) -> Float[Tensor, " B"]:
    """Mean change of the flow between neighbours, less where the picture changes too; 0.001 or less for constant flow.

    ``mean(exp(-mean_c |edge_weight dI|) sqrt(dw^2 + 0.001^2))``, half of it along x and half along y, in the flow's
    unit (Jonschkowski et al., "What matters in unsupervised optical flow", ECCV 2020, section 3, and its code).
    """
    return _smoothness(flow, image, edge_weight, order=1)


def smoothness_second_order(
    flow: Float[Tensor, "B 2 H W"], image: Float[Tensor, "B C H W"], edge_weight: float = 150.0
) -> Float[Tensor, " B"]:
    """As `smoothness_first_order` of the flow's second differences: affine flow costs 0.001 or less.

    The picture's edge is measured between the two outer of the three pixels.
    """
    return _smoothness(flow, image, edge_weight, order=2)


def _grey(image: Tensor) -> Tensor:
    if image.shape[1] != 3:
        return image.mean(dim=1, keepdim=True)
    return (image * image.new_tensor(_GREY_OF_RGB).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _smoothness(flow: Tensor, image: Tensor, edge_weight: float, order: int) -> Tensor:
    sides = (-1, -2)
    return torch.stack([_smoothness_along(flow, image.detach(), edge_weight, order, side) for side in sides]).mean(0)


def _smoothness_along(flow: Tensor, image: Tensor, edge_weight: float, order: int, side: int) -> Tensor:
    """One direction; zero for a picture that is too small to have a difference."""
    length = flow.shape[side]
    if length <= order:
        return flow.sum(dim=(1, 2, 3)) * 0
    edges = image.narrow(side, order, length - order) - image.narrow(side, 0, length - order)
    weights = (-(edge_weight * edges).abs().mean(dim=1, keepdim=True)).exp()
    bend = flow.diff(n=order, dim=side)
    return (weights * (bend.square() + 0.001**2).sqrt()).mean(dim=(1, 2, 3))
