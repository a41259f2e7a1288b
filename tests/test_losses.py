"""Losses: values by hand, masks, gradients."""

import pytest
import torch
from torch import Tensor

from face3d.geometry import rotation_from_euler_deg
from face3d.losses import (
    coefficient_prior,
    gaussian_nll,
    identity_disagreement,
    opening_difference,
    point_distance,
    weighted_mean,
    without_rigid_motion,
)


def test_weighted_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    weights = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    assert weighted_mean(values, weights).tolist() == [2.5, 0.0]


def test_point_distance_by_hand() -> None:
    points = torch.tensor([[[3.0, 4.0], [100.0, 0.0]]])
    weights = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(point_distance(points, torch.zeros(1, 2, 2), weights), torch.tensor([5.0]))


def test_point_distance_has_a_gradient_at_zero() -> None:
    points = torch.zeros(1, 3, 2, requires_grad=True)
    point_distance(points, torch.zeros(1, 3, 2), torch.ones(1, 3)).sum().backward()
    assert points.grad is not None and bool(torch.isfinite(points.grad).all())


def test_openings_are_compared_wherever_they_are() -> None:
    """Lids 3 apart that ought to be 1 apart miss by 2; where they are, and what else moves, counts for nothing."""
    target = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 7.0]]])
    points = torch.tensor([[[9.0, 4.0], [9.0, 7.0], [8.0, 1.0], [8.0, 3.0]]])
    assert opening_difference(points, target, ((0, 1),)).item() == pytest.approx(2.0, abs=1e-3)
    assert opening_difference(points, target, ((0, 1), (2, 3))).item() == pytest.approx(1.0, abs=1e-3)
    assert opening_difference(points[:, [1, 0, 2, 3]], target, ((0, 1),)).item() == pytest.approx(4.0, abs=1e-3)
    points.requires_grad_()
    opening_difference(points, points.detach(), ((0, 1),)).sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()


def test_likelihood_is_best_at_the_true_variance() -> None:
    error = torch.full((1, 50, 3), 0.2)
    levels = torch.linspace(-6, 2, 81)
    values = [
        float(gaussian_nll(error, torch.zeros_like(error), torch.full((1, 50), level), torch.ones(1, 50), beta=0.0))
        for level in levels.tolist()
    ]
    best = float(levels[int(torch.tensor(values).argmin())])
    assert abs(best - 2 * torch.tensor(0.2).log().item()) < 0.1


def test_beta_scales_the_gradient_of_the_mean_only_by_a_constant() -> None:
    points = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.full((1, 4), -2.0, dtype=torch.float64)
    weights = torch.ones(1, 4, dtype=torch.float64)
    gradients = []
    for beta in (0.0, 0.5):
        (gradient,) = torch.autograd.grad(
            gaussian_nll(points, torch.zeros_like(points), log_variance, weights, beta).sum(), points
        )
        gradients.append(gradient)
    torch.testing.assert_close(gradients[1], gradients[0] * torch.tensor(-1.0, dtype=torch.float64).exp())


def test_losses_pass_gradcheck() -> None:
    torch.manual_seed(0)
    points = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    target, weights = torch.randn(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: point_distance(p, target, weights), (points,))
    assert torch.autograd.gradcheck(lambda p, v: gaussian_nll(p, target, v, weights, 0.0), (points, log_variance))


def test_prior_is_one_at_one_standard_deviation() -> None:
    std = torch.tensor([0.5, 2.0, 3.0])
    torch.testing.assert_close(coefficient_prior(std[None], std), torch.ones(1))


