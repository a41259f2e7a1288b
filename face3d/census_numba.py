"""The census distance of `face3d.losses_flow` on the CPU, compiled by numba, with its gradient: no 48 maps in memory.

What a pixel compares with its neighbour, the neighbour compares with the pixel, with the sign turned: every pair of
neighbours is looked at once, and counts for both.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from face3d.compiled import compiled

SQUASH = 0.81
"""``t = d / sqrt(SQUASH + d^2)`` of a difference d of grey values in 0-255."""
SOFTNESS = 0.1
"""``s / (SOFTNESS + s)`` of the squared difference s of two such values."""

_DISTANCE = "void(float32[:,:,::1], float32[:,:,::1], int64, float32, float32, float32[:,:,::1])"
_GRADIENT = "void(float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], int64, float32, float32, float32[:,:,::1])"


def _distance(first: Any, second: Any, radius: int, squash: Any, softness: Any, out: Any) -> None:
    """Sum over a pixel's neighbours, wherever they are in the picture (compiled)."""
    batch, height, width = first.shape
    terms = np.empty(width, np.float32)
    for sample in range(batch):
        for y in range(height):
            for dy in range(min(radius, height - 1 - y) + 1):
                for dx in range(-radius if dy > 0 else 1, radius + 1):
                    low, high = max(0, -dx), width - max(0, dx)
                    for x in range(low, high):
                        a = first[sample, y + dy, x + dx] - first[sample, y, x]
                        b = second[sample, y + dy, x + dx] - second[sample, y, x]
                        unlike = a / np.sqrt(squash + a * a) - b / np.sqrt(squash + b * b)
                        terms[x] = unlike * unlike / (softness + unlike * unlike)
                    for x in range(low, high):
                        out[sample, y, x] += terms[x]
                    for x in range(low, high):
                        out[sample, y + dy, x + dx] += terms[x]


def _gradient(first: Any, second: Any, upstream: Any, radius: int, squash: Any, softness: Any, out: Any) -> None:
    """Gradient of ``sum(upstream * distance)`` with respect to `second` (compiled)."""
    batch, height, width = first.shape
    terms = np.empty(width, np.float32)
    for sample in range(batch):
        for y in range(height):
            for dy in range(min(radius, height - 1 - y) + 1):
                for dx in range(-radius if dy > 0 else 1, radius + 1):
                    low, high = max(0, -dx), width - max(0, dx)
                    for x in range(low, high):
                        a = first[sample, y + dy, x + dx] - first[sample, y, x]
                        b = second[sample, y + dy, x + dx] - second[sample, y, x]
                        steep = squash + b * b
                        root = np.sqrt(steep)
                        unlike = b / root - a / np.sqrt(squash + a * a)
                        soft = softness + unlike * unlike
                        weight = upstream[sample, y, x] + upstream[sample, y + dy, x + dx]
                        terms[x] = weight * unlike * (softness + softness) * squash / (soft * soft * steep * root)
                    for x in range(low, high):
                        out[sample, y, x] -= terms[x]
                    for x in range(low, high):
                        out[sample, y + dy, x + dx] += terms[x]


class CensusDistance(torch.autograd.Function):
    """Census distance (B,H,W) of grey pictures (B,H,W) in 0-255, float32 on the CPU, zero on a border of `radius`."""

    @staticmethod
    def forward(ctx: Any, first: Float32[Tensor, "B H W"], second: Float32[Tensor, "B H W"], radius: int) -> Tensor:
        """As `face3d.losses_flow.census_distance`."""
        ctx.save_for_backward(first, second)
        ctx.radius = radius
        out = torch.zeros_like(first, memory_format=torch.contiguous_format)
        compiled(_distance, _DISTANCE)(_numpy(first), _numpy(second), radius, *_constants(), out.numpy())
        return _without_border(out, radius)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of both pictures, of those that need one."""
        pictures, radius = ctx.saved_tensors, ctx.radius
        inner = _numpy(_without_border(upstream.clone(), radius))
        gradients: list[Tensor | None] = [None, None]
        for at in range(2):
            if ctx.needs_input_grad[at]:
                out = torch.zeros_like(pictures[at], memory_format=torch.contiguous_format)
                still, moved = _numpy(pictures[1 - at]), _numpy(pictures[at])
                compiled(_gradient, _GRADIENT)(still, moved, inner, radius, *_constants(), out.numpy())
                gradients[at] = out
        return gradients[0], gradients[1], None


def _constants() -> tuple[np.float32, np.float32]:
    return np.float32(SQUASH), np.float32(SOFTNESS)


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().contiguous().numpy()


def _without_border(values: Tensor, radius: int) -> Tensor:
    """The same memory, zero on the border."""
    for side in (1, 2):
        values.narrow(side, 0, radius).zero_()
        values.narrow(side, values.shape[side] - radius, radius).zero_()
    return values
