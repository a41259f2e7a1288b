"""Alignment of a predicted mesh to true points: similarity on landmarks, then ICP with or without scale.

The truth stays where it is (so errors are in its unit); the prediction moves: `y = scale * rotation @ x + translation`.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from eval.distance import ClosestPoints, Surface
from face3d.pose import similarity_procrustes

Residual = Literal["point-to-plane", "point-to-point"]


class Alignment(NamedTuple):
    """A similarity of numpy arrays, `y = scale * rotation @ x + translation`."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    translation: Float[np.ndarray, " 3"]

    def apply(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the source frame in the target frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def invert(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the target frame in the source frame."""
        return (points - self.translation) @ self.rotation / self.scale

    def after(self, first: "Alignment") -> "Alignment":
        """`first`, then this one, as one similarity."""
        turn, scale = self.rotation @ first.rotation, self.scale * first.scale
        return Alignment(turn, scale, self.scale * self.rotation @ first.translation + self.translation)


class IcpResult(NamedTuple):
    """Where ICP ended: the alignment, the distance of every target point to the moved surface, steps taken."""

    alignment: Alignment
    distance: Float[np.ndarray, " N"]
    steps: int


def align_points(source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"]) -> Alignment:
    """Least-squares similarity of corresponding points (Umeyama 1991); ValueError where it is not determined."""
    pair = [torch.from_numpy(np.ascontiguousarray(points, np.float64))[None] for points in (source, target)]
    found = similarity_procrustes(pair[0], pair[1], None)
    return Alignment(found.rotation[0].numpy(), float(found.scale[0]), found.translation[0].numpy())


def align_rigid(source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"]) -> Alignment:
    """Least-squares rotation and translation of corresponding points, scale 1."""
    rotation = align_points(source, target).rotation
    return Alignment(rotation, 1.0, target.mean(0) - rotation @ source.mean(0))


def icp(
    surface: Surface,
    targets: Float[np.ndarray, "N 3"],
    start: Alignment,
    with_scale: bool = True,
    residual: Residual = "point-to-plane",
    max_steps: int = 100,
) -> IcpResult:
    """Move `surface` so that the squared distances from `targets` to it are least, from `start`.

    point-to-plane: Levenberg-Marquardt steps on the distance itself; point-to-point: Procrustes on closest points.
    Ends when the root mean square changes by less than 1e-6 of itself, or after `max_steps`.
    """
    current, nearest = start, _nearest(surface, targets, start)
    damping = 1e-4
    for step in range(max_steps):
        moved = _step(surface, targets, current, nearest, with_scale, residual, damping)
        moved_nearest = _nearest(surface, targets, moved)
        before, after = _rms(nearest.distance), _rms(moved_nearest.distance)
        if after > before:
            damping *= 10.0
            if damping > 1e4 or residual == "point-to-point":
                return IcpResult(current, nearest.distance, step)
            continue
        current, nearest, damping = moved, moved_nearest, max(damping / 5.0, 1e-9)
        if before - after <= 1e-6 * before:
            return IcpResult(current, nearest.distance, step + 1)
    return IcpResult(current, nearest.distance, max_steps)


def _rms(distance: Float[np.ndarray, " N"]) -> float:
    return float(np.sqrt(np.mean(distance**2)))


def _nearest(surface: Surface, targets: Float[np.ndarray, "N 3"], alignment: Alignment) -> ClosestPoints:
    """Closest points in the surface's frame, distances in the targets' unit."""
    found = surface.closest(alignment.invert(targets))
    return found._replace(distance=found.distance * alignment.scale)


def _step(
    surface: Surface,
    targets: Float[np.ndarray, "N 3"],
    current: Alignment,
    nearest: ClosestPoints,
    with_scale: bool,
    residual: Residual,
    damping: float,
) -> Alignment:
    if residual == "point-to-point":
        return (align_points if with_scale else align_rigid)(nearest.points, targets)
    moved = current.apply(nearest.points)
    offset = targets - moved
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    face_normals = surface.normals[nearest.triangle] @ current.rotation.T
    normals = np.where(length > 1e-9 * current.scale, offset / np.maximum(length, 1e-30), face_normals)
    return _plane_step(moved, offset, normals, current, with_scale, damping)


def _plane_step(
    moved: Float[np.ndarray, "N 3"],
    offset: Float[np.ndarray, "N 3"],
    normals: Float[np.ndarray, "N 3"],
    current: Alignment,
    with_scale: bool,
    damping: float,
) -> Alignment:
    """One damped least-squares step of n . (exp(sigma) exp(w) (q - c) + c + t - y) = 0 for w, t and sigma."""
    centre = moved.mean(0)
    arm = moved - centre
    unit = _rms(np.linalg.norm(arm, axis=1))
    columns = [np.cross(arm, normals) / unit, normals]
    if with_scale:
        columns.append((arm * normals).sum(1, keepdims=True) / unit)
    jacobian = np.concatenate(columns, 1)
    normal_matrix = jacobian.T @ jacobian
    damped = normal_matrix + damping * np.diag(np.diag(normal_matrix) + 1e-12)
    update = np.linalg.solve(damped, jacobian.T @ (offset * normals).sum(1))
    turn = _rotation_of(update[:3] / unit)
    scale = float(np.exp(update[6] / unit)) if with_scale else 1.0
    translation = scale * turn @ (current.translation - centre) + centre + update[3:6]
    return Alignment(turn @ current.rotation, scale * current.scale, translation)


def _rotation_of(axis_angle: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(axis_angle))
    x, y, z = axis_angle / max(angle, 1e-30)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
