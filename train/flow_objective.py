"""What flow learns from pictures alone: visible pixels look alike after warping, and flow is smooth but at edges.

Photometric with and without occlusion: DDFlow, equation 1, and SelFlow, equation 2; census and smoothness as in
`face3d.losses_flow`. Both directions count; every term is the mean of the two and of the pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from face3d.losses_flow import (
    census_loss,
    rgb_loss,
    self_supervision_loss,
    smoothness_first_order,
    smoothness_second_order,
)
from face3d.warping import occluded_by_consistency, occluded_by_range, warp_by_flow
from train.flow_pairs import Pairs
from train.flow_views import Lesson

MOST_HIDDEN = 0.5  # of a picture


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the losses without labels, and how occlusion is told: not at all, by the consistency of forward and
    backward flow, or by what arrives from the other frame. `occlusion_from` is the part of the run before it counts:
    a fresh network's flow would hide everything."""

    occlusion: Literal["none", "consistency", "range"] = "consistency"
    occlusion_from: float = 0.2
    census_weight: float = 1.0
    rgb_weight: float = 0.0
    smoothness_weight: float = 4.0  # of the flow at a quarter of the resolution, as UFlow has it
    smoothness_order: int = 1


class Hidden(NamedTuple):
    """Which pixels of the first and of the second frames the other frame does not show."""

    forward: Bool[Tensor, "N H W"]
    backward: Bool[Tensor, "N H W"]


def hidden(pairs: Pairs, how: str) -> Hidden:
    """Occlusion of both frames of pairs by one of the ways of `ObjectiveConfig`."""
    there, back = pairs.forward_px, pairs.backward_px
    if how == "consistency":
        return Hidden(*(_unless_lost(occluded_by_consistency(*both)) for both in ((there, back), (back, there))))
    if how == "range":
        outside = [~warp_by_flow(flow[:, :1], flow.detach()).inside for flow in (there, back)]
        return Hidden(occluded_by_range(back) | outside[0], occluded_by_range(there) | outside[1])
    nothing = torch.zeros_like(there[:, 0], dtype=torch.bool)
    return Hidden(nothing, nothing)


def _unless_lost(occluded: Bool[Tensor, "N H W"]) -> Bool[Tensor, "N H W"]:
    """Nothing of a picture whose greater part would be hidden: flows that disagree so much are wrong, not occluded, and
    a network whose every pixel was hidden would have nothing left to learn from."""
    share = occluded.float().mean(dim=(1, 2), keepdim=True)
    return occluded & (share < MOST_HIDDEN)


def unlabelled_losses(pairs: Pairs, unseen: Hidden, config: ObjectiveConfig) -> dict[str, Float[Tensor, " N"]]:
    """Each loss of every pair, weighted; their sum is what is minimised."""
    losses: dict[str, Tensor] = {}
    directions = (
        (pairs.first, pairs.second, pairs.forward_px, unseen.forward),
        (pairs.second, pairs.first, pairs.backward_px, unseen.backward),
    )
    for name, weight, loss in (("census", config.census_weight, census_loss), ("rgb", config.rgb_weight, rgb_loss)):
        if weight:
            values = [
                loss(own, warp_by_flow(other, flow).values, ~occluded) for own, other, flow, occluded in directions
            ]
            losses[name] = weight * torch.stack(values).mean(0)
    if config.smoothness_weight:
        smoothness = smoothness_first_order if config.smoothness_order == 1 else smoothness_second_order
        quarters = ((pairs.first, pairs.quarter_forward_px), (pairs.second, pairs.quarter_backward_px))
        values = [smoothness(flow, _shrunk(image, flow)) for image, flow in quarters]
        losses["smoothness"] = config.smoothness_weight * torch.stack(values).mean(0)
    return losses


def taught_loss(student: Pairs, lesson: Lesson, unseen: Hidden, learn_from: str) -> Float[Tensor, " N"]:
    """Distance to the teacher's flow: of what the teacher knows and the student cannot see ("occluded": DDFlow
    equation 3, SelFlow equation 4), or of all that the teacher knows ("confident": DistillFlow, Flow2Stereo)."""
    masks = (lesson.known_forward, lesson.known_backward)
    if learn_from == "occluded":
        masks = (masks[0] & unseen.forward, masks[1] & unseen.backward)
    forward = self_supervision_loss(lesson.forward_px, student.forward_px, masks[0])
    return (forward + self_supervision_loss(lesson.backward_px, student.backward_px, masks[1])) / 2


def supervised_loss(pairs: Pairs, batch: Mapping[str, Tensor], between: tuple[tuple[int, int], ...]) -> Tensor:
    """Distance (N,) to the true flow of pairs of neighbours, all pixels known (SelFlow, section 3.4)."""
    true = [torch.cat([batch[name][:, one] for one, _ in between]) for name in ("flow_forward_px", "flow_backward_px")]
    everywhere = torch.ones_like(pairs.forward_px[:, 0])
    forward = self_supervision_loss(true[0], pairs.forward_px, everywhere)
    return (forward + self_supervision_loss(true[1], pairs.backward_px, everywhere)) / 2


def _shrunk(image: Tensor, flow: Tensor) -> Tensor:
    return functional.interpolate(image, size=(flow.shape[-2], flow.shape[-1]), mode="area")
