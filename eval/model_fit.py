"""How well a morphable model can take the shape of a real head: its identity fitted to the scan's surface.

In turns: ICP with scale, then ridge least squares of the identity on the distances along the surface's normals. What is
left is what no reconstruction with this model can undercut.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.alignment import Alignment, align_points, icp
from eval.distance import Surface, barycentric
from eval.now_region import LANDMARKS
from eval.scan import HeadScan
from face3d.morphable_file import MorphableArrays

FIT_POINTS = 4000


class ModelFit(NamedTuple):
    """Scan-to-mesh distance in mm (median, mean) before and after the fit, and the identity found."""

    mean_face_mm: tuple[float, float]
    fitted_mm: tuple[float, float]
    identity: Float[np.ndarray, " K"]


def fit_identity(model: MorphableArrays, scan: HeadScan, rounds: int = 12, sigma_mm: float = 0.5) -> ModelFit:
    """Fit the identity to the scan's face region; `sigma_mm` is the noise that weighs against the prior."""
    corners = model.mean[model.triangles[model.landmark_triangles]]
    landmarks = (corners * model.landmark_barycentric[..., None]).sum(1)[list(LANDMARKS)].astype(np.float64)
    start = align_points(landmarks, scan.landmarks_mm)
    identity = np.zeros(len(model.identity_basis))
    targets = scan.face_points_mm
    before = _distance(model, identity, targets, start)
    for _ in range(rounds):
        shape = _shape(model, identity)
        found = icp(Surface(shape, model.triangles), targets[::10], start, max_steps=10)
        start = found.alignment
        identity = _solve(model, shape, identity, start.invert(targets[:: len(targets) // FIT_POINTS]), sigma_mm)
    after = _distance(model, identity, targets, start)
    return ModelFit(before, after, identity)


def _shape(model: MorphableArrays, identity: Float[np.ndarray, " K"]) -> Float[np.ndarray, "V 3"]:
    return model.mean.astype(np.float64) + np.tensordot(identity, model.identity_basis, 1)


def _distance(
    model: MorphableArrays, identity: Float[np.ndarray, " K"], targets: Float[np.ndarray, "N 3"], start: Alignment
) -> tuple[float, float]:
    distance = icp(Surface(_shape(model, identity), model.triangles), targets, start).distance
    return float(np.median(distance)), float(distance.mean())


def _solve(
    model: MorphableArrays,
    shape: Float[np.ndarray, "V 3"],
    identity: Float[np.ndarray, " K"],
    targets_mm: Float[np.ndarray, "N 3"],
    sigma_mm: float,
) -> Float[np.ndarray, " K"]:
    """Identity (K,) that brings the surface to targets in the model frame, along its normals."""
    surface = Surface(shape, model.triangles)
    near = surface.closest(targets_mm)
    normals = surface.normals[near.triangle]
    vertices = model.triangles[near.triangle]
    weights = barycentric(shape[vertices], near.points)
    moves = np.einsum("knij,ni,nj->nk", model.identity_basis[:, vertices], weights, normals)
    residual = ((targets_mm - near.points) * normals).sum(1) + moves @ identity
    robust = 1 / (1 + (near.distance / 3.0) ** 2) / sigma_mm**2
    system = (moves * robust[:, None]).T @ moves + np.eye(len(identity)) * len(targets_mm) / FIT_POINTS
    return np.linalg.solve(system, moves.T @ (robust * residual))
