"""Frozen networks that teach flow: one, or the mean of several (DistillFlow: Liu et al., TPAMI 2021).

What they say may be refined first (`face3d.flow_refinement`): the student then learns what the pictures, solved for one
by one, add to what its teachers know. No label is used by either.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.flow_refinement import refined_flow
from face3d.networks.flow import FlowNetwork
from face3d.warping import occluded_by_consistency
from train.flow_pairs import Pairs, estimate
from train.flow_views import Lesson


class Teachers:
    """What several networks think on average of the flow of whole frames, refined or not, and where they are sure."""

    def __init__(self, networks: Sequence[FlowNetwork], device: torch.device, refine: bool = False) -> None:
        if not networks:
            raise ValueError("a student needs a teacher: got no weights")
        self.refine = refine
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
        if self.refine:
            first, second = pairs[0].first, pairs[0].second
            forward, backward = _refined(first, second, forward), _refined(second, first, backward)
        known = (~occluded_by_consistency(forward, backward), ~occluded_by_consistency(backward, forward))
        return Lesson(frames, forward, backward, *known, segments)


def _refined(
    first: Float[Tensor, "N 3 H W"], second: Float[Tensor, "N 3 H W"], flow_px: Float[Tensor, "N 2 H W"]
) -> Float[Tensor, "N 2 H W"]:
    """Each flow refined, on the CPU."""
    frames = [_pixels_last(images.mul(255).round().clamp(0, 255).to(torch.uint8)) for images in (first, second)]
    refined = [refined_flow(*one) for one in zip(*frames, _pixels_last(flow_px.float()), strict=True)]
    return torch.from_numpy(np.stack(refined)).permute(0, 3, 1, 2).to(flow_px.device)


def _pixels_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
