"""Shapes adjusted to the flow between frames of one person: one Gauss-Newton step of a bundle adjustment.

A frame i redrawn with the skin of another frame j (`face3d.texture_swap`) shows the point of the surface that a pixel
of i sees where the mesh says that it lies in j. Flow between i and the redrawn picture tells where in j it lies indeed.
The difference ``r`` is explained by the shape that the frames share, and by the expressions and small motions of the
poses (a network's, and not exact) that they do not, all frames together, each changing as little as its ridge has it:

    min  mean |J d - r|^2 + ridge_identity |d_identity - a|^2 + ridge_expression |d_expression|^2 + ridge_pose |d_p|^2

in pixels, weighted ``1 / (|J d - r| + 0.5 px)`` with the d before (reweighted least squares: Huber, "Robust
Statistics", 1981, section 7.8). Where the mesh moves in i, a pixel sees another point of the surface: with ``S`` the
change of a point's place in j for a step along the surface in i, ``J d = dx_j - S dx_i``. The model is linear and the
camera scaled orthographic, so ``dx`` is exact but for turns of the poses.

The adjustment is a direction to learn from where the gradient of the flow's length is not: that is steep along the few
directions of shape that move many pixels, and hardly sees the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.camera import small_motions
from face3d.image import sample_bilinear
from face3d.morphable import MorphableModel
from face3d.render import interpolate
from face3d.texture_swap import View, look, ordered_pairs, swap_texture
from face3d.types import ScaledOrthography

Flow = Callable[[Float[Tensor, "N 2 3 H W"]], Float[Tensor, "N 2 H W"]]
"""Two pictures -> flow in pixels from the first to the second."""

SOFT_PX = 0.5  # differences well below it are weighted as in least squares, those above it by their length
WHOLE = 0.999  # of the mask, where the flow leads
LEAST_AREA_PX2 = 1e-4  # twice that of a triangle, below which it is seen edge-on
STEEPEST = 5.0  # where the surface is more aslant, its slope is not trusted
REWEIGHTED = 2  # times that the least squares are solved
MOTIONS = 6  # of a pose: those of `face3d.camera.small_motions`


@dataclass(frozen=True)
class AdjustmentConfig:
    """How stiff the shapes are, in mean squared pixels a squared standard deviation, and how many points tell of them.

    Pixels are the frames'."""

    identity_ridge: float = 0.01
    expression_ridge: float = 1.0
    pose_ridge: float = 0.003  # a squared pixel of motion, a quarter of the picture's width off its middle
    points: int = 256  # of each ordered pair of frames


class Adjustment(NamedTuple):
    """To be added to what was found, in standard deviations."""

    identity: Float[Tensor, "B I"]
    expression: Float[Tensor, "B K E"]
    motion: Float[Tensor, "B K 6"]  # of the poses, as in `face3d.camera.small_motions`


class Points(NamedTuple):
    """Points of the surface that both frames of an ordered pair (i, j) show, spread evenly over what they share."""

    triangle: Int[Tensor, "B P"]
    barycentric: Float[Tensor, "B P 3"]
    own_px: Float[Tensor, "B P 3"]  # in frame i, and its depth there, from the mesh's mean
    place_px: Float[Tensor, "B P 3"]  # in frame j, and its depth there
    slope: Float[Tensor, "B P 2 2"]  # S: of the place in j along the surface in i
    difference_px: Float[Tensor, "B P 2"]  # where the flow sees it in frame j, less where the mesh has it
    counts: Bool[Tensor, "B P"]


class Comparison(NamedTuple):
    """What the flow tells of the shapes of B people, two rows a point, as many points an ordered pair of frames:
    ``jacobian @ d`` is what a change ``d`` explains of ``difference_px``."""

    jacobian: Float[Tensor, "B N R U"]  # columns of the identity, of each frame's expression, of each pose
    difference_px: Float[Tensor, "B N R"]
    counts: Bool[Tensor, "B N P"]
    shared: Float[Tensor, " B"]  # share of the pictures that was compared
    identities: int
    frames: int

    def of_pairs(self, chosen: Sequence[int]) -> "Comparison":
        """The same of some of the pairs, in the order of `face3d.texture_swap.ordered_pairs`."""
        at = torch.as_tensor(chosen, device=self.counts.device)
        return self._replace(
            jacobian=self.jacobian.index_select(1, at),
            difference_px=self.difference_px.index_select(1, at),
            counts=self.counts.index_select(1, at),
        )


