"""Methods on clips: frame by frame, all frames of a clip at once, or stored, scored in one pass by the same code."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from eval.clip_frames import frames_of
from eval.clip_scores import identity_spread, landmark_jitter_percent
from eval.clips import Clip, Clips
from eval.protocol import LeftOut, Method, Prediction, Record, Run, Stored

Images = Sequence[UInt8[np.ndarray, "H W 3"]]


@runtime_checkable
class ClipMethod(Protocol):
    """A system that sees the frames of a clip together."""

    name: str

    def predict_clip(self, images: Images, boxes_px: Float[np.ndarray, "T 4"]) -> list[Prediction]:
        """The face in the frames' boxes [x0, y0, x1, y1], one prediction a frame, in order."""
        ...


class FrameByFrame:
    """A single-image method on a clip: each frame by itself."""

    def __init__(self, method: Method) -> None:
        self.method, self.name = method, method.name

    def predict_clip(self, images: Images, boxes_px: Float[np.ndarray, "T 4"]) -> list[Prediction]:
        """What the method says of each frame."""
        return [self.method.predict(image, box) for image, box in zip(images, boxes_px, strict=True)]


class _Scored(NamedTuple):
    record: Record
    identity: Float[np.ndarray, " K"] | None  # mean of the frames


def run_clips(
    clips: Clips,
    methods: Sequence[Method | ClipMethod | Stored],
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Run]:
    """Every clip drawn once and given, with its true boxes, to each method in turn; a run a method, in their order."""
    asked = [method if isinstance(method, ClipMethod | Stored) else FrameByFrame(method) for method in methods]
    scored: list[list[_Scored]] = [[] for _ in asked]
    for index in progress(range(clips.count)):
        clip = clips.clip(index)
        for method, found in zip(asked, scored, strict=True):
            found.append(_score(clips, clip, method))
    return [
        Run(clips.name, method.name, "gt", [each.record for each in found], summarise(found))
        for method, found in zip(asked, scored, strict=True)
    ]


def _predictions(clip: Clip, method: ClipMethod | Stored) -> list[Prediction]:
    """One a frame. LeftOut, which names the frame, where something stored is missing or cannot be read."""
    if isinstance(method, ClipMethod):
        return method.predict_clip(clip.images, clip.boxes_px)
    predictions = []
    for frame in frames_of(clip):
        try:
            predictions.append(method.of_sample(frame, "gt"))
        except LeftOut as problem:
            raise LeftOut(f"{frame.name}: {problem}") from problem
    return predictions


def _score(clips: Clips, clip: Clip, method: ClipMethod | Stored) -> _Scored:
    try:
        predictions = _predictions(clip, method)
    except LeftOut as problem:
        return _Scored(Record(clip.name, {}, str(problem)), None)
    if len(predictions) != len(clip.images):
        raise ValueError(f"{method.name}: got {len(predictions)} predictions of {len(clip.images)} frames")
    sets = sorted(set.intersection(*(set(prediction.landmarks_px) for prediction in predictions)))
    landmarks = {name: np.stack([prediction.landmarks_px[name] for prediction in predictions]) for name in sets}
    broken = [name for name, points in landmarks.items() if not np.isfinite(points).all()]
    if broken:
        return _Scored(Record(clip.name, {}, f"landmarks that are not finite: {', '.join(broken)}"), None)
    scores = clips.score(clip, predictions)
    scores["identity_spread"] = identity_spread(predictions)
    for name, points in landmarks.items():
        jitter = landmark_jitter_percent(points, clip.truth.landmarks_px)
        scores[f"landmark_jitter_percent/{name}"] = jitter
    codes = [prediction.identity for prediction in predictions if prediction.identity is not None]
    return _Scored(Record(clip.name, scores), np.mean(codes, axis=0) if codes else None)


def summarise(scored: Sequence[_Scored]) -> dict[str, Any]:
    """Mean and standard deviation of each score over the clips, and of the coefficients' spread across people."""
    good = [each for each in scored if each.record.problem is None]
    names = list(dict.fromkeys(name for each in good for name in each.record.scores))
    summary = {name: _figure([each.record.scores.get(name, np.nan) for each in good]) for name in names}
    codes = [each.identity for each in good if each.identity is not None]
    if len(codes) > 1:
        across = np.std(np.array(codes, np.float64), axis=0)
        summary["identity_spread_across_people"] = {**_figure(across), "count": len(codes)}
    return summary


def _figure(values: Iterable[float]) -> dict[str, Any]:
    finite = np.array([value for value in values if np.isfinite(value)])
    if not len(finite):
        return {"count": 0}
    return {"mean": float(finite.mean()), "std": float(finite.std()), "count": len(finite)}
