"""Drawing a stack of moving textured layers, and the exact flow between two pictures of it; compiled by numba.

A layer point u (pixels of its texture) lies in a picture at p = P(u + b(u)): P is a homography and b a bilinear lattice
of displacements whose slope stays below `MAX_SLOPE`. So u of a pixel is found by a fixed-point iteration that always
converges, and p of a layer point is one evaluation: flow in both directions is exact. Layers are ordered from the
nearest to the farthest; the last one is the background, endless by reflection. Pixel centres are at integers.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

LATTICE = 33  # points a side, laid over the texture
MAX_SLOPE = 0.2  # bound of the change of a displacement over one layer pixel
_STEPS = 14
_CLOSE_PX = 1e-3  # a step this small leaves an error below _CLOSE_PX * slope / (1 - slope)
_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "arcp"}}
_EDGE_PX = 1e-4  # a point this far out is still inside: flow along the border has rounding errors
_OPAQUE = 127.5  # a layer with at least this coverage is what a pixel shows


class Stack(NamedTuple):
    """The textures of N layers: RGBA rows `pixels` (total,4) uint8, where each starts (N,), heights, widths (N,2)."""

    pixels: np.ndarray
    start: np.ndarray
    size_hw: np.ndarray


class Placement(NamedTuple):
    """How the layers lie in one picture: homographies layer -> picture (N,3,3) and back, displacements (N,L,L,2) in
    layer px, whether (N,) there are any, and boxes (N,4) x0 y0 x1 y1 outside of which a layer is not seen."""

    to_picture: np.ndarray
    from_picture: np.ndarray
    bend: np.ndarray
    bent: np.ndarray
    box: np.ndarray


class Drawing(NamedTuple):
    """Colours (H,W,3) float32, the layer seen (H,W) int8 and the point of it (H,W,2) float64 at each pixel centre."""

    colour: np.ndarray
    layer: np.ndarray
    place: np.ndarray


def pack(textures: list[np.ndarray]) -> Stack:
    """The stack of RGBA textures (h,w,4) uint8, nearest first."""
    size_hw = np.array([texture.shape[:2] for texture in textures], np.int64)
    start = np.concatenate([[0], np.cumsum(size_hw.prod(1))[:-1]]).astype(np.int64)
    return Stack(np.concatenate([texture.reshape(-1, 4) for texture in textures]), start, size_hw)


def place(stack: Stack, to_picture: np.ndarray, bend: np.ndarray) -> Placement:
    """A placement; a layer's box holds its texture's corners moved by the largest displacement."""
    count = len(to_picture)
    box = np.empty((count, 4))
    reach = np.abs(bend).max(axis=(1, 2)).astype(float)
    for index in range(count - 1):
        (height, width), (far_x, far_y) = stack.size_hw[index], reach[index]
        x, y = (-1 - far_x, width + far_x), (-1 - far_y, height + far_y)
        corners = to_picture[index] @ np.array([(x[i], y[j], 1.0) for i in (0, 1) for j in (0, 1)]).T
        if (corners[2] <= 0).any():
            raise ValueError(f"layer {index} reaches the horizon: its tilt is too strong for its size")
        flat = corners[:2] / corners[2]
        box[index] = [*flat.min(1), *flat.max(1)]
    box[-1] = [-1e9, -1e9, 1e9, 1e9]
    return Placement(to_picture, np.linalg.inv(to_picture), bend.astype(np.float32), reach.any(1), box)


def draw(stack: Stack, placement: Placement, size_hw: tuple[int, int]) -> Drawing:
    """What each pixel of a picture shows; layers are laid over each other with soft edges."""
    colour = np.empty((*size_hw, 3), np.float32)
    layer, point = np.empty(size_hw, np.int8), np.empty((*size_hw, 2))
    _draw(stack, placement, colour, layer, point)
    return Drawing(colour, layer, point)


def flow_between(stack: Stack, one: Drawing, other: Drawing, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Flow (H,W,2) float32 px from `one` to `other`, which `placement` placed; and (H,W) bool where a pixel's point is
    hidden there: behind a nearer layer, or outside the picture."""
    flow, hidden = np.empty((*one.layer.shape, 2), np.float32), np.empty(one.layer.shape, np.bool_)
    _flow(stack, one, other, placement, flow, hidden)
    return flow, hidden


