"""Refined flow: nearer to the truth and to the pictures, exact where nothing is to be done, of frames of any size."""

import cv2
import numpy as np
import pytest

from face3d.flow_refinement import refined_flow

SIZE = (60, 81)


def texture(seed: int = 0) -> np.ndarray:
    """A picture larger than the frames, with detail of a few pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE[0] + 20, SIZE[1] + 20, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0).astype(np.float32)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


def frame(picture: np.ndarray, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """The picture's middle, moved by (x, y) px."""
    moved = np.float32([[1, 0, x - 10], [0, 1, y - 10]])  # type: ignore[arg-type]
    return np.asarray(cv2.warpAffine(picture, moved, SIZE[::-1], flags=cv2.INTER_CUBIC))


def constant(x: float, y: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 2), (x, y), np.float32)


def error_px(found: np.ndarray, true: tuple[float, float]) -> float:
    return float(np.linalg.norm(found - np.float32(true), axis=-1)[5:-5, 5:-5].mean())


@pytest.mark.parametrize("true", [(0.6, -0.4), (-1.3, 0.9), (4.5, 2.25)])
def test_what_the_network_missed_by_a_fraction_of_a_pixel_is_found(true: tuple[float, float]) -> None:
    first, second = frame(texture()), frame(texture(), *true)
    start = constant(true[0] - 0.4, true[1] + 0.3)
    found = refined_flow(first, second, start)
    assert found.shape == start.shape and found.dtype == np.float32
    once = error_px(found, true)
    assert once < 0.1 < 0.4 < error_px(start, true)
    for _ in range(8):
        found = refined_flow(first, second, found)
    assert error_px(found, true) < once


def test_right_flow_stays() -> None:
    first, second = frame(texture()), frame(texture(), 3, -2)
    assert error_px(refined_flow(first, second, constant(3, -2)), (3, -2)) < 0.02


def test_flow_that_is_given_is_not_changed() -> None:
    start = constant(0.0, 0.0)
    refined_flow(frame(texture()), frame(texture(), 1, 0), start)
    assert not start.any()


def test_where_pictures_say_nothing_the_flow_stays() -> None:
    grey = np.full((*SIZE, 3), 90, np.uint8)
    np.testing.assert_allclose(refined_flow(grey, grey, constant(2, -1)), constant(2, -1), atol=1e-5)


def test_a_mirrored_pair_has_the_mirrored_flow() -> None:
    first, second = frame(texture()), frame(texture(), 1.2, 0.5)
    found = refined_flow(first, second, constant(1, 0))
    flipped = [np.ascontiguousarray(image[:, ::-1]) for image in (first, second)]
    mirrored = refined_flow(flipped[0], flipped[1], constant(-1, 0))
    difference = np.abs(mirrored[:, ::-1] * np.float32([-1, 1]) - found)
    assert np.median(difference) < 0.02 and difference[8:-8, 8:-8].max() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2), (7, 40)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 256, (2, *size, 3), np.uint8)
    found = refined_flow(first, second, constant(0.3, 0.2, size))
    assert found.shape == (*size, 2) and np.isfinite(found).all()
