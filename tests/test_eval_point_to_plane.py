"""eval.point_to_plane, eval.crop, eval.obj_mesh: distances and regions that can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from eval.crop import below_brows, near_nose_tip
from eval.distance import Surface
from eval.obj_mesh import read_obj
from eval.point_to_plane import border_edges, on_border, point_to_plane
from tests.mini_florence import a_move, write_obj

SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0.0]])
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def sphere(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere on a grid, open at the poles."""
    v, u = np.meshgrid(np.linspace(0.2, np.pi - 0.2, rows), 2 * np.pi * np.arange(rows) / rows, indexing="ij")
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1).reshape(-1, 3)
    grid = np.arange(rows * rows).reshape(rows, rows)
    right = np.roll(grid, -1, axis=1)
    cells = np.stack([grid[:-1], grid[1:], right[1:], right[:-1]], -1).reshape(-1, 4)
    return points, np.concatenate([cells[:, :3], cells[:, [0, 2, 3]]])


def test_distance_to_a_plane_is_the_height_also_beside_the_mesh() -> None:
    points = np.array([[1.0, 1.0, 3.0], [0.5, 1.5, -2.0], [7.0, 1.0, 4.0], [1.0, 1.0, 0.0]])
    surface = Surface(SQUARE, HALVES)
    np.testing.assert_allclose(point_to_plane(surface, points), [3.0, 2.0, 4.0, 0.0], atol=1e-12)
    assert surface.closest(points).distance[2] > 6.0  # to the point itself


def test_distance_to_a_fine_sphere_is_that_of_the_radius(rng) -> None:
    vertices, triangles = sphere()
    directions = rng.normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions[np.abs(directions[:, 2]) < 0.9]
    radius = rng.uniform(0.8, 1.3, len(directions))
    found = point_to_plane(Surface(vertices, triangles), radius[:, None] * directions)
    np.testing.assert_allclose(found, np.abs(radius - 1.0), atol=0.006)


def test_never_more_than_the_distance_and_never_decided_by_order_or_frame(rng) -> None:
    vertices, triangles = sphere(12)
    points = 1.2 * np.concatenate([vertices, rng.normal(size=(100, 3))])
    plain = point_to_plane(Surface(vertices, triangles), points)
    assert (plain <= Surface(vertices, triangles).closest(points).distance + 1e-12).all()
    order = rng.permutation(len(vertices))
    shuffled = Surface(vertices[order], rng.permutation(np.argsort(order)[triangles]))
    np.testing.assert_allclose(point_to_plane(shuffled, points), plain, atol=1e-9)
    move = a_move()
    there = Surface(move.apply(vertices), triangles)
    np.testing.assert_allclose(point_to_plane(there, move.apply(points)), move.scale * plain, atol=1e-9)


def test_without_a_normal_the_distance_to_the_point_counts() -> None:
    surface = Surface(np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(point_to_plane(surface, np.array([[0.5, 3.0, 4.0]])), [5.0])


def test_border_is_what_one_triangle_has() -> None:
    assert border_edges(HALVES).tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    surface = Surface(SQUARE, HALVES)
    points = np.array([[1.0, 0.0, 0.0], [2.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.1, 0.0]])
    assert on_border(surface, points, 1e-9).tolist() == [True, True, False, False]
    closed = Surface(np.vstack([np.eye(3), np.zeros(3)]), np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]))
    assert not on_border(closed, np.eye(3), 1.0).any()


def landmarks() -> np.ndarray:
    """Nose tip at the origin, brows 30 above it, eyes and mouth where they belong."""
    points = np.zeros((68, 3))
    points[17:27] = [[x, 30.0 - abs(x) / 10, 0.0] for x in np.linspace(-40, 40, 10)]
    points[[36, 39, 42, 45]] = [[-40, 20, 0], [-15, 20, 0], [15, 20, 0], [40, 20, 0]]
    points[[48, 54]] = [[-20, -35, 0], [20, -35, 0]]
    return points


def test_crop_is_a_ball_about_the_nose_tip() -> None:
    points = np.array([[94.9, 0.0, 0.0], [0.0, -95.1, 0.0], [60.0, 60.0, 60.0]])
    assert near_nose_tip(points, landmarks(), 95.0).tolist() == [True, False, False]


def test_forehead_is_above_the_brows_in_any_frame() -> None:
    points = np.array([[0.0, 29.0, 5.0], [50.0, 31.0, 0.0], [0.0, -80.0, 0.0], [0.0, 29.0, -500.0]])
    expected = [True, False, True, True]
    move = a_move()
    assert below_brows(points, landmarks()).tolist() == expected
    assert below_brows(move.apply(points), move.apply(landmarks())).tolist() == expected


def test_obj_keeps_order_and_cuts_quads(tmp_path: Path) -> None:
    write_obj(tmp_path / "a.obj", SQUARE, np.array([[0, 1, 2, 3]]))
    mesh = read_obj(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    assert mesh.polygons.tolist() == [[0, 1, 2, 3]] and mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    (tmp_path / "b.obj").write_text("v 0 0 0 0.5 0.5 0.5\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert read_obj(tmp_path / "b.obj").polygons.tolist() == [[0, 1, 2, -1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v 0 0 0\n", "0 faces"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "vertex 4 of 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 2 3\n", "count from 1"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "with .2. corners"),
        ("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "cannot be read"),
    ],
)
def test_broken_meshes_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.obj").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_obj(tmp_path / "a.obj")


def test_missing_mesh_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.obj"):
        read_obj(tmp_path / "a.obj")