@torch.no_grad()
def compare_frames(
    frames: Float[Tensor, "B K 3 H W"],
    vertices_px: Float[Tensor, "B K V 3"],
    pose: ScaledOrthography,
    model: MorphableModel,
    flow: Flow,
    counted: Bool[Tensor, " F"] | None = None,
    points: int = AdjustmentConfig.points,
) -> Comparison:
    """The flow between each frame and itself redrawn with the skin of each other, at some points of the surface.

    Args:
        frames: pictures in [0, 1].
        vertices_px: the meshes, of an identity that a person's frames share, in the frames' pixels and depth.
        pose: of the B K frames, person after person: that of `vertices_px`.
        model: of the meshes.
        flow: of pictures of the frames' size.
        counted: the triangles that are compared; all where None (`face3d.consistency.counted_triangles`).
        points: of each ordered pair.

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
    found = [
        chosen_points(views[i], views[j], model.triangles, mask, flow_px, points)
        for (i, j), mask, flow_px in zip(pairs, masks, flows_px, strict=True)
    ]
    maps_px = (pose.scale[:, None, None] * pose.rotation[:, :2]).unflatten(0, (people, count))
    shared = torch.stack(masks).float().mean((0, 2, 3))
    return compared(model, maps_px, found, float(size_hw[1]), shared)


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
    fragments, size_hw = view_i.fragments, (mask.shape[1], mask.shape[2])
    place_px = interpolate(view_j.vertices_px, fragments, triangles)
    rows, columns = torch.meshgrid(*(torch.arange(n, device=mask.device) for n in size_hw), indexing="ij")
    grid = torch.stack([columns, rows]).expand_as(flow_px)
    layers = torch.cat([place_px[..., :2], mask[..., None].to(place_px)], -1).permute(0, 3, 1, 2)
    found = sample_bilinear(layers, (grid + flow_px).flatten(2).mT.to(layers)).mT
    own_px = torch.cat([grid.to(place_px), fragments.depth[:, None]], 1).permute(0, 2, 3, 1)
    before = mask.flatten(1).cumsum(1)
    total = before[:, -1:]
    ranks = ((torch.arange(points, device=mask.device) + 0.5) * total / points).long() + 1
    at = torch.searchsorted(before, ranks).clamp_max(mask[0].numel() - 1)

    def taken(values: Tensor) -> Tensor:
        return values.gather(1, at[..., None].expand(-1, -1, values.shape[2]))

    matched, place = taken(found), taken(place_px.flatten(1, 2))
    triangle = taken(fragments.triangle.flatten(1)[..., None])[..., 0].long().clamp_min(0)
    counts = (matched[..., 2] > WHOLE) & (total > 0)
    return Points(
        triangle,
        taken(fragments.barycentric.flatten(1, 2)),
        torch.where(counts[..., None], taken(own_px.flatten(1, 2)), 0.0) - _middle(view_i),
        place - _middle(view_j),
        _slope(view_i.vertices_px, view_j.vertices_px, triangles.long()[triangle]),
        matched[..., :2] - place[..., :2],
        counts,
    )


def _middle(view: View) -> Float[Tensor, "B 1 3"]:
    """The mesh's mean depth, as what is taken off a point."""
    depth = view.vertices_px[..., 2:].mean(1, keepdim=True)
    return torch.cat([torch.zeros_like(depth), torch.zeros_like(depth), depth], 2)


def _slope(
    own_px: Float[Tensor, "B V 3"], other_px: Float[Tensor, "B V 3"], corners: Int[Tensor, "B P 3"]
) -> Float[Tensor, "B P 2 2"]:
    """How places in another frame change with those in this one within triangles."""

    def edges(points: Tensor) -> Tensor:
        at = points[..., :2].gather(1, corners.flatten(1)[..., None].expand(-1, -1, 2)).unflatten(1, corners.shape[1:])
        return (at[:, :, 1:] - at[:, :, :1]).mT

    own, other = edges(own_px), edges(other_px)
    area = own[..., 0, 0] * own[..., 1, 1] - own[..., 0, 1] * own[..., 1, 0]
    area = torch.where(area.abs() < LEAST_AREA_PX2, LEAST_AREA_PX2, area)[..., None, None]
    turned = torch.stack([
        torch.stack([own[..., 1, 1], -own[..., 0, 1]], -1), torch.stack([-own[..., 1, 0], own[..., 0, 0]], -1)
    ], -2)  # fmt: skip
    return (other @ turned / area).clamp(-STEEPEST, STEEPEST)


def compared(
    model: MorphableModel,
    maps_px: Float[Tensor, "B K 2 3"],
    points: Sequence[Points],
    size_px: float,
    shared: Float[Tensor, " B"],
) -> Comparison:
    """Points of each ordered pair, and how they move with the shapes; `maps_px` take millimetres of the model to pixels
    of each frame, which is `size_px` wide."""
    difference = torch.stack([chosen.difference_px.flatten(1) for chosen in points], 1)
    counts = torch.stack([chosen.counts for chosen in points], 1)
    rows = _jacobian(model, maps_px, points, size_px)
    return Comparison(rows, difference, counts, shared, len(model.identity_basis), maps_px.shape[1])