@numba.njit(**_FAST)
def _bend_at(bend: Any, layer: int, x: float, y: float) -> tuple[float, float]:
    """Displacement at lattice coordinates, held constant beyond the lattice."""
    last = bend.shape[1] - 1
    x, y = min(max(x, 0.0), last - 1e-9), min(max(y, 0.0), last - 1e-9)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    c = (1.0 - a) * (1.0 - b)
    d, e, f = a * (1.0 - b), (1.0 - a) * b, a * b
    above, below = c * bend[layer, j, i, 0] + d * bend[layer, j, i + 1, 0], e * bend[layer, j + 1, i, 0]
    u = above + below + f * bend[layer, j + 1, i + 1, 0]
    above, below = c * bend[layer, j, i, 1] + d * bend[layer, j, i + 1, 1], e * bend[layer, j + 1, i, 1]
    return u, above + below + f * bend[layer, j + 1, i + 1, 1]


@numba.njit(**_FAST)
def _projected(matrices: Any, layer: int, x: float, y: float) -> tuple[float, float]:
    """(x, y) moved by one of the homographies. (Rows taken out of arrays would be counted references: slow.)"""
    depth = 1.0 / (matrices[layer, 2, 0] * x + matrices[layer, 2, 1] * y + matrices[layer, 2, 2])
    to_x = matrices[layer, 0, 0] * x + matrices[layer, 0, 1] * y + matrices[layer, 0, 2]
    to_y = matrices[layer, 1, 0] * x + matrices[layer, 1, 1] * y + matrices[layer, 1, 2]
    return to_x * depth, to_y * depth


@numba.njit(**_FAST)
def _displacement(
    bend: Any, layer: int, step: tuple[float, float], bent: tuple[float, float], guess: tuple[float, float]
) -> tuple[float, float]:
    """The displacement d of the point u with u + d(u) = `bent`; the iteration starts at `guess`, `step` is lattice
    cells per px."""
    move_x, move_y = guess
    for _ in range(_STEPS):
        new_x, new_y = _bend_at(bend, layer, (bent[0] - move_x) * step[0], (bent[1] - move_y) * step[1])
        change = abs(new_x - move_x) + abs(new_y - move_y)
        move_x, move_y = new_x, new_y
        if change < _CLOSE_PX:
            break
    return move_x, move_y


@numba.njit(**_FAST)
def _reflected(at: float, size: int) -> float:
    """A coordinate folded into 0..size-1, short of the end by a trifle."""
    last = size - 1.000001
    if at < 0.0 or at > last:
        at = abs(at) % (2.0 * last)
        if at > last:
            at = 2.0 * last - at
    return at


@numba.njit(**_FAST)
def _sample(pixels: Any, start: int, width: int, x: float, y: float, channel: int) -> float:
    """Bilinear value of one channel; (x, y) lies inside, short of the last row and column."""
    i, j = int(x), int(y)
    a, b = x - i, y - j
    row = start + j * width + i
    above = (1.0 - a) * pixels[row, channel] + a * pixels[row + 1, channel]
    below = (1.0 - a) * pixels[row + width, channel] + a * pixels[row + width + 1, channel]
    return (1.0 - b) * above + b * below


