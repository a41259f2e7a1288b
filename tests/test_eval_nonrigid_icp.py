"""eval.nonrigid_icp: known deformations of a bumpy sheet are found, whatever the order of vertices."""

import numpy as np
import pytest

from eval.nonrigid_icp import Landmarks, Stage, edge_laplacian, nonrigid_icp
from eval.realy_errors import KEYPOINT_STAGES, PLAIN_STAGES

SIDE = 24
TIGHT = tuple(Stage(stiffness, 1e-3) for stiffness in (20.0, 5.0, 1.0, 0.3))


@pytest.fixture
def sheet() -> tuple[np.ndarray, np.ndarray]:
    """Eight units wide, as a region of REALY, with bumps of one unit."""
    u, v = np.meshgrid(np.linspace(-4, 4, SIDE), np.linspace(-4, 4, SIDE))
    points = np.stack([u, v, np.sin(1.3 * u) * np.cos(0.9 * v)], -1).reshape(-1, 3)
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).reshape(-1)
    halves = [np.stack([corner, corner + a, corner + b], 1) for a, b in ((1, SIDE + 1), (SIDE + 1, SIDE))]
    return points, np.concatenate(halves)


def bent(points: np.ndarray, size: float) -> np.ndarray:
    x, y, _ = points.T
    return points + size * np.stack([0.3 * np.sin(0.5 * y), 0.3 * np.cos(0.4 * x), np.sin(0.4 * x + 0.3 * y)], 1)


def some(points: np.ndarray, count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).choice(len(points), count, replace=False)


def test_a_mesh_on_its_targets_stays(sheet) -> None:
    points, triangles = sheet
    for stages in (PLAIN_STAGES, KEYPOINT_STAGES):
        found = nonrigid_icp(points, triangles, points, stages, Landmarks(some(points), points[some(points)]))
        np.testing.assert_allclose(found, points, atol=1e-7)


@pytest.mark.parametrize("size", [0.2, 0.5])
def test_a_smooth_deformation_is_found(sheet, size: float) -> None:
    points, triangles = sheet
    found = nonrigid_icp(points, triangles, bent(points, size), TIGHT)
    assert np.linalg.norm(found - bent(points, size), axis=1).mean() < 0.05 * size


def test_an_affine_deformation_costs_no_stiffness(sheet) -> None:
    """However stiff: every vertex has the same transform."""
    points, triangles = sheet
    targets = points @ np.array([[1.02, 0.01, 0.0], [0.0, 0.97, 0.02], [0.01, 0.0, 1.05]]) + 0.05
    found = nonrigid_icp(points, triangles, targets, [Stage(1000.0, 1e-6)])
    np.testing.assert_allclose(found, targets, atol=1e-3)


def test_landmarks_lead_along_the_surface(sheet) -> None:
    """The targets are moved by more than half the distance of neighbours: the nearest ones are the wrong ones."""
    points, triangles = sheet
    moved = points + np.array([0.6, 0.3, 0.0])
    off = {
        kind: np.linalg.norm(nonrigid_icp(points, triangles, moved, *how) - moved, axis=1).mean()
        for kind, how in {
            "alone": (PLAIN_STAGES,),
            "led": (KEYPOINT_STAGES, Landmarks(some(points), moved[some(points)])),
        }.items()
    }
    assert off["led"] < 1e-3 and off["alone"] > 0.1


def test_the_order_of_vertices_does_not_matter(sheet) -> None:
    points, triangles = sheet
    order = np.random.default_rng(1).permutation(len(points))
    chosen, targets = some(points), bent(points, 0.3)
    plain = nonrigid_icp(points, triangles, targets, KEYPOINT_STAGES, Landmarks(chosen, targets[chosen]))
    place = np.argsort(order)
    shuffled = nonrigid_icp(
        points[order], place[triangles], targets[::-1], KEYPOINT_STAGES, Landmarks(place[chosen], targets[chosen])
    )
    np.testing.assert_allclose(shuffled[place], plain, atol=1e-6)


def test_a_part_that_nothing_determines_stays(sheet) -> None:
    """An island without landmarks is held in the first stage, and follows its targets in the others."""
    points, triangles = sheet
    island = points[triangles[:6]].reshape(-1, 3)[:3] + np.array([0.0, 0.0, 20.0])
    whole = np.concatenate([points, island])
    faces = np.concatenate([triangles, [[len(points), len(points) + 1, len(points) + 2]]])
    targets = np.concatenate([bent(points, 0.2), island + 0.1])
    landmarks = Landmarks(some(points), targets[some(points)])
    first = nonrigid_icp(whole, faces, targets, KEYPOINT_STAGES[:1], landmarks)
    np.testing.assert_allclose(first[-3:], island, atol=1e-6)
    last = nonrigid_icp(whole, faces, targets, KEYPOINT_STAGES, landmarks)
    np.testing.assert_allclose(last[-3:], island + 0.1, atol=0.02)


def test_far_targets_do_not_pull(sheet) -> None:
    points, triangles = sheet
    lifted = points.copy()
    lifted[:5, 2] += 30.0
    found = nonrigid_icp(points, triangles, lifted, PLAIN_STAGES)
    np.testing.assert_allclose(found[5:], points[5:], atol=0.05)  # neighbours pull the five a little


def test_laplacian_sums_the_squares_of_the_edges() -> None:
    triangles = np.array([[0, 1, 2], [2, 1, 3]])
    x = np.array([0.0, 1.0, 3.0, 7.0])
    assert x @ edge_laplacian(triangles, 4) @ x == pytest.approx(1 + 9 + 4 + 36 + 16)


def test_nothing_to_deform_is_named(sheet) -> None:
    points, triangles = sheet
    with pytest.raises(ValueError, match="0 targets"):
        nonrigid_icp(points, triangles, points[:0], PLAIN_STAGES)
    with pytest.raises(ValueError, match="not finite"):
        nonrigid_icp(points * np.nan, triangles, points, PLAIN_STAGES)
