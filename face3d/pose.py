"""Pose in closed form, from points whose correspondence is known.

Everything is solved in float64 and returned in the dtype of the inputs. Rotations are proper. Gradients pass through
the nearest rotation without the singular vectors' own, so they stay finite where singular values meet or one is zero.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.types import ScaledOrthography, Similarity

_CONFIDENT = 1e-3  # confidences are kept this far from 0 and 1
_FLAT = 1e-5  # an extent below this share of the largest one is none: float32 points carry about 1e-7


def similarity_procrustes(
    source: Float[Tensor, "B N 3"], target: Float[Tensor, "B N 3"], weights: Float[Tensor, "B N"] | None = None
) -> Similarity:
    """The similarity that minimises ``sum_n w_n |s R x_n + t - y_n|^2`` (Umeyama 1991, equations 40 to 43).

    Any units; the rotation is proper even for mirrored points. Coplanar points are fine.
    Raises ValueError, naming the sample, for values that are not finite, negative weights, fewer than three points with
    weight, points that coincide or lie on a line.
    """
    x, y, w = _as_double(source, target, weights)
    x_mean, y_mean = _weighted_mean(x, w), _weighted_mean(y, w)
    x_centred, y_centred = x - x_mean, y - y_mean
    _require_extent(x_centred, w, 2, "source")
    _require_extent(y_centred, w, 2, "target")
    covariance = (y_centred * w[:, :, None]).mT @ x_centred
    rotation = _nearest_rotation(covariance)
    variance = (w * x_centred.square().sum(dim=-1)).sum(dim=-1)
    scale = (rotation * covariance).sum(dim=(-1, -2)) / variance
    translation = (y_mean - scale[:, None, None] * x_mean @ rotation.mT)[:, 0]
    return Similarity(rotation.to(source.dtype), scale.to(source.dtype), translation.to(source.dtype))


def affine_pose(
    source: Float[Tensor, "B N 3"], target: Float[Tensor, "B N 3"], weights: Float[Tensor, "B N"] | None = None
) -> Float[Tensor, "B 3 4"]:
    """The affine map ``T = X_UV [X;1]^T ([X;1][X;1]^T)^-1`` of the PGN paper (Liu et al., ACCV 2020): ``T [x;1] = y``.

    Source points are centred and scaled before they are inverted. Raises ValueError as `similarity_procrustes` does,
    and for coplanar source points, which leave the map undetermined.
    """
    x, y, w = _as_double(source, target, weights)
    x_mean, y_mean = _weighted_mean(x, w), _weighted_mean(y, w)
    x_centred, y_centred = x - x_mean, y - y_mean
    linear = _affine_linear(x_centred, y_centred, w)
    translation = y_mean.mT - linear @ x_mean.mT
    return torch.cat([linear, translation], dim=-1).to(source.dtype)


def orthography_from_points_2d(
    points_mm: Float[Tensor, "B N 3"], points_px: Float[Tensor, "B N 2"], weights: Float[Tensor, "B N"] | None = None
) -> ScaledOrthography:
    """Pose from model points and their places in the image, without depth.

    The affine camera ``A`` (2 x 3) by weighted least squares, then the nearest ``s R[:2]`` to it: the closed form of
    POS (DeMenthon and Davis 1995) with both rows treated alike. Raises ValueError as `affine_pose` does, and where the
    image points lie on a line.
    """
    x, y, w = _as_double(points_mm, points_px, weights)
    x_mean, y_mean = _weighted_mean(x, w), _weighted_mean(y, w)
    x_centred, y_centred = x - x_mean, y - y_mean
    _require_extent(y_centred, w, 2, "points_px")
    camera = _affine_linear(x_centred, y_centred, w)
    across = torch.cross(camera[:, 0], camera[:, 1], dim=-1)
    third = across / torch.linalg.vector_norm(across, dim=-1, keepdim=True).sqrt()
    rotation = _nearest_rotation(torch.cat([camera, third[:, None]], dim=1))
    scale = (rotation[:, :2] * camera).sum(dim=(-1, -2)) / 2
    translation_px = (y_mean - scale[:, None, None] * x_mean @ rotation[:, :2].mT)[:, 0]
    dtype = points_mm.dtype
    return ScaledOrthography(rotation.to(dtype), scale.to(dtype), translation_px.to(dtype))


def pose_from_landmarks(
    landmarks_mm: Float[Tensor, "B L 3"],
    landmarks_px: Float[Tensor, "B L 3"],
    weights: Float[Tensor, "B L"] | None = None,
) -> ScaledOrthography:
    """Pose from model landmarks and their places in the image with depth (px), by `similarity_procrustes`.

    The depth of the image landmarks counts up to an offset, which is dropped.
    """
    rotation, scale, translation = similarity_procrustes(landmarks_mm, landmarks_px, weights)
    return ScaledOrthography(rotation, scale, translation[:, :2])


def landmark_precision(confidence: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """Weights of landmarks in the pose: ``(c / (1 - c))^2``, since the networks give ``c = 1 / (1 + deviation)``."""
    known = confidence.clamp(_CONFIDENT, 1 - _CONFIDENT)
    return (known / (1 - known)).square()


def _as_double(source: Tensor, target: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Both point sets and weights that sum to one, in float64 and checked."""
    raw = torch.ones(source.shape[:2], device=source.device) if weights is None else weights
    x, y, w = source.double(), target.double(), raw.double()
    _reject(~(x.isfinite().all(-1) & y.isfinite().all(-1) & w.isfinite()).all(-1), "points or weights are not finite")
    _reject((w < 0).any(-1), "negative weights")
    _reject((w > 0).sum(-1) < 3, "fewer than three points with weight")
    return x, y, w / w.sum(dim=-1, keepdim=True)


