"""Every 3D protocol of the repository on one scan in memory: a predicted face in, errors and alignments out.

Each row calls the functions that its benchmark calls; the scan stands in for the benchmark's data. Florence's variants,
NoW and Stirling take the neutral mesh, REALY and FaceWarehouse the mesh with its expression, as their commands do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from eval.alignment import Alignment
from eval.facewarehouse import closest_point_fit, has_topology, per_vertex_alignment, per_vertex_mm
from eval.florence_metrics import CROP_MM, VARIANTS, VariantName, face_of, global_scale
from eval.now_region import NOW_RADIUS, STIRLING_RADIUS
from eval.now_run import scan_to_mesh
from eval.protocol import Prediction
from eval.realy_errors import REGIONS, Face, region_fits
from eval.scan_truth import ScanTruth

Scale = Literal["own", "one", "none"]
"""Which scale an alignment has: one for the face, one for all faces of a method, or none."""


class PredictedFace(NamedTuple):
    """What a method says of the scan's face, and REALY's 85 keypoints on its mesh with expression, in its mm."""

    prediction: Prediction
    keypoints_mm: Float[np.ndarray, "85 3"]


class Measured(NamedTuple):
    """Errors by figure (empty where the protocol does not apply), and where the face lay (scan's mm from its own)."""

    errors: Mapping[str, float]
    alignments: Mapping[str, Alignment]


@dataclass(frozen=True)
class ScanProtocol:
    """A protocol on the scan; errors in `unit`.

    `measure` raises ValueError for a prediction without the meshes that the protocol needs.
    """

    measure: Callable[[PredictedFace, ScanTruth], Measured]
    scale: Scale = "own"
    unit: str = "mm"


def measure_faces(protocol: ScanProtocol, faces: Mapping[str, PredictedFace], truth: ScanTruth) -> dict[str, Measured]:
    """The faces of one method by name; one scale for all is the geometric mean of the landmarks' similarities."""
    scale = 1.0
    if protocol.scale == "one":
        scale = global_scale([(face_of(face.prediction), truth.face) for face in faces.values()])
    return {name: protocol.measure(scaled(face, scale), truth) for name, face in faces.items()}


def scaled(face: PredictedFace, scale: float) -> PredictedFace:
    """The same face, larger."""
    old = face.prediction

    def grown(points: Float[np.ndarray, "N 3"] | None) -> Float[np.ndarray, "N 3"] | None:
        return None if points is None else scale * points

    prediction = replace(
        old,
        vertices_mm=grown(old.vertices_mm),
        neutral_mm=grown(old.neutral_mm),
        model_landmarks_mm=grown(old.model_landmarks_mm),
    )
    return PredictedFace(prediction, scale * face.keypoints_mm)


def _florence(name: VariantName, figure: str) -> ScanProtocol:
    variant = VARIANTS[name]

    def measure(face: PredictedFace, truth: ScanTruth) -> Measured:
        found = variant.measure(face_of(face.prediction), truth.face, CROP_MM)
        return Measured({figure: found.error}, {figure: found.alignment})

    return ScanProtocol(measure, "one" if variant.one_scale else "own", "%" if variant.unit == "percent" else "mm")


def _now(radius_factor: float, figures: tuple[str, ...], metrical: bool = False) -> ScanProtocol:
    def measure(face: PredictedFace, truth: ScanTruth) -> Measured:
        found = scan_to_mesh(truth.now(radius_factor), face_of(face.prediction), metrical)
        errors = {name: _STATISTICS[name](found.distance) for name in figures}
        return Measured(errors, dict.fromkeys(figures, found.alignment))

    return ScanProtocol(measure, "none" if metrical else "own")


_STATISTICS: dict[str, Callable[[Float[np.ndarray, " N"]], float]] = {
    "median": lambda distance: float(np.median(distance)),
    "mean": lambda distance: float(distance.mean()),
    "rms": lambda distance: float(np.sqrt((distance**2).mean())),
}


def _realy(face: PredictedFace, truth: ScanTruth) -> Measured:
    mesh, triangles = face.prediction.vertices_mm, face.prediction.triangles
    if mesh is None or triangles is None:
        raise ValueError("a prediction needs vertices_mm and triangles for REALY")
    scan = truth.realy
    fits = region_fits(Face(mesh.astype(np.float64), triangles, face.keypoints_mm), scan.regions, scan.keypoints)
    to_mm = Alignment(np.eye(3), scan.mm_per_unit, np.zeros(3))
    errors: dict[str, float] = {name: fits[name].error * scan.mm_per_unit for name in REGIONS}
    errors["all"] = float(np.mean(list(errors.values())))
    return Measured(errors, {str(name): to_mm.after(fits[name].alignment) for name in REGIONS})


def _closest_point(face: PredictedFace, truth: ScanTruth) -> Measured:
    found = closest_point_fit(truth.facewarehouse, face.prediction)
    return Measured({"mean": float(found.distance.mean())}, {"mean": found.alignment})


def _per_vertex(face: PredictedFace, truth: ScanTruth) -> Measured:
    """Nothing for a mesh of another topology, or with the scan's vertices in another order."""
    if not has_topology(face.prediction, truth.facewarehouse):
        return Measured({}, {})
    alignment = per_vertex_alignment(truth.facewarehouse, face.prediction)
    return Measured({"mean": per_vertex_mm(truth.facewarehouse, face.prediction)}, {"mean": alignment})


PROTOCOLS: dict[str, ScanProtocol] = {
    "Florence mvf": _florence("mvf", "mean"),
    "Florence deep3d": _florence("deep3d", "rms"),
    "Florence genova": _florence("genova", "mean"),
    "Florence ganfit": _florence("ganfit", "mean"),
    "Florence nme": _florence("nme", "mean"),
    "NoW": _now(NOW_RADIUS, ("median", "mean")),
    "NoW metrical": _now(NOW_RADIUS, ("median", "mean"), metrical=True),
    "Stirling": _now(STIRLING_RADIUS, ("rms",)),
    "REALY": ScanProtocol(_realy),
    "FaceWarehouse closest-point": ScanProtocol(_closest_point),
    "FaceWarehouse per-vertex": ScanProtocol(_per_vertex),
}
"""All of them by name."""
