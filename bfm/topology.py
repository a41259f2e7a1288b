"""The UV-grid topology of the embedded model: a square of ROWS x ROWS vertices, resampled from the ICT-FaceKit skin.

The skin is parametrised anew over the square: its outer border goes to the border of the square, the two eye openings
and the mouth opening to lenses (parabola arcs) that are wide enough to hold grid rows of their own.  In between, every
vertex is the mean-value average of its neighbours (Floater 2003, eq. 2.1), solved as one sparse linear system.  Each
grid
vertex is then a fixed linear combination of skin vertices, so shapes and blendshapes are resampled by one sparse
matrix.
Rows inside a lens hang between the two lids (or lips): they follow them linearly, so lids close and lips part without
the surface crossing itself.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

ROWS = 97


@dataclass(frozen=True)
class Lens:
    """An opening of the skin in grid coordinates (column, row): half an eye or mouth above and below `row`."""

    name: str
    column: int
    row: int
    half_width: int
    half_height: float

    def rise(self, columns: np.ndarray) -> np.ndarray:
        """Distance of the border from the centre line, in rows, at each column."""
        return self.half_height * np.clip(1 - ((columns - self.column) / self.half_width) ** 2, 0, None)


LENSES = (
    Lens("right_eye", 32, 29, 7, 2.4),
    Lens("left_eye", 64, 29, 7, 2.4),
    Lens("mouth", 48, 66, 9, 2.4),
)
# Rows for the face at the cost of forehead top and neck: source v, grid v (monotone cubic between them).
ROW_KNOTS = ((0.0, 0.2, 0.285, 0.435, 0.57, 0.75, 1.0), (0.0, 0.2, 0.312, 0.50, 0.677, 0.86, 1.0))


@dataclass(frozen=True)
class Grid:
    """The resampling: `matrix` (ROWS**2, skin vertices) plus `lens_fraction` of the rows that hang in an opening."""

    matrix: sparse.csr_matrix
    triangles: np.ndarray  # (F, 3) int32, counter-clockwise seen from outside
    uv: np.ndarray  # (V, 2) in [0, 1], u right, v down
    lens: np.ndarray  # (V,) index into LENSES of the opening a vertex hangs in, or -1
    lens_fraction: np.ndarray  # (V,) 0 at the upper border, 1 at the lower one; 0 outside
    grid: np.ndarray  # (ROWS, ROWS) vertex index


def triangulate(quads: np.ndarray) -> np.ndarray:
    """Triangles (F, 3) of quads (Q, 4), where -1 in the last place marks a triangle."""
    full = quads[quads[:, 3] >= 0]
    return np.concatenate([quads[:, :3], full[:, [0, 2, 3]]]).astype(np.int64)


def border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed border loops (vertex indices in the order of the border), longest first."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in known if (b, a) not in known}
    loops = []
    while following:
        start, current = next(iter(following.items()))
        loop = [start]
        del following[start]
        while current != start:
            loop.append(current)
            current = following.pop(current)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def _mean_value_weights(points: np.ndarray, triangles: np.ndarray) -> sparse.csr_matrix:
    """Row i holds the mean-value weights of vertex i over its neighbours, from the angles and lengths in `points`."""
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = (triangles[:, (corner + n) % 3] for n in range(3))
        a, b = points[j] - points[i], points[k] - points[i]
        length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(1) / np.maximum(length_a * length_b, 1e-12)
        half_tangent = np.sqrt((1 - cosine.clip(-1, 1)) / (1 + cosine.clip(-0.999, 1)))
        rows += [i, i]
        columns += [j, k]
        values += [half_tangent / np.maximum(length_a, 1e-6), half_tangent / np.maximum(length_b, 1e-6)]
    weights = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(len(points), len(points))
    )
    return sparse.diags(1 / np.asarray(weights.sum(1)).ravel()) @ weights


def _square_border(uv: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Places (len(loop), 2) on the border of the square, corners at the vertices nearest to the corners of `uv`."""
    corners_uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)  # u right, v down: clockwise on screen
    at = [int(np.argmin(((uv[loop] - c) ** 2).sum(1))) for c in corners_uv]
    placed = np.zeros((len(loop), 2))
    step = np.sign(((at[1] - at[0]) % len(loop)) - len(loop) / 2) or 1
    for side in range(4):
        begin, end = at[side], at[(side + 1) % 4]
        count = (end - begin) % len(loop) if step < 0 else (begin - end) % len(loop)
        index = (begin - int(step) * np.arange(count + 1)) % len(loop)
        length = np.linalg.norm(np.diff(uv[loop[index]], axis=0), axis=1)
        fraction = np.concatenate([[0], np.cumsum(length)]) / length.sum()
        start, stop = corners_uv[side], corners_uv[(side + 1) % 4]
        placed[index] = start + fraction[:, None] * (stop - start)
    return placed * (ROWS - 1)


