"""Frozen networks that teach flow: one, or the mean of several (DistillFlow: Liu et al., TPAMI 2021)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.networks.flow import FlowNetwork
from face3d.warping import occluded_by_consistency
from train.flow_pairs import Pairs, estimate
from train.flow_views import Lesson


class Teachers:
    """What several networks think on average of the flow of whole frames, and where they are sure."""

    def __init__(self, networks: Sequence[FlowNetwork], device: torch.device) -> None:
        if not networks:
            raise ValueError("a student needs a teacher: got no weights")
        self.networks = [network.to(device).eval().requires_grad_(False) for network in networks]
        for network in self.networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(
        self, frames: Float[Tensor, "B T 3 H W"], stereo: bool, segments: Int[Tensor, "B H W"] | None = None
    ) -> Lesson:
        """The lesson of whole frames: known is where forward and backward flow agree and do not leave the picture."""
        pairs: list[Pairs] = [estimate(network, network.config.frames, frames, stereo) for network in self.networks]
        forward = torch.stack([pair.forward_px for pair in pairs]).mean(0)
        backward = torch.stack([pair.backward_px for pair in pairs]).mean(0)
        known = (~occluded_by_consistency(forward, backward), ~occluded_by_consistency(backward, forward))
        return Lesson(frames, forward, backward, *known, segments)
