"""REALY's error of a face, region by region: rigid alignment on the region, then deformation of the truth onto it.

Chai et al., REALY: Rethinking the Evaluation of 3D Face Reconstruction, ECCV 2022; steps and constants as in
github.com/czh-98/REALY:

    gICP   similarity on seven keypoints; the scale is the ratio of the sums of absolute coordinates
    rICP   of each region: rotation and translation (no scale) by closest points on the prediction and the region's
           keypoints, which weigh as much as the region's points (in the cheek a quarter), at most 100 steps
    bICP   the true region is deformed onto its closest points on the prediction (non-rigid ICP, led by keypoints but
           in the cheek); the error is the mean distance from a true point to the point of the prediction that is
           closest to where it was deformed to

Distances in the unit of the truth; times its millimetres a unit they are the published NMSE.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from eval.alignment import Alignment
from eval.distance import Surface
from eval.nonrigid_icp import Landmarks, Stage, nonrigid_icp
from eval.now_region import LANDMARKS
from face3d.pose import similarity_procrustes

RegionName = Literal["nose", "mouth", "forehead", "cheek"]
REGIONS: tuple[RegionName, ...] = get_args(RegionName)
KEYPOINTS = 85
"""The 68 in their usual order, and 17 of the cheeks."""

_MOUTH = (*range(48, 61), 64)
RIGID_KEYPOINTS: dict[RegionName, tuple[int, ...]] = {
    "nose": (*range(27, 36), 70, 71),
    "mouth": _MOUTH,
    "forehead": (*range(36, 48), *range(17, 27)),
    "cheek": (*_MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
DEFORMATION_KEYPOINTS: dict[RegionName, tuple[int, ...]] = {
    "nose": tuple(range(27, 36)),
    "mouth": _MOUTH,
    "forehead": RIGID_KEYPOINTS["forehead"],
    "cheek": (),
}
_CHEEK_SHARE = 4
_RIGID_STEPS, _RIGID_TOLERANCE = 100, 1e-6
_STIFFNESS, _FIRST_STIFFNESS, _WEIGHT, _KEYPOINT_STEPS = 50.0, 150.0, 50.0, 11

PLAIN_STAGES = tuple(Stage(_STIFFNESS * float(np.exp(-0.5 * k)), 0.5**k) for k in range(3))
KEYPOINT_STAGES = (
    Stage(_FIRST_STIFFNESS, 2.0, 1, (2.0, 2.0, 3.0, 2.0), _WEIGHT, landmarks_only=True, decays=False),
    *(stage._replace(steps=_KEYPOINT_STEPS, landmark_weight=_WEIGHT / 10.0) for stage in PLAIN_STAGES),
)


class RegionMesh(NamedTuple):
    """A region of a true scan."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]


