"""face3d and the mean face by every 3D protocol on the Lee Perry-Smith scan, from pictures of it at five yaws."""

from typing import Any, NamedTuple

import numpy as np

from eval.floor import reduction_percent
from eval.florence_metrics import FaceMesh
from eval.mean_face import MeanFace
from eval.protocol import Method, Prediction
from eval.realy_errors import RegionMesh, merged
from eval.realy_keypoints import Keypoints, place_keypoints
from eval.scan import seen_triangles
from eval.scan_protocols import PROTOCOLS, PredictedFace, measure_faces
from eval.scan_shape import ScanShape
from eval.scan_truth import ScanTruth, realy_keypoints, scan_truth
from eval.split_edges import split_long_edges
from face3d.morphable import MorphableModel

EDGE_MM = 4.0
"""No edge of the scan is longer. With 3 mm the figures of Florence and NoW change by a few percent, REALY's by up to a
third: how stiff its deformation is depends on the edges."""


class Row(NamedTuple):
    """One figure of one protocol: the mean face's error, and the method's at each picture, in `unit`."""

    protocol: str
    figure: str
    unit: str
    mean_face: float
    errors: dict[str, float]

    @property
    def below_mean_face_percent(self) -> dict[str, float]:
        """How far each error lies below the mean face's, in % of it; negative where it lies above."""
        return {name: reduction_percent(error, self.mean_face) for name, error in self.errors.items()}

    def as_dict(self) -> dict[str, Any]:
        """What the JSON says."""
        below = self.below_mean_face_percent
        return {
            "unit": self.unit,
            "mean_face": self.mean_face,
            "errors": self.errors,
            "below_mean_face_percent": below,
            "least_below_mean_face_percent": min(below.values()),
        }


def truth_of(shape: ScanShape, model: MorphableModel, edge_mm: float | None = EDGE_MM) -> ScanTruth:
    """The seen surface of the scan, with the model's landmarks bent onto it.

    Its edges are split until none is longer than `edge_mm`: the errors are over vertices, which scanners spread evenly,
    but the mesh of this scan was thinned, most where it is flat. None leaves it so; of triangles seen through the slit
    of the mouth the whole then counts.
    """
    scan = shape.scan
    mesh = merged(RegionMesh(scan.vertices_mm, scan.triangles.astype(np.int64)))
    vertices_mm, triangles = mesh.vertices, mesh.triangles
    if edge_mm is not None:
        vertices_mm, triangles = split_long_edges(vertices_mm, triangles, edge_mm)
    seen = seen_triangles(vertices_mm, triangles, scan.region.centre)
    return scan_truth(vertices_mm, seen, scan.placed_mm, FaceMesh.mean_of(model).landmarks)


def run_scan_protocols(
    shape: ScanShape, method: Method, model: MorphableModel, edge_mm: float | None = EDGE_MM
) -> list[Row]:
    """A row a figure, of the method (whose meshes are the model's) given the true boxes; `edge_mm` as in `truth_of`.

    Protocols that do not apply to meshes of the model's topology have none. ValueError for predictions without a mesh.
    """
    truth = truth_of(shape, model, edge_mm)
    mean_face = FaceMesh.mean_of(model)
    keypoints = place_keypoints(mean_face, realy_keypoints(mean_face.landmarks))
    samples = list(shape.samples())
    faces = {each.name: _predicted(method.predict(each.image, each.box_px), keypoints) for each in samples}
    floor = {"mean face": _predicted(MeanFace(model).predict(samples[0].image, samples[0].box_px), keypoints)}
    rows = []
    for name, protocol in PROTOCOLS.items():
        base = measure_faces(protocol, floor, truth)["mean face"].errors
        found = {face: measured.errors for face, measured in measure_faces(protocol, faces, truth).items()}
        for figure, error in base.items():
            own = {face: errors[figure] for face, errors in found.items()}
            rows.append(Row(name, figure, protocol.unit, error, own))
    return rows


def _predicted(prediction: Prediction, keypoints: Keypoints) -> PredictedFace:
    if prediction.vertices_mm is None:
        raise ValueError("a prediction needs vertices_mm for REALY's keypoints")
    return PredictedFace(prediction, keypoints.of(prediction.vertices_mm.astype(np.float64)))
