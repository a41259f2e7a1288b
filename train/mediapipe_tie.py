"""Where MediaPipe's 478 landmarks lie on the embedded model: found once from the pseudo-labels themselves.

The mean of all labelled faces (Procrustes) is brought to the average person by a similarity on the 51 inner landmarks
of the 68-point scheme, bent onto it by a thin-plate spline, and each point is taken to the closest place of the skin
(`tie`). Then all are fitted, with hardly any expression, and what is left on average moves the points over the skin
(`settle`): without that, every face was fitted with puffed cheeks, which bring the points where they were tied to.
Last they settle on faces that neither smile nor speak, for people in photos smile on average.
"""

from typing import NamedTuple

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from bfm.landmarks import INNER, align_similarity
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from train.fit import Gaps, PointBasis, fit_points, place, point_basis

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
# Upper and lower lid, of both eyes, and the inner borders of the lips, one above the other.
UPPER = np.array([161, 160, 159, 158, 157, 388, 387, 386, 385, 384, 80, 81, 82, 13, 312, 311, 310])
LOWER = np.array([163, 144, 145, 153, 154, 390, 373, 374, 380, 381, 88, 178, 87, 14, 317, 402, 318])
EYES = (slice(0, 5), slice(5, 10))
GAP_SIGMA_MM = 1.0
# Between the labels' lids, in root mean square distances of the points from their middle (54 mm): up to what eyes are
# shut (34 photos with the least were looked at, three a person at most), and the median of all.
SHUT, USUAL = 0.035, 0.124
SETTLING_ROUNDS, CALM = 3, 0.25
LEAST_SMILES, CLOSED = (0.03, 0.35), 0.7  # quantiles
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


def skin_triangles(model: MorphableArrays) -> Bool[np.ndarray, " F"]:
    """Triangles outside of the eyes and the inner mouth."""
    names = model.meta.region_names
    hidden = np.isin(model.vertex_region, [names.index("eyes"), names.index("inner_mouth")])
    return ~hidden[model.triangles].any(1)


def _on_skin(model: MorphableArrays, average_mm: Float[np.ndarray, "V 3"], points_mm: Float[np.ndarray, "P 3"]) -> Tie:
    """The places of the average person's skin that are closest to the points."""
    triangles = model.triangles[skin_triangles(model)]
    surface = trimesh.Trimesh(average_mm, triangles, process=False)
    closest, _, index = trimesh.proximity.closest_point(surface, points_mm)
    vertices = triangles[index]
    return Tie(FITTED, vertices, trimesh.triangles.points_to_barycentric(average_mm[vertices], closest))


def tie(model: MorphableArrays, average_mm: Float[np.ndarray, "V 3"], landmarks: Float[np.ndarray, "N 478 3"]) -> Tie:
    """Tie the fitted points to the skin of the average person, from labels (px) of near-frontal faces."""
    average_mm = average_mm.astype(np.float64)
    corners = average_mm[model.triangles[model.landmark_triangles]]
    inner_mm = (corners * model.landmark_barycentric[..., None]).sum(1)[INNER]
    shape = mean_shape(landmarks)
    shape = align_similarity(shape[INNER_51], inner_mm, shape)
    bent = shape + RBFInterpolator(shape[INNER_51], inner_mm - shape[INNER_51], kernel="thin_plate_spline")(shape)
    return _on_skin(model, average_mm, bent[FITTED])


def tied_basis(model: MorphableModel, tied: Tie) -> PointBasis:
    """The fitted points as a linear function of the model's coefficients."""
    return point_basis(model, torch.from_numpy(tied.vertices), torch.from_numpy(tied.barycentric).float())


def gaps(tied: Tie) -> Gaps:
    """The openings of eyes and mouth, as pairs of the tied points."""
    upper, lower = (torch.from_numpy(np.searchsorted(tied.points, points)) for points in (UPPER, LOWER))
    return Gaps(upper, lower, GAP_SIGMA_MM)


def shut(landmarks: Float[np.ndarray, "N 478 3"]) -> Float[np.ndarray, "N 478 3"]:
    """Labels whose upper lids lie on the lower ones where the eye is shut: MediaPipe leaves 2 mm between them."""
    size = np.sqrt(landmarks.var(axis=1).sum(-1))
    closer = landmarks.copy()
    for eye in EYES:
        upper, lower = landmarks[:, UPPER[eye]], landmarks[:, LOWER[eye]]
        gap = np.linalg.norm(upper - lower, axis=-1).mean(1) / size
        wanted = (gap - SHUT).clip(0.0) * (USUAL / (USUAL - SHUT))
        closer[:, UPPER[eye]] = lower + (upper - lower) * (wanted / gap.clip(1e-6))[:, None, None]
    return closer


def _goal_px(tied: Tie, landmarks: Float[np.ndarray, "N 478 3"]) -> Float[Tensor, "N P 2"]:
    """The labelled places of the tied points."""
    return torch.from_numpy(np.ascontiguousarray(landmarks[:, tied.points, :2])).float()


def neutral_faces(
    model: MorphableModel,
    tied: Tie,
    centre: Float[Tensor, " C"],
    landmarks: Float[np.ndarray, "N 478 3"],
    sigma_mm: float,
) -> Float[np.ndarray, "M 478 3"]:
    """Those of the labelled faces that smile least (a third, but for the very least) and whose mouth is not open.
    ValueError: the model has no expressions named after ARKit."""
    names = model.expression_names or ()
    if not {"mouthSmileLeft", "mouthSmileRight", "jawOpen"} <= set(names):
        raise ValueError(
            f"the model's expressions are {names[:5]}...: expected ARKit's names, as `bfm build` gives them"
        )
    goal_px = _goal_px(tied, landmarks)
    fit = fit_points(tied_basis(model, tied), model.expression_std, goal_px, sigma_mm, centre=centre)
    weight = dict(zip(names, fit.expression.T.numpy(), strict=True))
    smile = weight["mouthSmileLeft"] + weight["mouthSmileRight"]
    low, high = np.quantile(smile, LEAST_SMILES)
    return landmarks[(smile > low) & (smile < high) & (weight["jawOpen"] < np.quantile(weight["jawOpen"], CLOSED))]


def settle(
    model: MorphableModel,
    tied: Tie,
    centre: Float[Tensor, " C"],
    landmarks: Float[np.ndarray, "N 478 3"],
    sigma_mm: float,
) -> Tie:
    """The points moved over the skin of the average person (`centre`, coefficients) until fits of the labelled faces
    miss them by nothing on average. Expressions are held back meanwhile, so that none hides a point's mean error."""
    average = model.vertices(centre[None, : model.identity_count])[0].double().numpy()
    goal_px = _goal_px(tied, landmarks)
    for _ in range(SETTLING_ROUNDS):
        basis = tied_basis(model, tied)
        fit = fit_points(basis, CALM * model.expression_std, goal_px, sigma_mm, centre=centre)
        missed_mm = (goal_px - place(basis, fit)) / fit.pose.scale[:, None, None]
        moved_mm = (missed_mm @ fit.pose.rotation[:, :2]).mean(0).double().numpy()
        points_mm = (average[tied.vertices] * tied.barycentric[..., None]).sum(1)
        tied = _on_skin(model.arrays(), average, points_mm + moved_mm)
    return tied
