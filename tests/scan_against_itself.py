"""A scan as its own prediction: in another frame and order, decimated, cropped, and with noise whose size is known."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from eval.alignment import Alignment
from eval.distance import Surface
from eval.now_region import LANDMARKS, face_region
from eval.point_to_plane import border_edges
from eval.protocol import Prediction
from eval.scan import HeadScan, seen_triangles
from eval.scan_protocols import PredictedFace
from eval.scan_truth import ScanTruth, scan_truth
from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel

NOISE_RMS_MM = 0.5
_WAVES = 150
_FLAT = 0.03  # of the largest eigenvalue: less is no second direction
_TURN = 0.3  # cosine: a collapse may turn a triangle by 72 degrees


class Noise(NamedTuple):
    """How far each vertex's triangles move along their normals in mm, and the vertices so moved."""

    along_mm: Float[np.ndarray, " V"]
    vertices_mm: Float[np.ndarray, "V 3"]

    def carried_mm(self, truth: ScanTruth, triangles: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " V"]:
        """Unsigned noise that a mesh of these triangles has at every vertex of the scan, linear between its own."""
        surface = Surface(truth.face.vertices, triangles)
        found = surface.closest(truth.face.vertices)
        corners = triangles[found.triangle]
        weights = np.linalg.solve(np.swapaxes(truth.face.vertices[corners], 1, 2), found.points[..., None])[..., 0]
        return np.abs((weights * self.along_mm[corners]).sum(1))


def model() -> MorphableModel:
    return MorphableModel.load(asset_path("face3d_model.npz"))


def generated_head(seed: int = 5) -> ScanTruth:
    """A person of the embedded model, which stands in for the scan where that is not at hand."""
    morphable = model()
    identity = morphable.sample(seed, 1).identity
    vertices, landmarks = (
        points[0].double().numpy() for points in (morphable.vertices(identity), morphable.landmarks(identity))
    )
    placed = {index: landmarks[index] for index in LANDMARKS}
    seen = seen_triangles(vertices, morphable.triangles.numpy(), face_region(landmarks[list(LANDMARKS)]).centre)
    return scan_truth(vertices, seen, placed, mean_landmarks(morphable))


def lee_perry_smith(data: Path) -> ScanTruth:
    scan = HeadScan(data / "scans" / "lee_perry_smith")
    return scan_truth(scan.vertices_mm, scan.seen_triangles, scan.placed_mm, mean_landmarks(model()))


def with_landmarks_at_vertices(truth: ScanTruth) -> ScanTruth:
    """The same with each landmark moved to the nearest vertex.

    REALY's deformation leads the vertex nearest to a keypoint onto the prediction's keypoint, as published: between
    vertices, a scan against itself has an error of that.
    """
    vertices = truth.face.vertices
    nearest = cKDTree(vertices).query(truth.face.landmarks)[1]
    return replace(truth, face=truth.face._replace(landmarks=vertices[nearest]))


def mean_landmarks(morphable: MorphableModel) -> Float[np.ndarray, "68 3"]:
    return morphable.landmarks_of(morphable.mean[None])[0].double().numpy()


def predicted(
    truth: ScanTruth,
    move: Alignment,
    vertices_mm: Float[np.ndarray, "V 3"] | None = None,
    triangles: Int[np.ndarray, "F 3"] | None = None,
    seed: int | None = 1,
) -> PredictedFace:
    """The scan's mesh, or with these vertices or triangles, moved, in an order that the seed draws (None: as is)."""
    vertices = truth.face.vertices if vertices_mm is None else vertices_mm
    used, index = np.unique(truth.face.triangles if triangles is None else triangles, return_inverse=True)
    vertices, triangles = move.apply(vertices[used]), index.reshape(-1, 3)
    if seed is not None:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(vertices))
        vertices, triangles = vertices[order], rng.permutation(np.argsort(order)[triangles])
    prediction = Prediction(
        vertices_mm=vertices,
        neutral_mm=vertices,
        triangles=triangles,
        model_landmarks_mm=move.apply(truth.face.landmarks),
    )
    return PredictedFace(prediction, move.apply(truth.realy.keypoints * truth.realy.mm_per_unit))


def noise(
    truth: ScanTruth, groups: list[Int[np.ndarray, " N"]], wavelength_mm: tuple[float, float], seed: int = 0
) -> Noise:
    """Smooth random noise that no similarity explains over any of the groups of vertices, so that none absorbs it.

    A sum of waves whose coefficients are drawn where the least-squares step of a similarity vanishes
    for every group. A vertex moves so that the planes of its triangles move by the noise (Garland and Heckbert 1997,
    their quadric's least point): at an edge farther than along the mean normal.
    """
    rng = np.random.default_rng(seed)
    points, offsets = truth.face.vertices, plane_offsets(truth.face.vertices, truth.face.triangles)
    directions = rng.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    phases = points @ (2 * np.pi * directions / rng.uniform(*wavelength_mm, (_WAVES, 1))).T
    waves = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    normals = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    constraints = np.concatenate([_motions(points[own], normals[own]).T @ waves[own] for own in groups])
    values, rows = np.linalg.svd(constraints)[1:]
    null_space = rows[int((values > 1e-9 * values[0]).sum()) :]
    along = waves @ (null_space.T @ rng.normal(size=len(null_space)))
    along *= NOISE_RMS_MM / np.sqrt((along[np.unique(np.concatenate(groups))] ** 2).mean())
    return Noise(along, points + along[:, None] * offsets)


