"""What the layers of a moving scene look like: patches of real pictures or noise, cut out in many shapes."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

# Pictures of scikit-image with texture nearly everywhere.
_SKIMAGE = "astronaut brick camera chelsea coffee coins grass gravel hubble_deep_field immunohistochemistry page"
_SKIMAGE += " retina rocket text"
LONGEST_SIDE_PX = 900
NOISE_SHARE = 0.06  # of the patches, where there are pictures


def skimage_pictures() -> list[np.ndarray]:
    """The pictures (H,W,3) uint8 that come with scikit-image; needs the extra `train`."""
    import skimage.data

    images = [np.asarray(getattr(skimage.data, name)()) for name in _SKIMAGE.split()]
    images.append(np.asarray(skimage.data.stereo_motorcycle()[0]))
    return [at_most(np.repeat(i[..., None], 3, 2) if i.ndim == 2 else i[..., :3], LONGEST_SIDE_PX) for i in images]


def at_most(image: np.ndarray, side: int) -> np.ndarray:
    """The image, made smaller where its longer side exceeds `side`."""
    scale = side / max(image.shape[:2])
    smaller = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return np.ascontiguousarray(smaller)


class Patches:
    """Endless textures: views of `images` (H,W,3) uint8 turned, zoomed, mirrored and recoloured; without any, noise."""

    def __init__(self, images: Sequence[np.ndarray] = ()) -> None:
        self.images = images

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """One texture (height, width, 3) uint8."""
        if not self.images or rng.random() < NOISE_SHARE:
            return noise(rng, height, width)
        image = self.images[int(rng.integers(len(self.images)))]
        rows, columns = image.shape[:2]
        least = 0.5 if max(height, width) < 0.5 * min(rows, columns) else 0.9
        zoom = max(least, float(np.exp(rng.normal(0.15, 0.4))), 0.7 * max(height / rows, width / columns))
        if zoom < 0.75:
            image = cv2.blur(image, (2, 2))
        angle = rng.normal(0, 12) if rng.random() < 0.7 else rng.uniform(0, 360)
        centre = (float(rng.uniform(0.15, 0.85) * columns), float(rng.uniform(0.15, 0.85) * rows))
        matrix = np.asarray(cv2.getRotationMatrix2D(centre, float(angle), zoom), np.float64)
        if rng.random() < 0.5:
            matrix[:, 0] *= -1
            matrix[:, 2] += -2 * matrix[:, 0] * centre[0]
        matrix[:, 2] += np.array([width / 2, height / 2]) - centre
        patch = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return _recoloured(rng, patch)


def _recoloured(rng: np.random.Generator, patch: np.ndarray) -> np.ndarray:
    """Other gain, contrast and, at times, order of the channels."""
    if rng.random() < 0.2:
        patch = np.ascontiguousarray(patch[..., rng.permutation(3)])
    gain = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, 3))
    table = (np.arange(256)[:, None] - 110) * gain + 110 + rng.normal(0, 15)
    return cv2.LUT(patch, np.clip(table, 0, 255).astype(np.uint8)[None])


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth coloured noise of several sizes (height, width, 3) uint8."""
    total = np.full((height, width, 3), rng.uniform(50, 200, 3), np.float32)
    for cell in (48, 20, 8, 3.5):
        cells = (max(2, round(height / cell)), max(2, round(width / cell)), 3)
        coarse = rng.standard_normal(cells, np.float32) * np.float32(rng.uniform(10, 30))
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(total, 0, 255).astype(np.uint8)


def cut_out(rng: np.random.Generator, texture: np.ndarray, thin: bool) -> np.ndarray:
    """RGBA: the texture (h,w,3) within a random shape that ends before its border; thin things if asked for."""
    height, width = texture.shape[:2]
    mask: np.ndarray = np.zeros((height, width), np.uint8)
    shape = _lines if thin else _SHAPES[int(rng.integers(len(_SHAPES)))]
    shape(rng, mask)
    mask = np.asarray(cv2.blur(mask, (2, 2) if thin else (3, 3)), np.uint8)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return cv2.merge([*cv2.split(texture), mask])


_FRACTION_BITS = 4  # of the coordinates that cv2 draws at


def _fill(mask: np.ndarray, points: np.ndarray, value: int) -> None:
    """A polygon (N,2) px in 0..255, its edge smooth."""
    fixed = np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (value,), cv2.LINE_AA, _FRACTION_BITS)


def _ring(mask: np.ndarray, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points (N,2) px at polar coordinates, radius 1 reaching the mask's border."""
    half = np.array(mask.shape[::-1]) / 2
    return half - 0.5 + (half - 3) * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _ellipse(rng: np.random.Generator, mask: np.ndarray) -> None:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    _fill(mask, _ring(mask, np.ones(64), angle), 255)


def _blob(rng: np.random.Generator, mask: np.ndarray) -> None:
    """A closed curve of a few waves."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = np.ones(120)
    for wave in range(2, 8):
        radius += rng.normal(0, 0.55 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    radius = np.maximum(radius, 0.15)
    _fill(mask, _ring(mask, radius / radius.max(), angle), 255)
    if rng.random() < 0.2:
        _hole(rng, mask)


def _polygon(rng: np.random.Generator, mask: np.ndarray) -> None:
    """A polygon of 3 to 9 corners, often with holes."""
    count = int(rng.integers(3, 10))
    angle = np.sort(
        rng.uniform(0, 2 * np.pi) + (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    )
    _fill(mask, _ring(mask, rng.uniform(0.55, 1, count), angle), 255)
    for _ in range(rng.integers(0, 3)):
        _hole(rng, mask)


def _hole(rng: np.random.Generator, mask: np.ndarray) -> None:
    angle = np.linspace(0, 2 * np.pi, int(rng.choice([4, 5, 40])), endpoint=False) + rng.uniform(0, 2 * np.pi)
    points = _ring(mask, np.full(len(angle), rng.uniform(0.1, 0.3)), angle)
    _fill(mask, points + rng.uniform(-0.2, 0.2, 2) * mask.shape[::-1], 0)


def _lines(rng: np.random.Generator, mask: np.ndarray) -> None:
    """Twigs, wires, bars: a few curved strokes."""
    height, width = mask.shape
    root = rng.uniform(0.1, 0.9, 2) * (width, height)
    for _ in range(rng.integers(1, 5)):
        if rng.random() < 0.4:
            root = rng.uniform(0.1, 0.9, 2) * (width, height)
        tip, bow = rng.uniform(0.03, 0.97, 2) * (width, height), rng.normal(0, 0.12, 2) * (width, height)
        along = np.linspace(0, 1, 14)[:, None]
        points = root + (tip - root) * along + 4 * along * (1 - along) * bow
        fixed = np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
        cv2.polylines(mask, [fixed], False, (255,), int(rng.integers(2, 8)), cv2.LINE_AA, _FRACTION_BITS)


_SHAPES: tuple[Callable[[np.random.Generator, np.ndarray], None], ...] = (_blob, _blob, _ellipse, _polygon, _polygon)