def _weighted_mean(points: Tensor, weights: Tensor) -> Float[Tensor, "B 1 C"]:
    return (weights[:, :, None] * points).sum(dim=1, keepdim=True)


def _require_extent(centred: Tensor, weights: Tensor, dimensions: int, name: str) -> None:
    """Reject points that span fewer dimensions than asked."""
    with torch.no_grad():
        spread = torch.linalg.eigvalsh((centred * weights[:, :, None]).mT @ centred).clamp_min(0).sqrt()
    largest = spread[:, -1]
    _reject(largest == 0, f"all points of {name} coincide")
    _reject(spread[:, -2] <= _FLAT * largest, f"the points of {name} are collinear")
    if dimensions == 3:
        _reject(spread[:, -3] <= _FLAT * largest, f"the points of {name} are coplanar")


def _reject(bad: Tensor, reason: str) -> None:
    if bool(bad.any()):
        samples = bad.nonzero()[:, 0].tolist()
        raise ValueError(f"no pose from these points: {reason} (samples {samples[:8]} of {len(bad)})")


def _affine_linear(x_centred: Tensor, y_centred: Tensor, weights: Tensor) -> Float[Tensor, "B C 3"]:
    """Weighted least squares A with A x = y for centred points."""
    _require_extent(x_centred, weights, 3, "the source")
    size = (weights[:, :, None] * x_centred.square()).sum(dim=(1, 2)).sqrt()[:, None, None]
    unit = x_centred / size
    gram = (unit * weights[:, :, None]).mT @ unit
    moment = (unit * weights[:, :, None]).mT @ y_centred
    return torch.linalg.solve(gram, moment).mT / size


def _nearest_rotation(matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """The proper rotation R that maximises tr(R^T M), with its exact first derivative.

    For M = U S V^T, D = diag(1, 1, det U det V), S' = S D: R = U D V^T and dR = R V W V^T with
    W_ij = (A - A^T)_ij / (S'_i + S'_j), A = D U^T dM V, from d(R^T M) being symmetric. The singular vectors are taken
    without gradient and the differential is added with value zero, so repeated singular values do no harm.
    """
    with torch.no_grad():
        left, singular, right_t = torch.linalg.svd(matrix)
        sign = torch.linalg.det(left) * torch.linalg.det(right_t)
        flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
        left, signed = left * flip[:, None], singular * flip
        sums = signed[:, :, None] + signed[:, None, :]
        sums = torch.where(sums > 1e-12 * singular[:, :1, None], sums, torch.full_like(sums, torch.inf))
        rotation = left @ right_t
    change = left.mT @ (matrix - matrix.detach()) @ right_t.mT
    return rotation + left @ ((change - change.mT) / sums) @ right_t
