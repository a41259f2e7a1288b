"""REALY's 85 keypoints on the mesh of a method: points within triangles, so that they move with the mesh.

Published for a topology as a text file beside its template (github.com/czh-98/REALY, data/FLAME.txt, ...): JSON, 85
times [triangle, weight of its first corner, weight of its second]. For a mesh without such a file they are placed here,
which is our reading: the 68 where the mesh has its landmarks, the other 17 where the mean keypoints of the scans meet
the mean face, after a similarity on the 51 inner ones. Of the 17 only 70, 71, 76 and 77 are used, to align nose and
cheek: from the published keypoints of HIFI3D, BFM 2009 or FLAME they come to lie within 2 mm of each other on the
embedded mean face. The published boards use files made by REALY's authors.
"""

import json
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from eval.alignment import align_points
from eval.distance import ClosestPoints, Surface
from eval.florence_metrics import FaceMesh
from eval.protocol import Prediction
from eval.realy import Realy
from eval.realy_errors import KEYPOINTS
from face3d.morphable import MorphableModel

_INNER = slice(17, 68)
_OFF_LANDMARK_MM = 20.0


class KeypointSource(Protocol):
    """Where the 85 of a prediction lie: the same for all of one topology, or asked of each."""

    def of_prediction(self, prediction: Prediction) -> "Keypoints":
        """Those on the prediction's topology. ValueError where there are none."""
        ...


class Keypoints(NamedTuple):
    """The 85 on one topology: `triangles` of the mesh, the triangle of each point and its three weights."""

    triangles: Int[np.ndarray, "F 3"]
    triangle: Int[np.ndarray, " 85"]
    weights: Float[np.ndarray, "85 3"]

    def of(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "85 3"]:
        """The points of a mesh of this topology."""
        return (vertices[self.triangles[self.triangle]] * self.weights[:, :, None]).sum(1)

    def of_prediction(self, prediction: Prediction) -> "Keypoints":
        """These; ValueError for a mesh with other triangles."""
        mesh_triangles = prediction.triangles
        if mesh_triangles is None or not np.array_equal(mesh_triangles, self.triangles):
            count = 0 if mesh_triangles is None else len(mesh_triangles)
            raise ValueError(f"the mesh has other triangles ({count}) than its keypoints' ({len(self.triangles)})")
        return self


def keypoints_of(model: MorphableModel, path: Path | None, data: Realy) -> Keypoints:
    """Those of a published file for the model's mesh, or placed on its mean face.

    FileNotFoundError, ValueError as `read_keypoints`; ValueError also where the file's inner 51 lie elsewhere on the
    mean face than its landmarks: the file is of another mesh, or of one with its triangles in another order.
    """
    mean_face = FaceMesh.mean_of(model)
    if path is None:
        return place_keypoints(mean_face, data.mean_keypoints())
    found = read_keypoints(path, mean_face.triangles)
    check_on_landmarks(found, mean_face, str(path))
    return found


def check_on_landmarks(keypoints: Keypoints, face: FaceMesh, what: str) -> None:
    """ValueError that names `what` where one of the inner 51 lies elsewhere on the face than its landmark."""
    off_mm = float(np.linalg.norm((keypoints.of(face.vertices)[:68] - face.landmarks)[_INNER], axis=1).max())
    if off_mm > _OFF_LANDMARK_MM:
        raise ValueError(f"{what}: a keypoint lies {off_mm:.0f} mm off the mesh's landmark: keypoints of another mesh?")


def read_keypoints(path: Path, triangles: Int[np.ndarray, "F 3"]) -> Keypoints:
    """The points of a published file, whose triangles are those of the template's .obj in their order.

    FileNotFoundError; ValueError for another form, or triangles that the topology does not have.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such keypoints: {path}")
    try:
        rows = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected JSON, {KEYPOINTS} times [triangle, weight, weight] ({error})") from error
    if rows.shape != (KEYPOINTS, 3) or not np.isfinite(rows).all():
        raise ValueError(f"{path}: expected {KEYPOINTS} rows [triangle, weight, weight], got {rows.shape}")
    index = rows[:, 0].astype(np.int64)
    if index.min() < 0 or index.max() >= len(triangles):
        raise ValueError(f"{path}: triangle {index.max()} of a mesh with {len(triangles)}: keypoints of another mesh?")
    return Keypoints(triangles, index, np.column_stack([rows[:, 1:], 1.0 - rows[:, 1:].sum(1)]))


def place_keypoints(mean_face: FaceMesh, truth: Float[np.ndarray, "85 3"]) -> Keypoints:
    """The points on a mesh that has no file: `mean_face` with its 68 landmarks, `truth` the scans' mean keypoints."""
    surface = Surface(mean_face.vertices, mean_face.triangles)
    move = align_points(truth[_INNER], mean_face.landmarks[_INNER])
    found = surface.closest(np.concatenate([mean_face.landmarks, move.apply(truth[len(mean_face.landmarks) :])]))
    return Keypoints(surface.triangles, found.triangle, _weights(surface, found))


def _weights(surface: Surface, found: ClosestPoints) -> Float[np.ndarray, "N 3"]:
    """Barycentric coordinates of points in their triangles, by least squares."""
    corners = surface.vertices[surface.triangles[found.triangle]]
    weights = np.zeros((len(corners), 3))
    for row, (corner, point) in enumerate(zip(corners, found.points, strict=True)):
        sides = np.stack([corner[0] - corner[2], corner[1] - corner[2]], axis=1)
        weights[row, :2] = np.linalg.lstsq(sides, point - corner[2], rcond=None)[0]
    weights[:, 2] = 1.0 - weights[:, :2].sum(1)
    return weights
