"""Hair of synthetic people: where it is, how varied, and that the face itself stays free."""

import numpy as np

from train.hair import BALD, THICKEST_MM, hair_colour, hair_cover, stand_off_mm


def head(count: int = 4000) -> np.ndarray:
    """Points on an ellipsoid as large as a head, in the mean head's coordinates."""
    points = np.random.default_rng(0).standard_normal((count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * [80, 110, 90] + [0, -20, 30]


def covers(count: int = 200) -> np.ndarray:
    rng, points = np.random.default_rng(1), head()
    return np.stack([hair_cover(points, rng) for _ in range(count)])


def test_some_are_bald_and_the_others_are_not() -> None:
    bald = ~covers().any(axis=1)
    assert abs(bald.mean() - BALD) < 0.12


def test_cover_is_a_share() -> None:
    cover = covers()
    assert cover.min() >= 0 and cover.max() <= 1


def test_crown_more_than_forehead_more_than_nose() -> None:
    """Hair begins at the top and at the back; the nose and the mouth are always free."""
    points, cover = head(), covers().mean(axis=0)
    crown, forehead = points[:, 1] > 80, (abs(points[:, 1] - 45) < 10) & (points[:, 2] > 80)
    face = (points[:, 2] > 105) & (points[:, 1] < 0)
    assert cover[crown].mean() > cover[forehead].mean() > cover[face].mean()
    assert cover[face].max() < 0.02


def test_hair_stands_off_only_where_it_is() -> None:
    rng, cover = np.random.default_rng(2), covers()[0]
    off = stand_off_mm(np.where(np.arange(len(cover)) % 2, cover, 0.0), rng)
    assert not off[::2].any() and (off >= 0).all() and off.max() <= THICKEST_MM


def test_strands_vary_about_the_colour() -> None:
    rng, colour = np.random.default_rng(3), np.array([0.4, 0.3, 0.2])
    strands = hair_colour(head(), colour, rng)
    np.testing.assert_allclose(strands.mean(axis=0), colour, rtol=0.15)
    assert strands.std(axis=0).min() > 0.005 and strands.min() > 0
