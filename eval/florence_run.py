"""A method on Florence: neutral faces of the frames of videos against scans, one by one and pooled, by one variant.

A frame in which no face is found, or whose face cannot be measured, is replaced by the next one drawn, and named under
`frames_passed_over` of the summary; a video without a face, or whose faces have no mean, is left out and counted.
"""

from typing import Any, NamedTuple, get_args

import numpy as np

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
from eval.protocol import LeftOut, Method, Record, Run, Stored, predict


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
    scale = _scale(data, found) if VARIANTS[variant].one_scale else 1.0
    records: list[Record] = []
    for subject in data.subjects:
        names = VARIANTS[variant].scans
        scans = [scan for scan in (data.scan(subject, name) for name in names) if scan is not None]
        own = {video: faces for video, faces in found.items() if video.subject == subject}
        records += [_record(video, faces, scans, variant, scale) for video, faces in own.items()]
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


def _faces(video: Video, pictures: VideoFrames, method: Method | Stored) -> _Faces:
    """Neutral faces of the first frames drawn that have one, as many as are wanted."""
    faces: list[FaceMesh] = []
    passed_over: dict[str, str] = {}
    for sample in pictures.of(video):
        try:
            prediction = predict(method, sample, "largest")
        except LeftOut as reason:
            passed_over[sample.name] = str(reason)
            continue
        try:
            faces.append(face_of(prediction))
        except ValueError as error:
            passed_over[sample.name] = str(error)
        if len(faces) == pictures.frames:
            break
    if faces:
        return _Faces(faces, passed_over)
    (name, why) = next(iter(passed_over.items()))
    return _Faces([], passed_over, f"no face in any of {len(passed_over)} frames drawn; {name}: {why}")


def _scale(data: Florence, found: dict[Video, _Faces]) -> float:
    """The one scale of all faces of the method."""
    scans = {subject: data.scan(subject) for subject in data.subjects}
    pairs = [(face, scan) for video, own in found.items() for face in own.faces if (scan := scans[video.subject])]
    return global_scale(pairs) if pairs else 1.0


def _record(video: Video, found: _Faces, scans: list[FaceMesh], variant: VariantName, scale: float) -> Record:
    if found.problem is not None:
        return Record(video.name, {}, found.problem)
    try:
        return Record(video.name, _errors([face.scaled(scale) for face in found.faces], scans, video.subject, variant))
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
