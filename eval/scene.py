"""Test photos made here, apart from the training generator: a mesh, a light, a backdrop, drawn 2 x 2 finer.

Lambertian shading under a bright sky with one lamp: colour * (ambient + sky (1 + n_up) / 2 + lamp max(n . l, 0)).
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from face3d.camera import project
from face3d.geometry import rotation_from_euler_deg
from face3d.mesh import vertex_normals
from face3d.rasterise_numba import rasterise_numpy
from face3d.types import ScaledOrthography

_FINER = 2


class View(NamedTuple):
    """A camera: pose of the model in the photo, as numpy arrays."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    translation_px: Float[np.ndarray, " 2"]

    def project(self, points_mm: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Model points in the photo, third column depth in pixels."""
        pose = ScaledOrthography(
            torch.from_numpy(self.rotation)[None],
            torch.tensor([self.scale], dtype=torch.float64),
            torch.from_numpy(self.translation_px)[None],
        )
        return project(torch.from_numpy(np.asarray(points_mm, np.float64))[None], pose)[0].numpy()


class Light(NamedTuple):
    """Strength of ambient, sky and lamp, and the direction towards the lamp in camera axes (y down, z forward)."""

    ambient: float = 0.35
    sky: float = 0.35
    lamp: float = 0.45
    towards: tuple[float, float, float] = (-0.4, -0.5, -0.8)


def turned_view(
    euler_deg: tuple[float, float, float], centre_mm: Float[np.ndarray, " 3"], scale: float, size_px: int
) -> View:
    """A view at (pitch, yaw, roll) that puts `centre_mm` in the middle of a size x size photo; scale in px per mm."""
    rotation = rotation_from_euler_deg(torch.tensor([euler_deg], dtype=torch.float64))[0].numpy()
    return View(rotation, scale, (size_px - 1) / 2 - scale * (rotation @ centre_mm)[:2])


def backdrop(seed: int, size_px: int) -> UInt8[np.ndarray, "S S 3"]:
    """A blurred room: smooth colour noise of four octaves."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size_px, size_px, 3), np.float32)
    for octave in range(4):
        cells = rng.normal(0.0, 0.5**octave, (3 * 2**octave, 3 * 2**octave, 1)) + rng.normal(
            0.0, 0.3 * 0.5**octave, (3 * 2**octave, 3 * 2**octave, 3)
        )
        picture += cv2.resize(cells.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(120.0 + 45.0 * picture, 0, 255).astype(np.uint8)


def draw(
    vertices_px: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    colours: "Float[np.ndarray, 'V 3'] | Textured",
    background: UInt8[np.ndarray, "H W 3"],
    light: Light | None,
) -> UInt8[np.ndarray, "H W 3"]:
    """The mesh over the background. Colours: sRGB in [0, 1] a vertex, or a texture; `light` None leaves them."""
    height, width = background.shape[:2]
    fine = np.array(vertices_px, np.float32)
    fine[:, :2] = (fine[:, :2] + 0.5) * _FINER - 0.5
    triangle, weights, _ = rasterise_numpy(fine, triangles, (height * _FINER, width * _FINER))
    covered = triangle >= 0
    corners, weights = triangles[triangle[covered]], weights[covered][..., None]
    shaded = colours.at(corners, weights) if isinstance(colours, Textured) else (colours[corners] * weights).sum(1)
    if light is not None:
        normals = (camera_normals(vertices_px, triangles)[corners] * weights).sum(1)
        shaded = shaded * _shade(normals, light)[:, None]
    picture = cv2.resize(background, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_LINEAR)
    picture[covered] = np.clip(shaded * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Textured(NamedTuple):
    """Colours from an image; uv in [0, 1] with v down, texel centre x = u (N - 1)."""

    image: UInt8[np.ndarray, "S T 3"]
    uv: Float[np.ndarray, "V 2"]

    def at(self, corners: Int[np.ndarray, "N 3"], weights: Float[np.ndarray, "N 3 1"]) -> Float[np.ndarray, "N 3"]:
        """Bilinear colours in [0, 1] of points on triangles."""
        size = np.array(self.image.shape[1::-1]) - 1
        place = ((self.uv[corners] * weights).sum(1) * size).astype(np.float32)
        rows = [place[start : start + 30_000, None] for start in range(0, len(place), 30_000)]
        parts = [cv2.remap(self.image, part, np.zeros(0, np.float32), cv2.INTER_LINEAR)[:, 0] for part in rows]
        return np.concatenate(parts).astype(np.float64) / 255.0 if parts else np.zeros((0, 3))


def camera_normals(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """Unit outward normals in camera axes (x right, y down, z forward): a face's normals look at the camera, z < 0."""
    vertices, faces = torch.from_numpy(np.float64(vertices_px)), torch.from_numpy(np.int64(triangles))
    return vertex_normals(vertices[None], faces)[0].numpy()


def _shade(normals: Float[np.ndarray, "N 3"], light: Light) -> Float[np.ndarray, " N"]:
    towards = np.array(light.towards) / np.linalg.norm(light.towards)
    return light.ambient + light.sky * (1.0 - normals[:, 1]) / 2 + light.lamp * np.maximum(normals @ towards, 0.0)
