"""Pictures of a mesh over a photo: shaded overlay, depth map, normal map. Only pixels under the mesh are touched."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8

from face3d.mesh import vertex_normals
from face3d.rasterise_numba import NumpyFragments, interpolate_numpy, rasterise_numpy

OPACITY = 0.8
_NEAR_MM, _FAR_MM = 32.0, 68.0
_JAW_POINTS, _NOSE_TIP = slice(0, 17), 30  # of the 68 landmarks
_SAMPLES = 3  # drawn 3 x 3 finer, then averaged: smooth edges
_BAND_PIXELS = 1 << 20  # drawn in bands of rows, so that a large photo needs no more memory
_CLAY = np.array([214.0, 221.0, 232.0], np.float32)
_KEY_LIGHT = np.array([-0.45, -0.60, -0.66], np.float32)  # camera axes, towards the light: from the upper left
_FILL_LIGHT = np.array([0.80, 0.10, -0.59], np.float32)
_JAW, _BROWS, _NOSE, _EYES, _LIPS = (255, 255, 255), (255, 196, 64), (96, 220, 255), (120, 255, 140), (255, 110, 130)
_LANDMARK_COLOURS = [_JAW] * 17 + [_BROWS] * 10 + [_NOSE] * 9 + [_EYES] * 12 + [_LIPS] * 20


class Window(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of a photo."""

    top: int
    bottom: int
    left: int
    right: int


