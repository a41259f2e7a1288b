"""Scaled orthography: millimetres to pixels and back, ``p = s (R X)[:2] + t`` and ``depth_px = s (R X)[2]``."""

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.types import ScaledOrthography


def project(points_mm: Float[Tensor, "B N 3"], pose: ScaledOrthography) -> Float[Tensor, "B N 3"]:
    """Model points (mm) in the image: x, y in pixels and depth in pixels (larger is farther)."""
    points_camera_px = pose.scale[:, None, None] * (points_mm @ pose.rotation.mT)
    return points_camera_px + _offset_px(pose)


def unproject(points_px: Float[Tensor, "B N 3"], pose: ScaledOrthography) -> Float[Tensor, "B N 3"]:
    """Exact inverse of `project`: image points with depth (px) in model space (mm)."""
    points_camera_mm = (points_px - _offset_px(pose)) / pose.scale[:, None, None]
    return points_camera_mm @ pose.rotation


def transform_pose(pose: ScaledOrthography, T_b_from_a: Float[Tensor, "B 3 3"]) -> ScaledOrthography:
    """The pose in image b of a pose in image a, with ``T_b_from_a = [[k Q, o], [0, 0, 1]]``, Q a 2D rotation, k > 0.

    Depth is scaled by k too, so that ``project`` commutes with the change of image.
    Raises ValueError where the matrix mirrors or collapses the image.
    """
    linear = T_b_from_a[:, :2, :2]
    determinant = torch.linalg.det(linear)
    if bool((determinant <= 0).any()):
        raise ValueError(
            f"T_b_from_a must keep orientation (determinant > 0), got determinants {determinant.tolist()}: "
            "mirror the image before estimating a pose instead"
        )
    factor = determinant.sqrt()
    turn = torch.eye(3, dtype=linear.dtype, device=linear.device).repeat(len(linear), 1, 1)
    turn[:, :2, :2] = linear / factor[:, None, None]
    translation_px = (linear @ pose.translation_px[:, :, None])[:, :, 0] + T_b_from_a[:, :2, 2]
    return ScaledOrthography(turn @ pose.rotation, factor * pose.scale, translation_px)


def small_motions(points_px: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 2 6"]:
    """How points (x, y, depth) move in the picture with a small rigid motion and change of size, for a unit of each of
    ``t_x, t_y, s, r, a, b``: a shift, a change of scale, a turn in the picture and two out of it,

        u = t_x + s x - r y + a z,    v = t_y + s y + r x + b z
    """
    x, y, z = points_px.unbind(-1)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    rows = (torch.stack([one, none, x, -y, z, none], -1), torch.stack([none, one, y, x, none, z], -1))
    return torch.stack(rows, -2)


def _offset_px(pose: ScaledOrthography) -> Float[Tensor, "B 1 3"]:
    return torch.nn.functional.pad(pose.translation_px, (0, 1))[:, None]
