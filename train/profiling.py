"""Face profiling: turn a fitted photo in depth, so that large poses are learned from real texture.

After Zhu et al., "Face Alignment Across Large Poses" (CVPR 2016, section 5): the photo is the texture of its own fitted
mesh. Around the mesh, rings of vertices carry the hair and what is behind the head, falling back in depth; beyond them
lies a foreign background.
"""

from typing import NamedTuple

import cv2
import numpy as np

from face3d.morphable_file import MorphableArrays
from face3d.rasterise_numba import interpolate_numpy, rasterise_numpy

RINGS = ((1.12, 20.0), (1.35, 55.0), (2.0, 90.0))  # outwards factor, millimetres back
VIEW_FACTOR = 1.85  # side of the made picture over the larger side of the box of the 68 landmarks


class Pose(NamedTuple):
    """One face's scaled orthography: rotation (3,3), scale (px per mm), translation_px (2,)."""

    rotation: np.ndarray
    scale: float
    translation_px: np.ndarray


def vertices_of(model: MorphableArrays, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """The mesh (V,3) mm of coefficients."""
    moved = np.tensordot(identity, model.identity_basis, 1)
    return model.mean + moved + np.tensordot(expression, model.expression_basis, 1)


def landmarks_of(model: MorphableArrays, vertices: np.ndarray) -> np.ndarray:
    """The 68 landmarks (68,C) of a mesh (V,C), in its frame and unit."""
    corners = vertices[model.triangles[model.landmark_triangles]]
    return (corners * model.landmark_barycentric[..., None]).sum(1)


def border_loop(grid: np.ndarray) -> np.ndarray:
    """Vertices of a UV grid's border, in order."""
    return np.concatenate([grid[0], grid[1:, -1], grid[-1, -2::-1], grid[-2:0:-1, 0]])


def ring_triangles(loop: np.ndarray, vertex_count: int, rings: int) -> np.ndarray:
    """Triangles that join the border loop to `rings` loops of vertices appended behind the mesh's own."""
    count = len(loop)
    loops = [loop, *(vertex_count + ring * count + np.arange(count) for ring in range(rings))]
    parts = []
    for inner, outer in zip(loops, loops[1:], strict=False):
        a, b, c, d = inner, np.roll(inner, -1), outer, np.roll(outer, -1)
        parts += [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
    return np.concatenate(parts).astype(np.int32)


def with_rings(vertices_px: np.ndarray, loop: np.ndarray, px_per_mm: float) -> np.ndarray:
    """The posed mesh (V,3) px with the rings appended: outwards in the picture, back in depth (less below the chin)."""
    border = vertices_px[loop]
    centre = border[:, :2].mean(0)
    away = border[:, :2] - centre
    below = np.clip(away[:, 1] / np.maximum(np.linalg.norm(away, axis=1), 1e-6), 0, 1)
    parts = [vertices_px]
    for factor, back_mm in RINGS:
        depth = border[:, 2] + back_mm * px_per_mm * (1 - 0.8 * below)
        parts.append(np.column_stack([centre + factor * away, depth]))
    return np.concatenate(parts)


def turn(rotation: np.ndarray, target_yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """The rotation with the face's yaw set to the target and its pitch changed, about the head's own axes."""
    facing = rotation[:, 2]  # where the face looks, camera axes
    yaw = np.degrees(np.arctan2(facing[0], -facing[2]))
    about_y, about_x = np.radians(yaw - target_yaw_deg), np.radians(pitch_deg)
    c, s = np.cos(about_y), np.sin(about_y)
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(about_x), np.sin(about_x)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ turned @ rotation


def apparent_yaw_deg(rotation: np.ndarray) -> float:
    """Direction in which the face looks, in degrees; positive to the image's right."""
    return float(np.degrees(np.arctan2(rotation[0, 2], -rotation[2, 2])))


def view_of(landmarks_mm: np.ndarray, rotation: np.ndarray, size: int) -> Pose:
    """The pose that centres the box of the turned landmarks (68,3) in a square picture."""
    flat = landmarks_mm @ rotation[:2].T
    low, high = flat.min(0), flat.max(0)
    scale = size / (VIEW_FACTOR * float((high - low).max()))
    return Pose(rotation, scale, (size - 1) / 2 - scale * (low + high) / 2)


def project(vertices_mm: np.ndarray, pose: Pose) -> np.ndarray:
    """Vertices (V,3) mm in the picture, px and depth px."""
    moved = pose.scale * vertices_mm @ pose.rotation.T
    moved[:, :2] += pose.translation_px
    return moved


def render_turned(
    photo: np.ndarray, source_px: np.ndarray, placed_px: np.ndarray, triangles: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """The photo's face elsewhere, over a background (S,S,3).

    `source_px` (V,2) are the vertices in the photo, `placed_px` (V,3) those in the new picture, with depth."""
    size = len(background)
    fragments = rasterise_numpy(placed_px.astype(np.float32), triangles, (size, size))
    places = interpolate_numpy(source_px.astype(np.float32), triangles, fragments)
    seen = cv2.remap(photo, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.where(fragments.triangle[..., None] >= 0, seen, background)


def to_model_mm(points_px: np.ndarray, pose: Pose) -> np.ndarray:
    """Picture points with depth (V,3) back in model space."""
    centred = points_px.copy()
    centred[:, :2] -= pose.translation_px
    return centred @ pose.rotation / pose.scale
