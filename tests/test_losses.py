"""Losses: values by hand, masks, gradients."""

import torch

from face3d.losses import coefficient_prior, gaussian_nll, identity_disagreement, point_distance, weighted_mean


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
    torch.testing.assert_close(
        identity_disagreement(frames, floor=0.0), identity_disagreement(0.2 * frames, floor=0.0)
    )


def test_disagreement_of_mean_faces_is_finite_with_a_gradient() -> None:
    identity = torch.zeros(2, 3, 4, requires_grad=True)
    identity_disagreement(identity).sum().backward()
    assert identity.grad is not None and bool(torch.isfinite(identity.grad).all())
