"""Filled flow: hidden pixels move as what looks like them nearby, everything else is left alone."""

import cv2
import numpy as np
import pytest

from face3d.flow_filling import ALIKE, MARGIN_PX, NEAR_PX, RADIUS_PX, STEP_PX, filled_flow


def plainly_filled(frame: np.ndarray, flow_px: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The equation of `filled_flow` in numpy, one offset after the other."""
    unsure = cv2.dilate(hidden.astype(np.uint8), np.ones((2 * MARGIN_PX + 1,) * 2)).astype(bool)
    rows, columns = np.nonzero(unsure)
    sums, total = np.zeros((len(rows), 2)), np.zeros(len(rows))
    steps = np.arange(-(RADIUS_PX // STEP_PX), RADIUS_PX // STEP_PX + 1) * STEP_PX
    for dy in steps:
        for dx in steps:
            y, x = rows + dy, columns + dx
            inside = (y >= 0) & (y < unsure.shape[0]) & (x >= 0) & (x < unsure.shape[1])
            y, x = np.where(inside, y, 0), np.where(inside, x, 0)
            unlike = ((frame[rows, columns].astype(float) - frame[y, x]) ** 2).sum(axis=1) / ALIKE**2
            weight = (inside & ~unsure[y, x]) / ((1 + (dx**2 + dy**2) / NEAR_PX**2) ** 2 * (1 + unlike) ** 2)
            sums, total = sums + weight[:, None] * flow_px[y, x], total + weight
    filled = flow_px.copy()
    filled[rows[total > 0], columns[total > 0]] = (sums / np.maximum(total, 1e-30)[:, None])[total > 0]
    return filled


@pytest.mark.parametrize("size", [(40, 53), (1, 1), (3, 70), (70, 2)])
def test_compiled_code_does_what_the_equation_says(rng: np.random.Generator, size: tuple[int, int]) -> None:
    frame = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    flow = rng.normal(0, 5, (*size, 2)).astype(np.float32)
    hidden = rng.random(size) < 0.02
    before = flow.copy()
    np.testing.assert_allclose(filled_flow(frame, flow, hidden), plainly_filled(frame, flow, hidden), atol=1e-4)
    np.testing.assert_array_equal(flow, before)


def test_what_is_hidden_moves_with_what_looks_like_it() -> None:
    """A grey disc moves over a dark wall; the wall that it hides next moves with the wall, not with the disc."""
    rows, columns = np.mgrid[:60, :80]
    disc = (columns - 30) ** 2 + (rows - 30) ** 2 < 15**2
    frame = np.where(disc[..., None], 170, 20).repeat(3, -1).astype(np.uint8)
    true = np.where(disc[..., None], (10.0, 0.0), (1.0, -1.0)).astype(np.float32)
    hidden = ((columns - 40) ** 2 + (rows - 30) ** 2 < 15**2) & ~disc
    wrong = true.copy()
    wrong[hidden] = (10.0, 0.0)
    filled = filled_flow(frame, wrong, hidden)
    assert np.linalg.norm(filled - true, axis=-1)[hidden].max() < 0.3
    assert np.linalg.norm(wrong - true, axis=-1)[hidden].min() > 9
    far = cv2.dilate(hidden.astype(np.uint8), np.ones((2 * MARGIN_PX + 1,) * 2)) == 0
    np.testing.assert_array_equal(filled[far], true[far])


def test_nothing_hidden_and_all_hidden_stay(rng: np.random.Generator) -> None:
    frame, flow = np.zeros((20, 30, 3), np.uint8), rng.normal(0, 5, (20, 30, 2)).astype(np.float32)
    for hidden in (np.zeros((20, 30), bool), np.ones((20, 30), bool)):
        np.testing.assert_array_equal(filled_flow(frame, flow, hidden), flow)


def test_one_motion_stays_one_motion(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (50, 40, 3)).astype(np.uint8)
    flow = np.full((50, 40, 2), (3.5, -2.0), np.float32)
    np.testing.assert_allclose(filled_flow(frame, flow, rng.random((50, 40)) < 0.05), flow, atol=1e-5)
