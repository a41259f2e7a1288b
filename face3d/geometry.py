"""Similarities and rotations.

Euler angles follow the Pose_Para of 300W-LP and AFLW2000 (3DDFA's RotationMatrix.m). With ``M = diag(1, -1, -1) R``,
the rotation in an image whose y axis points up,

    M  = Rx(pitch) Ry(yaw) Rz(roll),
    Rx = [[1, 0, 0], [0, c, s], [0, -s, c]]
    Ry = [[c, 0, -s], [0, 1, 0], [s, 0, c]]
    Rz = [[c, s, 0], [-s, c, 0], [0, 0, 1]]

A positive yaw turns the nose to the image's left, a positive pitch lifts it, a positive roll leans the head clockwise
as the picture is seen.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.types import Similarity

_GIMBAL_COSINE = 1e-6


def apply_similarity(points: Float[Tensor, "B N 3"], similarity: Similarity) -> Float[Tensor, "B N 3"]:
    """Points y = s R x + t."""
    rotation, scale, translation = similarity
    return scale[:, None, None] * (points @ rotation.mT) + translation[:, None]


def invert_similarity(similarity: Similarity) -> Similarity:
    """The similarity x = R^T (y - t) / s that undoes y = s R x + t."""
    rotation, scale, translation = similarity
    inverse = rotation.mT
    return Similarity(inverse, 1 / scale, -(inverse @ translation[:, :, None])[:, :, 0] / scale[:, None])


def compose_similarity(outer: Similarity, inner: Similarity) -> Similarity:
    """The similarity that applies ``inner`` first and ``outer`` to its result."""
    translation = apply_similarity(inner.translation[:, None], outer)[:, 0]
    return Similarity(outer.rotation @ inner.rotation, outer.scale * inner.scale, translation)


def rotation_from_euler_deg(euler_deg: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """Rotation R of the pose (model to camera axes) for (pitch, yaw, roll) in degrees; zeros give diag(1, -1, -1)."""
    cx, cy, cz = torch.cos(torch.deg2rad(euler_deg)).unbind(-1)
    sx, sy, sz = torch.sin(torch.deg2rad(euler_deg)).unbind(-1)
    upright = [
        torch.stack([cy * cz, cy * sz, -sy], -1),
        torch.stack([sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy], -1),
        torch.stack([cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy], -1),
    ]
    return torch.stack([upright[0], -upright[1], -upright[2]], -2)


def euler_deg_from_rotation(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3"]:
    """(pitch, yaw, roll) in degrees of a pose's rotation, with yaw in [-90, 90].

    Within 1e-6 of yaw = +-90 only pitch and roll together are defined; roll is then given as zero.
    """
    first, second, third = rotation[:, 0], -rotation[:, 1], -rotation[:, 2]
    cos_yaw_squared = first[:, 0] ** 2 + first[:, 1] ** 2
    locked = cos_yaw_squared < _GIMBAL_COSINE**2
    cos_yaw = torch.where(locked, torch.ones_like(cos_yaw_squared), cos_yaw_squared).sqrt()
    cos_yaw = torch.where(locked, torch.zeros_like(cos_yaw), cos_yaw)
    yaw = torch.atan2(-first[:, 2], cos_yaw)
    pitch = torch.atan2(torch.where(locked, -third[:, 1], second[:, 2]), torch.where(locked, second[:, 1], third[:, 2]))
    roll = torch.atan2(
        torch.where(locked, torch.zeros_like(yaw), first[:, 1]), torch.where(locked, torch.ones_like(yaw), first[:, 0])
    )
    return torch.rad2deg(torch.stack([pitch, yaw, roll], -1))
