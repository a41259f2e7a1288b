"""Pictures without a face for the detector: photos of things, labelled photos with the face taken out, textures."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from train.detector_animals import bent_cat, drawn_animal
from train.detector_sources import LabelledFace

# Photos of scikit-image without a person (astronaut and camera have one, coins have portraits).
_SKIMAGE = "chelsea chelsea clock coffee hubble_deep_field immunohistochemistry moon page retina rocket text"
_SKIMAGE += " brick grass gravel"


def load_things(data_dir: Path) -> list[np.ndarray]:
    """Photos (H,W,3) RGB that show no face: scikit-image's, and frames of FlyingChairs and Middlebury where present."""
    import skimage.data

    images = [_as_rgb(getattr(skimage.data, name)()) for name in _SKIMAGE.split()]
    images.append(_as_rgb(skimage.data.stereo_motorcycle()[0]))
    for pattern in ("flow/chairs/*-img0.png", "flow/rubberwhale/frame10.png", "stereo/cones/left.png"):
        images += [np.asarray(cv2.imread(str(p), cv2.IMREAD_COLOR_RGB)) for p in sorted(data_dir.glob(pattern))]
    for path in sorted(data_dir.glob("flow/sintel/*/medium/frame_000[14].png")):  # a monster; the girl is on the right
        image = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
        images.append(image[:, : round(0.45 * image.shape[1])])
    return [_at_most(image, 640) for image in images]


Thing = TypeVar("Thing")


