"""The Euler and camera conventions on real labels: AFLW2000's Pose_Para projects its model onto its own landmarks.

3DDFA: ``vertex = f R(pitch, yaw, roll) S + t`` in an image with y up and 1-based pixels, then ``y = H + 1 - y``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from face3d.camera import project
from face3d.geometry import euler_deg_from_rotation, rotation_from_euler_deg
from face3d.pose import orthography_from_points_2d, pose_from_landmarks
from face3d.types import ScaledOrthography

Labels = list[dict[str, np.ndarray]]
Basis = tuple[np.ndarray, np.ndarray, np.ndarray]

HEIGHT = 450
MM_PER_UNIT = 1e-3  # the Basel Face Model is in micrometres


@pytest.fixture(scope="module")
def photos(data_dir: Path) -> Labels:
    files = sorted((data_dir / "aflw2000").glob("image*.mat"))
    if not files:
        pytest.skip(f"no AFLW2000 labels in {data_dir / 'aflw2000'}")
    return [loadmat(file) for file in files]


@pytest.fixture(scope="module")
def basis(data_dir: Path) -> Basis:
    folder = data_dir / "bfm68"
    if not folder.is_dir():
        pytest.skip(f"no 68-point Basel Face Model in {folder}")
    mean, shape, expression = (np.loadtxt(folder / f"{name}.txt") for name in ("u_base", "w_shp_base", "w_exp_base"))
    return mean.reshape(-1), shape, expression


def landmarks_mm(label: dict[str, np.ndarray], basis: Basis) -> torch.Tensor:
    mean, shape, expression = basis
    flat = mean + shape @ label["Shape_Para"][: shape.shape[1], 0]
    flat = flat + expression @ label["Exp_Para"][: expression.shape[1], 0]
    return torch.from_numpy(flat.reshape(1, 68, 3) * MM_PER_UNIT)


def landmarks_px(label: dict[str, np.ndarray]) -> torch.Tensor:
    """(1, 68, 3) 0-based; depth larger is farther, where AFLW2000's grows towards the camera."""
    x, y, z = label["pt3d_68"].astype(np.float64)
    return torch.from_numpy(np.stack([x - 1, y - 1, -z], axis=-1)[None])


def labelled_pose(label: dict[str, np.ndarray]) -> tuple[torch.Tensor, ScaledOrthography]:
    pitch, yaw, roll, x, y, _, factor = label["Pose_Para"][0].astype(np.float64)
    euler_deg = torch.rad2deg(torch.tensor([[pitch, yaw, roll]], dtype=torch.float64))
    translation_px = torch.tensor([[x - 1, HEIGHT - y]], dtype=torch.float64)  # 1-based y up -> 0-based y down
    scale = torch.tensor([factor / MM_PER_UNIT], dtype=torch.float64)
    return euler_deg, ScaledOrthography(rotation_from_euler_deg(euler_deg), scale, translation_px)


def relative_distances(label: dict[str, np.ndarray], points_px: torch.Tensor) -> torch.Tensor:
    """Distances in the image plane from the labelled landmarks, over the size of the face."""
    labelled = landmarks_px(label)[0, :, :2]
    size = (labelled.amax(0) - labelled.amin(0)).prod().sqrt()
    return (points_px[0, :, :2] - labelled).norm(dim=-1) / size


def test_labelled_pose_projects_the_model_onto_the_labelled_landmarks(photos: Labels, basis: Basis) -> None:
    """A wrong sign, order or axis is off by a tenth and more; the basis, cut to 40 + 10 components, by a hundredth."""
    for label in photos:
        _, pose = labelled_pose(label)
        distances = relative_distances(label, project(landmarks_mm(label, basis), pose))
        assert distances.mean() < 0.017


def test_estimated_pose_has_the_labelled_angles(photos: Labels, basis: Basis) -> None:
    for label in photos:
        angles_deg, labelled = labelled_pose(label)
        model, image = landmarks_mm(label, basis), landmarks_px(label)
        for pose in (pose_from_landmarks(model, image), orthography_from_points_2d(model, image[..., :2])):
            turn = pose.rotation @ labelled.rotation.mT
            cosine = (turn.diagonal(dim1=1, dim2=2).sum() - 1) / 2
            assert torch.rad2deg(cosine.clamp(-1, 1).acos()) < 3
            torch.testing.assert_close(pose.scale, labelled.scale, rtol=0.02, atol=0)
        if angles_deg.abs().max() < 80:
            torch.testing.assert_close(
                euler_deg_from_rotation(pose_from_landmarks(model, image).rotation), angles_deg, atol=2.5, rtol=0
            )
