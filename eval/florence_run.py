"""A method on Florence: neutral faces of the frames of videos against scans, one by one and pooled, by one variant.

A frame in which no face is found, or whose face cannot be measured, is replaced by the next one drawn, and named under
`frames_passed_over` of the summary. A video that is missing or damaged, without a face, whose faces have no mean, or
whose subject's scan cannot be used, is left out, named and counted.
"""

from contextlib import suppress
from typing import Any, NamedTuple, get_args

import numpy as np

from eval.distance import check_mesh
from eval.florence import SETTINGS, SUBJECTS, Florence, Video
from eval.florence_frames import VideoFrames
from eval.florence_metrics import (
    CROP_MM,
    VARIANTS,
    FaceMesh,
    VariantName,
    face_of,
    global_scale,
    mean_face_of,
)
from eval.protocol import LeftOut, Method, Prediction, Record, Run, Stored, predict
from eval.seven_landmarks import seven_of


class _Faces(NamedTuple):
    """Neutral faces of a video, frames without one and why, and why there is no face at all."""

    faces: list[FaceMesh]
    passed_over: dict[str, str]
    problem: str | None = None


def run_florence(data: Florence, method: Method | Stored, variant: VariantName, frames: int = 5, seed: int = 0) -> Run:
    """Every video by one variant: `single` is the mean error of its frames' faces, `pooled` that of their mean.

    `frames`: faces wanted of each video; `method` finds them itself, or `eval.florence_frames.VideoFrames` of the same
    count and seed was what its predictions were made of. ValueError where no video can be measured.
    """
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}: choose one of {', '.join(get_args(VariantName))}")
    pictures = VideoFrames(data, frames, seed)
    found = {video: _faces(video, pictures, method) for video in data.videos}
    scans = _Scans(data, VARIANTS[variant].scans)
    scale = _scale(scans, found) if VARIANTS[variant].one_scale else 1.0
    records = [_record(video, faces, scans, variant, scale) for video, faces in found.items()]
    left_out = [record for record in records if record.problem is not None]
    if len(left_out) == len(records):
        raise ValueError(f"none of {len(records)} videos can be measured; {left_out[0].name}: {left_out[0].problem}")
    passed_over = {name: why for faces in found.values() for name, why in faces.passed_over.items()}
    counts = {
        "subjects": len(data.subjects),
        "subjects_of_the_protocol": SUBJECTS,
        "videos": len(records),
        "videos_left_out": len(left_out),
        "frames_passed_over": {"count": len(passed_over), "reasons": passed_over},
    }
    return Run(data.name, method.name, "largest", records, {**counts, **summarise(records)})


class _Scans:
    """Scans of the subjects that a variant needs, each read once."""

    def __init__(self, data: Florence, names: tuple[str, ...]) -> None:
        self._data, self._names = data, names
        self._known: dict[int, list[FaceMesh] | str] = {}

    def of(self, subject: int) -> list[FaceMesh]:
        """LeftOut, the same at every video, where a scan cannot be used."""
        if subject not in self._known:
            try:
                read = [self._data.scan(subject, name) for name in self._names]
                self._known[subject] = [scan for scan in read if scan is not None]
            except (FileNotFoundError, ValueError) as error:
                self._known[subject] = str(error)
        scans = self._known[subject]
        if isinstance(scans, str):
            raise LeftOut(scans)
        return scans


def _faces(video: Video, pictures: VideoFrames, method: Method | Stored) -> _Faces:
    """Neutral faces of the first frames drawn that have one, as many as are wanted."""
    faces: list[FaceMesh] = []
    passed_over: dict[str, str] = {}
    try:
        frames = pictures.of(video)
    except (FileNotFoundError, ValueError) as error:
        return _Faces([], {}, str(error))
    for sample in frames:
        try:
            prediction = predict(method, sample, "largest")
        except LeftOut as reason:
            passed_over[sample.name] = str(reason)
            continue
        try:
            faces.append(_measurable(prediction))
        except ValueError as error:
            passed_over[sample.name] = str(error)
        if len(faces) == pictures.frames:
            break
    if faces:
        return _Faces(faces, passed_over)
    (name, why) = next(iter(passed_over.items()))
    return _Faces([], passed_over, f"no face in any of {len(passed_over)} frames drawn; {name}: {why}")


def _measurable(prediction: Prediction) -> FaceMesh:
    """The neutral face. ValueError where there is none, or it is empty, not finite or mirrored."""
    face = face_of(prediction)
    check_mesh(face.vertices, face.triangles)
    seven_of(face.landmarks, "the predicted face")
    return face


def _scale(scans: _Scans, found: dict[Video, _Faces]) -> float:
    """The one scale of all faces of the method whose subjects have a scan."""
    pairs = []
    for video, own in found.items():
        with suppress(LeftOut):
            pairs += [(face, scans.of(video.subject)[0]) for face in own.faces]
    return global_scale(pairs) if pairs else 1.0


def _record(video: Video, found: _Faces, scans: _Scans, variant: VariantName, scale: float) -> Record:
    if found.problem is not None:
        return Record(video.name, {}, found.problem)
    try:
        faces = [face.scaled(scale) for face in found.faces]
        return Record(video.name, _errors(faces, scans.of(video.subject), video.subject, variant))
    except ValueError as error:
        return Record(video.name, {}, str(error))


def _errors(faces: list[FaceMesh], scans: list[FaceMesh], subject: int, variant: VariantName) -> dict[str, float]:
    protocol = VARIANTS[variant]
    radius = protocol.radius_mm.get(subject, CROP_MM)
    mean = mean_face_of(faces)
    single = [min(protocol.error(face, scan, radius) for scan in scans) for face in faces]
    pooled = min(protocol.error(mean, scan, radius) for scan in scans) if len(faces) > 1 else single[0]
    return {
        f"{variant}/single_{protocol.unit}": float(np.mean(single)),
        f"{variant}/pooled_{protocol.unit}": pooled,
        "frames": float(len(faces)),
    }


def summarise(records: list[Record]) -> dict[str, Any]:
    """Mean and standard deviation over the subjects of each setting and score, and how many there were."""
    summary: dict[str, Any] = {}
    scored = [record for record in records if record.problem is None]
    for setting in SETTINGS:
        own = [record.scores for record in scored if record.name.endswith(f" {setting}")]
        for name in sorted({name for scores in own for name in scores if name != "frames"}):
            values = np.array([scores[name] for scores in own])
            values = values[np.isfinite(values)]
            spread = {"mean": float(values.mean()), "std": float(values.std())} if len(values) else {}
            summary[f"{setting}/{name}"] = {**spread, "count": len(values)}
    return summary
