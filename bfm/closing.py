"""Lids that close and lips that part without passing each other: small corrections of resampled blendshapes."""

import numpy as np

from bfm.topology import LENSES, ROWS, Lens, lens_rows

FOLLOWING_ROWS = 5  # rows beyond an edge that follow it, ever less
MOUTH = next(lens for lens in LENSES if lens.name == "mouth")


def _edges(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Vertex indices of the upper and of the lower edge of an opening, its corners left out."""
    columns, upper, lower = lens_rows(lens)
    return (upper * ROWS + columns)[1:-1], (lower * ROWS + columns)[1:-1]


def _shift(shape: np.ndarray, edge: np.ndarray, by: np.ndarray, outwards: int) -> None:
    """Move an edge and the rows beyond it in place; `outwards` is -1 above an opening, 1 below it."""
    for step in range(FOLLOWING_ROWS):
        shape[edge + outwards * step * ROWS] += by * (1 - step / FOLLOWING_ROWS)


def _hang(shape: np.ndarray, lens: Lens) -> None:
    """Put the rows inside an opening back between its edges, in place."""
    for top, bottom in zip(*_edges(lens), strict=True):
        count = (bottom - top) // ROWS
        t = np.arange(1, count)[:, None] / count
        shape[top + ROWS : bottom : ROWS] = (1 - t) * shape[top] + t * shape[bottom]


def closed(base: np.ndarray, shape: np.ndarray, lens: Lens, moving: str) -> np.ndarray:
    """The blendshape completed until both edges meet when it acts at full strength on `base`; one edge moves."""
    completed = shape.copy()
    upper, lower = _edges(lens)
    gap = (base + shape)[lower] - (base + shape)[upper]
    if moving == "upper":
        _shift(completed, upper, gap, -1)
    else:
        _shift(completed, lower, -gap, 1)
    _hang(completed, lens)
    return completed


def uncrossed(mean: np.ndarray, shape: np.ndarray, lens: Lens) -> np.ndarray:
    """The blendshape with both edges pushed apart, half each, where at full strength the lower one passes the upper."""
    corrected = shape.copy()
    upper, lower = _edges(lens)
    passed = np.minimum((mean + shape)[upper, 1] - (mean + shape)[lower, 1], 0)[:, None] * [0, 1, 0]
    _shift(corrected, upper, -passed / 2, -1)
    _shift(corrected, lower, passed / 2, 1)
    _hang(corrected, lens)
    return corrected


def closing_shapes(mean: np.ndarray, shapes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All blendshapes corrected: blinks close the lids, `mouthClose` closes an open jaw's lips, lips never cross."""
    fixed = dict(shapes)
    for lens in LENSES:
        if lens.name != "mouth":
            name = "eyeBlink" + lens.name.split("_")[0].capitalize()
            fixed[name] = closed(mean, fixed[name], lens, moving="upper")
    for name, shape in fixed.items():
        if name != "mouthClose":
            fixed[name] = uncrossed(mean, shape, MOUTH)
    fixed["mouthClose"] = closed(mean + fixed["jawOpen"], fixed["mouthClose"], MOUTH, moving="lower")
    return fixed
