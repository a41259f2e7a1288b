"""One scan in memory as the truth of every 3D protocol: its face mesh, 68 and 85 points, REALY's four regions.

A scan comes with some landmarks in mm, NoW's seven at least. The others are those of a mean face: put on the scan by
similarity on the seven, bent by a biharmonic spline so that those which were placed lie there (Duchon 1977), each at
the closest point of the scan. From the seven alone brows and upper lids of the Lee Perry-Smith scan came to lie up to
9 mm off where they are, so its 51 inner ones were placed (eval.scan_landmarks) and only the jaw's are bent.

Of REALY's 17 further keypoints only 70, 71 (beside the nose) and 76, 77 (on the cheeks) count. Where REALY's scans are
not at hand they are placed by the seven alone: midway from an eye corner to the mouth corner of its side, moved
outwards by a share of the eye's width. On the mean faces of BFM 2009 and FLAME, with outer eye corners 90 mm apart,
that is within 4 mm (nose) and 8 mm (cheeks) of the published points, once brought to the surface. The 13 that count
nowhere stand at the nose base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import RBFInterpolator

from eval.alignment import align_points
from eval.crop import EYE_CORNERS, MOUTH_CORNERS
from eval.distance import Surface
from eval.facewarehouse import STEADY, Truth
from eval.florence_metrics import FaceMesh
from eval.now import FaceScan
from eval.now_region import LANDMARKS, NOW_RADIUS, face_region
from eval.realy import Scan
from eval.realy_errors import KEYPOINTS, RegionMesh, RegionName, merged

REALY_MM_PER_UNIT = 9.0
"""Millimetres in a unit of REALY's scans, the median of its 100: its deformation has constants in that unit."""

_SEVEN = list(LANDMARKS)
_NOSE_BRIDGE, _NOSE_BASE = 27, 33
_BESIDE_NOSE, _ON_CHEEK = 0.2, 0.65  # of the eye's width, outwards
_PARTS: dict[RegionName, tuple[list[int], float]] = {  # landmarks, and how far (mm) their region reaches
    "nose": ([*range(27, 36)], 15.0),
    "mouth": ([*range(48, 68)], 12.0),
    "forehead": ([*range(17, 27), *range(36, 48)], 15.0),
}


@dataclass(frozen=True)
class ScanTruth:
    """The scan's surface with its 68 landmarks, all in mm; equal vertices are one, so that no seam looks like a border.

    `landmarks` of `face` hold those that were placed, as they were placed.
    """

    face: FaceMesh

    @property
    def seven_mm(self) -> Float[np.ndarray, "7 3"]:
        """NoW's landmarks, as placed."""
        return self.face.landmarks[_SEVEN]

    def now(self, radius_factor: float = NOW_RADIUS) -> FaceScan:
        """What NoW measures: the vertices within its ball; the Stirling challenge with `STIRLING_RADIUS`."""
        inside = face_region(self.seven_mm, radius_factor).inside(self.face.vertices)
        return FaceScan(self.face.vertices[inside], self.seven_mm)

    @cached_property
    def realy(self) -> Scan:
        """The four regions and 85 keypoints, in units of `REALY_MM_PER_UNIT`."""
        found = Surface(self.face.vertices, self.face.triangles).closest(realy_keypoints(self.face.landmarks)[68:])
        keypoints = np.concatenate([self.face.landmarks, found.points])
        regions = {
            name: RegionMesh(mesh.vertices / REALY_MM_PER_UNIT, mesh.triangles)
            for name, mesh in cut_regions(self.face).items()
        }
        return Scan(regions, keypoints / REALY_MM_PER_UNIT, REALY_MM_PER_UNIT)

    @cached_property
    def facewarehouse(self) -> Truth:
        """The mesh in FaceWarehouse's terms, measured within NoW's ball; triangles as polygons with an empty corner."""
        triangles = self.face.triangles
        polygons = np.concatenate([triangles, np.full((len(triangles), 1), -1, triangles.dtype)], axis=1)
        inside = face_region(self.seven_mm).inside(self.face.vertices)
        return Truth(self.face.vertices, polygons, self.face.landmarks[list(STEADY)], np.flatnonzero(inside))


