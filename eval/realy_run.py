"""A method on REALY: the mesh of every photo, region by region, in mm of the scan.

The face is measured as the photo shows it, with its expression, as submitted meshes are. The method finds the face
itself; the largest one counts.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from eval.now_region import LANDMARKS
from eval.protocol import LeftOut, Method, Prediction, Record, Run, Stored, predict
from eval.realy import BENCHMARK, SCANS, Photo, Realy, Scan
from eval.realy_errors import REGIONS, Face, region_errors
from eval.realy_keypoints import KeypointSource
from eval.seven_landmarks import check_handedness


def face_of_prediction(prediction: Prediction, keypoints: KeypointSource) -> Face:
    """The mesh with its keypoints. ValueError where it has none, or is broken or mirrored."""
    mesh, triangles = prediction.vertices_mm, prediction.triangles
    if mesh is None or triangles is None:
        raise ValueError("a prediction needs vertices_mm and triangles for REALY")
    if not len(mesh) or not len(triangles):
        raise ValueError(f"empty mesh: {len(mesh)} vertices, {len(triangles)} triangles")
    if triangles.max() >= len(mesh):
        raise ValueError(f"triangle indices up to {triangles.max()} do not fit {len(mesh)} vertices")
    if not np.isfinite(mesh).all():
        raise ValueError(f"{int((~np.isfinite(mesh)).any(1).sum())} of {len(mesh)} mesh vertices are not finite")
    points = keypoints.of_prediction(prediction).of(mesh.astype(np.float64))
    check_handedness(points[list(LANDMARKS)], "the predicted face")
    return Face(mesh.astype(np.float64), triangles, points)


class _Scans:
    """Scans, each read once for its photos; the last result is kept for methods that repeat one mesh."""

    def __init__(self, data: Realy) -> None:
        self._data = data
        self._known: tuple[int, Scan | str] | None = None
        self._last: tuple[int, Any, dict[str, float]] | None = None

    def of(self, number: int) -> Scan:
        """ValueError, the same at every photo, where the scan cannot be used."""
        if self._known is None or self._known[0] != number:
            try:
                self._known = number, self._data.scan(number)
            except (FileNotFoundError, ValueError) as error:
                self._known = number, str(error)
        scan = self._known[1]
        if isinstance(scan, str):
            raise ValueError(scan)
        return scan

    def measure(self, number: int, prediction: Prediction, keypoints: KeypointSource) -> dict[str, float]:
        """Errors in mm by region, and their mean."""
        if self._last is not None and self._last[0] == number and self._last[1] is prediction.vertices_mm:
            return self._last[2]
        scan, face = self.of(number), face_of_prediction(prediction, keypoints)
        errors = region_errors(face, scan.regions, scan.keypoints)
        scores = {f"{name}_mm": errors[name] * scan.mm_per_unit for name in REGIONS}
        scores["all_mm"] = float(np.mean(list(scores.values())))
        self._last = number, prediction.vertices_mm, scores
        return scores


def run_realy(data: Realy, method: Method | Stored, keypoints: KeypointSource) -> Run:
    """Every photo of the view. A photo that is damaged, whose scan is, in which no face is found, or whose mesh cannot
    be measured is left out, named and counted. ValueError where none is left.
    """
    scans = _Scans(data)
    records = [_record(photo, data, scans, method, keypoints) for photo in data.photos]
    left_out = [record for record in records if record.problem is not None]
    if len(left_out) == len(records):
        raise ValueError(f"none of {len(records)} photos can be measured; {left_out[0].name}: {left_out[0].problem}")
    scored = [(photo, record) for photo, record in zip(data.photos, records, strict=True) if record.problem is None]
    counts = {
        "photos": len(records),
        "photos_left_out": len(left_out),
        "scans": len({photo.scan for photo, _ in scored}),
        "scans_of_the_protocol": SCANS,
    }
    return Run(BENCHMARK, method.name, "largest", records, {**counts, **summarise([record for _, record in scored])})


def _record(photo: Photo, data: Realy, scans: _Scans, method: Method | Stored, keypoints: KeypointSource) -> Record:
    try:
        sample = data.sample(photo)
        scans.of(photo.scan)
    except (FileNotFoundError, ValueError) as error:
        return Record(photo.name, {}, str(error))
    try:
        prediction = predict(method, sample, "largest")
    except LeftOut as reason:
        return Record(photo.name, {}, str(reason))
    try:
        return Record(photo.name, scans.measure(photo.scan, prediction, keypoints))
    except ValueError as error:
        return Record(photo.name, {}, str(error))


def summarise(records: list[Record]) -> dict[str, Any]:
    """Mean, median and standard deviation (of a sample, by N - 1, as published) over the photos of each region.

    `all` is the mean of the four regions of a photo; its mean over photos is the published mean of the four means.
    """
    values = {name: np.array([record.scores[f"{name}_mm"] for record in records]) for name in (*REGIONS, "all")}
    return {name: _figures(errors_mm) for name, errors_mm in values.items()}


def _figures(errors_mm: Float[np.ndarray, " N"]) -> dict[str, float | int]:
    spread = float(errors_mm.std(ddof=1)) if len(errors_mm) > 1 else float("nan")
    middle, median = float(errors_mm.mean()), float(np.median(errors_mm))
    return {"mean": middle, "median": median, "std": spread, "count": len(errors_mm)}
