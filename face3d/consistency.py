"""What several frames of one person must agree on: each frame redrawn with the skin of every other looks like itself.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020). Here are the redrawn pictures; the
losses between them and the frames are `face3d.losses_flow.census_loss` (L_p) and those of `face3d.losses`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.morphable import MorphableModel
from face3d.texture_swap import View, look, ordered_pairs, swap_texture

NOT_COMPARED = ("inner_mouth", "ears", "neck")
"""Regions that move by themselves, or are hidden by hair and collars."""


class SwappedPairs(NamedTuple):
    """Ordered pairs of frames of B people, pair after pair: N = B times the number of pairs. `depth_px` is that of the
    mesh in the frame, infinite where it is not; it has no gradient."""

    frame: Float[Tensor, "N 3 H W"]
    swapped: Float[Tensor, "N 3 H W"]
    mask: Bool[Tensor, "N H W"]
    depth_px: Float[Tensor, "N H W"]


def swap_all(
    frames: Float[Tensor, "B K 3 H W"],
    vertices_px: Float[Tensor, "B K V 3"],
    triangles: Int[Tensor, "F 3"],
    counted: Bool[Tensor, " F"] | None = None,
    chosen: Sequence[tuple[int, int]] | None = None,
) -> SwappedPairs:
    """Every frame redrawn with the skin of every other; pixels in [0, 1], vertices in the frames' pixels and depth.

    Each frame is rasterised once. `counted` are the triangles of the masks; `chosen` the pairs (i, j), frame i with the
    skin of j, of which there is at least one; all ordered pairs where None. ValueError for less than two frames."""
    count = frames.shape[1]
    if count < 2:
        raise ValueError(f"got {count} frame a person; consistency needs at least 2")
    size_hw = (frames.shape[-2], frames.shape[-1])
    views: list[View] = [look(vertices_px[:, k], triangles, size_hw) for k in range(count)]
    pairs = ordered_pairs(count) if chosen is None else chosen
    found = [swap_texture(frames[:, j], views[i], views[j], triangles, counted) for i, j in pairs]
    own = torch.cat([frames[:, i] for i, _ in pairs])
    images, masks = torch.cat([pair.image for pair in found]), torch.cat([pair.mask for pair in found])
    return SwappedPairs(own, images, masks, torch.cat([views[i].fragments.depth.detach() for i, _ in pairs]))


def counted_triangles(model: MorphableModel) -> Bool[Tensor, " F"]:
    """The triangles whose skin is compared between frames: none of NOT_COMPARED, where that is known."""
    if model.vertex_region is None:
        return torch.ones(len(model.triangles), dtype=torch.bool, device=model.triangles.device)
    names = list(model.region_names)
    region = model.vertex_region.long()
    left_out = region.new_tensor([names.index(name) for name in NOT_COMPARED if name in names])
    return ~torch.isin(region, left_out)[model.triangles.long()].any(1)
