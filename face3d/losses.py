"""Losses of the reconstruction: pure functions of tensors and weights, one value per sample; nothing is mixed here."""

from jaxtyping import Float
from torch import Tensor


def weighted_mean(values: Float[Tensor, "B N"], weights: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Mean of values with weights; zero where all weights are zero."""
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1e-12)


def point_distance(
    points: Float[Tensor, "B N C"], target: Float[Tensor, "B N C"], weights: Float[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Weighted mean Euclidean distance, in the unit of the points."""
    return weighted_mean((points - target).square().sum(-1).add(1e-10).sqrt(), weights)


def gaussian_nll(
    points: Float[Tensor, "B N C"],
    target: Float[Tensor, "B N C"],
    log_variance: Float[Tensor, "B N"],
    weights: Float[Tensor, "B N"],
    beta: float = 0.5,
) -> Float[Tensor, " B"]:
    """Negative log likelihood of points under an isotropic Gaussian, per coordinate and without its constant.

    ``s^(2 beta) (log s^2 / 2 + |mu - y|^2 / (2 C s^2))`` with the first factor taken as a constant (beta-NLL, Seitzer
    et al., ICLR 2022, equation 5); beta = 0 is the plain likelihood of Wood et al. 2022, equation 1.
    """
    squared = (points - target).square().mean(-1)
    nll = 0.5 * log_variance + 0.5 * squared * (-log_variance).exp()
    return weighted_mean(nll * (beta * log_variance.detach()).exp(), weights)


def coefficient_prior(coefficients: Float[Tensor, "B K"], std: Float[Tensor, " K"]) -> Float[Tensor, " B"]:
    """Mean squared coefficient in units of its prior standard deviation."""
    return (coefficients / std).square().mean(1)
