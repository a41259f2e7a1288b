"""A method on NoW: scan-to-mesh distances of neutral faces, pooled over photos as the benchmark pools them.

Similarity (metrical: rotation and translation) on the seven landmarks, then the transform that minimises the squared
distances from the scan's vertices in the face region to the mesh, over scale, rotation and translation (metrical:
without scale); the error is the unsigned distance of every such vertex, in mm. Median, mean and standard deviation are
over all distances of all photos at once, so that a scan with more vertices weighs more. Source:
github.com/soubhiksanyal/now_evaluation. Two differences, without effect on a valid mesh: the official Procrustes may
mirror a face (here a mirrored face is left out and named), and its metrical start translates by the centroid of the
scaled landmarks (here by that of the rigid ones; both only start the same minimisation).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from eval.alignment import IcpResult, align_points, align_rigid, icp
from eval.distance import Surface
from eval.florence_metrics import FaceMesh, face_of
from eval.now import CHALLENGES, PHOTOS, FaceScan, Now, Photo
from eval.protocol import Crop, LeftOut, Method, Prediction, Record, Run, Stored, predict
from eval.seven_landmarks import check_size, seven_of

CURVE_MM = (1, 2, 3, 4, 5, 6, 7)
"""Where the cumulative error curve is told."""


def scan_to_mesh(scan: FaceScan, face: FaceMesh, metrical: bool = False) -> IcpResult:
    """Where the face ends on the scan, and the unsigned distance of every scan point to it, in mm.

    ValueError for a mesh that is empty, not finite, has triangles beyond its vertices, or is mirrored; metrical also
    where its outer eye corners are not those of a face in mm.
    """
    surface, seven = Surface(face.vertices, face.triangles), seven_of(face.landmarks, "the predicted face")
    if metrical:
        check_size(seven, "the predicted face")
    start = (align_rigid if metrical else align_points)(seven, scan.seven_mm)
    return icp(surface, scan.points_mm, start, with_scale=not metrical)


class _Scans:
    """Scans by person, each read once; of the last face measured the result is kept, for methods that repeat one."""

    def __init__(self, data: Now, metrical: bool) -> None:
        self._data, self._metrical = data, metrical
        self._known: dict[str, FaceScan | str] = {}
        self._last: tuple[str, Any, IcpResult] | None = None

    def of(self, subject: str) -> FaceScan:
        """LeftOut, the same at every photo, where the person's scan cannot be used."""
        if subject not in self._known:
            try:
                self._known[subject] = self._data.scan(subject)
            except (FileNotFoundError, ValueError) as error:
                self._known[subject] = str(error)
        scan = self._known[subject]
        if isinstance(scan, str):
            raise LeftOut(scan)
        return scan

    def measure(self, subject: str, prediction: Prediction) -> IcpResult:
        """As `scan_to_mesh`; LeftOut where there is no neutral mesh or it cannot be measured."""
        if self._last is not None and self._last[0] == subject and self._last[1] is prediction.neutral_mm:
            return self._last[2]
        try:
            result = scan_to_mesh(self.of(subject), face_of(prediction), self._metrical)
        except ValueError as error:
            raise LeftOut(str(error)) from error
        self._last = subject, prediction.neutral_mm, result
        return result


def run_now(data: Now, method: Method | Stored, crop: Crop = "gt", metrical: bool = False) -> Run:
    """Every photo of the list, given the published box (`gt`) or left to find the face (`detector`).

    A photo whose files are missing or damaged, or whose face is not found or cannot be measured, is left out, named and
    counted. ValueError where none is left.
    """
    scans, records = _Scans(data, metrical), []
    pooled: dict[str, list[np.ndarray]] = {challenge: [] for challenge in CHALLENGES}
    for photo in data.photos:
        try:
            result = scans.measure(photo.subject, _predict(photo, data, scans, method, crop))
        except LeftOut as reason:
            records.append(Record(photo.name, {}, str(reason)))
            continue
        records.append(Record(photo.name, _scores(result)))
        pooled[photo.challenge].append(result.distance.astype(np.float32))
    left_out = [record for record in records if record.problem is not None]
    if len(left_out) == len(records):
        raise ValueError(f"none of {len(records)} photos can be measured; {left_out[0].name}: {left_out[0].problem}")
    counts = {"photos": len(records), "photos_left_out": len(left_out), "photos_of_the_protocol": PHOTOS}
    name = data.name + (", metrical" if metrical else "")
    return Run(name, method.name, crop, records, {**counts, **summarise(pooled)})


def _predict(photo: Photo, data: Now, scans: _Scans, method: Method | Stored, crop: Crop) -> Prediction:
    """What the method says of a photo that is whole; errors of the method itself are not caught."""
    try:
        sample = data.sample(photo)
    except (FileNotFoundError, ValueError) as error:
        raise LeftOut(str(error)) from error
    scans.of(photo.subject)
    return predict(method, sample, crop)


def _scores(result: IcpResult) -> dict[str, float]:
    """Of one photo; the root mean square is what the Stirling challenge reports."""
    distance = result.distance
    return {
        "median_mm": float(np.median(distance)),
        "mean_mm": float(distance.mean()),
        "rms_mm": float(np.sqrt((distance**2).mean())),
        "scale": result.alignment.scale,
        "points": float(len(distance)),
    }


def summarise(pooled: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Figures over all distances of all photos, and of each kind of photo that has any."""
    groups = {"all": [photo for photos in pooled.values() for photo in photos], **pooled}
    return {name: _figures(photos) for name, photos in groups.items() if photos}


def _figures(photos: list[Float[np.ndarray, " _"]]) -> dict[str, Any]:
    distance = np.concatenate(photos).astype(np.float64)
    return {
        "median": float(np.median(distance)),
        "mean": float(distance.mean()),
        "std": float(distance.std()),
        "within_percent": {f"{limit}_mm": float(100.0 * (distance <= limit).mean()) for limit in CURVE_MM},
        "points": len(distance),
        "count": len(photos),
    }