def _split_loop(loop: np.ndarray, across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower chain of an opening, both from the smallest `across` to the largest."""
    first, last = int(np.argmin(across[loop])), int(np.argmax(across[loop]))
    rolled = np.roll(loop, -first)
    at = (last - first) % len(loop)
    one, two = rolled[: at + 1], np.concatenate([rolled[at:], rolled[:1]])[::-1]
    return (one, two) if down[one].mean() < down[two].mean() else (two, one)


def _lens_places(chain: np.ndarray, vertices: np.ndarray, lens: Lens, sign: float) -> np.ndarray:
    """Grid places of a chain along a lens border, spread by length."""
    length = np.linalg.norm(np.diff(vertices[chain], axis=0), axis=1)
    fraction = np.concatenate([[0], np.cumsum(length)]) / length.sum()
    columns = lens.column + lens.half_width * (2 * fraction - 1)
    return np.stack([columns, lens.row + sign * lens.rise(columns)], 1)


def parametrise(vertices: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, dict]:
    """Grid coordinates (column, row) of every skin vertex, and the lens borders {(name, sign): (chain, places)}."""
    uv = np.stack([uv[:, 0], PchipInterpolator(*ROW_KNOTS)(uv[:, 1])], 1)
    outer, *holes = border_loops(triangles)
    fixed: dict[int, np.ndarray] = {}
    borders: dict[tuple[str, float], tuple[np.ndarray, np.ndarray]] = {}
    fixed.update(zip(outer, _square_border(uv, outer), strict=True))
    for lens in LENSES:
        centre = np.array([lens.column, lens.row]) / (ROWS - 1)
        hole = min(holes, key=lambda loop: np.linalg.norm(uv[loop].mean(0) - centre))
        for chain, sign in zip(_split_loop(hole, uv[:, 0], -vertices[:, 1]), (-1.0, 1.0), strict=True):
            places = _lens_places(chain, vertices, lens, sign)
            fixed.update(zip(chain, places, strict=True))
            borders[lens.name, sign] = (chain, places)
    known = np.array(sorted(fixed))
    free = np.setdiff1d(np.arange(len(vertices)), known)
    place = np.zeros((len(vertices), 2))
    place[known] = [fixed[i] for i in known]
    weights = _mean_value_weights(uv, triangles)
    system = sparse.identity(len(free)) - weights[free][:, free]
    right = weights[free][:, known] @ place[known]
    place[free] = np.stack([spsolve(system.tocsc(), right[:, axis]) for axis in range(2)], 1)
    return place, borders


def _locate(points: np.ndarray, place: np.ndarray, triangles: np.ndarray) -> sparse.csr_matrix:
    """Barycentric weights (P, skin vertices) of grid points in the parametrised skin; outside points are clamped."""
    _, near = cKDTree(place[triangles].mean(1)).query(points, k=64)
    a, b, c = (place[triangles[near]][:, :, n] for n in range(3))
    p = points[:, None]
    area = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    w1 = ((p[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (p[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])) / area
    w2 = ((b[..., 0] - a[..., 0]) * (p[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (p[..., 0] - a[..., 0])) / area
    weights = np.nan_to_num(np.stack([1 - w1 - w2, w1, w2], -1), nan=-1e9)
    pick = weights.min(-1).argmax(1)
    every = np.arange(len(points))
    best = weights[every, pick].clip(0, 1)
    best /= best.sum(1, keepdims=True)
    index = triangles[near[every, pick]]
    return sparse.csr_matrix((best.ravel(), (np.repeat(every, 3), index.ravel())), shape=(len(points), len(place)))


def _border_weights(columns: np.ndarray, border: tuple[np.ndarray, np.ndarray], count: int) -> sparse.csr_matrix:
    """Weights (len(columns), count) of the points of a lens border at the given columns."""
    chain, places = border
    upper = np.clip(np.searchsorted(places[:, 0], columns), 1, len(chain) - 1)
    span = places[upper, 0] - places[upper - 1, 0]
    t = np.clip((columns - places[upper - 1, 0]) / span, 0, 1)
    rows = np.tile(np.arange(len(columns)), 2)
    index = np.concatenate([chain[upper - 1], chain[upper]])
    return sparse.csr_matrix((np.concatenate([1 - t, t]), (rows, index)), shape=(len(columns), count))


def _grid_triangles(border: dict[tuple[int, int], int]) -> np.ndarray:
    """Two triangles a cell, cut along the lens borders and mirrored about the middle column elsewhere.

    `border` maps (row, column) of a lens border vertex to a code of its border; ends of a lens carry both borders."""
    row, column = (x.ravel() for x in np.mgrid[: ROWS - 1, : ROWS - 1])
    falling = column >= (ROWS - 1) // 2
    for cell, (r, c) in enumerate(zip(row, column, strict=True)):
        if border.get((r, c), 0) & border.get((r + 1, c + 1), 0):
            falling[cell] = True
        elif border.get((r + 1, c), 0) & border.get((r, c + 1), 0):
            falling[cell] = False
    a, b = row * ROWS + column, row * ROWS + column + 1
    c, d = a + ROWS, b + ROWS
    one = np.where(falling[:, None], np.stack([a, c, d], 1), np.stack([a, c, b], 1))
    two = np.where(falling[:, None], np.stack([a, d, b], 1), np.stack([c, d, b], 1))
    return np.concatenate([one, two]).astype(np.int32)


def lens_rows(lens: Lens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of a lens with the grid rows that its upper and its lower border take there (equal at both ends)."""
    columns = np.arange(lens.column - lens.half_width, lens.column + lens.half_width + 1)
    rise = np.ceil(lens.rise(columns) - 0.5).astype(int)
    rise[1:-1] = np.maximum(rise[1:-1], 1)
    return columns, lens.row - rise, lens.row + rise


def build_grid(vertices: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> Grid:
    """Resample a skin mesh (V,3), its uv (V,2; u right, v down, in [0,1]) and triangles onto the square grid."""
    place, borders = parametrise(vertices, uv, triangles)
    row, column = (x.ravel().astype(float) for x in np.mgrid[:ROWS, :ROWS])
    matrix = _locate(np.stack([column, row], 1), place, triangles).tolil()
    lens_of = np.full(ROWS * ROWS, -1)
    fraction = np.zeros(ROWS * ROWS)
    codes: dict[tuple[int, int], int] = {}
    for number, lens in enumerate(LENSES):
        columns, upper, lower = lens_rows(lens)
        ends = {
            sign: _border_weights(columns.astype(float), borders[lens.name, sign], len(vertices))
            for sign in (-1.0, 1.0)
        }
        for at, c in enumerate(columns):
            count = lower[at] - upper[at]
            for step in range(count + 1):
                index, t = (upper[at] + step) * ROWS + c, step / max(count, 1)
                matrix[index] = (1 - t) * ends[-1.0][at] + t * ends[1.0][at]
                if 0 < step < count:
                    lens_of[index], fraction[index] = number, t
            for sign, r in ((1, upper[at]), (2, lower[at])):
                codes[r, c] = codes.get((r, c), 0) | sign << (2 * number)
    return Grid(
        matrix=matrix.tocsr(),
        triangles=_grid_triangles(codes),
        uv=np.stack([column, row], 1) / (ROWS - 1),
        lens=lens_of,
        lens_fraction=fraction,
        grid=np.arange(ROWS * ROWS).reshape(ROWS, ROWS),
    )


def mirror_index() -> np.ndarray:
    """(V,) the vertex on the other side of the face."""
    return np.arange(ROWS * ROWS).reshape(ROWS, ROWS)[:, ::-1].ravel()
