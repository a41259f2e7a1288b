"""Flow and disparity by one network: what twelve flows between four frames of a stereo video have to agree on.

Liu et al., "Flow2Stereo" (CVPR 2020): frames 1, 2 are left and right, 3, 4 left and right one moment later. Only points
that all frames show are compared. The equations are those of the design's notes on the paper; its code is not public.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from face3d.losses_flow import masked_mean, robust
from face3d.warping import warp_by_flow
from train.flow_objective import Hidden
from train.flow_pairs import STEREO_PAIRS, Pairs


def stereo_constraints(
    pairs: Pairs, unseen: Hidden
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Quadrilateral, triangle and rectification losses of the pairs of `STEREO_PAIRS`.

    Quadrilateral: ``w12(p) + w24(p + w12) = w13(p) + w34(p + w13)``; triangle: ``w14(p) = w12(p) + w24(p + w12)``;
    rectified: stereo flow has no vertical part and points to the left.
    """
    flows = dict(zip(STEREO_PAIRS, pairs.forward_px.chunk(len(STEREO_PAIRS)), strict=True))
    occluded = dict(zip(STEREO_PAIRS, unseen.forward.chunk(len(STEREO_PAIRS)), strict=True))
    w12, w13, w14 = flows[0, 1], flows[0, 2], flows[0, 3]
    w24, seen24 = _carried(flows[1, 3], occluded[1, 3], w12)
    w34, seen34 = _carried(flows[2, 3], occluded[2, 3], w13)
    seen = ~(occluded[0, 1] | occluded[0, 2] | occluded[0, 3]) & seen24 & seen34
    quadrilateral = masked_mean(robust(w12 + w24 - w13 - w34), seen)
    triangle = masked_mean(robust(w14 - w12 - w24), seen)
    both = torch.stack([w12, flows[2, 3]])
    rectified = both[:, :, 1].abs() + both[:, :, 0].clamp_min(0)
    return quadrilateral, triangle, rectified.mean(dim=(0, 2, 3))


def _carried(
    flow: Float[Tensor, "B 2 H W"], occluded: Bool[Tensor, "B H W"], by: Float[Tensor, "B 2 H W"]
) -> tuple[Float[Tensor, "B 2 H W"], Bool[Tensor, "B H W"]]:
    """Another frame's flow read where the first frame's points lie in it, and whether it is visible there."""
    with torch.no_grad():
        seen = warp_by_flow((~occluded)[:, None].to(flow.dtype), by).values[:, 0] > 0.99
    return warp_by_flow(flow, by).values, seen
