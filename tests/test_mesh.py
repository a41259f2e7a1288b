"""Normals against solids with known ones; points on triangles; edges."""

import torch

from face3d.mesh import barycentric_points, edges, face_normals, vertex_normals

OCTAHEDRON = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
TRIANGLES = torch.tensor([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])


def test_octahedron_normals_point_outwards() -> None:
    torch.testing.assert_close(vertex_normals(OCTAHEDRON[None], TRIANGLES)[0], OCTAHEDRON)


def test_face_normal_length_is_twice_the_area() -> None:
    lengths = face_normals(3 * OCTAHEDRON[None], TRIANGLES).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2 * 9 * 3**0.5 / 2))


def test_vertex_without_area_has_a_zero_normal_and_gradient() -> None:
    vertices = torch.cat([OCTAHEDRON, torch.zeros(1, 3, dtype=torch.float64)])[None].requires_grad_()
    normals = vertex_normals(vertices, torch.cat([TRIANGLES, torch.tensor([[6, 6, 6]])]))
    assert normals[0, 6].eq(0).all()
    normals.sum().backward()
    assert vertices.grad is not None and vertices.grad.isfinite().all()


def test_normal_gradients() -> None:
    vertices = (OCTAHEDRON + 0.1 * torch.randn(6, 3, dtype=torch.float64))[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, TRIANGLES), (vertices,))


def test_barycentric_points() -> None:
    barycentric = torch.tensor([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    points = barycentric_points(OCTAHEDRON[None], TRIANGLES[:2], barycentric)[0]
    expected = torch.stack([OCTAHEDRON[0], OCTAHEDRON[[2, 1, 4]].mean(dim=0)])
    torch.testing.assert_close(points, expected)


def test_edges_of_a_closed_surface() -> None:
    pairs = edges(TRIANGLES)
    assert len(pairs) == 12  # Euler: 6 - 12 + 8 = 2
    assert (pairs[:, 0] < pairs[:, 1]).all()
