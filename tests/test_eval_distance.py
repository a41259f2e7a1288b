"""eval.distance: exact against brute force, degenerate triangles, bad meshes."""

import numpy as np
import pytest
from trimesh.triangles import closest_point

from eval.distance import Surface


def brute_force(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    corners = vertices[triangles]
    nearest = [closest_point(corners, np.repeat(point[None], len(corners), 0)) for point in points]
    return np.array([np.linalg.norm(q - p, axis=1).min() for p, q in zip(points, nearest, strict=True)])


@pytest.mark.parametrize("faces", [1, 3, 4, 5, 300])
@pytest.mark.parametrize("spread", [0.5, 20.0])
def test_agrees_with_brute_force(rng, faces: int, spread: float) -> None:
    vertices = rng.normal(size=(3 * faces, 3))
    triangles = np.stack([rng.permutation(3 * faces)[:3] for _ in range(faces)])
    points = rng.normal(size=(100, 3)) * spread
    found = Surface(vertices, triangles).closest(points)
    np.testing.assert_allclose(found.distance, brute_force(vertices, triangles, points), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found.points - points, axis=1), found.distance)
    on_found = np.array(
        [brute_force(vertices, triangles[[t]], q[None])[0] for t, q in zip(found.triangle, found.points, strict=True)]
    )
    assert on_found.max() < 1e-9


def test_degenerate_triangles_are_points_and_segments() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [5, 5, 5]])
    found = Surface(vertices, np.array([[0, 1, 2], [3, 3, 3]])).closest(np.array([[0.5, 2.0, 0.0], [6.0, 5.0, 5.0]]))
    np.testing.assert_allclose(found.distance, [2.0, 1.0])


def test_single_precision_and_int32_are_accepted() -> None:
    surface = Surface(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    assert surface.closest(np.ones((1, 3), np.float32)).distance[0] == pytest.approx(2 / np.sqrt(3))


@pytest.mark.parametrize(
    ("vertices", "triangles", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "empty mesh"),
        (np.eye(3), np.zeros((0, 3), int), "empty mesh"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "not finite"),
        (np.eye(3), np.array([[0, 1, 3]]), "do not fit 3 vertices"),
    ],
)
def test_bad_meshes_are_named(vertices: np.ndarray, triangles: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Surface(vertices, triangles)


def test_bad_points_are_named() -> None:
    with pytest.raises(ValueError, match="1 of 2 query points"):
        Surface(np.eye(3), np.array([[0, 1, 2]])).closest(np.array([[0.0, 0, 0], [np.inf, 0, 0]]))
