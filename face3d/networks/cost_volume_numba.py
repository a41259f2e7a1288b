"""The cost volume of `networks.cost_volume` on the CPU, compiled by numba: no product is made that is not wanted."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from face3d.compiled import compiled

_MAP = "float32[:,:,:,::1]"
_PRODUCTS = f"void({_MAP}, {_MAP}, {_MAP})"
_GRADIENTS = f"void({_MAP}, {_MAP}, {_MAP}, {_MAP}, {_MAP})"


def _products(a: Any, b: Any, out: Any) -> None:
    """Sums over channels of a(y, x) b(y + dy, x + dx), channels last (compiled); b is wider than a by the range."""
    batch, channels, height, width = a.shape
    side = b.shape[3] - width + 1
    radius = side // 2
    rows = np.empty((side * side, width), np.float32)
    for sample in range(batch):
        for y in range(height):
            rows[:] = np.float32(0)
            for dy in range(max(-radius, -y), min(radius, height - 1 - y) + 1):
                for channel in range(channels):
                    own, other = a[sample, channel, y], b[sample, channel, y + dy]
                    for dx in range(side):
                        row = rows[(dy + radius) * side + dx]
                        for x in range(width):
                            row[x] += own[x] * other[x + dx]
            for x in range(width):
                for shift in range(side * side):
                    out[sample, y, x, shift] = rows[shift, x]


def _gradients(a: Any, b: Any, upstream: Any, gradient_a: Any, gradient_b: Any) -> None:
    """Gradients of both (compiled), added to what is there."""
    batch, channels, height, width = a.shape
    side = b.shape[3] - width + 1
    radius = side // 2
    rows = np.empty((side * side, width), np.float32)
    for sample in range(batch):
        for y in range(height):
            for x in range(width):
                for shift in range(side * side):
                    rows[shift, x] = upstream[sample, y, x, shift]
            for dy in range(max(-radius, -y), min(radius, height - 1 - y) + 1):
                for channel in range(channels):
                    own, other = a[sample, channel, y], b[sample, channel, y + dy]
                    of_own, of_other = gradient_a[sample, channel, y], gradient_b[sample, channel, y + dy]
                    for dx in range(side):
                        row = rows[(dy + radius) * side + dx]
                        for x in range(width):
                            of_own[x] += row[x] * other[x + dx]
                        for x in range(width):
                            of_other[x + dx] += row[x] * own[x]


class CostVolume(torch.autograd.Function):
    """(B,C,H,W) and the other features, extended by `radius` zeros on the left and right, to (B,D,H,W)."""

    @staticmethod
    def forward(ctx: Any, a: Float32[Tensor, "B C H W"], padded_b: Float32[Tensor, "B C H P"]) -> Tensor:
        """Sums of products, channels-last in memory."""
        a, padded_b = a.detach().contiguous(), padded_b.detach().contiguous()
        ctx.save_for_backward(a, padded_b)
        batch, _, height, width = a.shape
        out = torch.empty(batch, height, width, (padded_b.shape[3] - width + 1) ** 2)
        compiled(_products, _PRODUCTS)(a.numpy(), padded_b.numpy(), out.numpy())
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both."""
        a, padded_b = ctx.saved_tensors
        gradients = torch.zeros_like(a), torch.zeros_like(padded_b)
        moved = upstream.detach().permute(0, 2, 3, 1).contiguous()
        arrays = [values.numpy() for values in (a, padded_b, moved, *gradients)]
        compiled(_gradients, _GRADIENTS)(*arrays)
        return gradients