def _motions(points: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 7"]:
    """How far a point moves along its normal by rotations, shifts and the scale."""
    arm = points - points.mean(0)
    return np.concatenate([np.cross(arm, normals), normals, (arm * normals).sum(1, keepdims=True)], axis=1)


def plane_offsets(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """For each vertex the step that moves the planes of its triangles by one, in the sense of least squares."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=1, keepdims=True)
    matrix, right = np.zeros((len(vertices), 3, 3)), np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(matrix, triangles[:, k], normals[:, :, None] * normals[:, None, :] / area[..., None])
        np.add.at(right, triangles[:, k], normals)
    values, axes = np.linalg.eigh(matrix)
    inverse = np.where(values > _FLAT * values[:, -1:], 1.0 / np.maximum(values, 1e-30), 0.0)
    return np.einsum("vij,vj,vkj,vk->vi", axes, inverse, axes, right)


def cropped(truth: ScanTruth, triangles: Int[np.ndarray, "F 3"], radius_mm: float) -> Int[np.ndarray, "F 3"]:
    """The triangles all of whose corners lie within a ball about the nose tip."""
    inside = np.linalg.norm(truth.face.vertices - truth.face.landmarks[30], axis=1) <= radius_mm
    return triangles[inside[triangles].all(1)]


def decimated(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], share: float
) -> Int[np.ndarray, "F 3"]:
    """Triangles over a share of the vertices: edges collapse into one of their ends, least quadric error first.

    Garland and Heckbert 1997, with the ends as the only places; the border stays. A round collapses edges whose
    neighbourhoods are apart.
    """
    border = np.zeros(len(vertices), bool)
    border[np.unique(border_edges(triangles))] = True
    count = len(np.unique(triangles))
    goal = int(share * count)
    while count > goal:
        into = _collapses(vertices, triangles, border, max(1, 3 * (count - goal) // 4))
        gone = int((into != np.arange(len(into))).sum())
        if not gone:
            break
        corners = into[triangles]
        triangles = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]
        count -= gone
    return triangles


def _collapses(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], held: np.ndarray, most: int
) -> Int[np.ndarray, " V"]:
    """Where each vertex goes in one round."""
    surface = Surface(vertices, triangles)
    edges, cost = _edges_by_cost(surface, held)
    around: list[list[int]] = [[] for _ in vertices]
    for index, triangle in enumerate(triangles.tolist()):
        for corner in triangle:
            around[corner].append(index)
    rings = [set(triangles[index].ravel().tolist()) for index in around]
    into, touched, gone = np.arange(len(vertices)), np.zeros(len(vertices), bool), 0
    for start, end in edges[np.argsort(cost, kind="stable")].tolist():
        if touched[list(rings[start])].any() or len(rings[start] & rings[end]) != 4:
            continue
        old = np.array(around[start])
        kept = old[(triangles[old] != end).all(1)]
        a, b, c = np.moveaxis(vertices[np.where(triangles[kept] == start, end, triangles[kept])], 1, 0)
        normals = np.cross(b - a, c - a)
        if ((normals * surface.normals[kept]).sum(1) <= _TURN * np.linalg.norm(normals, axis=1)).any():
            continue
        into[start], gone = end, gone + 1
        touched[list(rings[start])] = True
        if gone == most:
            break
    return into


def _edges_by_cost(surface: Surface, held: np.ndarray) -> tuple[Int[np.ndarray, "E 2"], Float[np.ndarray, " E"]]:
    """Edges both ways but from vertices that are held; squared distances of the end to the planes about the start."""
    vertices, triangles = surface.vertices, surface.triangles
    offset = (surface.normals * vertices[triangles[:, 0]]).sum(1, keepdims=True)
    planes = np.concatenate([surface.normals, -offset], axis=1)
    quadrics = np.zeros((len(vertices), 4, 4))
    for k in range(3):
        np.add.at(quadrics, triangles[:, k], planes[:, :, None] * planes[:, None, :])
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = np.unique(np.concatenate([sides, sides[:, ::-1]]), axis=0)
    edges = edges[~held[edges[:, 0]]]
    ends = np.concatenate([vertices[edges[:, 1]], np.ones((len(edges), 1))], axis=1)
    return edges, np.einsum("ei,eij,ej->e", ends, quadrics[edges[:, 0]], ends)
