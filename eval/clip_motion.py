"""How a head moves in a clip: smooth curves over the time 0..1 of the clip, whatever the number of its frames."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

YAW_LIMIT_DEG = 60.0
LEAST_SWEEP_DEG = 40.0
SWAY_LIMIT_DEG = 15.0
_LARGEST_SWEEP_DEG = 80.0
_DRIFT_PX = 8.0


class Motion(NamedTuple):
    """Pose in each of T frames: (pitch, yaw, roll), scale in px per mm, where the head's middle is off the photo's."""

    euler_deg: Float[np.ndarray, "T 3"]
    scale: Float[np.ndarray, " T"]
    offset_px: Float[np.ndarray, "T 2"]


def clip_times(frames: int) -> Float[np.ndarray, " T"]:
    """Times 0..1 of the frames. ValueError for fewer than two."""
    if frames < 2:
        raise ValueError(f"a clip needs at least 2 frames, got {frames}")
    return np.linspace(0.0, 1.0, frames)


def random_motion(times: Float[np.ndarray, " T"], scale: tuple[float, float], rng: np.random.Generator) -> Motion:
    """A yaw that sweeps 40 to 80 degrees within +-60, pitch and roll swaying within 15, a face that comes or goes."""
    sweep = rng.uniform(LEAST_SWEEP_DEG, _LARGEST_SWEEP_DEG)
    start = rng.uniform(-YAW_LIMIT_DEG, YAW_LIMIT_DEG - sweep)
    yaw = rng.choice([-1.0, 1.0]) * (start + sweep * eased(times))
    pitch, roll = (sway(times, SWAY_LIMIT_DEG, rng) for _ in range(2))
    drift = rng.uniform(-0.08, 0.08)
    offset = np.stack([sway(times, _DRIFT_PX, rng) for _ in range(2)], 1)
    return Motion(np.stack([pitch, yaw, roll], 1), rng.uniform(*scale) * np.exp(drift * (2 * times - 1)), offset)


def eased(times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """0 to 1, half as fast at both ends, never faster than 1.25: t/2 + (3 t^2 - 2 t^3)/2."""
    return 0.5 * times + 0.5 * times**2 * (3 - 2 * times)


def sway(times: Float[np.ndarray, " T"], limit: float, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    """A part of a sine about some middle, within +-limit."""
    middle = rng.uniform(-0.5, 0.5) * limit
    return middle + 0.5 * limit * np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * times + rng.uniform()))


def blended(keys: Float[np.ndarray, "K E"], times: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T E"]:
    """From key to key, evenly spaced in time, at rest in each: a smooth step between neighbours."""
    place = times * (len(keys) - 1)
    before = np.minimum(place.astype(int), len(keys) - 2)
    part = (place - before)[:, None]
    return keys[before] + part**2 * (3 - 2 * part) * (keys[before + 1] - keys[before])