def draw_mesh(
    photo: UInt8[np.ndarray, "H W 3"],
    vertices_px: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    opacity: Float[np.ndarray, " V"] | float = OPACITY,
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the photo with the mesh drawn over it as half-transparent clay, lit from the upper left (Lambert).

    ``vertices_px`` lie in the photo, depth in pixels; ``opacity`` in [0, 1] is one number or one a vertex.
    """
    picture = photo.copy()
    cover = np.broadcast_to(np.asarray(opacity, np.float32), len(vertices_px))[:, None]
    colours = np.hstack([_clay_colours(camera_normals(vertices_px, triangles)) * cover, cover])
    for window in _bands(vertices_px, photo.shape[:2], _SAMPLES):
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        drawn = _draw_fine(vertices_px, triangles, colours, window)
        blended = picture[rows, columns] * (1 - drawn[:, :, 3:]) + drawn[:, :, :3]
        picture[rows, columns] = (blended + 0.5).clip(0, 255).astype(np.uint8)
    return picture


def draw_landmarks(
    photo: UInt8[np.ndarray, "H W 3"], landmarks_px: Float[np.ndarray, "68 D"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the photo with the 68 landmarks as dots, coloured by jaw, brows, nose, eyes and lips."""
    picture = photo.copy()
    extent = landmarks_px[:, :2].max(axis=0) - landmarks_px[:, :2].min(axis=0)
    radius = max(float(extent.max()) / 110, 0.9)
    for (x, y), colour in zip(landmarks_px[:, :2], _LANDMARK_COLOURS, strict=True):
        centre = (round(float(x) * 16), round(float(y) * 16))
        cv2.circle(picture, centre, round((radius + 0.7) * 16), (24, 24, 24), -1, cv2.LINE_AA, shift=4)
        cv2.circle(picture, centre, round(radius * 16), colour, -1, cv2.LINE_AA, shift=4)
    return picture


def draw_faces(
    photo: UInt8[np.ndarray, "H W 3"], meshes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], largest_side_px: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo, shrunk to ``largest_side_px``, with meshes: vertices_px in the given photo, triangles, opacity."""
    height, width = photo.shape[:2]
    factor = min(largest_side_px / max(height, width), 1.0)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    picture = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8) if factor < 1 else photo
    shift = np.array([(factor - 1) / 2, (factor - 1) / 2, 0], np.float32)
    for vertices_px, triangles, opacity in reversed(meshes):
        picture = draw_mesh(picture, np.float32(factor) * vertices_px + shift, triangles, opacity)
    return picture


def depth_map_px(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "H W"]:
    """Depth in pixels (larger is farther) of the nearest surface at each pixel, NaN where there is none."""
    depth = np.full(size_hw, np.nan, np.float32)
    for window in _bands(vertices_px, size_hw):
        seen = _rasterise(vertices_px, triangles, window)
        part = np.where(seen.triangle >= 0, seen.depth, np.nan)
        depth[window.top : window.bottom, window.left : window.right] = part
    return depth


def normal_map(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "H W 3"]:
    """Unit normals in camera axes (x right, y down, z forward) of the surface at each pixel, NaN where none is."""
    normals = np.full((*size_hw, 3), np.nan, np.float32)
    at_vertices = camera_normals(vertices_px, triangles)
    for window in _bands(vertices_px, size_hw):
        seen = _rasterise(vertices_px, triangles, window)
        values = interpolate_numpy(at_vertices, triangles, seen)
        values /= np.maximum(np.linalg.norm(values, axis=2, keepdims=True), 1e-12)
        values[seen.triangle < 0] = np.nan
        normals[window.top : window.bottom, window.left : window.right] = values
    return normals


def fade_out(
    vertices_mm: Float[np.ndarray, "V 3"], landmarks_mm: Float[np.ndarray, "68 3"]
) -> Float32[np.ndarray, " V"]:
    """Opacity of each vertex: 1 on the face, 0 far from it: neck and scalp do not end in an edge.

    The face is what lies near the 68 landmarks, or near a point between the jaw's and the nose tip: the cheeks."""
    cheeks = [(1 - part) * landmarks_mm[_JAW_POINTS] + part * landmarks_mm[_NOSE_TIP] for part in (1 / 3, 2 / 3)]
    points = np.concatenate([landmarks_mm, *cheeks])
    distances = np.linalg.norm(vertices_mm[:, None] - points[None], axis=2).min(axis=1)
    ramp = ((_FAR_MM - distances) / (_FAR_MM - _NEAR_MM)).clip(0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def camera_normals(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float32[np.ndarray, "V 3"]:
    """Outward unit normals of the vertices in camera axes; those that face the camera have z < 0."""
    vertices = torch.from_numpy(np.ascontiguousarray(vertices_px, np.float32))[None]
    return vertex_normals(vertices, torch.from_numpy(triangles.astype(np.int64)))[0].numpy()


def _clay_colours(normals: np.ndarray) -> np.ndarray:
    """sRGB 0..255 of each vertex: a key light, a weak fill light, a soft highlight."""
    towards = normals * np.where(normals[:, 2:] > 0, -1, 1)  # the inside is lit like the outside, but darker
    key = np.clip(towards @ _KEY_LIGHT, 0, 1)
    fill = np.clip(towards @ _FILL_LIGHT, 0, 1)
    half = _KEY_LIGHT + np.array([0.0, 0.0, -1.0], np.float32)
    highlight = np.clip(towards @ (half / np.linalg.norm(half)), 0, 1) ** 24
    light = (0.10 + 0.86 * key + 0.20 * fill) ** (1 / 1.3)
    light *= np.where(normals[:, 2] > 0.1, 0.55, 1.0)
    return (_CLAY * light[:, None] + 38.0 * highlight[:, None]).clip(0, 255).astype(np.float32)


def _draw_fine(vertices_px: np.ndarray, triangles: np.ndarray, colours: np.ndarray, window: Window) -> np.ndarray:
    """(h, w, 4) float32: colour times opacity in 0..255, and opacity in 0..1, averaged over the finer samples."""
    height, width = window.bottom - window.top, window.right - window.left
    fine = vertices_px * np.array([_SAMPLES, _SAMPLES, 1], np.float32)
    offset = (_SAMPLES - 1) / 2 - _SAMPLES * np.array([window.left, window.top], np.float32)
    fine[:, :2] += offset
    fine = np.ascontiguousarray(fine, np.float32)
    seen = rasterise_numpy(fine, triangles, (height * _SAMPLES, width * _SAMPLES))
    drawn = interpolate_numpy(colours, triangles, seen)
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, 4)


def _rasterise(vertices_px: np.ndarray, triangles: np.ndarray, window: Window) -> NumpyFragments:
    shifted = vertices_px - np.array([window.left, window.top, 0], np.float32)
    size = window.bottom - window.top, window.right - window.left
    return rasterise_numpy(np.ascontiguousarray(shifted, np.float32), triangles, size)


def _bands(vertices_px: np.ndarray, size_hw: tuple[int, ...], samples: int = 1) -> Iterator[Window]:
    """The part of the photo under the mesh, cut into bands of rows of at most ``_BAND_PIXELS`` samples."""
    low = np.floor(vertices_px[:, :2].min(axis=0)).astype(int)
    high = np.ceil(vertices_px[:, :2].max(axis=0)).astype(int) + 1
    left, right = max(int(low[0]), 0), min(int(high[0]), size_hw[1])
    top, bottom = max(int(low[1]), 0), min(int(high[1]), size_hw[0])
    if left >= right:
        return
    rows = max(_BAND_PIXELS // ((right - left) * samples**2), 1)
    for start in range(top, bottom, rows):
        yield Window(start, min(start + rows, bottom), left, right)
