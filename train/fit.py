"""Fit the morphable model to 2D landmarks: closed-form pose and linear least squares in turns, many faces at once.

Minimises  sum_p w_p |s (R X_p)[:2] + t - x_p|^2 / sigma^2 + |identity|^2 + |expression / std|^2  over pose, identity
and expression, with Geman-McClure weights w_p from the residuals of the round before. Pairs of points (`Gaps`) add what
their difference misses: neighbouring labels err together, so lids that meet are told far better than where they meet.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.morphable import MorphableModel
from face3d.pose import orthography_from_points_2d
from face3d.types import ScaledOrthography


class PointBasis(NamedTuple):
    """P points of the model as a linear function of its coefficients: mean (P,3), identity (K,P,3), expression
    (E,P,3)."""

    mean: Float[Tensor, "P 3"]
    identity: Float[Tensor, "K P 3"]
    expression: Float[Tensor, "E P 3"]


class Gaps(NamedTuple):
    """Pairs of points (G,) whose difference counts by itself, with an error of `sigma_mm`."""

    first: Int[Tensor, " G"]
    second: Int[Tensor, " G"]
    sigma_mm: float


class Fit(NamedTuple):
    """Coefficients, pose in the image, and the weighted RMS distance of the points in millimetres."""

    identity: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]
    pose: ScaledOrthography
    rms_mm: Float[Tensor, " B"]


def point_basis(
    model: MorphableModel, triangle_vertices: Float[Tensor, "P 3"] | Tensor, barycentric: Tensor
) -> PointBasis:
    """The basis restricted to surface points given by vertices (P,3) and barycentric weights (P,3)."""

    def pick(values: Tensor) -> Tensor:
        return (values[..., triangle_vertices, :] * barycentric[..., None].to(values)).sum(-2)

    return PointBasis(pick(model.mean), pick(model.identity_basis), pick(model.expression_basis))


def _points(basis: PointBasis, identity: Tensor, expression: Tensor) -> Tensor:
    shape = torch.einsum("bk,kpc->bpc", identity, basis.identity)
    return basis.mean + shape + torch.einsum("be,epc->bpc", expression, basis.expression)


def place(basis: PointBasis, fit: Fit) -> Float[Tensor, "B P 2"]:
    """The fitted points in the image."""
    flat = (_points(basis, fit.identity, fit.expression) @ fit.pose.rotation.transpose(1, 2))[..., :2]
    return fit.pose.scale[:, None, None] * flat + fit.pose.translation_px[:, None]


def _solve_coefficients(
    basis: PointBasis,
    prior: tuple[Tensor, Tensor],
    pose: ScaledOrthography,
    goal_px: Tensor,
    weights: Tensor,
    gaps: Gaps | None,
) -> Tensor:
    """Ridge least squares for all coefficients (B,K+E) with the pose held; `prior` is their mean and their standard
    deviation (K+E,), `weights` (B,P) in 1/mm^2."""
    centre, std = prior
    stacked = torch.cat([basis.identity, basis.expression])
    rows = pose.rotation[:, :2] * pose.scale[:, None, None]
    design = torch.einsum("bij,kpj->bpik", rows, stacked)
    residual = goal_px - pose.translation_px[:, None] - torch.einsum("bij,pj->bpi", rows, basis.mean)
    if gaps is not None:
        design = torch.cat([design, design[:, gaps.first] - design[:, gaps.second]], 1)
        residual = torch.cat([residual, residual[:, gaps.first] - residual[:, gaps.second]], 1)
        weights = torch.cat([weights, weights.new_full((len(weights), len(gaps.first)), gaps.sigma_mm**-2)], 1)
    design, residual = design.flatten(1, 2), residual.flatten(1, 2)
    weighted = design * (weights / pose.scale[:, None] ** 2).repeat_interleave(2, dim=1)[..., None]
    normal = design.transpose(1, 2) @ weighted + torch.diag(1 / std**2)
    right = (weighted * residual[..., None]).sum(1) + centre / std**2
    return torch.linalg.solve(normal, right)


def _pose(shape: Tensor, points_px: Tensor, weights: Tensor, rotation: Tensor | None) -> ScaledOrthography:
    """The pose that brings the shape to the points; least squares in scale and translation for a known rotation."""
    if rotation is None:
        return orthography_from_points_2d(shape, points_px, weights)
    flat = (shape @ rotation.transpose(1, 2))[..., :2]
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    flat_middle, middle = (share * flat).sum(1, keepdim=True), (share * points_px).sum(1, keepdim=True)
    flat = flat - flat_middle
    scale = (share * flat * (points_px - middle)).sum((1, 2)) / (share * flat.square()).sum((1, 2))
    return ScaledOrthography(rotation, scale, (middle - scale[:, None, None] * flat_middle)[:, 0])


def fit_points(
    basis: PointBasis,
    expression_std: Float[Tensor, " E"],
    points_px: Float[Tensor, "B P 2"],
    sigma_mm: float = 1.5,
    rounds: int = 8,
    centre: Float[Tensor, " C"] | None = None,
    rotation: Float[Tensor, "B 3 3"] | None = None,
    gaps: Gaps | None = None,
) -> Fit:
    """Fit to 2D points (pixel centres at integers). Points whose residual is far beyond sigma lose their weight.

    `centre` (K+E,) are the coefficients that the prior pulls to; None: the mean face. A `rotation` that is given is
    held."""
    batch, identities = len(points_px), len(basis.identity)
    prior = torch.cat([torch.ones(identities), expression_std])
    centre = torch.zeros(len(prior)) if centre is None else centre
    coefficients = centre.repeat(batch, 1)
    weights = torch.ones(points_px.shape[:2])
    for _ in range(rounds):
        shape = _points(basis, coefficients[:, :identities], coefficients[:, identities:])
        pose = _pose(shape, points_px, weights, rotation)
        coefficients = _solve_coefficients(basis, (centre, prior), pose, points_px, weights / sigma_mm**2, gaps)
        shape = _points(basis, coefficients[:, :identities], coefficients[:, identities:])
        flat = pose.scale[:, None, None] * (shape @ pose.rotation.transpose(1, 2))[..., :2]
        error = (flat + pose.translation_px[:, None] - points_px).norm(dim=-1) / pose.scale[:, None]
        weights = 1 / (1 + (error / (2 * sigma_mm)) ** 2) ** 2
    rms = ((weights * error**2).sum(1) / weights.sum(1)).sqrt()
    return Fit(coefficients[:, :identities], coefficients[:, identities:], pose, rms)
