"""A method on a data set of flow or stereo pairs: errors, seconds and pictures of each pair, and their summary."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np

from eval.flow_methods import FlowMethod, StereoMethod
from eval.flow_scores import Ratio, end_point_error_px, filled, score_disparity, score_flow, summarise
from eval.pictures import save_png
from face3d.flow_layouts import (
    FLOW_LAYOUTS,
    STEREO_LAYOUTS,
    FlowFiles,
    FlowSample,
    StereoFiles,
    StereoSample,
    read_flow_sample,
    read_stereo_sample,
)
from face3d.flow_picture import error_picture, flow_picture

_PICTURE_BYTES = 1_000_000


class Named(Protocol):
    """Files of one pair."""

    @property
    def name(self) -> str:
        """What the pair is called."""
        ...


Files = TypeVar("Files", bound=Named)


class PairRecord(NamedTuple):
    """Scores and time of one pair; `problem` says why there are none (the pair is then left out, and counted)."""

    name: str
    scores: dict[str, Ratio]
    seconds: float
    problem: str | None = None


class PairRun(NamedTuple):
    """All pairs of a run, in order."""

    layout: str
    method: str
    records: list[PairRecord]

    @property
    def scored(self) -> list[PairRecord]:
        """Those that could be read and scored."""
        return [record for record in self.records if record.problem is None]

    def summary(self) -> dict[str, dict[str, float]]:
        """Each figure as mean of pairs and of pixels."""
        return summarise(record.scores for record in self.scored)

    def median_seconds(self) -> float:
        """Of one pair, reading and scoring not counted; NaN where there is none."""
        return float(np.median([record.seconds for record in self.scored])) if self.scored else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON."""
        return {
            "layout": self.layout,
            "method": self.method,
            "pairs_in_all": len(self.records),
            "left_out": {record.name: record.problem for record in self.records if record.problem is not None},
            "seconds_a_pair_median": self.median_seconds(),
            "opencv_threads": cv2.getNumThreads(),
            "summary": self.summary(),
            "pairs": {
                record.name: {
                    "seconds": record.seconds,
                    **{name: ratio.value for name, ratio in record.scores.items()},
                }
                for record in self.scored
            },
        }


def run_flow(layout: str, folder: Path, method: FlowMethod, pictures: Path | None = None) -> PairRun:
    """Score `method` on every pair of a layout; with `pictures`, write its flow, the true one and the error there.

    FileNotFoundError where the folder has no pair of the layout; a pair that cannot be read is left out and named.
    """

    def measure(files: FlowFiles) -> PairRecord:
        sample = read_flow_sample(files)
        start = time.perf_counter()
        prediction = method.flow(sample.previous, sample.first, sample.second)
        seconds = time.perf_counter() - start
        scores = score_flow(sample, prediction.flow_px, prediction.occluded)
        if pictures is not None:
            _flow_pictures(pictures, sample, prediction.flow_px)
        return PairRecord(sample.name, scores, seconds)

    return PairRun(layout, method.name, scored_each(FLOW_LAYOUTS[layout](folder), measure))


def run_stereo(layout: str, folder: Path, method: StereoMethod, pictures: Path | None = None) -> PairRun:
    """As `run_flow`, for rectified pairs; the pictures show disparity as flow to the left."""

    def measure(files: StereoFiles) -> PairRecord:
        sample = read_stereo_sample(files)
        start = time.perf_counter()
        disparity = method.disparity(sample.left, sample.right)
        seconds = time.perf_counter() - start
        scores = score_disparity(sample, disparity)
        if pictures is not None:
            _stereo_pictures(pictures, sample, disparity)
        return PairRecord(sample.name, scores, seconds)

    return PairRun(layout, method.name, scored_each(STEREO_LAYOUTS[layout](folder), measure))


def scored_each(files: list[Files], measure: Callable[[Files], PairRecord]) -> list[PairRecord]:
    """Measure pair after pair; what cannot be read gets a record that says why."""
    records = []
    for item in files:
        try:
            records.append(measure(item))
        except (FileNotFoundError, ValueError, cv2.error) as error:  # one broken or tiny picture among thousands
            records.append(PairRecord(item.name, {}, float("nan"), str(error)))
    return records


def _flow_pictures(folder: Path, sample: FlowSample, flow_px: np.ndarray) -> None:
    length = np.linalg.norm(sample.flow_px, axis=2)
    largest = max(float(length.max(initial=0)), 1e-3)
    error = end_point_error_px(flow_px, sample.flow_px)
    _save(folder, sample.name, "flow", flow_picture(flow_px, largest))
    _save(folder, sample.name, "true", flow_picture(sample.flow_px, largest, sample.valid))
    _save(folder, sample.name, "error", error_picture(error, length, sample.valid))


def _stereo_pictures(folder: Path, sample: StereoSample, disparity_px: np.ndarray) -> None:
    largest = max(float(sample.disparity_px.max(initial=0)), 1e-3)
    error = np.abs(filled(disparity_px) - sample.disparity_px)
    _save(folder, sample.name, "disparity", flow_picture(_to_the_left(disparity_px), largest))
    _save(folder, sample.name, "true", flow_picture(_to_the_left(sample.disparity_px), largest, sample.valid))
    _save(folder, sample.name, "error", error_picture(error, sample.disparity_px, sample.valid))


def _to_the_left(disparity_px: np.ndarray) -> np.ndarray:
    return np.dstack([-disparity_px, 0 * disparity_px])


def _save(folder: Path, name: str, kind: str, picture: np.ndarray) -> None:
    save_png(folder / f"{name.replace('/', '_')}_{kind}.png", picture, _PICTURE_BYTES)
