"""The errors that papers report on MICC Florence, each under its name: they are not comparable with one another.

Every variant is a pure function of a predicted neutral face, a scan and the crop's radius. The scan is in mm; the face
has any frame, and any scale except where the variant has one scale for all faces. Alignment starts from NoW's seven
landmarks; errors are in mm of the scan and never depend on the order of vertices.

    mvf     mean point-to-plane, 95 mm, scale a mesh       MVF-Net's and PGN's tables (Wu et al., CVPR 2019)
    deep3d  RMSE point-to-plane, 95 mm without forehead, scale a mesh   Deng et al. 2019; Deep3DFaceReconstruction#23
    genova  mean point-to-plane where both exist, one scale for all     Genova et al. 2018; Deep3DFaceReconstruction#23
    ganfit  mean distance both ways, 95 mm, scale a mesh   GANFit's micc_evaluation.py (Gecer et al. 2019)
    nme     mean distance of the face's vertices / outer eye distance, %   vrn#143, #144; PRNet
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from eval.alignment import Alignment, IcpResult, align_points, align_rigid, icp
from eval.crop import below_brows, near_nose_tip
from eval.distance import Surface
from eval.now_region import LANDMARKS
from eval.point_to_plane import on_border, point_to_plane
from eval.protocol import Prediction
from face3d.morphable import MorphableModel

CROP_MM = 95.0
OUTER_EYE_CORNERS = (36, 45)
_BORDER_TOLERANCE = 1e-6  # of the mesh's extent
_ROUNDS = 5  # of ICP, each over what the one before covers
_SEVEN = list(LANDMARKS)

VariantName = Literal["mvf", "deep3d", "genova", "ganfit", "nme"]


class Measured(NamedTuple):
    """An error, and where the face lay on the scan when it was measured (scan frame from the face's)."""

    error: float
    alignment: Alignment


class FaceMesh(NamedTuple):
    """A scan (mm) or a predicted face (mm of its model) with its 68 landmarks, all in one frame."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    landmarks: Float[np.ndarray, "68 3"]

    @classmethod
    def mean_of(cls, model: MorphableModel) -> "FaceMesh":
        """A morphable model's mean face."""
        landmarks = model.landmarks_of(model.mean[None])[0].cpu().numpy().astype(np.float64)
        return cls(model.mean.cpu().numpy().astype(np.float64), model.triangles.cpu().numpy(), landmarks)

    def scaled(self, scale: float) -> "FaceMesh":
        """The same face, larger."""
        return self._replace(vertices=scale * self.vertices, landmarks=scale * self.landmarks)


def face_of(prediction: Prediction) -> FaceMesh:
    """The neutral face of a prediction. ValueError where it has no neutral mesh with triangles and landmarks."""
    mesh, triangles, landmarks = prediction.neutral_mm, prediction.triangles, prediction.model_landmarks_mm
    if mesh is None or triangles is None or landmarks is None:
        raise ValueError("a prediction needs neutral_mm, triangles and model_landmarks_mm to be measured on a scan")
    return FaceMesh(mesh.astype(np.float64), triangles, landmarks.astype(np.float64))


def mean_face_of(faces: list[FaceMesh]) -> FaceMesh:
    """A video's pooled face: the mean of its frames' neutral meshes. ValueError where their topologies differ."""
    first = faces[0]
    if any(not np.array_equal(face.triangles, first.triangles) for face in faces):
        raise ValueError("the faces of a video have different triangles: they have no mean")
    counts = sorted({len(face.vertices) for face in faces})
    if len(counts) > 1:
        raise ValueError(f"the faces of a video have {counts} vertices: they have no mean")
    return FaceMesh(
        np.mean([face.vertices for face in faces], axis=0),
        first.triangles,
        np.mean([face.landmarks for face in faces], axis=0),
    )


def similarity_of(face: FaceMesh, scan: FaceMesh) -> Alignment:
    """Least-squares similarity from the face to the scan by the seven landmarks."""
    return align_points(face.landmarks[_SEVEN], scan.landmarks[_SEVEN])


def global_scale(pairs: list[tuple[FaceMesh, FaceMesh]]) -> float:
    """One scale from faces to scans: the geometric mean of the landmarks' similarities."""
    return float(np.exp(np.mean([np.log(similarity_of(face, scan).scale) for face, scan in pairs])))


def mvf(face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> Measured:
    """Mean point-to-plane distance in mm of the scan's vertices in the crop, after ICP with scale."""
    distance, alignment = _to_plane(face, _cropped(scan, radius_mm), similarity_of(face, scan))
    return Measured(float(distance.mean()), alignment)


def deep3d(face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> Measured:
    """Root mean square point-to-plane distance in mm, the forehead cut, after ICP with scale."""
    points = _cropped(scan, radius_mm)
    points = points[below_brows(points, scan.landmarks)]
    distance, alignment = _to_plane(face, points, similarity_of(face, scan))
    return Measured(float(np.sqrt((distance**2).mean())), alignment)


def genova(face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> Measured:
    """Mean point-to-plane distance in mm after rigid ICP, both over the scan points that the face covers only.

    The face comes with the one scale of all faces (`global_scale`). Covered: the closest point is not on the face's
    open border (the published region is inside a program that is not public). NaN where nothing is covered.
    """
    surface, points = Surface(face.vertices, face.triangles), _cropped(scan, radius_mm)
    alignment = align_rigid(face.landmarks[_SEVEN], scan.landmarks[_SEVEN])
    covered = _covered(surface, alignment.invert(points))
    for _ in range(_ROUNDS):
        if not covered.any():
            return Measured(float("nan"), alignment)
        alignment = icp(surface, points[covered], alignment, with_scale=False).alignment
        before, covered = covered, _covered(surface, alignment.invert(points))
        if np.array_equal(before, covered):
            break
    distance = point_to_plane(surface, alignment.invert(points))[covered]
    return Measured(float(distance.mean()) if len(distance) else float("nan"), alignment)


def ganfit(face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> Measured:
    """Mean of the mean distances scan-to-face and face-to-scan in mm, each after its own ICP with scale.

    GANFit first registers its template to the scan; here the scan itself is measured, with its own vertices. The
    alignment is that of scan-to-face.
    """
    start = similarity_of(face, scan)
    to_face = _icp(face, _cropped(scan, radius_mm), start)
    to_scan = _icp(scan, _cropped(face, radius_mm / start.scale), _inverse(start))
    error = float(to_face.distance.mean() + to_scan.distance.mean() / to_scan.alignment.scale) / 2
    return Measured(error, to_face.alignment)


def nme(face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> Measured:
    """Mean distance of the face's vertices in the crop to the scan, after ICP, in % of the scan's outer eye distance.

    Corresponding points are the closest ones, as in VRN's and PRNet's evaluation.
    """
    found = icp(Surface(face.vertices, face.triangles), _cropped(scan, radius_mm), similarity_of(face, scan))
    moved = found.alignment.apply(face.vertices)
    inside = moved[near_nose_tip(moved, found.alignment.apply(face.landmarks), radius_mm)]
    outer = np.linalg.norm(scan.landmarks[OUTER_EYE_CORNERS[0]] - scan.landmarks[OUTER_EYE_CORNERS[1]])
    distance = Surface(scan.vertices, scan.triangles).closest(inside).distance
    return Measured(float(100.0 * distance.mean() / outer), found.alignment)


@dataclass(frozen=True)
class Variant:
    """A protocol: what it measures, the unit, whether all faces share a scale, and which scans of a subject count.

    `radius_mm` holds subjects with a crop of their own; the error is the least over the scans in `scans` that exist.
    """

    measure: Callable[[FaceMesh, FaceMesh, float], Measured]
    unit: str = "mm"
    one_scale: bool = False
    scans: tuple[str, ...] = ("frontal1",)
    radius_mm: Mapping[int, float] = field(default_factory=dict)

    def error(self, face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> float:
        """The error alone, in `unit`."""
        return self.measure(face, scan, radius_mm).error


VARIANTS: dict[VariantName, Variant] = {
    "mvf": Variant(mvf),
    "deep3d": Variant(deep3d),
    "genova": Variant(genova, one_scale=True),
    "ganfit": Variant(ganfit, scans=("frontal1", "frontal2"), radius_mm={28: 60.0}),
    "nme": Variant(nme, unit="percent"),
}


def _cropped(mesh: FaceMesh, radius: float) -> Float[np.ndarray, "N 3"]:
    """Vertices of triangles, within the crop. ValueError where none is."""
    used = mesh.vertices[np.unique(mesh.triangles)]
    kept = used[near_nose_tip(used, mesh.landmarks, radius)]
    if not len(kept):
        raise ValueError(f"no vertex within {radius:.1f} of the nose tip: do landmarks and mesh share unit and frame?")
    return kept


def _covered(surface: Surface, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
    """Points in the surface's frame whose closest point is not on its border."""
    tolerance = _BORDER_TOLERANCE * float(np.ptp(surface.vertices, axis=0).max())
    return ~on_border(surface, surface.closest(points).points, tolerance)


def _to_plane(
    face: FaceMesh, points: Float[np.ndarray, "N 3"], start: Alignment
) -> tuple[Float[np.ndarray, " N"], Alignment]:
    """Distance of each point to the face's planes after ICP with scale, in the points' unit, and the alignment."""
    surface = Surface(face.vertices, face.triangles)
    found = icp(surface, points, start).alignment
    return point_to_plane(surface, found.invert(points)) * found.scale, found


def _icp(mesh: FaceMesh, points: Float[np.ndarray, "N 3"], start: Alignment) -> IcpResult:
    return icp(Surface(mesh.vertices, mesh.triangles), points, start, residual="point-to-point")


def _inverse(alignment: Alignment) -> Alignment:
    """The similarity back."""
    turn = alignment.rotation.T
    return Alignment(turn, 1.0 / alignment.scale, -turn @ alignment.translation / alignment.scale)