class Backgrounds:
    """Endless faceless pictures: things, textures, and photos of nobody else (`alone`) with the face taken out."""

    def __init__(self, things: Sequence[np.ndarray], alone: Sequence[LabelledFace]) -> None:
        import skimage.data

        self.things, self.cat = things, skimage.data.chelsea()
        self.alone = alone

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """One picture (height, width, 3) uint8."""
        if min(height, width) > 64 and rng.random() < 0.12:
            return self._collage(rng, height, width)
        kind = rng.random()
        if kind < 0.36:
            return _random_view(rng, _any(rng, self.things), height, width)
        if kind < 0.64:
            face = _any(rng, self.alone)
            return _random_view(rng, without_face(rng, face.image(), face.points_px), height, width, zoom=1.5)
        if kind < 0.80:
            if rng.random() < 0.6:
                return bent_cat(rng, self.cat, height, width)
            return drawn_animal(rng, height, width)
        return _any(rng, _TEXTURES)(rng, height, width)

    def _collage(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Many small views side by side: clutter."""
        edges = [np.sort(rng.integers(8, size - 8, rng.integers(1, 6))) for size in (height, width)]
        rows, columns = ([0, *edge.tolist(), size] for edge, size in zip(edges, (height, width), strict=True))
        image = np.zeros((height, width, 3), np.uint8)
        for top, bottom in itertools.pairwise(rows):
            for left, right in itertools.pairwise(columns):
                if bottom > top and right > left:
                    thing = _any(rng, self.things)
                    image[top:bottom, left:right] = _random_view(rng, thing, bottom - top, right - left, 6.0)
        return image


def without_face(rng: np.random.Generator, image: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """The photo with its face (brows to chin, and some of the forehead) painted over or shuffled beyond recognition."""
    height, width = image.shape[:2]
    (x0, y0), (x1, y1) = points_px.min(0), points_px.max(0)
    w, h = x1 - x0, y1 - y0
    a, b = int(max(0, x0 - 0.08 * w)), int(max(0, y0 - 0.25 * h))
    c, d = int(min(width, x1 + 0.08 * w + 1)), int(min(height, y1 + 0.06 * h + 1))
    if c - a < 8 or d - b < 8:
        return image
    image = image.copy()
    patch = image[b:d, a:c]
    kind = rng.random()
    if kind < 0.35:  # quarters of the face in another order, upside down
        rows = np.array_split(np.arange(d - b), rng.integers(3, 6))
        columns = np.array_split(np.arange(c - a), rng.integers(3, 6))
        order = np.concatenate([rows[i] for i in rng.permutation(len(rows))])
        across = np.concatenate([columns[i] for i in rng.permutation(len(columns))])
        filled = patch[order[::-1]][:, across]
    elif kind < 0.7:
        filled = cv2.resize(cv2.resize(patch, (2, 2), interpolation=cv2.INTER_AREA), (c - a, d - b))
        filled = _noisy(rng, filled, 6.0)
    else:
        filled = _any(rng, _TEXTURES)(rng, d - b, c - a)
    if rng.random() < 0.7:
        mask = np.zeros((d - b, c - a), np.uint8)
        cv2.ellipse(mask, ((c - a) // 2, (d - b) // 2), ((c - a) // 2, (d - b) // 2), 0, 0, 360, 255, -1)
        soft = cv2.blur(mask, (5, 5))[..., None] / np.float32(255)
        filled = (patch + soft * (filled.astype(np.float32) - patch)).astype(np.uint8)
    image[b:d, a:c] = filled
    return image


def _random_view(rng: np.random.Generator, image: np.ndarray, height: int, width: int, zoom: float = 3.0) -> np.ndarray:
    rows, columns = image.shape[:2]
    fit = max(height / rows, width / columns)
    scale = fit * float(np.exp(rng.uniform(-0.1, np.log(zoom))))
    angle = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(0, 360)
    centre = (rng.uniform(0.25, 0.75) * columns, rng.uniform(0.25, 0.75) * rows)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
        matrix[:, 2] += -2 * matrix[:, 0] * centre[0]
    matrix[:, 2] += np.array([width / 2, height / 2]) - centre
    if scale < 0.6:
        image = cv2.blur(image, (2, 2))
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _any(rng: np.random.Generator, things: Sequence[Thing]) -> Thing:
    return things[int(rng.integers(len(things)))]


def _colour(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.35:  # skin
        return np.clip(np.array([215, 165, 140]) * rng.uniform(0.3, 1.15) + rng.normal(0, 12, 3), 0, 255)
    return rng.uniform(0, 255, 3)


def _noisy(rng: np.random.Generator, image: np.ndarray, sd: float) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sd)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    corners = np.array([[_colour(rng), _colour(rng)], [_colour(rng), _colour(rng)]], np.float32)
    return _noisy(rng, cv2.resize(corners, (width, height)), rng.uniform(0, 6))


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(1, rng.integers(3, 7)):
        cells = (2**octave, 2**octave, 3)
        coarse = rng.standard_normal(cells, np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(70 / octave)
    return np.clip(_colour(rng) + total * rng.uniform(0.3, 1.0), 0, 255).astype(np.uint8)


def _bars(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    if rng.random() < 0.5:
        wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / rng.uniform(4, 60))
    part = (0.5 + 0.5 * np.sign(wave) if rng.random() < 0.5 else 0.5 + 0.5 * wave)[..., None]
    return _noisy(rng, _colour(rng) * part + _colour(rng) * (1 - part), rng.uniform(0, 8))


def _blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = _gradient(rng, height, width)
    for _ in range(rng.integers(3, 25)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.uniform(2, width / 4)), int(rng.uniform(2, height / 4)))
        colour = tuple(float(v) for v in _colour(rng))
        if rng.random() < 0.6:
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corner = (centre[0] + axes[0], centre[1] + axes[1])
            cv2.rectangle(image, centre, corner, colour, -1)
    return _noisy(rng, image, rng.uniform(0, 8))


def _writing(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = _gradient(rng, height, width)
    for _ in range(rng.integers(2, 14)):
        letters = "".join(chr(c) for c in rng.integers(33, 126, rng.integers(1, 12)))
        place = (int(rng.uniform(-0.2, 0.9) * width), int(rng.integers(height)))
        colour = tuple(float(v) for v in _colour(rng))
        cv2.putText(
            image, letters, place, int(rng.integers(0, 8)), rng.uniform(0.4, 3), colour, int(rng.integers(1, 6))
        )
    return image


_Texture = Callable[[np.random.Generator, int, int], np.ndarray]
_TEXTURES: tuple[_Texture, ...] = (_gradient, _clouds, _bars, _blobs, _blobs, _writing)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    return np.ascontiguousarray(np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3])


def _at_most(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