@torch.no_grad()
def solve(
    comparison: Comparison, config: AdjustmentConfig = AdjustmentConfig(), to_anchor: Float[Tensor, "B I"] | None = None
) -> Adjustment:
    """The change that explains the differences best.

    Args:
        comparison: the differences.
        config: how stiff the shapes are.
        to_anchor: ``a``, from the identity of the meshes to one that holds where the flow says nothing, in standard
            deviations; zero where None. What is adjusted again and again needs one, or it ends where no ridge holds.
    """
    identities, count = comparison.identities, comparison.frames
    rows, difference = comparison.jacobian.flatten(1, 2), comparison.difference_px.flatten(1)
    expressions = (rows.shape[2] - identities) // count - MOTIONS
    sizes = [identities, count * expressions, count * MOTIONS]
    ridges = rows.new_tensor([config.identity_ridge, config.expression_ridge, config.pose_ridge])
    ridge = ridges.double().repeat_interleave(torch.tensor(sizes, device=rows.device))
    pulled = torch.zeros_like(rows[:, 0], dtype=torch.float64)
    if to_anchor is not None:
        pulled[:, :identities] = config.identity_ridge * to_anchor
    change, share = torch.zeros_like(rows[:, 0]), _share(comparison)
    for _ in range(REWEIGHTED):
        weights = share / (_lengths_px(comparison, change) + SOFT_PX)
        weighted = weights.repeat_interleave(2, 1)[..., None] * rows
        gram = (weighted.mT @ rows).double() + torch.diag(ridge)
        moment = (weighted.mT @ difference[..., None])[..., 0].double() + pulled
        change = torch.linalg.solve(gram, moment).to(rows.dtype)
    identity, expression, motion = change.split(sizes, 1)
    return Adjustment(identity, expression.unflatten(1, (count, -1)), motion.unflatten(1, (count, -1)))


@torch.no_grad()
def unexplained_px(comparison: Comparison, change: Adjustment) -> Float[Tensor, " B"]:
    """Mean length of the differences that a change leaves, over pairs; zero where nothing is compared."""
    return (_share(comparison) * _lengths_px(comparison, torch.cat([part.flatten(1) for part in change], 1))).sum(1)


def _share(comparison: Comparison) -> Float[Tensor, "B Q"]:
    """Weights of the points: pairs count the same, and so do the points of one."""
    counts = comparison.counts.to(comparison.difference_px)
    return (counts / counts.sum(2, keepdim=True).clamp_min(1) / counts.shape[1]).flatten(1)


def _lengths_px(comparison: Comparison, change: Float[Tensor, "B U"]) -> Float[Tensor, "B Q"]:
    left = comparison.difference_px.flatten(1) - (comparison.jacobian.flatten(1, 2) @ change[..., None])[..., 0]
    return left.unflatten(1, (-1, 2)).norm(dim=2)


def _jacobian(
    model: MorphableModel, maps_px: Float[Tensor, "B K 2 3"], points: Sequence[Points], size_px: float
) -> Float[Tensor, "B N R U"]:
    """``J``: two rows a point; columns of the identity, of each frame's expression, of each pose."""
    count, shapes, expressions = maps_px.shape[1], len(model.identity_basis), len(model.expression_basis)
    poses = shapes + count * expressions
    moves, rows = _moves_mm(model), []
    for (i, j), chosen in zip(ordered_pairs(count), points, strict=True):
        corners = moves[model.triangles.long()[chosen.triangle]]
        moved = torch.einsum("bpc,bpcxu->bpxu", chosen.barycentric.to(corners), corners)
        shown = torch.einsum("bxy,bpyu->bpxu", maps_px[:, j], moved)
        own = -chosen.slope @ torch.einsum("bxy,bpyu->bpxu", maps_px[:, i], moved)
        motions = -chosen.slope @ _motions(chosen.own_px, size_px), _motions(chosen.place_px, size_px)
        part = own.new_zeros(*own.shape[:3], poses + count * MOTIONS)
        part[..., :shapes] = (shown + own)[..., :shapes]
        for frame, moving, motion in ((i, own, motions[0]), (j, shown, motions[1])):
            part[..., shapes + frame * expressions :][..., :expressions] = moving[..., shapes:]
            part[..., poses + frame * MOTIONS :][..., :MOTIONS] = motion
        rows.append(part.flatten(1, 2))
    return torch.stack(rows, 1)


def _motions(places_px: Float[Tensor, "B P 3"], size_px: float) -> Float[Tensor, "B P 2 6"]:
    """How points move with a pose, in pixels a quarter of the picture's width off its middle."""
    middle_px = places_px.new_tensor([size_px / 2, size_px / 2, 0.0])
    return small_motions((places_px - middle_px) / (size_px / 4))


def _moves_mm(model: MorphableModel) -> Float[Tensor, "V 3 U"]:
    """How far each vertex moves for a standard deviation of each coefficient, identity before expression."""
    expressions = model.expression_basis * model.expression_std[:, None, None]
    return torch.cat([model.identity_basis, expressions]).permute(1, 2, 0).contiguous()