def test_disagreement_is_none_of_equals_all_of_opposites_and_blind_to_scale() -> None:
    one = torch.randn(5, 1, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(identity_disagreement(one.expand(5, 3, 12)), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(identity_disagreement(torch.cat([one, -one], 1), floor=0.0), torch.ones(5))
    frames = one + 0.3 * torch.randn(5, 4, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(identity_disagreement(frames, floor=0.0), identity_disagreement(0.2 * frames, floor=0.0))


def test_disagreement_of_mean_faces_is_finite_with_a_gradient() -> None:
    identity = torch.zeros(2, 3, 4, requires_grad=True)
    identity_disagreement(identity).sum().backward()
    assert identity.grad is not None and bool(torch.isfinite(identity.grad).all())


SIDE = 24


def bowl() -> tuple[Tensor, Tensor]:
    """Depth (1,S,S) of a curved surface, infinite where it is not, and the mask of it."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, SIDE, dtype=torch.float64),) * 2, indexing="ij")
    mask = (x.square() + y.square() < 0.8)[None]
    return torch.where(mask, 6 * (x.square() + 0.6 * y.square() + 0.3 * x * y)[None], torch.inf), mask


def moved_by(euler_deg: list[float], scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Flow (1,2,S,S) of the bowl that is turned about the picture's middle, scaled and shifted."""
    depth, mask = bowl()
    y, x = torch.meshgrid(*(torch.arange(SIDE, dtype=torch.float64),) * 2, indexing="ij")
    points = torch.stack([x, y, torch.where(mask, depth, 0.0)[0]], -1).view(1, -1, 3)
    middle = (SIDE - 1) / 2 * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    turned, straight = rotation_from_euler_deg(torch.tensor([euler_deg, [0.0, 0.0, 0.0]], dtype=torch.float64))
    there = scale * (points - middle) @ (turned @ straight.T).T + middle
    change = there[..., :2] - points[..., :2] + torch.tensor(shift)
    return change.view(1, SIDE, SIDE, 2).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("euler_deg", "scale", "shift"),
    [([0, 0, 0], 1.0, (2.0, -1.0)), ([0, 0, 0], 1.05, (0, 0)), ([0, 0, 1.0], 1.0, (0, 0)), ([1.0, 0, 0], 1.0, (0, 0))]
    + [([0, 1.0, 0], 1.0, (0.0, 0.0)), ([1.0, -1.5, 0.7], 1.02, (0.5, 0.3))],
)
def test_small_rigid_motions_leave_nothing(euler_deg: list[float], scale: float, shift: tuple[float, float]) -> None:
    depth, mask = bowl()
    flow = moved_by(euler_deg, scale, shift)
    left = without_rigid_motion(flow, depth, mask).norm(dim=1)[mask]
    assert left.max() < 0.03 * flow.norm(dim=1)[mask].mean()


def test_what_is_no_rigid_motion_stays() -> None:
    depth, mask = bowl()
    bump = torch.zeros(1, 2, SIDE, SIDE, dtype=torch.float64)
    bump[:, 0, 9:15, 9:15] = 1.0  # a nose that is longer than it is thought to be, seen from the side
    left = without_rigid_motion(bump + moved_by([1.0, -1.5, 0.7]), depth, mask)
    assert left[0, 0, 9:15, 9:15].mean() > 0.5
    torch.testing.assert_close(left, without_rigid_motion(bump, depth, mask), atol=0.05, rtol=0)
    torch.testing.assert_close(without_rigid_motion(left, depth, mask), left, atol=1e-6, rtol=0)
    assert not left[:, :, ~mask[0]].any()


def test_flow_of_nothing_of_a_pixel_and_of_a_flat_surface() -> None:
    flow = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[1, 2, 3], mask[2] = True, True
    left = without_rigid_motion(flow, torch.full((3, 8, 8), 4.0), mask)
    assert not left[0].any() and left[1].abs().max() < 1e-4
    assert bool(torch.isfinite(left).all()) and left[2].norm() > 0.5 * flow[2].norm()


def test_rigid_motion_is_taken_out_differentiably() -> None:
    depth, mask = bowl()
    cut = (slice(None), slice(8, 13), slice(8, 13))
    flow = torch.randn(1, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: without_rigid_motion(values, depth[cut], mask[cut]), (flow,))
