"""Hair of synthetic people: which part of the head it covers, in which colour, and how far it stands off.

A hairline over the forehead (from a fringe on the brows to a bald front), hair at the sides that ends above the ears or
hangs over them, an edge of strands. Coordinates are the mean head's: mm, y up, z forward, eyes near y = 0.
"""

import numpy as np

BALD = 0.3  # share of the people
THICKEST_MM = 18.0


def hair_cover(head_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much hair (V,) covers each vertex of the head (V,3), in 0..1; zeros for the bald."""
    if rng.random() < BALD:
        return np.zeros(len(head_mm))
    x, y, z = head_mm.T
    soft = rng.uniform(1.0, 6.0)
    strands = rng.uniform(0, 6) * _waves(x, z, rng)
    line = rng.uniform(22, 85) + rng.normal(0, 0.15) * x
    front = _above(y - line + strands, soft)
    ends = rng.choice([rng.uniform(0, 25), rng.uniform(-70, 0), -300.0])
    side = _above(rng.uniform(-5, 65) - z + strands, soft) * _above(y - ends + strands, soft)
    return np.maximum(front, side)


def hair_colour(head_mm: np.ndarray, hair: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour (V,3) of hair (3,) on each vertex of the head (V,3), with lighter and darker strands."""
    x, _, z = head_mm.T
    strands = 1 + rng.uniform(0, 0.35) * _waves(2 * x, 2 * z, rng) + rng.normal(0, 0.06, len(x))
    return hair * strands.clip(0.3, 2.0)[:, None]


def stand_off_mm(cover: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far (V,) the hair's surface lies outside of the skin."""
    return rng.uniform(1, THICKEST_MM) * cover


def _above(distance_mm: np.ndarray, soft_mm: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(distance_mm / soft_mm).clip(-30, 30)))


def _waves(x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few waves around the head, within about -1..1."""
    total = np.zeros(len(x))
    for _ in range(3):
        along = rng.normal(0, 0.25, 2)
        total += np.sin(along[0] * x + along[1] * z + rng.uniform(0, 2 * np.pi)) / 3
    return total