class Face(NamedTuple):
    """A face with its 85 keypoints."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    keypoints: Float[np.ndarray, "85 3"]

    def moved(self, move: Alignment) -> "Face":
        """The same face elsewhere."""
        return self._replace(vertices=move.apply(self.vertices), keypoints=move.apply(self.keypoints))


class RegionFit(NamedTuple):
    """Mean distance of a region's points in the truth's unit, and where the prediction lay (truth's frame from it)."""

    error: float
    alignment: Alignment


def region_errors(
    face: Face, regions: dict[RegionName, RegionMesh], truth: Float[np.ndarray, "85 3"]
) -> dict[RegionName, float]:
    """Mean distance of each region in the truth's unit. ValueError for an empty or broken mesh."""
    return {name: fit.error for name, fit in region_fits(face, regions, truth).items()}


def region_fits(
    face: Face, regions: dict[RegionName, RegionMesh], truth: Float[np.ndarray, "85 3"]
) -> dict[RegionName, RegionFit]:
    """Error and alignment of each region. ValueError for an empty or broken mesh."""
    move = global_alignment(face.keypoints, truth)
    there = face.moved(move)
    surface, fits = Surface(there.vertices, there.triangles), {}
    for name, region in regions.items():
        fit = region_fit(surface, there.keypoints, region, truth, name)
        fits[name] = fit._replace(alignment=fit.alignment.after(move))
    return fits


def global_alignment(keypoints: Float[np.ndarray, "85 3"], truth: Float[np.ndarray, "85 3"]) -> Alignment:
    """gICP: rotation and translation by least squares on the seven keypoints, the scale by absolute coordinates."""
    source, target = keypoints[list(LANDMARKS)], truth[list(LANDMARKS)]
    turn = _rigid(source, target, np.ones(len(source))).rotation
    centred = (source - source.mean(0)) @ turn.T
    scale = float(np.abs(target - target.mean(0)).sum() / np.abs(centred).sum())
    return Alignment(turn, scale, target.mean(0) - scale * turn @ source.mean(0))


def regional_alignment(
    surface: Surface,
    keypoints: Float[np.ndarray, "85 3"],
    points: Float[np.ndarray, "N 3"],
    truth: Float[np.ndarray, "85 3"],
    name: RegionName,
) -> Alignment:
    """rICP: where the globally aligned face goes so that its region fits the true points; scale 1.

    Ends when the mean squared distance changes by less than 1e-6; the step that showed it is not taken.
    """
    chosen = list(RIGID_KEYPOINTS[name])
    share = int(len(points) / len(chosen) / (_CHEEK_SHARE if name == "cheek" else 1))
    targets = np.concatenate([points, truth[chosen]])
    weights = np.concatenate([np.ones(len(points)), np.full(len(chosen), float(share))])
    current, before = Alignment(np.eye(3), 1.0, np.zeros(3)), 0.0
    for _ in range(_RIGID_STEPS):
        closest = surface.closest(current.invert(points)).points
        sources = current.apply(np.concatenate([closest, keypoints[chosen]]))
        step = _rigid(sources, targets, weights)
        squares = ((step.apply(sources) - targets) ** 2).sum(1)
        error = float((weights * squares).sum() / weights.sum())
        if abs(error - before) < _RIGID_TOLERANCE:
            break
        before = error
        turn = step.rotation @ current.rotation
        current = Alignment(turn, 1.0, step.rotation @ current.translation + step.translation)
    return current


def region_fit(
    surface: Surface,
    keypoints: Float[np.ndarray, "85 3"],
    region: RegionMesh,
    truth: Float[np.ndarray, "85 3"],
    name: RegionName,
) -> RegionFit:
    """rICP and bICP of one region: the mean distance of its points to where they correspond on the prediction."""
    move = regional_alignment(surface, keypoints, region.vertices, truth, name)
    region = merged(region)
    closest = move.apply(surface.closest(move.invert(region.vertices)).points)
    chosen = list(DEFORMATION_KEYPOINTS[name])
    if chosen:
        vertices = cKDTree(region.vertices).query(truth[chosen])[1]
        landmarks = Landmarks(vertices, move.apply(keypoints[chosen]))
        deformed = nonrigid_icp(region.vertices, region.triangles, closest, KEYPOINT_STAGES, landmarks)
    else:
        deformed = nonrigid_icp(region.vertices, region.triangles, closest, PLAIN_STAGES)
    found = move.apply(surface.closest(move.invert(deformed)).points)
    return RegionFit(float(np.linalg.norm(found - region.vertices, axis=1).mean()), move)


def merged(region: RegionMesh) -> RegionMesh:
    """Equal vertices (to 1e-8) made one and those without a triangle dropped, as the published evaluation loads it."""
    used = np.unique(region.triangles)
    _, first, index = np.unique(np.round(region.vertices[used], 8), axis=0, return_index=True, return_inverse=True)
    place = np.zeros(len(region.vertices), np.int64)
    place[used] = index.reshape(-1)
    return RegionMesh(region.vertices[used[first]], place[region.triangles])


def _rigid(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"], weights: Float[np.ndarray, " N"]
) -> Alignment:
    """Weighted least-squares rotation and translation."""
    arrays = [torch.from_numpy(np.ascontiguousarray(array, np.float64))[None] for array in (source, target, weights)]
    rotation = similarity_procrustes(*arrays).rotation[0].numpy()
    source_mean, target_mean = (np.average(points, axis=0, weights=weights) for points in (source, target))
    return Alignment(rotation, 1.0, target_mean - rotation @ source_mean)
