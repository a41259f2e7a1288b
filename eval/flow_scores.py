"""Errors of flow and disparity as the benchmarks define them, each a ratio, so that pairs add up to a data set."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from face3d.flow_layouts import FlowSample, StereoSample

SPEEDS_PX = ((0.0, 10.0), (10.0, 40.0), (40.0, np.inf))
"""Lengths of the true flow by which Sintel splits the error: from, below."""


class Ratio(NamedTuple):
    """A mean or a share as total / weight; of several samples add both."""

    total: float
    weight: float

    @property
    def value(self) -> float:
        """The figure; NaN where nothing was counted."""
        return self.total / self.weight if self.weight > 0 else float("nan")


Scores = Mapping[str, Ratio]


def end_point_error_px(flow_px: Float[np.ndarray, "H W 2"], true_px: Float[np.ndarray, "H W 2"]) -> np.ndarray:
    """(H,W) distance between the ends of two flows. ValueError where their sizes differ."""
    if flow_px.shape != true_px.shape:
        raise ValueError(f"got flow of shape {flow_px.shape}, expected {true_px.shape} as the frames")
    return np.linalg.norm(flow_px.astype(np.float64) - true_px, axis=2)


def score_flow(
    sample: FlowSample, flow_px: Float[np.ndarray, "H W 2"], occluded: Bool[np.ndarray, "H W"] | None
) -> dict[str, Ratio]:
    """EPE of known pixels (all, non-occluded, occluded, by true speed), Fl-all, and the F-score of the occlusion.

    Fl counts errors above 3 px that are also above 5 % of the true length (KITTI). What needs the true occlusion, or
    the method's, is there only where both give it. ValueError where the flow has another size or is not finite.
    """
    error = end_point_error_px(flow_px, sample.flow_px)
    if not np.isfinite(error).all():
        raise ValueError(f"{sample.name}: flow that is not finite at {(~np.isfinite(error)).sum()} pixels")
    length = np.linalg.norm(sample.flow_px, axis=2)
    valid = sample.valid
    scores = {"epe_px": _mean(error, valid)}
    if sample.occluded is not None:
        scores["epe_non_occluded_px"] = _mean(error, valid & ~sample.occluded)
        scores["epe_occluded_px"] = _mean(error, valid & sample.occluded)
    scores["fl_percent"] = _mean(100.0 * is_wrong(error, length), valid)
    for low, high in SPEEDS_PX:
        name = f"epe_{low:.0f}_{high:.0f}_px" if np.isfinite(high) else f"epe_above_{low:.0f}_px"
        scores[name] = _mean(error, valid & (length >= low) & (length < high))
    if sample.occluded is not None and occluded is not None:
        scores["occlusion_f"] = f_score(occluded & valid, sample.occluded & valid)
    return scores


def score_disparity(sample: StereoSample, disparity_px: Float[np.ndarray, "H W"]) -> dict[str, Ratio]:
    """EPE, D1 (above 3 px and 5 %) and bad-3 (above 3 px) of known pixels, all and visible ones, and the density.

    A method leaves NaN where it gives no disparity: that is filled as KITTI's development kit does (`filled`).
    """
    if disparity_px.shape != sample.disparity_px.shape:
        raise ValueError(f"got disparity of shape {disparity_px.shape}, expected {sample.disparity_px.shape}")
    error = np.abs(filled(disparity_px) - sample.disparity_px)
    valid = sample.valid
    kinds = {"": valid}
    if sample.occluded is not None:
        kinds = {"": valid, "_non_occluded": valid & ~sample.occluded, "_occluded": valid & sample.occluded}
    scores = {}
    for kind, mask in kinds.items():
        scores[f"epe{kind}_px"] = _mean(error, mask)
        scores[f"d1{kind}_percent"] = _mean(100.0 * is_wrong(error, sample.disparity_px), mask)
        scores[f"bad_3{kind}_percent"] = _mean(100.0 * (error > 3), mask)
    scores["density_percent"] = _mean(100.0 * np.isfinite(disparity_px), np.ones_like(valid))
    return scores


def is_wrong(error_px: Float[np.ndarray, "H W"], true_length_px: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """KITTI 2015's outliers: above 3 px and above 5 % of the true length."""
    return (error_px > 3) & (error_px > 0.05 * np.abs(true_length_px))


def f_score(found: Bool[np.ndarray, "H W"], true: Bool[np.ndarray, "H W"]) -> Ratio:
    """``2 TP / (2 TP + FP + FN)``; nothing to count where neither has a pixel."""
    both = float((found & true).sum())
    return Ratio(2 * both, float(found.sum() + true.sum()))


def filled(disparity_px: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """NaN replaced in each row by the smaller of its two neighbours, the background; at the ends by the only one.

    Rows without any value take the nearest row above, then below; a picture without any becomes zero.
    """
    known = np.isfinite(disparity_px)
    rows = known.any(axis=1)
    if not rows.any():
        return np.zeros_like(disparity_px)
    columns = np.arange(disparity_px.shape[1])
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, len(columns))[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(np.where(known, disparity_px, np.inf), ((0, 0), (1, 1)), constant_values=np.inf)
    ends = [np.take_along_axis(padded, index + 1, axis=1) for index in (before, after)]
    whole = np.where(known, disparity_px, np.minimum(*ends))
    source = np.maximum.accumulate(np.where(rows, np.arange(len(rows)), -1))
    return whole[np.where(source < 0, np.argmax(rows), source)]


def summarise(scores: Iterable[Scores]) -> dict[str, dict[str, float]]:
    """Each figure as the mean of the pairs that have it (`of_pairs`) and over all of their pixels (`of_pixels`)."""
    gathered: dict[str, list[Ratio]] = {}
    for sample in scores:
        for name, ratio in sample.items():
            gathered.setdefault(name, []).append(ratio)
    return {name: _summary(ratios) for name, ratios in gathered.items()}


def _summary(ratios: list[Ratio]) -> dict[str, float]:
    values = [ratio.value for ratio in ratios if ratio.weight > 0]
    pooled = Ratio(sum(ratio.total for ratio in ratios), sum(ratio.weight for ratio in ratios))
    return {"of_pairs": float(np.mean(values)) if values else float("nan"), "of_pixels": pooled.value}


def _mean(values: np.ndarray, mask: np.ndarray) -> Ratio:
    return Ratio(float(values[mask].sum()), float(mask.sum()))
