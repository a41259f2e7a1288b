"""Faces seen once more: turned upright, moved to the middle and drawn at one scale, by a pose already found.

What is left to the network that looks at them is yaw and pitch, expression and who it is. Rectifying a picture by a
first estimate before what is hard is asked of it: Jaderberg et al., "Spatial transformer networks", 2015, section 3.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.types import Similarity


class Upright(NamedTuple):
    """Upright crops in [0,1], and the pose's rotation without its roll: model frame to camera (x right, y down)."""

    crops: Float[Tensor, "B 3 U U"]
    rotation: Float[Tensor, "B 3 3"]


def roll_of(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, " B"]:
    """Angle (rad) by which the model's y axis, up, is seen turned clockwise; 0 where it points at the camera."""
    return torch.atan2(rotation[:, 0, 1], -rotation[:, 1, 1])


def upright_crops(
    crops: Float[Tensor, "B 3 S S"],
    pose: Similarity,
    centre_mm: Float[Tensor, " 3"],
    size: int,
    half_mm: float,
) -> Upright:
    """The squares of `half_mm` on either side of `centre_mm` (model frame), drawn with `size` pixels a side.

    `pose` takes the model frame to the pixels of the crops. Beyond the crop its border is repeated. Differentiable in
    crops and pose."""
    exact = torch.promote_types(crops.dtype, torch.float32)  # half precision is too coarse for places
    side = crops.shape[-1]
    roll = roll_of(pose.rotation)
    cos, sin = roll.cos(), roll.sin()
    zero, one = torch.zeros_like(roll), torch.ones_like(roll)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).unflatten(1, (3, 3))
    centre_px = pose.translation + pose.scale[:, None] * (pose.rotation @ centre_mm)
    # grid_sample's -1 and 1 are the outer edges of the first and last pixel, whose centres are at 0 and side - 1
    linear = turn[:, :2, :2] * (pose.scale * half_mm * 2 / side)[:, None, None]
    shift = (2 * centre_px[:, :2] + 1) / side - 1
    theta = torch.cat([linear, shift[:, :, None]], dim=2).to(exact)
    places = torch.nn.functional.affine_grid(theta, [len(crops), 3, size, size], align_corners=False)
    seen = torch.nn.functional.grid_sample(crops.to(exact), places, padding_mode="border", align_corners=False)
    return Upright(seen.contiguous(memory_format=torch.channels_last), turn.mT @ pose.rotation)
