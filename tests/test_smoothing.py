"""Smoothing keeps what moves evenly, takes away what jitters, and leaves blinks alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from face3d.smoothing import smooth_rotations, smooth_values

FRAMES = np.arange(60)


def with_gap(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:23], frames[23:] + 9])


def turning(frames: np.ndarray, axis: np.ndarray) -> np.ndarray:
    start = Rotation.from_rotvec([2.0, -1.0, 0.4])
    return (start * Rotation.from_rotvec(frames[:, None] * axis)).as_matrix()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), gap=st.booleans())
def test_even_motion_is_kept_exactly(seed: int, count: int, gap: bool) -> None:
    """Also at the ends, over gaps, whatever the precision: no lag."""
    rng = np.random.default_rng(seed)
    frames = with_gap(FRAMES)[15 : 15 + count] if gap else FRAMES[:count]
    values = rng.normal(size=(1, 4, 3)) + frames[:, None, None] * rng.normal(size=(1, 4, 3))
    precision = rng.uniform(0.1, 5, count)
    np.testing.assert_allclose(smooth_values(frames, values, precision), values, atol=1e-9)
    constant = np.repeat(values[:1], count, axis=0)
    np.testing.assert_allclose(smooth_values(frames, constant, precision), constant, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), gap=st.booleans())
def test_even_turning_is_kept_exactly(seed: int, count: int, gap: bool) -> None:
    rng = np.random.default_rng(seed)
    frames = with_gap(FRAMES)[15 : 15 + count] if gap else FRAMES[:count]
    rotations = turning(frames, rng.normal(size=3) * 0.05)
    np.testing.assert_allclose(smooth_rotations(frames, rotations, rng.uniform(0.1, 5, count)), rotations, atol=1e-9)


def test_a_still_face_jitters_less(rng: np.random.Generator) -> None:
    values = 100 + rng.normal(size=(60, 68, 3))
    smooth = smooth_values(FRAMES, values)
    assert (smooth - 100).std() < 0.55 * (values - 100).std()
    assert np.diff(smooth, axis=0).std() < 0.4 * np.diff(values, axis=0).std()


def test_rotations_stay_rotations_and_jitter_less(rng: np.random.Generator) -> None:
    truth = turning(FRAMES, np.array([0.0, 0.02, 0.01]))
    noisy = (Rotation.from_matrix(truth) * Rotation.from_rotvec(0.02 * rng.normal(size=(60, 3)))).as_matrix()
    smooth = smooth_rotations(FRAMES, noisy)
    np.testing.assert_allclose(smooth @ smooth.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (60, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(smooth), 1, atol=1e-9)
    error = [Rotation.from_matrix(truth.transpose(0, 2, 1) @ other).magnitude() for other in (noisy, smooth)]
    assert error[1].mean() < 0.65 * error[0].mean()


def test_rotations_do_not_depend_on_the_axes(rng: np.random.Generator) -> None:
    """Unlike Euler angles: smoothing commutes with turning the camera and the model, past 180 degrees too."""
    noisy = (
        turning(FRAMES, np.array([0.0, 0.15, 0.0])) @ Rotation.from_rotvec(rng.normal(size=(60, 3)) / 50).as_matrix()
    )
    camera, model = Rotation.random(2, rng=rng).as_matrix()
    smooth = smooth_rotations(FRAMES, noisy)
    np.testing.assert_allclose(smooth_rotations(FRAMES, camera @ noisy @ model), camera @ smooth @ model, atol=1e-9)


def test_a_blink_is_not_smoothed_away(rng: np.random.Generator) -> None:
    values = np.zeros((60, 1, 1))
    values[30:34, 0, 0] = [0.5, 1.0, 1.0, 0.4]
    smooth = smooth_values(FRAMES, values + 0.01 * rng.normal(size=values.shape))
    assert smooth[31:33].min() > 0.9
    assert np.argmax(smooth) in (31, 32)


def test_jumps_larger_than_any_noise_are_motion(rng: np.random.Generator) -> None:
    values = 10 * rng.normal(size=(60, 1, 3))
    assert np.abs(smooth_values(FRAMES, values) - values).mean() > 3
    assert np.abs(smooth_values(FRAMES, values, most_noise=0.5) - values).mean() < 0.1
    turned = Rotation.from_rotvec(rng.normal(size=(60, 3))).as_matrix()
    np.testing.assert_allclose(smooth_rotations(FRAMES, turned, most_noise=0.01), turned, atol=0.01)


def test_a_frame_that_the_networks_doubt_counts_less(rng: np.random.Generator) -> None:
    noise = 0.1 * rng.normal(size=(60, 1, 1))
    noise[30] = 0.4
    precision = np.where(FRAMES == 30, 1 / 16, 1.0)
    known, unknown = smooth_values(FRAMES, noise, precision), smooth_values(FRAMES, noise)
    assert np.abs(known[28:33]).max() < np.abs(unknown[28:33]).max()


def test_types_are_kept_and_few_frames_are_left_alone(rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 2, 3)).astype(np.float32)
    smooth = smooth_values(np.array([4, 5, 6]), values)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(smooth, values, atol=1e-6)
    assert smooth_rotations(np.array([7]), np.eye(3, dtype=np.float32)[None]).dtype == np.float32


@pytest.mark.parametrize(
    ("frames", "precision"), [([1, 1, 2], [1, 1, 1]), ([0, 1, 2], [1, 0, 1]), ([0, 1, 2], [1, np.nan, 1]), ([], [])]
)
def test_wrong_frames_and_precision(frames: list[int], precision: list[float]) -> None:
    with pytest.raises(ValueError, match="ascending frame numbers"):
        smooth_values(np.array(frames, int), np.zeros((len(frames), 1, 1)), np.array(precision, float))
