"""The regressed pose: where it starts, that rotations are proper, gradients, and the mirror image."""

import math

import pytest
import torch
from torch import Tensor

from face3d.camera import project
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pose_regressor import NUMBERS, PoseRegressor, PoseRegressorConfig, rotation_from_columns

CONFIG = PoseRegressorConfig(BackboneConfig(width=0.5), crop_size=64, squeeze=8, hidden=16)
FRONTAL = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


@pytest.fixture
def regressor() -> PoseRegressor:
    torch.manual_seed(0)
    return PoseRegressor(CONFIG, torch.tensor([0.0, -4.0, 60.0]), 0.4).eval()


def awake(regressor: PoseRegressor) -> PoseRegressor:
    """The same with a last layer that says something."""
    torch.nn.init.normal_(regressor.head[2].weight, 0, 0.2)
    return regressor


def test_the_start_is_a_frontal_face_in_the_middle(regressor: PoseRegressor) -> None:
    pose = regressor(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(pose.rotation, FRONTAL.expand(2, 3, 3))
    torch.testing.assert_close(pose.scale, torch.full((2,), 0.4))
    middle_px = project(regressor.middle_mm.expand(2, 1, 3), pose)[:, 0, :2]
    torch.testing.assert_close(middle_px, torch.full((2, 2), 31.5))


def test_rotations_are_proper_and_scales_positive(regressor: PoseRegressor) -> None:
    pose = regressor.pose(3 * torch.randn(200, NUMBERS))
    torch.testing.assert_close(pose.rotation @ pose.rotation.mT, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(pose.rotation), torch.ones(200))
    assert bool((pose.scale > 0).all())


def test_a_rotation_is_made_of_its_own_columns() -> None:
    rotation, _ = torch.linalg.qr(torch.randn(20, 3, 3, dtype=torch.float64))
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    columns = rotation.mT[:, :2]
    torch.testing.assert_close(rotation_from_columns(columns), rotation)
    stretched = torch.stack([2 * columns[:, 0], columns[:, 1] + 0.7 * columns[:, 0]], dim=1)
    torch.testing.assert_close(rotation_from_columns(stretched), rotation)


def test_gradients_of_the_pose(regressor: PoseRegressor) -> None:
    regressor = regressor.double()
    numbers = 0.5 * torch.randn(3, NUMBERS, dtype=torch.float64)

    def pose(values: Tensor) -> tuple[Tensor, ...]:
        return tuple(regressor.pose(values))

    torch.autograd.gradcheck(pose, (numbers.requires_grad_(),))
    torch.autograd.gradcheck(pose, (torch.zeros_like(numbers).requires_grad_(),))


def test_mirrored_crops_give_mirrored_poses(regressor: PoseRegressor) -> None:
    awake(regressor)
    crops = torch.rand(2, 3, 64, 64)
    plain, mirrored = regressor.both_ways(crops), regressor.both_ways(crops.flip(3))
    points_mm = 50 * torch.randn(2, 9, 3)
    there = project(points_mm, plain)
    back = project(points_mm * torch.tensor([-1.0, 1.0, 1.0]), mirrored)
    torch.testing.assert_close(back[..., 0], 63 - there[..., 0], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(back[..., 1:], there[..., 1:], atol=1e-3, rtol=1e-4)
    assert (plain.rotation - FRONTAL).abs().max() > 0.01


def test_the_numbers_mean_scale_and_place(regressor: PoseRegressor) -> None:
    numbers = torch.zeros(1, NUMBERS)
    numbers[0, 6:] = torch.tensor([math.log(1.5), 0.25, -0.5])
    pose = regressor.pose(numbers)
    torch.testing.assert_close(pose.scale, torch.tensor([0.6]))
    middle_px = project(regressor.middle_mm[None, None], pose)[0, 0, :2]
    torch.testing.assert_close(middle_px, torch.tensor([31.5 + 8, 31.5 - 16]))


def test_half_precision_stops_behind_the_encoder(regressor: PoseRegressor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        pose = awake(regressor)(torch.rand(1, 3, 64, 64))
    assert {values.dtype for values in pose} == {torch.float32}
    torch.testing.assert_close(torch.linalg.det(pose.rotation), torch.ones(1))
