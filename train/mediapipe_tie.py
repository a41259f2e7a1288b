"""Where MediaPipe's 478 landmarks lie on the embedded model: found once from the pseudo-labels themselves.

The mean of all labelled faces (Procrustes) is brought to the model's mean by a similarity on the 51 inner landmarks
of the
68-point scheme, bent onto it by a thin-plate spline, and each point is taken to the closest place of the skin.
"""

from typing import NamedTuple

import numpy as np
import trimesh
from scipy.interpolate import RBFInterpolator

from bfm.landmarks import INNER, align_similarity
from face3d.morphable_file import MorphableArrays

# MediaPipe's points nearest to the 51 inner landmarks of the 68-point scheme (300W order, 17..67).
INNER_51 = np.array(
    [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)
OVAL = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150]
    + [136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)
IRISES = np.arange(468, 478)
# The oval slides over the skin, but its points at the ears tell the height of the head, those of the chin its length.
KEPT_OF_OVAL = np.array([127, 162, 234, 93, 356, 389, 454, 323, 152, 148, 377])
FITTED = np.setdiff1d(np.arange(478), np.concatenate([np.setdiff1d(OVAL, KEPT_OF_OVAL), IRISES]))


class Tie(NamedTuple):
    """For each fitted MediaPipe point: its index, and its place on the model (vertices (P,3), barycentric (P,3))."""

    points: np.ndarray
    vertices: np.ndarray
    barycentric: np.ndarray


def mean_shape(landmarks: np.ndarray, rounds: int = 4) -> np.ndarray:
    """(478,3) Procrustes mean of labels (N,478,3), turned to y up and z out of the face."""
    faces = landmarks[np.isfinite(landmarks[:, 0, 0])] * np.array([1.0, -1.0, -1.0])
    mean = faces[0]
    for _ in range(rounds):
        mean = np.mean([align_similarity(face, mean, face) for face in faces], axis=0)
    return mean


def tie(model: MorphableArrays, landmarks: np.ndarray) -> Tie:
    """Tie the fitted points to the model's skin, from labels (N,478,3) of near-frontal faces."""
    mean = model.mean.astype(np.float64)
    corners = mean[model.triangles[model.landmark_triangles]]
    inner_mm = (corners * model.landmark_barycentric[..., None]).sum(1)[INNER]
    shape = mean_shape(landmarks)
    shape = align_similarity(shape[INNER_51], inner_mm, shape)
    bent = shape + RBFInterpolator(shape[INNER_51], inner_mm - shape[INNER_51], kernel="thin_plate_spline")(shape)
    names = model.meta.region_names
    hidden = np.isin(model.vertex_region, [names.index("eyes"), names.index("inner_mouth")])
    skin = ~hidden[model.triangles].any(1)
    surface = trimesh.Trimesh(mean, model.triangles[skin], process=False)
    closest, _, index = trimesh.proximity.closest_point(surface, bent[FITTED])
    vertices = model.triangles[skin][index]
    return Tie(FITTED, vertices, trimesh.triangles.points_to_barycentric(mean[vertices], closest))
