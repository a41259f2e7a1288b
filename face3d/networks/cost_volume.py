"""How well every place of one feature map fits its neighbourhood in another: the input of a flow network's decoder.

Sun et al., "PWC-Net", CVPR 2018, section 3 (mean of products); Liu et al., "SelFlow", CVPR 2019, for the cosine. That
the features are normalised matters much in training without labels (Jonschkowski et al., ECCV 2020).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from face3d.networks.cost_volume_numba import CostVolume

_LEAST_COMPILED_WIDTH = 20  # below, matrix products are as fast
_SMALLEST_SQUARE = 1e-6  # a black picture has features of zero: their direction must not have an infinite gradient


def cost_volume(
    a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"], radius: int = 4, normalise: bool = True
) -> Float[Tensor, "B D H W"]:
    """Products of a(x, y) with b(x + dx, y + dy) for all |dx|, |dy| <= radius; D = (2 radius + 1)^2.

    Channel ``(dy + radius) (2 radius + 1) + dx + radius``; zero where b has no such pixel. With `normalise` the cosine
    of the two features, in [-1, 1], else the mean of their products over the channels.

    The maps of a CPU but the small ones go through `face3d.networks.cost_volume_numba`, in single precision and with
    the first derivative only; in double precision, and elsewhere, through `cost_volume_reference`.
    """
    a, b = (unit_features(a), unit_features(b)) if normalise else (a / a.shape[1], b)
    if a.device.type == "cpu" and a.dtype != torch.float64 and a.shape[3] >= _LEAST_COMPILED_WIDTH:
        volume: Tensor = CostVolume.apply(a.float(), functional.pad(b.float(), (radius, radius)))
        return volume
    return cost_volume_reference(a, b, radius)


def cost_volume_reference(
    a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"], radius: int
) -> Float[Tensor, "B D H W"]:
    """Sums of products over the channels, as `cost_volume`, by torch's own operations.

    A row of `a` meets a row of `b` in one matrix product; of that (W, W + 2 radius) matrix, the 2 radius + 1 diagonals
    are wanted, which stand in columns once its rows are read as being one element longer. With gradients, on a CPU, a
    quarter of the time of one product a shift and less than a tenth of what unfolding takes. The result is in
    channels-last order in memory.
    """
    batch, channels, height, width = a.shape
    side, padded_width = 2 * radius + 1, width + 2 * radius
    # One more row than needed, since width rows of padded_width + 1 are read of each product.
    rows = functional.pad(a.permute(0, 2, 3, 1), (0, 0, 0, 1)).reshape(batch * height, width + 1, channels)
    padded = functional.pad(b.permute(0, 2, 3, 1), (0, 0, radius, radius, radius, radius))
    shifted = []
    for dy in range(side):
        other = padded[:, dy : dy + height].reshape(batch * height, padded_width, channels)
        products = torch.bmm(rows, other.transpose(1, 2)).flatten(1)
        skewed = products[:, : width * (padded_width + 1)].unflatten(1, (width, padded_width + 1))
        shifted.append(skewed[:, :, :side].contiguous())  # lets go of the product, whose memory serves the next
    return torch.stack(shifted, dim=2).view(batch, height, width, side * side).permute(0, 3, 1, 2)


def unit_features(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Every pixel's feature divided by its length; zero, with a gradient that is bounded, where that is zero."""
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + _SMALLEST_SQUARE)
