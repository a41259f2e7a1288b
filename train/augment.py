"""What changes each time a picture is used: crop, roll, flip, light, colour, blur, noise, occluders."""

from typing import NamedTuple

import cv2
import numpy as np

NOISE = np.random.default_rng(0).standard_normal((768, 768, 3)).astype(np.float32)  # cut at random places


class AugmentConfig(NamedTuple):
    """Ranges of the random changes; `crop_factor` is the side of the crop over the box of the 68 landmarks."""

    crop_factor: tuple[float, float] = (1.2, 1.65)
    shift: float = 0.08  # of the box's side, standard deviation
    roll_deg: float = 18.0  # standard deviation; one in ten anything up to 60
    flip: float = 0.5
    occlude: float = 0.35
    blur: float = 0.35
    low_resolution: float = 0.4
    noise: float = 0.3
    grey: float = 0.15
    recolour: float = 1.0


HEAVY = AugmentConfig()
LIGHT = AugmentConfig((1.15, 1.5), 0.05, 10.0, occlude=0.15, blur=0.2, low_resolution=0.2, noise=0.2, grey=0.1)
"""For what is read from fine differences of a picture, and seen by a network that the landmarks have set upright."""

PLAIN = AugmentConfig((1.4, 1.4), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def crop_matrix(box: np.ndarray, size: int, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """T_crop_from_image (2,3) of a random rotated square around a box [x0,y0,x1,y1]."""
    side = float(max(box[2] - box[0], box[3] - box[1]))
    centre = (box[:2] + box[2:]) / 2 + rng.normal(0, config.shift, 2) * side
    far = config.roll_deg > 0 and rng.random() < 0.1
    roll = np.radians(rng.uniform(-60, 60) if far else rng.normal(0, 1) * config.roll_deg)
    zoom = size / (side * rng.uniform(*config.crop_factor))
    linear = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.column_stack([linear, (size - 1) / 2 - linear @ centre])


def recolour(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Gamma, gain, tint and offset by one table a channel, grey, a slanted light; uint8."""
    if rng.random() < config.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() >= config.recolour:
        return image
    gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.12, 3))
    curve = 255 * (np.arange(256) / 255) ** gamma
    table = curve[:, None] * gain + rng.normal(0, 12)
    out = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.5:
        size, slope = image.shape[0], rng.normal(0, 0.3, 2)
        ramp = np.linspace(-1, 1, size, dtype=np.float32)
        light = np.exp(slope[1] * ramp)[:, None] * np.exp(slope[0] * ramp)[None]
        out = cv2.multiply(out, cv2.merge([light.astype(np.float32)] * 3), dtype=cv2.CV_8U)
    return out


def degrade(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Blur, loss of resolution, noise, occluding ellipses and boxes; uint8."""
    size = image.shape[0]
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < config.low_resolution:
        small = int(size * rng.uniform(0.25, 0.7))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < config.noise:
        row, column = rng.integers(0, NOISE.shape[0] - size, 2)
        grain = NOISE[row : row + size, column : column + size]
        image = cv2.add(image, grain * np.float32(rng.uniform(1, 12)), dtype=cv2.CV_8U)
    if rng.random() < config.occlude:
        image = np.ascontiguousarray(image)
        for _ in range(rng.integers(1, 4)):
            _occlude(image, rng)
    return image


def _occlude(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a turned ellipse or box of one colour."""
    size = image.shape[0]
    centre, axes = rng.uniform(0, size, 2), rng.uniform(0.05, 0.28, 2) * size
    box = (tuple(centre.tolist()), tuple((2 * axes).tolist()), float(rng.uniform(0, 180)))
    colour = tuple(rng.uniform(0, 255, 3).tolist())
    if rng.random() < 0.5:
        cv2.ellipse(image, box, colour, -1)
    else:
        cv2.fillPoly(image, [cv2.boxPoints(box).astype(np.int32)], colour)


def augment(
    image: np.ndarray, box: np.ndarray, size: int, config: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """A changed crop (size,size,3) uint8, its T_crop_from_image (2,3), and whether it was mirrored after that."""
    matrix = crop_matrix(box, size, config, rng)
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    crop = degrade(recolour(crop, config, rng), config, rng)
    flipped = bool(rng.random() < config.flip)
    return (np.ascontiguousarray(crop[:, ::-1]) if flipped else crop), matrix, flipped
