"""Less jitter without lag: values of a track, each replaced by what a line through its neighbours says.

With x_t the raw value and y_t that of a line fitted to the frames at most `HALF_WINDOW` away (weighted least squares),

    s_t = y_t + g_t (x_t - y_t),    g_t = max(0, 1 - 2 noise_t^2 / r_t^2)

is the local Wiener filter (Lee, PAMI 1980, equation 9) around a line instead of a mean. r_t^2 is the mean of |x - y|^2
about t, noise_t^2 what noise alone would make of it: where motion is even only noise is left and the line is taken;
where it is not, in a blink or a jerk, the raw value. The window looks both ways, so that even motion is kept exactly
and nothing lags; a filter that sees only the past (one-euro: Casiez et al., CHI 2012) trades jitter for lag.
The noise is measured on each value itself, by its third differences, which motion hardly has; more than ``most_noise``
is taken for motion (a face that jumps in every frame, as in clips with dropped frames).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

HALF_WINDOW = 3
_ABOUT = 2  # frames either way over which r^2 is a mean
_CAUTION = 2.0  # times its expected value that r^2 may reach by chance
_THIRD = 20.0  # variance of third differences of white noise: 1 + 9 + 9 + 1


class _Line(NamedTuple):
    """The fit as a linear map: ``y_t = sum_j share[t, j] x[neighbour[t, j]]``; column `HALF_WINDOW` is t."""

    neighbour: Int[np.ndarray, "T J"]
    share: Float[np.ndarray, "T J"]
    noise_gain: Float[np.ndarray, " T"]  # variance of y - x over that of x


def smooth_values(
    frames: Int[np.ndarray, " T"],
    values: Float[np.ndarray, "T N C"],
    precision: Float[np.ndarray, " T"] | None = None,
    most_noise: float = math.inf,
) -> Float[np.ndarray, "T N C"]:
    """N values of C coordinates over a track, each smoothed by itself; see the module.

    ``frames`` are their numbers, ascending, with gaps where the face was lost; ``precision`` is the inverse variance of
    each frame's noise up to a factor; ``most_noise`` the largest believable standard deviation of one value, all its
    coordinates together. Raises ValueError for frames that do not ascend and for precision <= 0.
    """
    line = _fit(frames, precision)
    away = np.zeros(values.shape)
    for j in range(line.neighbour.shape[1]):
        away += line.share[:, j, None, None] * (values[line.neighbour[:, j]] - values)
    noise = _noise_variance(frames, np.diff(values.astype(np.float64), axis=0)).clip(max=most_noise**2)
    return (values + (1 - _kept(line, away, noise)) * away).astype(values.dtype)


def smooth_rotations(
    frames: Int[np.ndarray, " T"],
    rotations: Float[np.ndarray, "T 3 3"],
    precision: Float[np.ndarray, " T"] | None = None,
    most_noise: float = math.inf,
) -> Float[np.ndarray, "T 3 3"]:
    """Rotations of a track, smoothed on SO(3): the line is fitted to the logarithms relative to each frame's own.

    Even turning about any axis is kept exactly. Arguments and errors as of `smooth_values`, ``most_noise`` in radians.
    """
    line = _fit(frames, precision)
    raw = Rotation.from_matrix(rotations.astype(np.float64))
    away = np.zeros((len(rotations), 1, 3))
    for j in range(line.neighbour.shape[1]):
        away[:, 0] += line.share[:, j, None] * (raw.inv() * raw[line.neighbour[:, j]]).as_rotvec()
    steps = (raw[:-1].inv() * raw[1:]).as_rotvec()[:, None] if len(rotations) > 1 else np.zeros((0, 1, 3))
    noise = _noise_variance(frames, steps).clip(max=most_noise**2)
    change = (1 - _kept(line, away, noise)) * away
    return (raw * Rotation.from_rotvec(change[:, 0])).as_matrix().astype(rotations.dtype)


def _fit(frames: np.ndarray, precision: np.ndarray | None) -> _Line:
    """Weighted least squares of a line about every frame; Epanechnikov's kernel times the precision."""
    count = len(frames)
    precision = np.ones(count) if precision is None else precision.astype(np.float64)
    if count == 0 or (np.diff(frames) <= 0).any() or not (precision > 0).all() or not np.isfinite(precision).all():
        raise ValueError("smoothing needs at least one frame, ascending frame numbers, and finite precision > 0")
    precision = precision / np.median(precision)
    index = np.arange(count)[:, None] + np.arange(-HALF_WINDOW, HALF_WINDOW + 1)
    inside = (index >= 0) & (index < count)
    index = index.clip(0, count - 1)
    distance = (frames[index] - frames[:, None]).astype(np.float64)
    kernel = np.where(inside, (1 - (distance / (HALF_WINDOW + 1)) ** 2).clip(0), 0)
    weight = kernel * precision[index]
    moments = [(weight * distance**k).sum(axis=1, keepdims=True) for k in range(3)]
    determinant = moments[0] * moments[2] - moments[1] ** 2
    alone = determinant <= 1e-9 * moments[0] ** 2
    share = weight * (moments[2] - distance * moments[1]) / np.where(alone, 1, determinant)
    itself = np.arange(2 * HALF_WINDOW + 1) == HALF_WINDOW
    share = np.where(alone, itself, share)
    return _Line(index, share, ((share - itself) ** 2 / precision[index]).sum(axis=1))


def _noise_variance(frames: np.ndarray, steps: Float[np.ndarray, "S N C"]) -> Float[np.ndarray, " N"]:
    """Variance of the noise, summed over the coordinates, from the median square of third differences.

    Zero where fewer than four follow each other: nothing is smoothed there.
    """
    steps_in_a_row = frames[3:] - frames[:-3] == 3
    if not steps_in_a_row.any():
        return np.zeros(steps.shape[1])
    third = np.diff(steps, n=2, axis=0)[steps_in_a_row]
    coordinates = steps.shape[2]
    median_of_mean = (1 - 2 / (9 * coordinates)) ** 3  # of chi squared over its mean (Wilson and Hilferty 1931)
    return np.median(np.square(third).sum(axis=2), axis=0) / (_THIRD * median_of_mean)


def _kept(line: _Line, away: Float[np.ndarray, "T N C"], noise: Float[np.ndarray, " N"]) -> np.ndarray:
    """g (T, N, 1): the share of the raw value's difference from the line that is kept."""
    square = np.square(away).sum(axis=2)
    near = line.neighbour[:, HALF_WINDOW - _ABOUT : HALF_WINDOW + _ABOUT + 1]
    seen = sum(square[near[:, j]] for j in range(near.shape[1])) / near.shape[1]
    gain = line.noise_gain[near].mean(axis=1)
    expected = _CAUTION * gain[:, None] * noise
    return np.clip(1 - expected / np.maximum(seen, 1e-30), 0, 1)[:, :, None]
