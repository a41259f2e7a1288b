"""Non-rigid ICP: a mesh is deformed onto points, one affine transform a vertex, neighbours alike as far as is asked.

Amberg, Romdhani and Vetter, Optimal Step Nonrigid ICP Algorithms for Surface Registration, CVPR 2007. A step minimises

    sum over edges (i, j)  |a (X_i - X_j) G|^2  +  sum over vertices  w_i^2 |X_i [v_i, 1] - n_i|^2
                                                +  sum over landmarks  b_i^2 |X_i [v_i, 1] - l_i|^2

for 3 x 4 matrices X_i: a the stiffness (equation 3), n_i the target nearest to v_i (equation 5), l_i where a landmark
belongs (equation 7); then every v_i becomes X_i [v_i, 1]. As REALY runs it (github.com/czh-98/REALY): targets are
points, a target farther than twice the mean distance (and farther than one unit) has weight 0, transforms count from
the mesh as it is deformed already, and the first stage sees landmarks alone. Beyond it, a part of the mesh without the
four pulled vertices that determine an affine transform is held where it is (there, REALY's solver has no solution).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

_STILL, _HELD = 1e-14, 1e-6  # weights of the identity, of the squared stiffness: in determined parts, and in others
_DETERMINED = 4  # pulled vertices of an affine transform
_MOST_STEPS = 100


class Stage(NamedTuple):
    """A stiffness and how long it lasts: until the transforms change by at most `tolerance`, or for `steps`.

    `gains`: diagonal of G, the weights of an affine transform's columns in the stiffness. `landmarks_only`: nearest
    targets do not count. `landmark_weight` is b, times exp(-0.9 k) where `decays`, k the steps taken in all.
    """

    stiffness: float
    tolerance: float
    steps: int = _MOST_STEPS
    gains: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    landmark_weight: float = 0.0
    landmarks_only: bool = False
    decays: bool = True


class Landmarks(NamedTuple):
    """Vertices of the mesh and the places they belong to."""

    vertices: Int[np.ndarray, " L"]
    places: Float[np.ndarray, "L 3"]


def nonrigid_icp(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    targets: Float[np.ndarray, "N 3"],
    stages: Sequence[Stage],
    landmarks: Landmarks | None = None,
) -> Float[np.ndarray, "V 3"]:
    """The vertices, deformed onto `targets` stage by stage; all in one unit, of which a face measures about ten.

    ValueError where points are not finite or there is nothing to deform or to deform onto.
    """
    if not (len(vertices) and len(triangles) and len(targets)):
        raise ValueError(f"{len(vertices)} vertices, {len(triangles)} triangles and {len(targets)} targets")
    if not (np.isfinite(vertices).all() and np.isfinite(targets).all()):
        raise ValueError("vertices or targets are not finite")
    laplacian, nearest = edge_laplacian(triangles, len(vertices)), cKDTree(targets)
    parts = connected_components(laplacian, directed=False)[1]
    current = vertices.astype(np.float64)
    transforms, before = np.ones((4 * len(vertices), 3)), np.zeros((4 * len(vertices), 3))
    count = 0
    for stage in stages:
        for _ in range(stage.steps):
            if np.linalg.norm(transforms - before) <= stage.tolerance:
                break
            pull = np.zeros(len(vertices)), np.zeros((len(vertices), 3))
            if not stage.landmarks_only:
                pull = _nearest_pull(current, targets, nearest)
            if landmarks is not None and stage.landmark_weight:
                weight = stage.landmark_weight * (np.exp(-0.9 * count) if stage.decays else 1.0)
                pull = _with_landmarks(*pull, landmarks, weight)
            still = stage.stiffness**2 * _stillness(parts, pull[0])
            before, transforms = transforms, _step(current, _stiff(laplacian, stage), still, *pull)
            current = (transforms.reshape(-1, 4, 3) * _homogeneous(current)[:, :, None]).sum(1)
            count += 1
    return current


def edge_laplacian(triangles: Int[np.ndarray, "F 3"], count: int) -> sparse.csr_matrix:
    """M^T M of the edge-vertex incidence matrix: the sum over edges of |x_i - x_j|^2 is x^T (M^T M) x."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    sides = np.unique(np.sort(sides, axis=1), axis=0)
    sides = sides[sides[:, 0] != sides[:, 1]]
    rows = np.tile(np.arange(len(sides)), 2)
    ends = np.repeat([1.0, -1.0], len(sides))
    incidence = sparse.csr_matrix((ends, (rows, sides.T.reshape(-1))), shape=(len(sides), count))
    return (incidence.T @ incidence).tocsr()


def _homogeneous(points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 4"]:
    return np.concatenate([points, np.ones((len(points), 1))], axis=1)


def _nearest_pull(
    points: Float[np.ndarray, "V 3"], targets: Float[np.ndarray, "N 3"], tree: cKDTree
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "V 3"]]:
    """Squared weight of each vertex, and its nearest target times that weight."""
    distance, index = tree.query(points)
    weight = (distance < max(2.0 * distance.mean(), 1.0)).astype(np.float64)
    return weight, weight[:, None] * targets[index]


def _with_landmarks(
    weights: Float[np.ndarray, " V"], pulls: Float[np.ndarray, "V 3"], landmarks: Landmarks, weight: float
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "V 3"]]:
    """The same with the landmarks' term added; of two landmarks at one vertex the last counts."""
    own, places = np.zeros_like(weights), np.zeros_like(pulls)
    own[landmarks.vertices] = weight**2
    places[landmarks.vertices] = landmarks.places
    return weights + own, pulls + own[:, None] * places


def _stillness(parts: Int[np.ndarray, " V"], weights: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
    """How much each vertex is held by the identity: hardly, where its part of the mesh is determined."""
    pulled = np.bincount(parts, weights > 0)
    return np.where(pulled[parts] >= _DETERMINED, _STILL, _HELD)


def _stiff(laplacian: sparse.csr_matrix, stage: Stage) -> sparse.csr_matrix:
    return sparse.kron(laplacian, np.diag(np.square(stage.gains))) * stage.stiffness**2


def _step(
    points: Float[np.ndarray, "V 3"],
    stiff: sparse.csr_matrix,
    still: Float[np.ndarray, " V"],
    weights: Float[np.ndarray, " V"],
    pulls: Float[np.ndarray, "V 3"],
) -> Float[np.ndarray, "W 3"]:
    """The transposed transforms, four rows a vertex, from the normal equations."""
    count, homogeneous = len(points), _homogeneous(points)
    blocks = weights[:, None, None] * homogeneous[:, :, None] * homogeneous[:, None, :]
    data = sparse.bsr_matrix((blocks, np.arange(count), np.arange(count + 1)), shape=(4 * count, 4 * count))
    matrix = (stiff + data + sparse.diags(np.repeat(still, 4))).tocsc()
    right = homogeneous[:, :, None] * pulls[:, None, :] + still[:, None, None] * np.eye(4, 3)
    factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor.solve(right.reshape(4 * count, 3))
