"""Projection: exact inverse, depth sign, and commuting with a change of image."""

import pytest
import torch

from face3d.camera import project, transform_pose, unproject
from face3d.geometry import rotation_from_euler_deg
from face3d.image import crop_transform, transform_points
from face3d.types import ScaledOrthography


def random_pose(batch: int) -> ScaledOrthography:
    euler_deg = (torch.rand(batch, 3, dtype=torch.float64) - 0.5) * 160
    scale = torch.rand(batch, dtype=torch.float64) + 0.5
    return ScaledOrthography(rotation_from_euler_deg(euler_deg), scale, torch.rand(batch, 2, dtype=torch.float64) * 400)


def test_unproject_inverts_project() -> None:
    pose, points_mm = random_pose(3), torch.randn(3, 9, 3, dtype=torch.float64) * 80
    torch.testing.assert_close(unproject(project(points_mm, pose), pose), points_mm)


def test_frontal_face_is_upright_and_its_nose_is_nearest() -> None:
    pose = ScaledOrthography(
        rotation_from_euler_deg(torch.zeros(1, 3)), torch.tensor([2.0]), torch.tensor([[50.0, 60.0]])
    )
    right, up, nose = project(torch.eye(3)[None] * 10, pose)[0]
    torch.testing.assert_close(right, torch.tensor([70.0, 60.0, 0.0]))
    torch.testing.assert_close(up, torch.tensor([50.0, 40.0, 0.0]))
    torch.testing.assert_close(nose, torch.tensor([50.0, 60.0, -20.0]))


def test_projecting_commutes_with_cropping() -> None:
    pose, points_mm = random_pose(1), torch.randn(1, 9, 3, dtype=torch.float64) * 80
    centre = torch.tensor([123.4, 98.7], dtype=torch.float64).numpy()
    transform = crop_transform(centre, 200.0, 128, angle_deg=25.0)
    cropped = project(points_mm, transform_pose(pose, torch.from_numpy(transform)[None]))
    expected = transform_points(transform, project(points_mm, pose)[0].numpy())
    torch.testing.assert_close(cropped[0], torch.from_numpy(expected))


def test_transformed_rotation_stays_proper() -> None:
    pose = random_pose(1)
    transform = torch.from_numpy(crop_transform(torch.zeros(2).numpy(), 10.0, 20, angle_deg=-40.0))[None]
    rotation = transform_pose(pose, transform).rotation
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64)[None])
    assert torch.linalg.det(rotation) > 0


def test_mirrored_image_is_rejected() -> None:
    with pytest.raises(ValueError, match="orientation"):
        transform_pose(random_pose(1), torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))[None])
