"""Crop geometry, warps and sampling share one pixel-centre convention."""

import numpy as np
import pytest
import torch

from face3d.image import crop_transform, sample_bilinear, square_around, transform_points, warp


def smooth_image(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    channels = [128 + 90 * np.sin(x / 23), 128 + 90 * np.cos(y / 17), 128 + 60 * np.sin((x + y) / 31)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def test_crop_transform_is_the_documented_formula() -> None:
    transform = crop_transform(np.array([40.0, 30.0]), 20.0, 10)
    points = np.array([[40.0, 30.0], [30.0, 20.0], [49.5, 39.5]])
    np.testing.assert_allclose(transform_points(transform, points), (points - [40, 30]) * 0.5 + 4.5)


def test_turned_crop_shows_a_leaning_face_upright() -> None:
    """The top of a head that leans 30 degrees clockwise comes out straight above its centre."""
    angle = np.deg2rad(30)
    top = np.array([[100.0, 100.0]]) + 40 * np.array([[np.sin(angle), -np.cos(angle)]])
    moved = transform_points(crop_transform(np.array([100.0, 100.0]), 100.0, 101, angle_deg=30.0), top)
    np.testing.assert_allclose(moved, [[50.0, 50.0 - 40 * 1.01]])


def test_points_round_trip_with_depth(rng: np.random.Generator) -> None:
    transform = crop_transform(np.array([12.0, -7.0]), 37.0, 128, angle_deg=12.0)
    points = rng.normal(size=(6, 3)) * 50
    moved = transform_points(transform, points)
    np.testing.assert_allclose(transform_points(np.linalg.inv(transform), moved), points)
    np.testing.assert_allclose(moved[:, 2], points[:, 2] * 128 / 37)


def test_square_holds_the_points() -> None:
    centre, side = square_around(np.array([[10.0, 20.0], [30.0, 60.0], [15.0, 25.0]]), 1.5)
    np.testing.assert_allclose(centre, [20, 40])
    assert side == pytest.approx(60)


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.full((3, 2), np.nan), np.ones((4, 2))])
def test_square_needs_points(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="square needs"):
        square_around(points, 1.5)


def test_crop_needs_a_size() -> None:
    for side, size in ((0.0, 10), (-1.0, 10), (float("nan"), 10), (5.0, 0)):
        with pytest.raises(ValueError, match="crop needs"):
            crop_transform(np.zeros(2), side, size)


def test_points_need_two_or_three_columns() -> None:
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        transform_points(np.eye(3), np.zeros((4, 4)))


def test_whole_pixel_shift_is_exact(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    shift = np.array([[1.0, 0, -7], [0, 1, -4], [0, 0, 1]])
    np.testing.assert_array_equal(warp(image, shift, (10, 12)), image[4:14, 7:19])


def test_identity_crop_of_a_square_image_is_the_image(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    transform = crop_transform(np.array([15.5, 15.5]), 32.0, 32)
    np.testing.assert_array_equal(warp(image, transform, (32, 32)), image)


@pytest.mark.parametrize("side", [90.0, 300.0, 460.0])
def test_warp_shows_the_right_place_at_any_scale(side: float) -> None:
    image = smooth_image(400, 500)
    centre = np.array([243.0, 201.0])
    transform = crop_transform(centre, side, 64, angle_deg=10.0)
    crop = warp(image, transform, (64, 64), "replicate")
    grid = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), axis=-1).reshape(-1, 2)
    seen = transform_points(np.linalg.inv(transform), grid)
    inside = ((seen > 8) & (seen < [491, 391])).all(axis=-1)
    x, y = seen.T
    expected = np.stack([128 + 90 * np.sin(x / 23), 128 + 90 * np.cos(y / 17), 128 + 60 * np.sin((x + y) / 31)], -1)
    assert np.abs(crop.reshape(-1, 3) - expected)[inside].mean() < 1.2


def test_strong_shrinking_averages() -> None:
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[:, :, None], 3, axis=2)
    crop = warp(image, crop_transform(np.array([255.5, 255.5]), 400.0, 40), (40, 40))
    assert np.abs(crop.astype(float) - 127.5).max() < 4


def test_huge_and_distant_regions() -> None:
    image = np.full((10, 40_000, 3), 77, np.uint8)
    thumbnail = warp(image, crop_transform(np.array([20_000.0, 5.0]), 40_000.0, 100), (100, 100), "replicate")
    assert thumbnail.shape == (100, 100, 3) and (thumbnail == 77).all()
    near_end = warp(image, crop_transform(np.array([39_990.0, 5.0]), 10.0, 20), (20, 20))
    assert (near_end[5:15, 5:15] == 77).all()
    outside = warp(image, crop_transform(np.array([-500.0, -500.0]), 50.0, 20), (20, 20))
    assert (outside == 0).all()


def test_reflection_mirrors_the_image_at_its_border(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    shift = np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]])
    shown = warp(image, shift, (40, 35), "reflect")
    np.testing.assert_array_equal(shown[:, 30:], image[:, :5])
    np.testing.assert_array_equal(shown[:, :30], image[:, 30:0:-1])


def test_sampling_hits_pixel_centres_and_interpolates() -> None:
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[0.0, 0.0], [3.0, 2.0], [1.5, 0.5], [-5.0, 9.0]]])
    torch.testing.assert_close(sample_bilinear(images, points)[0, 0], torch.tensor([0.0, 11.0, 3.5, 8.0]))
    assert sample_bilinear(torch.ones(1, 2, 1, 1), points).eq(1).all()


def test_sampling_gradients() -> None:
    images = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(2, 4, 2, dtype=torch.float64) * 3 + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(sample_bilinear, (images, points))