def scan_truth(
    vertices_mm: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    placed_mm: Mapping[int, Float[np.ndarray, " 3"]],
    mean_landmarks: Float[np.ndarray, "68 3"],
) -> ScanTruth:
    """A scan's seen surface with those of its 68 landmarks that were placed, by number, NoW's seven among them;
    `mean_landmarks`: those of a mean face, in any frame and unit."""
    mesh = merged(RegionMesh(vertices_mm.astype(np.float64), triangles.astype(np.int64)))
    surface = Surface(mesh.vertices, mesh.triangles)
    return ScanTruth(FaceMesh(mesh.vertices, mesh.triangles, bent_landmarks(mean_landmarks, placed_mm, surface)))


def bent_landmarks(
    mean_landmarks: Float[np.ndarray, "68 3"], placed_mm: Mapping[int, Float[np.ndarray, " 3"]], surface: Surface
) -> Float[np.ndarray, "68 3"]:
    """A mean face's landmarks on a scan (mm), bent so that those which were placed lie there."""
    known, target = list(placed_mm), np.stack(list(placed_mm.values()))
    seven = np.stack([placed_mm[index] for index in _SEVEN])
    near = align_points(mean_landmarks[_SEVEN].astype(np.float64), seven).apply(mean_landmarks.astype(np.float64))
    bend = RBFInterpolator(near[known], target - near[known], kernel="linear", degree=1)
    landmarks = surface.closest(near + bend(near)).points
    landmarks[known] = target
    return landmarks


def realy_keypoints(landmarks: Float[np.ndarray, "68 3"]) -> Float[np.ndarray, "85 3"]:
    """REALY's keypoints from the 68, near the surface: the 68 themselves and 17 placed by the seven alone."""
    points = np.concatenate([landmarks, np.repeat(landmarks[[_NOSE_BASE]], KEYPOINTS - len(landmarks), axis=0)])
    for outer, inner, mouth, beside_nose, on_cheek in ((36, 39, 48, 70, 76), (45, 42, 54, 71, 77)):
        outwards = landmarks[outer] - landmarks[inner]
        points[beside_nose] = (landmarks[inner] + landmarks[mouth]) / 2 + _BESIDE_NOSE * outwards
        points[on_cheek] = (landmarks[outer] + landmarks[mouth]) / 2 + _ON_CHEEK * outwards
    return points


def cut_regions(face: FaceMesh) -> dict[RegionName, RegionMesh]:
    """REALY's four regions of a scan in mm, cut by its landmarks (the published ones are drawn on a template).

    Of the triangles within NoW's ball: nose, mouth and eyes with brows are what lies nearest to their landmarks, within
    12 to 15 mm; what else lies above the nose's bridge is forehead too, the cheek is what is left.
    """
    centres = face.vertices[face.triangles].mean(1)
    inside = face_region(face.landmarks[_SEVEN]).inside(centres)
    distance = [
        np.linalg.norm(centres[:, None] - face.landmarks[points], axis=2).min(1) for points, _ in _PARTS.values()
    ]
    nearest = np.argmin(distance, axis=0)
    chosen: dict[RegionName, Bool[np.ndarray, " F"]] = {
        name: (nearest == number) & (distance[number] < reach)
        for number, (name, (_, reach)) in enumerate(_PARTS.items())
    }
    up = face.landmarks[list(EYE_CORNERS)].mean(0) - face.landmarks[list(MOUTH_CORNERS)].mean(0)
    above = (centres - face.landmarks[_NOSE_BRIDGE]) @ up > 0.0
    chosen["forehead"] |= above & ~chosen["nose"] & ~chosen["mouth"]
    chosen["cheek"] = ~np.any(list(chosen.values()), axis=0)
    return {name: merged(RegionMesh(face.vertices, face.triangles[own & inside])) for name, own in chosen.items()}
