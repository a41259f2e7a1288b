"""Point-to-plane distance to a mesh, and where a closest point lies on the open border of the mesh.

The plane of a point goes through the closest surface point. Its normal is interpolated from the vertices' (means of the
triangles about them, weighted by area), so that neither the order of vertices or triangles nor which of two
triangles with a common edge is found makes a difference. The triangles must turn the same way.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from eval.distance import ClosestPoints, Surface


def point_to_plane(surface: Surface, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    """Unsigned distance of each point to the plane at its closest surface point, in the unit of both.

    Never more than the distance to that point, which stands in where the surface has no normal. ValueError for points
    that are not finite.
    """
    found = surface.closest(points)
    normals, known = surface_normals(surface, found)
    along = np.abs(((points - found.points) * normals).sum(1))
    return np.where(known, along, found.distance)


def surface_normals(surface: Surface, found: ClosestPoints) -> tuple[Float[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Unit normals at surface points, and which of them exist (a triangle without area may have none)."""
    corners = surface.triangles[found.triangle]
    weights = _barycentric(surface.vertices[corners], found.points)
    normals = (_vertex_normals(surface)[corners] * weights[..., None]).sum(1)
    length = np.linalg.norm(normals, axis=1)
    return normals / np.maximum(length, 1e-30)[:, None], length > 1e-12


def on_border(surface: Surface, points: Float[np.ndarray, "N 3"], tolerance: float) -> Bool[np.ndarray, " N"]:
    """Which points lie within `tolerance` (unit of the mesh) of an edge that only one triangle has."""
    edges = border_edges(surface.triangles)
    if not len(edges):
        return np.zeros(len(points), bool)
    border = Surface(surface.vertices, edges[:, [0, 1, 1]])
    return border.closest(points).distance <= tolerance


def border_edges(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "M 2"]:
    """Edges that belong to one triangle only, lower vertex first."""
    sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    return edges[count == 1]


def _vertex_normals(surface: Surface) -> Float[np.ndarray, "V 3"]:
    """Unit normals; zero at vertices without a triangle that has an area."""
    a, b, c = (surface.vertices[surface.triangles[:, k]] for k in range(3))
    area_normals = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    corner = surface.triangles.ravel()
    summed = [np.bincount(corner, area_normals[:, k], len(surface.vertices)) for k in range(3)]
    normals = np.stack(summed, axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def _barycentric(corners: Float[np.ndarray, "N 3 3"], points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Weights of points on triangles; a third each where the triangle has no area."""
    ab, ac, ap = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area2 = d00 * d11 - d01 * d01
    flat = area2 <= 1e-12 * np.maximum(d00 * d11, 1e-300)
    safe = np.where(flat, 1.0, area2)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    return np.where(flat[:, None], 1.0 / 3.0, np.stack([1.0 - v - w, v, w], axis=1))
