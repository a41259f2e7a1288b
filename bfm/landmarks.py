"""The 68 landmarks placed where AFLW2000's lie: those of the Basel Face Model's 68-point basis (3DDFA), on our
surface."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import trimesh

from face3d.geometry import apply_similarity
from face3d.pose import similarity_procrustes

# The mirrored partner of each of the 68 landmarks (300W order).
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
INNER = np.arange(17, 68)


class SurfacePoints(NamedTuple):
    """Points on a surface: `triangles` (L,) and `barycentric` (L,3)."""

    triangles: np.ndarray
    barycentric: np.ndarray


def basel_landmarks_mm(folder: Path) -> np.ndarray:
    """(68,3) landmarks of the Basel Face Model's mean, millimetres, y up, made symmetric. `folder` holds u_base.txt."""
    path = folder / "u_base.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it is the 68-point mean of 3DDFA's Basel Face Model basis")
    points = np.loadtxt(path).reshape(68, 3) / 1000.0
    return (points + points[MIRROR_68] * [-1, 1, 1]) / 2


def population_landmarks_mm(folder: Path) -> np.ndarray:
    """(68,3) mean landmarks of the people and expressions of 300W-LP, as 3DDFA's parameter mean has them; symmetric."""
    mean = np.loadtxt(folder / "u_base.txt").ravel()
    parameters = np.loadtxt(folder / "param_mean.txt")  # 12 of pose, 40 of shape, 10 of expression
    mean = mean + np.loadtxt(folder / "w_shp_base.txt") @ parameters[12:52]
    mean = mean + np.loadtxt(folder / "w_exp_base.txt") @ parameters[52:62]
    points = mean.reshape(68, 3) / 1000.0
    return (points + points[MIRROR_68] * [-1, 1, 1]) / 2


def align_similarity(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`points` moved by the similarity that brings `source` (N,3) to `target` (N,3)."""
    one, two, moved = (torch.from_numpy(np.asarray(x, np.float64))[None] for x in (source, target, points))
    return apply_similarity(moved, similarity_procrustes(one, two))[0].numpy()


def fit_landmarks(
    vertices: np.ndarray, triangles: np.ndarray, allowed: np.ndarray, anchors: np.ndarray, bfm68: Path
) -> SurfacePoints:
    """Place the 68 points on a mesh (V,3), on triangles where `allowed` (F,).

    `anchors` (68,3) are any landmarks of this mesh in 300W order; only the inner 51 are used, only for the similarity
    between the two heads."""
    basel = basel_landmarks_mm(bfm68)
    goal = align_similarity(basel[INNER], anchors[INNER], basel)
    surface = trimesh.Trimesh(vertices, triangles[allowed], process=False)
    closest, _, index = trimesh.proximity.closest_point(surface, goal)
    chosen = np.flatnonzero(allowed)[index]
    barycentric = trimesh.triangles.points_to_barycentric(vertices[triangles[chosen]], closest)
    barycentric = barycentric.clip(0, 1)
    return SurfacePoints(chosen, barycentric / barycentric.sum(1, keepdims=True))
