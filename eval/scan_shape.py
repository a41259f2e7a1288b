"""Shape against a real scan: pictures of it at several yaws, the neutral mesh measured over NoW's face region.

Similarity on NoW's seven landmarks, then ICP with scale (the distance itself is minimised), then the unsigned distance
of every scan point to the mesh, exact; median and mean in mm of the scan. As NoW's non-metrical protocol, one scan.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eval.alignment import IcpResult, align_points, icp
from eval.distance import Surface
from eval.error_mesh import ErrorMesh
from eval.now_region import LANDMARKS
from eval.protocol import Prediction, Record, Sample
from eval.scan import OUTER_EYE_DISTANCE_MM, HeadScan
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel

YAWS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)


class ScanShape:
    """Pictures of the Lee Perry-Smith scan. The face's box comes from the model's mean landmarks on the scan.

    The pictures are the same whatever the distance of the outer eye corners, which gives the scan its size."""

    name = "shape: Lee Perry-Smith scan"

    def __init__(
        self, folder: Path, model: MorphableModel, outer_eye_distance_mm: float = OUTER_EYE_DISTANCE_MM
    ) -> None:
        self.scan = HeadScan(folder, outer_eye_distance_mm)
        mean = model.landmarks_of(model.mean[None])[0].cpu().numpy().astype(np.float64)
        self.landmarks_mm = align_points(mean[list(LANDMARKS)], self.scan.landmarks_mm).apply(mean)

    def samples(self) -> Iterator[Sample]:
        """One picture a yaw."""
        for seed, yaw in enumerate(YAWS_DEG):
            image, view = self.scan.photo(yaw, seed=seed)
            yield Sample(f"yaw {yaw:+.0f}", image, landmark_box_px(view.project(self.landmarks_mm)), yaw)

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """Median and mean scan-to-mesh distance in mm."""
        return scan_error(self.scan, prediction) | {"yaw_deg": float(sample.truth)}

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """The errors of each yaw."""
        return {record.name: {key: record.scores[key] for key in ("median_mm", "mean_mm")} for record in records}

    def error_mesh(self, sample: Sample, prediction: Prediction) -> ErrorMesh:
        """The neutral mesh on the scan, with the distance of each vertex of the face to the scan's seen surface.

        The benchmark's figures are the other way round: of points on the scan to the mesh.
        """
        mesh, triangles = prediction.neutral_mm, prediction.triangles
        assert mesh is not None and triangles is not None
        moved = scan_fit(self.scan, prediction).alignment.apply(mesh.astype(np.float64))
        seen = Surface(self.scan.vertices_mm, self.scan.seen_triangles)
        error_mm = np.where(self.scan.region.inside(moved), seen.closest(moved).distance, np.nan)
        return ErrorMesh(moved, triangles, error_mm, "distance of each vertex to the scan")


def scan_error(scan: HeadScan, prediction: Prediction) -> dict[str, float]:
    """Median and mean distance in mm from the scan's face points to the aligned neutral mesh, and the scale found.

    Raises ValueError where the prediction has no neutral mesh with landmarks.
    """
    found = scan_fit(scan, prediction)
    return {
        "median_mm": float(np.median(found.distance)),
        "mean_mm": float(found.distance.mean()),
        "scale": found.alignment.scale,
    }


def scan_fit(scan: HeadScan, prediction: Prediction) -> IcpResult:
    """The neutral mesh aligned to the scan's face points, and their distances in mm. ValueError as `scan_error`."""
    mesh, triangles, landmarks = prediction.neutral_mm, prediction.triangles, prediction.model_landmarks_mm
    if mesh is None or triangles is None or landmarks is None:
        raise ValueError("a prediction needs neutral_mm, triangles and model_landmarks_mm to be measured on a scan")
    start = align_points(landmarks[list(LANDMARKS)].astype(np.float64), scan.landmarks_mm)
    return icp(Surface(mesh, triangles), scan.face_points_mm, start)
