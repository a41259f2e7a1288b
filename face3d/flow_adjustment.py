"""Shapes adjusted to the flow between frames of one person: one Gauss-Newton step of a bundle adjustment.

A frame i redrawn with the skin of another frame j (`face3d.texture_swap`) shows the point of the surface that a pixel
of i sees where the mesh says that it lies in j. Flow between i and the redrawn picture tells where in j it lies indeed.
What is left of the difference once the best rigid motion of the face is taken out (poses are a network's, and not
exact) is explained by the shape they share and the expressions they do not, all frames together, each as little from
what was found (the identity: from where it is anchored) as its ridge has it:

    min  mean |J d - r|^2 + ridge_identity |d_identity - a|^2 + ridge_expression |d_expression|^2

with ``r`` the difference in pixels, weighted ``1 / (|r| + 0.5 px)`` (Huber, "Robust Statistics", 1981, section 7.8:
iteratively reweighted least squares), and ``J`` exact, for the model is linear and the camera scaled orthographic.
The adjustment is a direction to learn from where the gradient of the flow's length is not: that is steep along the few
directions of shape that move many pixels, and hardly sees the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.image import sample_bilinear
from face3d.morphable import MorphableModel
from face3d.render import interpolate
from face3d.texture_swap import View, look, ordered_pairs, swap_texture
from face3d.types import ScaledOrthography

Flow = Callable[[Float[Tensor, "N 2 3 H W"]], Float[Tensor, "N 2 H W"]]
"""Two pictures -> flow in pixels from the first to the second."""

SOFT_PX = 0.5  # differences well below it are weighted as in least squares, those above it by their length


@dataclass(frozen=True)
class AdjustmentConfig:
    """How stiff the shapes are, in mean squared pixels a squared standard deviation, and how many points tell of them.

    Pixels are the frames'."""

    identity_ridge: float = 0.01
    expression_ridge: float = 0.03
    points: int = 256  # of each ordered pair of frames


class Adjustment(NamedTuple):
    """To be added to what was found, in standard deviations; and the share of the pictures that was compared."""

    identity: Float[Tensor, "B I"]
    expression: Float[Tensor, "B K E"]
    shared: Float[Tensor, " B"]


class Points(NamedTuple):
    """Points of the surface that both frames of an ordered pair (i, j) show, spread evenly over what they share."""

    triangle: Int[Tensor, "B P"]
    barycentric: Float[Tensor, "B P 3"]
    place_px: Float[Tensor, "B P 3"]  # in frame j, and its depth there
    difference_px: Float[Tensor, "B P 2"]  # where the flow sees it in frame j, less where the mesh has it
    counts: Bool[Tensor, "B P"]


@torch.no_grad()
def adjust_to_flow(
    frames: Float[Tensor, "B K 3 H W"],
    vertices_px: Float[Tensor, "B K V 3"],
    pose: ScaledOrthography,
    model: MorphableModel,
    flow: Flow,
    counted: Bool[Tensor, " F"] | None = None,
    config: AdjustmentConfig = AdjustmentConfig(),
    to_anchor: Float[Tensor, "B I"] | None = None,
) -> Adjustment:
    """What brings the shapes of B people in K frames nearer to the flow between their frames; zero where none is seen.

    Args:
        frames: pictures in [0, 1].
        vertices_px: the meshes, of an identity that a person's frames share, in the frames' pixels and depth.
        pose: of the B K frames, person after person: that of `vertices_px`.
        model: of the meshes.
        flow: of pictures of the frames' size.
        counted: the triangles that are compared; all where None (`face3d.consistency.counted_triangles`).
        config: how stiff the shapes are.
        to_anchor: ``a``, from the identity of the meshes to one that holds where the flow says nothing, in standard
            deviations; zero where None. What is adjusted again and again needs one, or it ends where no ridge holds.

    Raises:
        ValueError: less than two frames a person, or another number of poses than frames.
    """
    people, count = frames.shape[:2]
    if count < 2 or len(pose.scale) != people * count:
        raise ValueError(
            f"got {count} frames of {people} people and {len(pose.scale)} poses; expected 2 frames or more, a pose each"
        )
    size_hw = (frames.shape[-2], frames.shape[-1])
    views = [look(vertices_px[:, k], model.triangles, size_hw) for k in range(count)]
    pairs = ordered_pairs(count)
    shown, masks = [], []
    for i, j in pairs:
        swapped = swap_texture(frames[:, j], views[i], views[j], model.triangles, counted)
        redrawn = torch.where(swapped.mask[:, None], swapped.image, frames[:, i])
        shown.append(torch.stack([frames[:, i], redrawn], 1))
        masks.append(swapped.mask)
    flows_px = flow(torch.cat(shown)).chunk(len(pairs))
    points = [
        chosen_points(views[i], views[j], model.triangles, mask, flow_px, config.points)
        for (i, j), mask, flow_px in zip(pairs, masks, flows_px, strict=True)
    ]
    maps_px = (pose.scale[:, None, None] * pose.rotation[:, :2]).unflatten(0, (people, count))
    identity, expression = solve(model, maps_px, pairs, points, config, to_anchor)
    return Adjustment(identity, expression, torch.stack(masks).float().mean((0, 2, 3)))


