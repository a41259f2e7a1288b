"""Upright crops: where they look, and that they look the same at a face however it is turned in the picture."""

import math

import pytest
import torch
from torch import Tensor

from face3d.geometry import rotation_from_euler_deg
from face3d.networks.upright import roll_of, upright_crops
from face3d.types import Similarity

FRONTAL = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
CENTRE_MM = torch.tensor([1.0, -4.0, 60.0])


def turned(pose: Similarity, angle: float, zoom: float) -> tuple[Similarity, Tensor]:
    """The pose after the picture is turned clockwise and zoomed, and the 2x2 map of its pixels."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return Similarity(turn @ pose.rotation, zoom * pose.scale, zoom * pose.translation @ turn.T), zoom * turn[:2, :2]


def picture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture (3, ...) of pixel coordinates."""
    return torch.stack([torch.sin(x / 9), torch.cos(y / 7 + x / 19), torch.sin((x - y) / 11)]) / 2 + 0.5


def pose_of(*euler_deg: float) -> Similarity:
    rotation = rotation_from_euler_deg(torch.tensor([euler_deg])) if euler_deg else FRONTAL[None]
    return Similarity(rotation, torch.tensor([0.4]), torch.tensor([[33.0, 30.0, 5.0]]))


def test_an_upright_face_in_the_middle_is_taken_as_it_is() -> None:
    crops = torch.rand(1, 3, 64, 64)
    centre = torch.tensor([[31.5, 31.5, 0.0]])
    pose = Similarity(FRONTAL[None], torch.tensor([32 / 80]), centre)
    upright = upright_crops(crops, pose, torch.zeros(3), 64, 80.0)
    torch.testing.assert_close(upright.crops, crops, atol=1e-5, rtol=0)
    torch.testing.assert_close(upright.rotation, FRONTAL[None])


@pytest.mark.parametrize("euler_deg", [(), (8.0, 35.0, 0.0), (-12.0, -80.0, 20.0)])
@pytest.mark.parametrize("angle", [0.3, -1.2, 3.0])
def test_what_is_seen_does_not_depend_on_roll_scale_and_place(euler_deg: tuple[float, ...], angle: float) -> None:
    pose, rows = pose_of(*euler_deg), torch.arange(96.0)
    place = (pose.translation + 0.4 * pose.rotation @ CENTRE_MM)[:, :2]
    moved, linear = turned(pose, angle, 1.3)
    shift_px = 47 - place @ linear.T  # pixel p of the one picture is linear @ p + shift in the other
    other = moved._replace(translation=moved.translation + torch.cat([shift_px, torch.zeros(1, 1)], dim=1))
    y, x = torch.meshgrid(rows, rows, indexing="ij")
    back = torch.linalg.inv(linear) @ torch.stack([x.flatten() - shift_px[0, 0], y.flatten() - shift_px[0, 1]])
    first, second = picture(x, y), picture(*back.unflatten(1, (96, 96)))
    one = upright_crops(first[None], pose, CENTRE_MM, 24, 30.0)
    two = upright_crops(second[None], other, CENTRE_MM, 24, 30.0)
    assert one.crops.std() > 0.1
    torch.testing.assert_close(two.crops, one.crops, atol=0.01, rtol=0)
    torch.testing.assert_close(two.rotation, one.rotation, atol=1e-5, rtol=0)


def test_the_roll_is_taken_out() -> None:
    pose = pose_of(10.0, 40.0, 35.0)
    upright = upright_crops(torch.rand(1, 3, 32, 32), pose, CENTRE_MM, 32, 90.0)
    assert abs(float(roll_of(pose.rotation))) > 0.3
    torch.testing.assert_close(roll_of(upright.rotation), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(upright.rotation), torch.ones(1))
    torch.testing.assert_close(upright.rotation[:, 2], pose.rotation[:, 2])  # depth is as before


def test_the_centre_is_in_the_middle() -> None:
    pose = pose_of(5.0, -50.0, 25.0)
    place = (pose.translation + 0.4 * pose.rotation @ CENTRE_MM)[0, :2]
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = torch.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 18).expand(1, 3, -1, -1)
    seen = upright_crops(spot, pose, CENTRE_MM, 33, 40.0).crops[0, 0]
    assert int(seen.argmax()) == 16 * 33 + 16


def test_gradients_reach_pictures_and_pose() -> None:
    torch.manual_seed(0)
    rotation = rotation_from_euler_deg(torch.tensor([[4.0, 20.0, 12.0]])).double()
    values = (
        torch.rand(1, 3, 16, 16, dtype=torch.float64),
        rotation,
        torch.tensor([0.1], dtype=torch.float64),
        torch.tensor([[7.3, 8.1, 0.2]], dtype=torch.float64),
    )

    def seen(crops: Tensor, rotation: Tensor, scale: Tensor, translation: Tensor) -> Tensor:
        return upright_crops(crops, Similarity(rotation, scale, translation), CENTRE_MM.double(), 5, 60.0).crops

    assert torch.autograd.gradcheck(seen, [value.requires_grad_() for value in values])


def test_pictures_in_half_precision_are_read_at_exact_places() -> None:
    pose, rows = pose_of(5.0, 30.0, 25.0), torch.arange(64.0)
    y, x = torch.meshgrid(rows, rows, indexing="ij")
    crops = picture(x, y)[None]
    expected = upright_crops(crops, pose, CENTRE_MM, 32, 60.0).crops
    found = upright_crops(crops.bfloat16(), pose, CENTRE_MM, 32, 60.0).crops
    torch.testing.assert_close(found, expected, atol=0.005, rtol=0)
