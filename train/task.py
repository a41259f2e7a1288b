"""What a stage is to the loop."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

Batch = dict[str, Tensor]
"""Named tensors with a common first dimension."""

BatchSource = Callable[[int], Iterator[Batch]]
"""seed -> endless batches. Picklable (a dataclass with `__call__`, or a partial of a module's function), because it is
sent to another process; what is heavy is opened there, in the first `next`."""


class Task(Protocol):
    """A stage: a model, where batches come from, what a step's losses are, how the result is judged and described.

    `model` holds every weight that is saved; those with requires_grad=False stay as they are.
    """

    model: nn.Module

    def train_data(self) -> BatchSource:
        """Where training batches come from, on the CPU; uint8 images are best (a quarter of the copying)."""
        ...

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Scalars by name; "loss" is what is minimised, the others are logged. Call the model only by `model(...)`.

        `model` is the task's own, possibly wrapped; `batch` is on its device; `progress` is the part of the run done.
        """
        ...

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Figures of the averaged weights, in eval mode and without gradients."""
        ...

    def pictures(self, model: nn.Module) -> Mapping[str, np.ndarray]:
        """(H, W, 3) uint8 pictures for the eye, of the averaged weights."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON values that let the weights be loaded again: the network's configuration and conventions."""
        ...
