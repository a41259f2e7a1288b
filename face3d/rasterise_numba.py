"""Rasteriser on the CPU: a z-buffer compiled by numba, and its numpy door for data generators.

Pixel centres at integers, x right, y down; smaller depth is nearer. A pixel on an edge belongs to the face: the sign of
the edge functions of float32 vertices is exact in float64, so neighbouring faces leave no hole. Of two equal depths the
first face stays.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from face3d.compiled import compiled


class NumpyFragments(NamedTuple):
    """What is seen at each pixel: face index (-1 none), barycentric weights (0 where none), depth (+inf where none)."""

    triangle: Int32[np.ndarray, "H W"]
    barycentric: Float32[np.ndarray, "H W 3"]
    depth: Float32[np.ndarray, "H W"]


def _fill(vertices: Any, triangles: Any, cull: bool, area_epsilon: float, triangle: Any, depth: Any) -> None:
    """Nearest face and its depth at each pixel (compiled; see `rasterise_numpy`)."""
    height, width = triangle.shape
    for face in range(triangles.shape[0]):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        x0, y0 = np.float64(vertices[a, 0]), np.float64(vertices[a, 1])
        x1, y1 = np.float64(vertices[b, 0]), np.float64(vertices[b, 1])
        x2, y2 = np.float64(vertices[c, 0]), np.float64(vertices[c, 1])
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or not abs(area) < 1e300 or (cull and area > 0.0):
            continue
        left, right = max(min(x0, x1, x2), 0.0), min(max(x0, x1, x2), width - 1.0)
        top, bottom = max(min(y0, y1, y2), 0.0), min(max(y0, y1, y2), height - 1.0)
        if not (left <= right and top <= bottom):
            continue
        z0, z1, z2 = np.float64(vertices[a, 2]), np.float64(vertices[b, 2]), np.float64(vertices[c, 2])
        if not abs(z0 + z1 + z2) < 1e300:
            continue
        sign = 1.0 if area > 0.0 else -1.0
        inverse = sign / (area - area_epsilon)
        ax, ay = (y1 - y2) * sign, (x2 - x1) * sign  # edge functions, positive inside: weights of vertices 0, 1, 2
        bx, by = (y2 - y0) * sign, (x0 - x2) * sign
        cx, cy = (y0 - y1) * sign, (x1 - x0) * sign
        first, last = int(math.ceil(left)), int(right)
        for y in range(int(math.ceil(top)), int(bottom) + 1):
            a_row, b_row, c_row = (y - y1) * ay, (y - y2) * by, (y - y0) * cy
            for x in range(first, last + 1):
                weight_a = (x - x1) * ax + a_row
                weight_b = (x - x2) * bx + b_row
                weight_c = (x - x0) * cx + c_row
                if weight_a >= 0.0 and weight_b >= 0.0 and weight_c >= 0.0:
                    z = np.float32((weight_a * z0 + weight_b * z1 + weight_c * z2) * inverse)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        triangle[y, x] = face


def _resolve(vertices: Any, triangles: Any, triangle: Any, barycentric: Any) -> None:
    """Barycentric weights of each covered pixel (compiled)."""
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            face = triangle[y, x]
            if face < 0:
                barycentric[y, x, 0] = barycentric[y, x, 1] = barycentric[y, x, 2] = np.float32(0.0)
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            x0, y0 = np.float64(vertices[a, 0]) - x, np.float64(vertices[a, 1]) - y
            x1, y1 = np.float64(vertices[b, 0]) - x, np.float64(vertices[b, 1]) - y
            x2, y2 = np.float64(vertices[c, 0]) - x, np.float64(vertices[c, 1]) - y
            weight_a = x1 * y2 - x2 * y1
            weight_b = x2 * y0 - x0 * y2
            weight_c = x0 * y1 - x1 * y0
            inverse = 1.0 / (weight_a + weight_b + weight_c)
            barycentric[y, x, 0] = np.float32(weight_a * inverse)
            barycentric[y, x, 1] = np.float32(weight_b * inverse)
            barycentric[y, x, 2] = np.float32(weight_c * inverse)


def _interpolate(attributes: Any, triangles: Any, triangle: Any, barycentric: Any, out: Any) -> None:
    """Attributes of covered pixels from their vertices (compiled); other pixels are left as they are."""
    height, width, channels = out.shape
    for y in range(height):
        for x in range(width):
            face = triangle[y, x]
            if face < 0:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            u, v, w = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for k in range(channels):
                out[y, x, k] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]


_FILL = "void(float32[:,::1], int32[:,::1], boolean, float64, int32[:,::1], float32[:,::1])"
_RESOLVE = "void(float32[:,::1], int32[:,::1], int32[:,::1], float32[:,:,::1])"
_INTERPOLATE = "void(float32[:,::1], int32[:,::1], int32[:,::1], float32[:,:,::1], float32[:,:,::1])"


def _checked_mesh(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if vertices.ndim != 2 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"got vertices {vertices.shape}, triangles {triangles.shape}; expected (V, C) and (F, 3)")
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
        raise ValueError(
            f"triangles index vertices {triangles.min()}..{triangles.max()}, but there are {len(vertices)}: "
            "pass the triangles of this mesh"
        )
    return np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32)


def _buffers(size_hw: tuple[int, int], out: NumpyFragments | None) -> NumpyFragments:
    if out is None:
        shape = (int(size_hw[0]), int(size_hw[1]))
        if min(shape) < 0:
            raise ValueError(f"size_hw is {shape}; expected height and width of zero or more pixels")
        out = NumpyFragments(np.zeros(shape, np.int32), np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32))
    elif out.triangle.shape != tuple(size_hw) or not all(array.flags.c_contiguous for array in out):
        raise ValueError(f"out has shape {out.triangle.shape}; expected contiguous buffers of {tuple(size_hw)}")
    out.triangle.fill(-1)
    out.depth.fill(np.inf)
    return out


def rasterise_numpy(
    vertices_px: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    size_hw: tuple[int, int],
    cull_backfaces: bool = False,
    area_epsilon_px2: float = 0.0,
    out: NumpyFragments | None = None,
) -> NumpyFragments:
    """What each pixel sees of a mesh; runs without the GIL, so several threads can render at once.

    Args:
        vertices_px: x, y in pixels and depth (smaller is nearer); faces with a vertex that is not finite are not drawn.
        triangles: vertex indices, counter-clockwise seen from outside.
        size_hw: height and width of the picture.
        cull_backfaces: leave out the faces seen from inside.
        area_epsilon_px2: taken from twice the area of faces where depths are compared, as in `face3d.rasterise`.
        out: result of an earlier call of the same size, to be overwritten.

    Raises:
        ValueError: shapes do not fit, or a triangle names a vertex that does not exist.
    """
    vertices, faces = _checked_mesh(vertices_px, triangles)
    fragments = _buffers(size_hw, out)
    compiled(_fill, _FILL)(vertices, faces, cull_backfaces, area_epsilon_px2, fragments.triangle, fragments.depth)
    compiled(_resolve, _RESOLVE)(vertices, faces, fragments.triangle, fragments.barycentric)
    return fragments


def depth_numpy(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "H W"]:
    """Only the depth of `rasterise_numpy`, +inf where there is no face."""
    vertices, faces = _checked_mesh(vertices_px, triangles)
    triangle, depth = np.full(size_hw, -1, np.int32), np.full(size_hw, np.inf, np.float32)
    compiled(_fill, _FILL)(vertices, faces, False, 0.0, triangle, depth)
    return depth


def interpolate_numpy(
    attributes: Float[np.ndarray, "V C"],
    triangles: Int[np.ndarray, "F 3"],
    fragments: NumpyFragments,
    out: Float32[np.ndarray, "H W C"] | None = None,
) -> Float32[np.ndarray, "H W C"]:
    """Vertex attributes (colours, UV, normals) at each covered pixel; 0 elsewhere, or what `out` held before."""
    values, faces = _checked_mesh(attributes, triangles)
    if out is None:
        out = np.zeros((*fragments.triangle.shape, values.shape[1]), np.float32)
    elif out.shape != (*fragments.triangle.shape, values.shape[1]) or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.shape}; expected {(*fragments.triangle.shape, values.shape[1])}, contiguous")
    last = fragments.triangle.max(initial=-1)
    if last >= len(faces):
        raise ValueError(f"fragments see face {last} of {len(faces)}: pass the triangles that were drawn")
    compiled(_interpolate, _INTERPOLATE)(values, faces, fragments.triangle, fragments.barycentric, out)
    return out


def sample_texture_numpy(
    texture: Float[np.ndarray, "S S C"] | UInt8[np.ndarray, "S S C"],
    uv: Float[np.ndarray, "V 2"],
    triangles: Int[np.ndarray, "F 3"],
    fragments: NumpyFragments,
) -> Float[np.ndarray, "H W C"] | UInt8[np.ndarray, "H W C"]:
    """The textured picture (H, W, C), of the texture's type; 0 where no face is.

    Bilinear lookups at x = u (S - 1), y = v (S - 1) by `cv2.remap`, which takes up to four channels.
    """
    import cv2

    lookup = np.full((*fragments.triangle.shape, 2), -2.0, np.float32)  # outside the texture: the border's 0
    pixels = uv * np.float32(texture.shape[0] - 1)
    lookup = interpolate_numpy(pixels, triangles, fragments, lookup)
    one_map = np.zeros(0, np.float32)
    picture = cv2.remap(texture, lookup, one_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return picture.reshape(*lookup.shape[:2], -1)
