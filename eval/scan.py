"""The Lee Perry-Smith head scan: as photos with known geometry, and as the truth that meshes are measured against.

The scan's axes are ours already (x to the image's right, y up, z out of the face). Its unit is arbitrary: it is scaled
so that the outer eye corners are 90 mm apart, which makes the head 157 mm broad. Its landmarks were placed by hand
(`eval.scan_landmarks`).
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from eval.distance import Surface
from eval.now_region import LANDMARKS, Region, face_region
from eval.scan_landmarks import PLACED
from eval.scene import Light, Textured, View, backdrop, draw, turned_view
from face3d.io import read_image
from face3d.rasterise_numba import rasterise_numpy

OUTER_EYE_DISTANCE_MM = 90.0
_POINTS = 20_000
_SEEN_FROM_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)


class HeadScan:
    """The scan in millimetres, `outer_eye_distance_mm` of which its outer eye corners are apart.

    FileNotFoundError names a missing file."""

    def __init__(self, folder: Path, outer_eye_distance_mm: float = OUTER_EYE_DISTANCE_MM) -> None:
        for name in ("scan.npz", "color.jpg"):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"no {name} in {folder}: expected the Lee Perry-Smith scan (scan.npz, color.jpg)"
                )
        with np.load(folder / "scan.npz", allow_pickle=False) as fields:
            vertices, self.triangles, uv = (fields[name] for name in ("vertices", "faces", "uv"))
        placed = np.array([PLACED[index] for index in LANDMARKS])
        self._smaller = OUTER_EYE_DISTANCE_MM / outer_eye_distance_mm
        self.mm_per_unit = outer_eye_distance_mm / float(np.linalg.norm(placed[0] - placed[3]))
        self.vertices_mm: Float[np.ndarray, "V 3"] = vertices.astype(np.float64) * self.mm_per_unit
        self.landmarks_mm: Float[np.ndarray, "7 3"] = placed * self.mm_per_unit
        self.placed_mm = {index: np.array(point) * self.mm_per_unit for index, point in PLACED.items()}
        self.texture = Textured(read_image(folder / "color.jpg"), np.stack([uv[:, 0], 1.0 - uv[:, 1]], 1))

    @property
    def region(self) -> Region:
        """NoW's face region."""
        return face_region(self.landmarks_mm)

    @cached_property
    def face_points_mm(self) -> Float[np.ndarray, "N 3"]:
        """Points spread evenly over the region, on what is seen from yaw -60 to 60 (not inside nostrils or mouth)."""
        points = sample_surface(self.vertices_mm, self.seen_triangles, 4 * _POINTS, seed=0)
        return points[self.region.inside(points)][:_POINTS]

    @cached_property
    def seen_triangles(self) -> Int[np.ndarray, "F 3"]:
        """What is seen from yaw -60 to 60: not the eye sockets and the inside of the mouth."""
        return seen_triangles(self.vertices_mm, self.triangles, self.region.centre)

    def surface(self) -> Surface:
        """The whole scan for closest-point queries."""
        return Surface(self.vertices_mm, self.triangles)

    def photo(self, yaw_deg: float, size_px: int = 450, seed: int = 0) -> tuple[np.ndarray, View]:
        """A lit picture of the head at a yaw, the face about 40 % of it, and the view it was taken from."""
        view = turned_view((0.0, yaw_deg, 0.0), self.region.centre, 0.0031 * size_px * self._smaller, size_px)
        background = backdrop(seed, size_px)
        return draw(view.project(self.vertices_mm), self.triangles, self.texture, background, Light()), view


def seen_triangles(
    vertices_mm: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], centre_mm: Float[np.ndarray, " 3"]
) -> Int[np.ndarray, "F 3"]:
    """The triangles of a head that are seen from yaw -60 to 60, within 125 mm of `centre_mm` to each side."""
    views = (turned_view((0.0, yaw, 0.0), centre_mm, 4.0, 1000) for yaw in _SEEN_FROM_DEG)
    ids = [np.unique(rasterise_numpy(view.project(vertices_mm), triangles, (1000, 1000)).triangle) for view in views]
    found = np.unique(np.concatenate(ids))
    return triangles[found[found >= 0]]


def sample_surface(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], count: int, seed: int
) -> Float[np.ndarray, "N 3"]:
    """`count` points, uniform by area, the same for the same seed."""
    rng = np.random.default_rng(seed)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
