"""Wavefront .obj meshes as data sets ship them: vertices in the file's order, triangles and quads, nothing merged."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class ObjMesh(NamedTuple):
    """`polygons` are the file's faces, -1 for the fourth corner of a triangle.

    `triangles` has them in the file's order, each quad as two: corners 0, 1, 2 and 0, 2, 3. That is how the numbers of
    REALY's published keypoints count (github.com/czh-98/REALY, utils/io_obj.py).
    """

    vertices: Float[np.ndarray, "V 3"]
    polygons: Int[np.ndarray, "P 4"]
    triangles: Int[np.ndarray, "F 3"]


def read_obj(path: Path) -> ObjMesh:
    """Vertices (in the file's unit and order) and faces; texture, normals and colours a vertex are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no vertices or faces, a line that cannot be read, a face with other than 3 or 4 corners, an index
            outside the vertices, or a coordinate that is not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such mesh: {path}")
    lines = path.read_text(encoding="latin-1").splitlines()
    try:
        vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64)
        corners = [[int(c.split("/")[0]) for c in line.split()[1:]] for line in lines if line.startswith("f ")]
    except ValueError as error:
        raise ValueError(f"{path}: a vertex or a face cannot be read ({error})") from error
    if not len(vertices) or not corners:
        raise ValueError(f"{path}: {len(vertices)} vertices and {len(corners)} faces, expected a mesh")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: {int((~np.isfinite(vertices)).any(1).sum())} vertices are not finite")
    polygons = _polygons(corners, path)
    if polygons.max() >= len(vertices):
        raise ValueError(f"{path}: a face names vertex {polygons.max() + 1} of {len(vertices)}")
    halves = polygons[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    return ObjMesh(vertices, polygons, halves[halves[:, 2] >= 0])


def read_obj_points(path: Path) -> Float[np.ndarray, "N 3"]:
    """The vertices alone, of a file that need not have faces. FileNotFoundError, ValueError as `read_obj`."""
    if not path.is_file():
        raise FileNotFoundError(f"no such points: {path}")
    lines = path.read_text(encoding="latin-1").splitlines()
    try:
        points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex cannot be read ({error})") from error
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"{path}: {len(points)} vertices, all expected finite")
    return points


def _polygons(corners: list[list[int]], path: Path) -> Int[np.ndarray, "P 4"]:
    """0-based corners, -1 where there is no fourth."""
    odd = {len(face) for face in corners} - {3, 4}
    if odd:
        raise ValueError(f"{path}: faces with {sorted(odd)} corners, expected 3 or 4")
    if min(map(min, corners)) < 1:
        raise ValueError(f"{path}: faces count from 1, one has a corner below it")
    return np.array([face if len(face) == 4 else [*face, 0] for face in corners], np.int64) - 1
