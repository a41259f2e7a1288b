"""Exponential moving average of a model's weights and statistics."""

import copy

import torch
from torch import nn


class Average:
    """Averaged copy of a model: after step n, ``a += (1 - min(decay, (1 + n) / (10 + n))) (w - a)``.

    Statistics of normalisation layers are averaged like weights; integers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights that `model` has after step number `step` (0 for the first)."""
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        average, current = self.model.state_dict(), model.state_dict()
        floats = [name for name, tensor in average.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([average[n] for n in floats], [current[n] for n in floats], weight)
        for name, tensor in average.items():
            if not tensor.is_floating_point():
                tensor.copy_(current[name])
