"""Error measures of the field: landmarks, angles, curves (NumPy, evaluation only; nothing here is differentiated)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

YAW_EDGES_DEG = (30.0, 60.0)
"""|yaw| <= 30, 30 < |yaw| <= 60, |yaw| > 60: the three bins of AFLW2000-3D."""


class YawBins(NamedTuple):
    """Mean of an error per |yaw| bin (NaN where it is empty); `of_bins` is the mean of the bins that are not empty."""

    upto_30: float
    upto_60: float
    above_60: float
    of_bins: float
    of_samples: float
    counts: tuple[int, int, int]


def landmark_box_px(landmarks_px: Float[np.ndarray, "*B L _"]) -> Float[np.ndarray, "*B 4"]:
    """Tight axis-aligned box [x0, y0, x1, y1] of landmarks (x and y only)."""
    points = landmarks_px[..., :2]
    return np.concatenate([points.min(-2), points.max(-2)], -1)


def box_size_px(box_px: Float[np.ndarray, "*B 4"]) -> Float[np.ndarray, "*B"]:
    """sqrt(width * height) of boxes, the length that the NME is divided by."""
    sides = box_px[..., 2:] - box_px[..., :2]
    return np.asarray(np.sqrt(sides[..., 0] * sides[..., 1]))


def nme_percent(
    predicted_px: Float[np.ndarray, "*B L _"], truth_px: Float[np.ndarray, "*B L _"]
) -> Float[np.ndarray, "*B"]:
    """Normalised mean error in %: mean_k |p_k - g_k| over x and y / sqrt(w h) of the true landmarks' box * 100.

    Protocol of 3DDFA's benchmark_aflw2000.py: no alignment, the third column is not used.
    Raises ValueError where the true box is empty.
    """
    size = box_size_px(landmark_box_px(truth_px))
    if not np.all(size > 0):
        raise ValueError("the true landmarks span no area: got a box of size 0; expected 68 points of a face")
    distance = np.linalg.norm(predicted_px[..., :2] - truth_px[..., :2], axis=-1)
    return np.asarray(100.0 * distance.mean(-1) / size)


def mean_by_yaw(values: Float[np.ndarray, " N"], yaw_deg: Float[np.ndarray, " N"]) -> YawBins:
    """Means per |yaw| bin. The published 'mean' of AFLW2000-3D is `of_bins`, not `of_samples`."""
    edges = (-1.0, *YAW_EDGES_DEG, np.inf)
    yaw = np.abs(yaw_deg)
    inside = [(yaw > low) & (yaw <= high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    first, second, third = (_mean(values, mask) for mask in inside)
    filled = [mean for mean in (first, second, third) if not np.isnan(mean)]
    of_bins = float(np.mean(filled)) if filled else float("nan")
    low, middle, high = (int(mask.sum()) for mask in inside)
    return YawBins(first, second, third, of_bins, _mean(values, np.ones(len(values), bool)), (low, middle, high))


def _mean(values: Float[np.ndarray, " N"], mask: Bool[np.ndarray, " N"]) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")


def cumulative_error(values: Float[np.ndarray, " N"], thresholds: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Fraction of values <= each threshold: the cumulative error distribution (CED)."""
    return np.searchsorted(np.sort(values), thresholds, side="right") / max(len(values), 1)


def angle_error_deg(
    predicted_deg: Float[np.ndarray, "*B"], truth_deg: Float[np.ndarray, "*B"]
) -> Float[np.ndarray, "*B"]:
    """Smallest absolute difference of angles, in [0, 180] degrees."""
    return np.asarray(np.abs((predicted_deg - truth_deg + 180.0) % 360.0 - 180.0))


def area_under_roc(same: Float[np.ndarray, " P"], different: Float[np.ndarray, " Q"]) -> float:
    """Probability that a value of `same` is below one of `different` (ties count half): AUC of verification.

    Raises ValueError where one of them is empty.
    """
    if not len(same) or not len(different):
        raise ValueError(f"two samples are needed: got {len(same)} of the same, {len(different)} of different people")
    ordered = np.sort(different)
    below = np.searchsorted(ordered, same, side="left")
    upto = np.searchsorted(ordered, same, side="right")
    return float(1.0 - ((below + upto) / 2).mean() / len(different))