@numba.njit(**_FAST)
def _draw(stack: Any, placement: Any, colour: Any, seen: Any, place: Any) -> None:
    pixels, start, size_hw = stack.pixels, stack.start, stack.size_hw
    inverse, bend, box = placement.from_picture, placement.bend, placement.box
    count, (height, width, _) = len(start), colour.shape
    last = bend.shape[1] - 1
    guess = np.zeros((count, 4))  # displacement at the layer's last pixel and its change there
    for y in range(height):
        guess[:, 2:] = 0
        for x in range(width):
            red = green = blue = 0.0
            rest, nearest = 1.0, -1
            for k in range(count):
                if x < box[k, 0] or y < box[k, 1] or x > box[k, 2] or y > box[k, 3]:
                    continue
                rows, columns = size_hw[k, 0], size_hw[k, 1]
                u, v = _projected(inverse, k, x, y)
                if placement.bent[k]:
                    step = (last / (columns - 1.0), last / (rows - 1.0))
                    start_at = (guess[k, 0] + guess[k, 2], guess[k, 1] + guess[k, 3])
                    du, dv = _displacement(bend, k, step, (u, v), start_at)
                    u, v = u - du, v - dv
                    if x > 0:
                        guess[k, 2], guess[k, 3] = du - guess[k, 0], dv - guess[k, 1]
                    guess[k, 0], guess[k, 1] = du, dv
                at_u, at_v, cover = u, v, 255.0
                if k == count - 1:
                    at_u, at_v = _reflected(u, columns), _reflected(v, rows)
                elif u < 0 or v < 0 or u >= columns - 1 or v >= rows - 1:
                    continue
                else:
                    cover = _sample(pixels, start[k], columns, u, v, 3)
                    if cover < 0.5:
                        continue
                part = rest * cover / 255.0
                red += part * _sample(pixels, start[k], columns, at_u, at_v, 0)
                green += part * _sample(pixels, start[k], columns, at_u, at_v, 1)
                blue += part * _sample(pixels, start[k], columns, at_u, at_v, 2)
                rest -= part
                if nearest < 0 and cover >= _OPAQUE:
                    nearest = k
                    place[y, x, 0], place[y, x, 1] = u, v
                if rest < 0.004 and nearest >= 0:
                    break
            colour[y, x, 0], colour[y, x, 1], colour[y, x, 2] = red, green, blue
            seen[y, x] = nearest


@numba.njit(**_FAST)
def _covered(stack: Any, placement: Any, layer: int, x: float, y: float) -> bool:
    """Whether a layer nearer than `layer` covers the picture point (x, y)."""
    bend, box, size_hw = placement.bend, placement.box, stack.size_hw
    last = bend.shape[1] - 1
    for k in range(layer):
        if x < box[k, 0] or y < box[k, 1] or x > box[k, 2] or y > box[k, 3]:
            continue
        rows, columns = size_hw[k, 0], size_hw[k, 1]
        step = (last / (columns - 1.0), last / (rows - 1.0))
        u, v = _projected(placement.from_picture, k, x, y)
        du, dv = _displacement(bend, k, step, (u, v), (0.0, 0.0))
        u, v = u - du, v - dv
        if u < 0 or v < 0 or u >= columns - 1 or v >= rows - 1:
            continue
        if _sample(stack.pixels, stack.start[k], columns, u, v, 3) >= _OPAQUE:
            return True
    return False


@numba.njit(**_FAST)
def _flow(stack: Any, one: Any, other: Any, placement: Any, flow: Any, hidden: Any) -> None:
    forth, bend, size_hw = placement.to_picture, placement.bend, stack.size_hw
    seen, place, seen_there = one.layer, one.place, other.layer
    height, width = seen.shape
    last = bend.shape[1] - 1
    for y in range(height):
        for x in range(width):
            k, u, v = seen[y, x], place[y, x, 0], place[y, x, 1]
            rows, columns = size_hw[k, 0], size_hw[k, 1]
            du, dv = _bend_at(bend, k, u * last / (columns - 1.0), v * last / (rows - 1.0))
            u, v = u + du, v + dv
            to_x, to_y = _projected(forth, k, u, v)
            flow[y, x, 0], flow[y, x, 1] = to_x - x, to_y - y
            inside = -_EDGE_PX <= to_x <= width - 1 + _EDGE_PX and -_EDGE_PX <= to_y <= height - 1 + _EDGE_PX
            hidden[y, x] = not inside
            if not inside:
                continue
            i, j = min(max(int(to_x), 0), width - 1), min(max(int(to_y), 0), height - 1)
            i1, j1 = min(i + 1, width - 1), min(j + 1, height - 1)
            above = seen_there[j, i] == k and seen_there[j, i1] == k
            alone = above and seen_there[j1, i] == k and seen_there[j1, i1] == k
            if not alone:  # near an edge the coverage itself decides
                hidden[y, x] = _covered(stack, placement, k, to_x, to_y)