def chosen_points(
    view_i: View,
    view_j: View,
    triangles: Int[Tensor, "F 3"],
    mask: Bool[Tensor, "B H W"],
    flow_px: Float[Tensor, "B 2 H W"],
    points: int,
) -> Points:
    """So many pixels of the mask, in even steps; those whose flow leads out of it do not count, nor any where it is
    empty."""
    fragments = view_i.fragments
    place_px = interpolate(view_j.vertices_px, fragments, triangles)
    rows, columns = torch.meshgrid(*(torch.arange(n, device=mask.device) for n in mask.shape[1:]), indexing="ij")
    matched_px = (torch.stack([columns, rows]) + flow_px).flatten(2).mT
    layers = torch.cat([place_px[..., :2], mask[..., None].to(place_px)], -1).permute(0, 3, 1, 2)
    found = sample_bilinear(layers, matched_px.to(layers)).mT
    before = mask.flatten(1).cumsum(1)
    total = before[:, -1:]
    ranks = ((torch.arange(points, device=mask.device) + 0.5) * total / points).long() + 1
    at = torch.searchsorted(before, ranks).clamp_max(mask[0].numel() - 1)

    def taken(values: Tensor) -> Tensor:
        return values.gather(1, at[..., None].expand(-1, -1, values.shape[2]))

    matched, place = taken(found), taken(place_px.flatten(1, 2))
    return Points(
        taken(fragments.triangle.flatten(1)[..., None])[..., 0].long(),
        taken(fragments.barycentric.flatten(1, 2)),
        place,
        matched[..., :2] - place[..., :2],
        (matched[..., 2] > 0.999) & (total > 0),
    )


def solve(
    model: MorphableModel,
    maps_px: Float[Tensor, "B K 2 3"],
    pairs: Sequence[tuple[int, int]],
    points: Sequence[Points],
    config: AdjustmentConfig,
    to_anchor: Float[Tensor, "B I"] | None = None,
) -> tuple[Float[Tensor, "B I"], Float[Tensor, "B K E"]]:
    """The changes of identity and expressions that explain the differences best; `maps_px` take millimetres of the
    model to pixels of each frame."""
    people, count = maps_px.shape[:2]
    identities, expressions = len(model.identity_basis), len(model.expression_basis)
    unknowns = identities + count * expressions
    gram = maps_px.new_zeros(people, unknowns, unknowns, dtype=torch.float64)
    moment = maps_px.new_zeros(people, unknowns, dtype=torch.float64)
    moves = _moves_mm(model)
    for (i, j), chosen in zip(pairs, points, strict=True):
        corners = moves[model.triangles.long()[chosen.triangle]]
        moved = torch.einsum("bpc,bpcxu->bpxu", chosen.barycentric.to(corners), corners)
        own, shown = (torch.einsum("bxy,bpyu->bpxu", maps_px[:, k], moved) for k in (i, j))
        jacobian = own.new_zeros(*own.shape[:3], unknowns)
        jacobian[..., :identities] = (shown - own)[..., :identities]
        for frame, part in ((i, -own), (j, shown)):
            at = identities + frame * expressions
            jacobian[..., at : at + expressions] = part[..., identities:]
        jacobian, difference, weights = _weighed(jacobian, chosen)
        gram += (jacobian.mT @ (weights * jacobian)).double() / len(pairs)
        moment += (jacobian.mT @ (weights * difference)).double()[..., 0] / len(pairs)
    ridge = gram.new_full((unknowns,), config.expression_ridge)
    ridge[:identities] = config.identity_ridge
    if to_anchor is not None:
        moment[:, :identities] += config.identity_ridge * to_anchor
    change = torch.linalg.solve(gram + torch.diag(ridge), moment).to(maps_px.dtype)
    return change[:, :identities], change[:, identities:].unflatten(1, (count, expressions))


def _moves_mm(model: MorphableModel) -> Float[Tensor, "V 3 U"]:
    """How far each vertex moves for a standard deviation of each coefficient, identity before expression."""
    expressions = model.expression_basis * model.expression_std[:, None, None]
    return torch.cat([model.identity_basis, expressions]).permute(1, 2, 0).contiguous()


def _weighed(
    jacobian: Float[Tensor, "B P 2 U"], points: Points
) -> tuple[Float[Tensor, "B R U"], Float[Tensor, "B R 1"], Float[Tensor, "B R 1"]]:
    """Rows of the least squares (R = 2 P) without what a rigid motion of the face in frame j explains, and weights."""
    counts = points.counts.to(jacobian)
    share = counts / counts.sum(1, keepdim=True).clamp_min(1)
    centred = points.place_px - (share[..., None] * points.place_px).sum(1, keepdim=True)
    size = (share * centred.square().sum(2)).sum(1).sqrt().clamp_min(1e-6)
    x, y, z = (centred / size[:, None, None]).unbind(2)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    modes = torch.stack([
        torch.stack([one, none, x, -y, z, none], 2), torch.stack([none, one, y, x, none, z], 2)
    ], 2)  # fmt: skip
    rigid = torch.linalg.qr((modes * counts[..., None, None]).flatten(1, 2)).Q
    rows = torch.cat([jacobian, points.difference_px[..., None]], 3) * counts[..., None, None]
    left = rows.flatten(1, 2)
    left = left - rigid @ (rigid.mT @ left)
    difference = left[..., -1:]
    length_px = difference.unflatten(1, (-1, 2)).norm(dim=2)[..., 0]
    return left[..., :-1], difference, (share / (length_px + SOFT_PX)).repeat_interleave(2, 1)[..., None]
