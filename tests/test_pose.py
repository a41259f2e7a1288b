"""Closed-form pose: recovery, weights, reflection, gradients at repeated singular values, degenerate points named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from face3d.camera import project
from face3d.geometry import apply_similarity, rotation_from_euler_deg
from face3d.pose import affine_pose, orthography_from_points_2d, pose_from_landmarks, similarity_procrustes
from face3d.types import ScaledOrthography, Similarity

SOLVERS = [similarity_procrustes, affine_pose, lambda x, y, w=None: orthography_from_points_2d(x, y[..., :2], w)]


def points(batch: int = 3, count: int = 20) -> torch.Tensor:
    return torch.randn(batch, count, 3, dtype=torch.float64) * torch.tensor([60.0, 80.0, 30.0], dtype=torch.float64)


def similarity(batch: int = 3) -> Similarity:
    euler_deg = (torch.rand(batch, 3, dtype=torch.float64) - 0.5) * 170
    scale = torch.rand(batch, dtype=torch.float64) + 0.5
    return Similarity(rotation_from_euler_deg(euler_deg), scale, torch.randn(batch, 3, dtype=torch.float64) * 100)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_procrustes_recovers_a_similarity(seed: int) -> None:
    torch.manual_seed(seed)
    source, truth = points(), similarity()
    torch.testing.assert_close(similarity_procrustes(source, apply_similarity(source, truth)), truth)


def test_procrustes_on_coplanar_and_on_three_points() -> None:
    truth = similarity()
    for source in (points() * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), points(count=3)):
        torch.testing.assert_close(similarity_procrustes(source, apply_similarity(source, truth)), truth)


def test_procrustes_is_the_minimum() -> None:
    source, target, weights = points(1), points(1), torch.rand(1, 20, dtype=torch.float64)

    def residual(candidate: Similarity) -> torch.Tensor:
        return (weights[..., None] * (apply_similarity(source, candidate) - target).square()).sum()

    best = similarity_procrustes(source, target, weights)
    for _ in range(50):
        nudge = torch.randn(1, 3, dtype=torch.float64)
        turn = rotation_from_euler_deg(nudge) @ rotation_from_euler_deg(0 * nudge)
        other = Similarity(turn @ best.rotation, best.scale * (1 + 0.01 * nudge[:, 0]), best.translation + nudge)
        assert residual(other) > residual(best)


def test_mirrored_target_still_gives_a_proper_rotation() -> None:
    source = points()
    rotation = similarity_procrustes(source, source * torch.tensor([-1.0, 1, 1], dtype=torch.float64)).rotation
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("solve", SOLVERS)
def test_points_without_weight_do_not_count(solve) -> None:
    source, truth = points(), similarity()
    target = apply_similarity(source, truth)
    weights = torch.rand(3, 20, dtype=torch.float64) + 0.1
    weights[:, :4] = 0
    spoiled = target.clone()
    spoiled[:, :4] += 500
    for clean, ours in zip(solve(source, target), solve(source, spoiled, weights), strict=True):
        torch.testing.assert_close(ours, clean)


def test_affine_pose_recovers_any_affine_map_far_from_the_origin() -> None:
    source, linear = points() + 1e4, torch.randn(3, 3, 3, dtype=torch.float64)
    shift = torch.randn(3, 1, 3, dtype=torch.float64)
    solved = affine_pose(source, source @ linear.mT + shift)
    torch.testing.assert_close(solved[..., :3], linear)
    torch.testing.assert_close(solved[..., 3], shift[:, 0], atol=1e-6, rtol=1e-6)


def test_affine_pose_equals_the_papers_formula() -> None:
    source, target = points(1), points(1)
    homogeneous = torch.cat([source, torch.ones(1, 20, 1, dtype=torch.float64)], -1).mT
    expected = target.mT @ homogeneous.mT @ torch.linalg.inv(homogeneous @ homogeneous.mT)
    torch.testing.assert_close(affine_pose(source, target), expected)


@pytest.mark.parametrize("solve", ["2d", "3d"])
def test_scaled_orthography_is_recovered(solve: str) -> None:
    rotation, scale, translation = similarity()
    truth, model = ScaledOrthography(rotation, scale, translation[:, :2]), points()
    image = project(model, truth)
    image[..., 2] += 37.0  # depth counts up to an offset
    found = pose_from_landmarks(model, image) if solve == "3d" else orthography_from_points_2d(model, image[..., :2])
    torch.testing.assert_close(found, truth)


def test_single_precision_in_single_precision_out() -> None:
    source, truth = points().float(), similarity()
    found = similarity_procrustes(source, apply_similarity(source.double(), truth).float())
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(found.rotation, truth.rotation.float(), atol=1e-5, rtol=0)


def test_gradients() -> None:
    source, weights = points(1, 6) / 50, torch.rand(1, 6, dtype=torch.float64) + 0.5
    target = apply_similarity(source, similarity(1)) / 50 + 0.1 * torch.randn(1, 6, 3, dtype=torch.float64)
    inputs = tuple(value.requires_grad_() for value in (source, target, weights))
    for solve in SOLVERS:
        assert torch.autograd.gradcheck(solve, inputs)


def test_gradients_where_singular_values_meet() -> None:
    """An octahedron has three equal ones: the derivative of the SVD itself is infinite, that of the rotation is not."""
    corners = torch.cat([torch.eye(3), -torch.eye(3)])[None].double()
    target = apply_similarity(corners, similarity(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: similarity_procrustes(corners, y), (target,))
    flat = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]], dtype=torch.float64)
    planar = apply_similarity(flat, similarity(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: similarity_procrustes(flat, y), (planar,))


def spoil(value: float) -> torch.Tensor:
    source = points()
    source[1, 2, 0] = value
    return source


LINE = torch.linspace(-50, 50, 20, dtype=torch.float64)[None, :, None] * torch.ones(3, 1, 3, dtype=torch.float64) + 7


@pytest.mark.parametrize("solve", SOLVERS)
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (spoil(float("nan")), "not finite.*samples \\[1\\] of 3"),
        (spoil(float("inf")), "not finite"),
        (torch.full((3, 20, 3), 4.0, dtype=torch.float64), "coincide"),
        (LINE, "collinear"),
        (LINE.float(), "collinear"),
    ],
)
def test_degenerate_source_is_named(solve, source: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        solve(source, points().to(source.dtype))


@pytest.mark.parametrize("solve", SOLVERS)
def test_unusable_weights_are_named(solve) -> None:
    weights = torch.zeros(3, 20, dtype=torch.float64)
    weights[:, :2] = 1
    with pytest.raises(ValueError, match="fewer than three"):
        solve(points(), points(), weights)
    with pytest.raises(ValueError, match="negative"):
        solve(points(), points(), weights - 1)
    with pytest.raises(ValueError, match="not finite"):
        solve(points(), points(), weights * float("nan"))


def test_collinear_target_is_named() -> None:
    with pytest.raises(ValueError, match="target are collinear"):
        similarity_procrustes(points(), LINE)


@pytest.mark.parametrize("solve", SOLVERS[1:])
def test_coplanar_source_leaves_the_affine_map_open(solve) -> None:
    with pytest.raises(ValueError, match="coplanar"):
        solve(points() * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), points())
