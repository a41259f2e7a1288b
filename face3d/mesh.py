"""Triangle meshes: normals, points on triangles, edges. Triangles are counter-clockwise seen from outside."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def face_normals(vertices: Float[Tensor, "B V 3"], triangles: Int[Tensor, "F 3"]) -> Float[Tensor, "B F 3"]:
    """Outward normals whose length is twice the triangle's area (not normalised)."""
    a, b, c = (vertices[:, triangles[:, corner]] for corner in range(3))
    return torch.cross(b - a, c - a, dim=-1)


def vertex_normals(vertices: Float[Tensor, "B V 3"], triangles: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit outward normals, area-weighted over the triangles around; zero where none of them has an area."""
    weighted = face_normals(vertices, triangles)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, triangles[:, corner], weighted)
    length_squared = total.square().sum(dim=-1, keepdim=True)
    empty = length_squared == 0
    length = torch.where(empty, torch.ones_like(length_squared), length_squared).sqrt()
    return total / length


def barycentric_points(
    vertices: Float[Tensor, "B V 3"], triangle_vertices: Int[Tensor, "L 3"], barycentric: Float[Tensor, "L 3"]
) -> Float[Tensor, "B L 3"]:
    """Points on the surface: the corners' positions mixed by barycentric coordinates."""
    return torch.einsum("blcx,lc->blx", vertices[:, triangle_vertices], barycentric)


def edges(triangles: Int[Tensor, "F 3"]) -> Int[Tensor, "M 2"]:
    """Each undirected edge once, the smaller vertex index first, sorted."""
    sides = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return torch.unique(sides.sort(dim=1).values, dim=0)
