"""Semantic regions of the embedded model, drawn in grid coordinates around ICT-FaceKit's Multi-PIE landmarks."""

import numpy as np

from bfm.topology import LENSES, ROWS, Grid

REGION_NAMES = ("skin", "brows", "eyes", "nose", "upper_lip", "lower_lip", "inner_mouth", "ears", "neck")


def _inside(points: np.ndarray, outline: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Which grid points (P,2) lie in a polygon (N,2), widened by `margin` cells: an odd number of crossings to the
    left."""
    centre = outline.mean(0)
    length = np.linalg.norm(outline - centre, axis=1, keepdims=True)
    one = centre + (outline - centre) * (1 + margin / np.maximum(length, 1e-6))
    two = np.roll(one, -1, axis=0)
    y = points[:, 1, None]
    spans = (one[:, 1] > y) != (two[:, 1] > y)
    rise = np.where(two[:, 1] == one[:, 1], 1.0, two[:, 1] - one[:, 1])
    crossing = one[:, 0] + (y - one[:, 1]) / rise * (two[:, 0] - one[:, 0])
    return (spans & (crossing < points[:, 0, None])).sum(1) % 2 == 1


def _brow(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Grid points within two cells of a brow's polyline (5,2)."""
    a, b = line[:-1], line[1:]
    t = ((points[:, None] - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1)
    nearest = a + t.clip(0, 1)[..., None] * (b - a)
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1) < 1.7


def vertex_regions(mean: np.ndarray, grid: Grid, places: np.ndarray) -> np.ndarray:
    """(V,) index into REGION_NAMES; `places` (68,2) are landmarks in grid coordinates (column, row), `mean` (V,3)
    mm."""
    row, column = (x.ravel().astype(float) for x in np.mgrid[:ROWS, :ROWS])
    points = np.stack([column, row], 1)
    region = np.zeros(len(points), int)
    names = {name: number for number, name in enumerate(REGION_NAMES)}
    chin = mean[np.argmin(np.linalg.norm(points - places[8], axis=1))]
    region[(mean[:, 1] < chin[1] - 4) | ((row > places[8, 1] + 4) & (mean[:, 1] < chin[1] + 25))] = names["neck"]
    ear = (
        (np.abs(mean[:, 0]) > 0.84 * np.abs(mean[:, 0]).max())
        & ((column < 14) | (column > ROWS - 15))
        & (row > 26)
        & (row < 60)
    )
    region[ear] = names["ears"]
    for brow in (places[17:22], places[22:27]):
        region[_brow(points, brow)] = names["brows"]
    nose = places[[27, 31, 32, 33, 34, 35]]
    region[_inside(points, nose, margin=3.0)] = names["nose"]
    mouth = next(lens for lens in LENSES if lens.name == "mouth")
    lips = _inside(points, places[48:60], margin=0.5)
    region[lips & (row <= mouth.row)] = names["upper_lip"]
    region[lips & (row > mouth.row)] = names["lower_lip"]
    for number, lens in enumerate(LENSES):
        region[grid.lens == number] = names["inner_mouth" if lens.name == "mouth" else "eyes"]
    return region
