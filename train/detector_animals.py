"""Animal heads, bent photos of a cat and drawn ones: eyes and a nose in fur, not to be taken for a person."""

import cv2
import numpy as np

_COATS = ((200, 120, 50), (120, 80, 50), (60, 50, 45), (30, 30, 30), (150, 140, 130), (225, 215, 200), (170, 150, 110))
SMALLEST_PX = 48  # below, eyes and a nose could be a person's


def bent_cat(rng: np.random.Generator, cat: np.ndarray, height: int, width: int) -> np.ndarray:
    """The head of scikit-image's cat (300,451,3), bent and in another colour (height,width,3)."""
    moved = rng.normal(0, 0.04, (5, 5, 2)).astype(np.float32)
    bend = cv2.resize(moved, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = rng.uniform((20, -40), (110, 10)), rng.uniform((340, 190), (440, 300))
    across, down = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    if rng.random() < 0.5:
        across = 1 - across
    x, y = low[0] + (high - low)[0] * (across + bend[..., 0]), low[1] + (high - low)[1] * (down + bend[..., 1])
    soft = cv2.blur(cat, (max(1, 250 // width), max(1, 200 // height)))
    head = cv2.remap(soft, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    tones = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.4) + rng.normal(0, 0.2, 3)) * np.exp(
        rng.normal(0, 0.2, 3)
    )
    return cv2.LUT(head, np.clip(255 * tones, 0, 255).astype(np.uint8)[None])


def drawn_animal(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A head (height,width,3) RGB that fills most of the picture, on fur or grass of another colour."""
    image = fur(rng, height, width, _coat(rng))
    if min(height, width) < SMALLEST_PX:
        return image
    size = np.array([width, height]) * rng.uniform(0.28, 0.45, 2)
    centre = np.array([width, height]) * rng.uniform(0.42, 0.58, 2)
    coat = _coat(rng)
    _ears(rng, image, centre, size, coat)
    _oval(rng, image, centre, size, coat)
    muzzle = centre + size * [rng.uniform(-0.1, 0.1), rng.uniform(0.25, 0.5)]
    _oval(rng, image, muzzle, size * rng.uniform(0.3, 0.55, 2), _coat(rng) if rng.random() < 0.6 else coat)
    _eyes(rng, image, centre, size)
    nose = muzzle - size * [0, rng.uniform(0.0, 0.25)]
    cv2.ellipse(image, _whole(nose), _whole(size * rng.uniform(0.1, 0.22, 2)), 0, 0, 360, (25, 20, 20), -1, cv2.LINE_AA)
    if rng.random() < 0.7:
        _mouth(rng, image, nose, muzzle, size)
    image = cv2.GaussianBlur(image, (0, 0), 0.3 + 0.006 * min(height, width))
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 12))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def fur(rng: np.random.Generator, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """Strokes of one direction in one colour."""
    length = int(rng.integers(3, 15))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    step = np.array([np.cos(angle), np.sin(angle)]) * length
    cv2.line(kernel, _whole(length / 2 - step / 2), _whole(length / 2 + step / 2), 1.0)
    noise = cv2.filter2D(rng.standard_normal((height, width), np.float32), -1, kernel / max(1.0, float(kernel.sum())))
    noise = noise * np.float32(rng.uniform(10, 60) / max(1e-3, float(noise.std())))
    coarse = cv2.resize(rng.standard_normal((4, 4), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(colour + (noise + 15 * coarse)[..., None], 0, 255).astype(np.uint8)


def _coat(rng: np.random.Generator) -> np.ndarray:
    return np.clip(
        np.array(_COATS[int(rng.integers(len(_COATS)))]) * rng.uniform(0.6, 1.3) + rng.normal(0, 10, 3), 0, 255
    )


def _oval(rng: np.random.Generator, image: np.ndarray, centre: np.ndarray, size: np.ndarray, coat: np.ndarray) -> None:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(mask, _whole(centre), _whole(size), rng.uniform(-15, 15), 0, 360, 255, -1)
    _lay(rng, image, cv2.blur(mask, (5, 5)), coat)


def _ears(rng: np.random.Generator, image: np.ndarray, centre: np.ndarray, size: np.ndarray, coat: np.ndarray) -> None:
    mask = np.zeros(image.shape[:2], np.uint8)
    pointed = rng.random() < 0.5
    for side in (-1, 1):
        root = centre + size * [side * rng.uniform(0.5, 0.9), rng.uniform(-0.9, -0.3)]
        if pointed:
            tip = root + size * [side * rng.uniform(0.0, 0.4), -rng.uniform(0.4, 0.9)]
            across = size * [0.35, 0.15 * side]
            cv2.fillPoly(mask, [np.rint([root - across, root + across, tip]).astype(np.int32)], 255)
        else:
            cv2.ellipse(mask, _whole(root + size * [0, 0.3]), _whole(size * [0.25, 0.55]), side * 20, 0, 360, 255, -1)
    _lay(rng, image, mask, coat * rng.uniform(0.5, 1.1))


def _lay(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, coat: np.ndarray) -> None:
    covered = fur(rng, image.shape[0], image.shape[1], coat)
    soft = mask[..., None] / np.float32(255)
    np.copyto(image, (image + soft * (covered.astype(np.float32) - image)).astype(np.uint8))


def _eyes(rng: np.random.Generator, image: np.ndarray, centre: np.ndarray, size: np.ndarray) -> None:
    apart, up = rng.uniform(0.3, 0.5), rng.uniform(-0.35, 0.05)
    radius = size.min() * rng.uniform(0.07, 0.18)
    iris = np.clip(np.array([120, 80, 30]) * rng.uniform(0.1, 1.8) + rng.normal(0, 20, 3), 0, 255)
    for side in (-1, 1):
        eye = centre + size * [side * apart, up]
        cv2.circle(image, _whole(eye), max(1, round(radius)), tuple(float(v) for v in iris), -1, cv2.LINE_AA)
        cv2.circle(image, _whole(eye), max(1, round(radius * rng.uniform(0.4, 0.8))), (10, 10, 10), -1, cv2.LINE_AA)
        cv2.circle(image, _whole(eye + radius * 0.3), max(1, round(radius * 0.2)), (240, 240, 240), -1, cv2.LINE_AA)


def _mouth(rng: np.random.Generator, image: np.ndarray, nose: np.ndarray, muzzle: np.ndarray, size: np.ndarray) -> None:
    low = muzzle + size * [0, rng.uniform(0.1, 0.3)]
    thick = max(1, round(size.min() / 40))
    cv2.line(image, _whole(nose), _whole(low), (40, 30, 30), thick, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.line(image, _whole(low), _whole(low + size * [0.3 * side, -0.05]), (40, 30, 30), thick, cv2.LINE_AA)
    if rng.random() < 0.4:
        axes = _whole(size * [0.12, rng.uniform(0.15, 0.3)])
        cv2.ellipse(image, _whole(low + size * [0, 0.1]), axes, 0, 0, 360, (200, 110, 120), -1, cv2.LINE_AA)


def _whole(values: np.ndarray) -> tuple[int, int]:
    return round(float(values[0])), round(float(values[1]))
