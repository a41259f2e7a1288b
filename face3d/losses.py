"""Losses of the reconstruction: pure functions of tensors and weights, one value per sample; nothing is mixed here."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from face3d.camera import small_motions


def weighted_mean(values: Float[Tensor, "B N"], weights: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Mean of values with weights; zero where all weights are zero."""
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1e-12)


def point_distance(
    points: Float[Tensor, "B N C"], target: Float[Tensor, "B N C"], weights: Float[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Weighted mean Euclidean distance, in the unit of the points."""
    return weighted_mean((points - target).square().sum(-1).add(1e-10).sqrt(), weights)


def opening_difference(
    points: Float[Tensor, "B N C"], target: Float[Tensor, "B N C"], pairs: tuple[tuple[int, int], ...]
) -> Float[Tensor, " B"]:
    """Mean distance between what separates the points of each pair and what ought to, in the unit of the points: lids
    and lips that must meet or part, wherever they are (Feng et al., DECA, SIGGRAPH 2021, the eye closure loss)."""
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    missed = (points[:, first] - points[:, second]) - (target[:, first] - target[:, second])
    return missed.square().sum(-1).add(1e-10).sqrt().mean(1)


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


def identity_disagreement(identity: Float[Tensor, "B K I"], floor: float = 1e-4) -> Float[Tensor, " B"]:
    """How far K estimates of one person's identity differ: their mean squared deviation from their own mean, as a share
    of their mean square, to which `floor` is added. From 0, where all are equal, to 1.

    A share, because the deviation alone is also made smaller by moving everyone towards the mean face.
    """
    deviation = (identity - identity.mean(1, keepdim=True)).square().mean((1, 2))
    return deviation / (identity.square().mean((1, 2)) + floor)


def flow_consistency(
    flow_px: Float[Tensor, "B 2 H W"], mask: Float[Tensor, "B H W"] | Bool[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Mean length in pixels of the flow between a frame and its swapped picture, which ought to be zero; 0 where the
    mask is empty (Liu et al., ACCV 2020, L_f)."""
    length = flow_px.square().sum(1).add(1e-10).sqrt()
    return weighted_mean(length.flatten(1), mask.to(length.dtype).flatten(1))


def without_rigid_motion(
    flow_px: Float[Tensor, "B 2 H W"],
    depth_px: Float[Tensor, "B H W"],
    mask: Float[Tensor, "B H W"] | Bool[Tensor, "B H W"],
) -> Float[Tensor, "B 2 H W"]:
    """The flow with what a small rigid motion of the surface explains taken out: least squares over the mask, of the
    motions of `face3d.camera.small_motions` at pixels (x, y) with depth z.

    All of it where nothing is in the mask. Where a frame is redrawn with a face in a pose that is a little wrong, most
    of the flow between the two is this; what is left tells of the shape. Zero outside the mask.
    """
    weights = mask.to(torch.float64)
    count = weights.sum((1, 2)).clamp_min(1)
    rows, columns = torch.meshgrid(*(torch.arange(n, device=mask.device) for n in mask.shape[1:]), indexing="ij")
    depth = torch.where(weights > 0, depth_px.detach().double(), 0.0)
    places = torch.stack([columns.expand_as(depth).double(), rows.expand_as(depth).double(), depth], 1)
    places = places - ((places * weights[:, None]).sum((2, 3)) / count[:, None])[..., None, None]
    size = ((places.square().sum(1) * weights).sum((1, 2)) / count).sqrt().clamp_min(1e-6)
    modes = small_motions((places / size[:, None, None, None]).permute(0, 2, 3, 1))
    weighted = modes * weights[..., None, None]
    gram = torch.einsum("bhwcm,bhwcn->bmn", weighted, modes) / count[:, None, None]
    moment = torch.einsum("bhwcm,bchw->bm", weighted, flow_px.double()) / count[:, None]
    rigid = torch.linalg.solve(gram + 1e-8 * torch.eye(6).to(gram), moment)  # flat depth: its turns are none
    left = flow_px.double() - torch.einsum("bm,bhwcm->bchw", rigid, modes)
    return (left * weights[:, None]).to(flow_px.dtype)


def semantic_consistency(
    probabilities: Float[Tensor, "B C H W"],
    target: Float[Tensor, "B C H W"],
    mask: Float[Tensor, "B H W"] | Bool[Tensor, "B H W"],
) -> Float[Tensor, " B"]:
    """Half the summed difference of class probabilities (0 equal, 1 disjoint), mean over the mask; 0 where it is empty.

    Liu et al., ACCV 2020, L_s, with a face parser's classes in place of a recognition network's features."""
    distance = (probabilities - target).abs().sum(1) / 2
    return weighted_mean(distance.flatten(1), mask.to(distance.dtype).flatten(1))
