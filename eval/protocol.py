"""What a benchmark asks of a method, and how a run is scored: two small interfaces and one loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from eval.boxes import largest_box, match_box

Crop = Literal["gt", "detector", "largest"]
"""Which face of a photo a method is asked about: the one in the true box, the one that it finds there by itself, or the
largest that it finds, where a benchmark has no boxes."""


@dataclass(frozen=True)
class Prediction:
    """What a method says of one face; what it does not know stays None.

    `landmarks_px`: named sets of 68 points in the photo ("pgn", "3dmm", ...). `vertices_px` in the photo with depth in
    pixels; `vertices_mm` with expression, `neutral_mm` without, both in the model frame; `model_landmarks_mm` the 68
    points of the neutral mesh; `euler_deg` pitch, yaw, roll with the sign of AFLW2000's Pose_Para.
    """

    landmarks_px: Mapping[str, Float[np.ndarray, "68 _"]] = field(default_factory=dict)
    vertices_px: Float[np.ndarray, "V 3"] | None = None
    vertices_mm: Float[np.ndarray, "V 3"] | None = None
    neutral_mm: Float[np.ndarray, "V 3"] | None = None
    model_landmarks_mm: Float[np.ndarray, "68 3"] | None = None
    triangles: Int[np.ndarray, "F 3"] | None = None
    euler_deg: Float[np.ndarray, " 3"] | None = None
    identity: Float[np.ndarray, " K"] | None = None


class Found(NamedTuple):
    """A face that a method found by itself: the box of its own detection, and what it says of the face."""

    box_px: Float[np.ndarray, " 4"]
    prediction: Prediction


def boxes_of(found: list[Found]) -> Float[np.ndarray, "N 4"]:
    """Their boxes; (0, 4) where there is none."""
    return np.array([face.box_px for face in found], np.float64).reshape(-1, 4)


class Method(Protocol):
    """Any system: a photo, with or without the tight box of a face's 68 landmarks, in, predictions out."""

    name: str

    def predict(self, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> Prediction:
        """The face in the box [x0, y0, x1, y1]."""
        ...

    def find(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """All faces of the photo, as a user gets them without giving a box."""
        ...


class Sample(NamedTuple):
    """One photo with one annotated face; `truth` is what its benchmark needs to score a prediction.

    `box_px`: the true box, or that of the whole photo where a benchmark has none (its crop is then `largest`).
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    box_px: Float[np.ndarray, " 4"]
    truth: Any


class Damaged(NamedTuple):
    """A sample of a benchmark whose own files are missing or damaged: left out of every run, named and counted."""

    name: str
    problem: str


def sample_or_damage(name: str, read: Callable[[Any], Sample], which: Any) -> Sample | Damaged:
    """What `read` gives, or why it finds a file missing (FileNotFoundError) or damaged (ValueError)."""
    try:
        return read(which)
    except (FileNotFoundError, ValueError) as error:
        return Damaged(name, str(error))


def whole(samples: Iterable[Sample | Damaged]) -> Iterator[Sample]:
    """Those that are not damaged."""
    return (sample for sample in samples if isinstance(sample, Sample))


class LeftOut(ValueError):
    """Why a sample has no prediction that can be scored: the run goes on without it, and counts it."""


@runtime_checkable
class Stored(Protocol):
    """Predictions that exist already, by the name of the sample; which crop they were made with is theirs to say."""

    name: str

    def of_sample(self, sample: Sample, crop: Crop) -> Prediction:
        """What was said of this sample. LeftOut where there is nothing, or nothing that can be read."""
        ...


class Record(NamedTuple):
    """Scores of one sample; `problem` says why there are none (the sample is then left out, and counted)."""

    name: str
    scores: dict[str, float]
    problem: str | None = None


class Pictured(Protocol):
    """Photos with faces, under a name: what a method is asked about, whatever is done with the answers."""

    name: str

    def samples(self) -> Iterable[Sample | Damaged]:
        """Photos with boxes and truth, or in their place what is missing or damaged, named with the file."""
        ...


class Benchmark(Pictured, Protocol):
    """A data set in its published layout and its protocol."""

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """Errors of one prediction by name, NaN where one does not apply. ValueError: why it cannot be measured."""
        ...

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """The table's figures from the records that were scored."""
        ...


class Run(NamedTuple):
    """All records of a run, in order, and the summary of those that were scored."""

    benchmark: str
    method: str
    crop: Crop
    records: list[Record]
    summary: dict[str, Any]


def run(benchmark: Benchmark, method: Method | Stored, crop: Crop = "gt") -> Run:
    """Score `method` on every sample: given the true box (`gt`), or left to find the face (`detector`).

    Left out, named and counted are samples that are damaged, whose face is not found, or whose prediction cannot be
    measured; errors of the method itself are not caught.
    """
    records = [_score(benchmark, method, sample, crop) for sample in benchmark.samples()]
    scored = [record for record in records if record.problem is None]
    return Run(benchmark.name, method.name, crop, records, benchmark.summarise(scored))


def predict(method: Method | Stored, sample: Sample, crop: Crop) -> Prediction:
    """What `method` says of the sample's face. LeftOut: not found, no prediction, landmarks that are not finite."""
    if isinstance(method, Stored):
        prediction = method.of_sample(sample, crop)
    elif crop == "gt":
        prediction = method.predict(sample.image, sample.box_px)
    else:
        prediction = _chosen(method.find(sample.image), sample, crop)
    broken = [name for name, points in prediction.landmarks_px.items() if not np.isfinite(points).all()]
    if broken:
        raise LeftOut(f"landmarks that are not finite: {', '.join(broken)}")
    return prediction


def _chosen(found: list[Found], sample: Sample, crop: Crop) -> Prediction:
    """Of the faces that a method found, the largest, or the one in the true box. LeftOut where there is none."""
    boxes_px = boxes_of(found)
    index = largest_box(boxes_px) if crop == "largest" else match_box(boxes_px, sample.box_px)
    if index is None:
        raise LeftOut("no face found" if crop == "largest" else "not found by the detector")
    return found[index].prediction


def _score(benchmark: Benchmark, method: Method | Stored, sample: Sample | Damaged, crop: Crop) -> Record:
    if isinstance(sample, Damaged):
        return Record(sample.name, {}, sample.problem)
    try:
        prediction = predict(method, sample, crop)
    except LeftOut as problem:
        return Record(sample.name, {}, str(problem))
    try:
        return Record(sample.name, benchmark.score(sample, prediction))
    except ValueError as error:
        return Record(sample.name, {}, str(error))
