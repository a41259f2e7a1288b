"""The networks whose pose is regressed: what they promise of an estimate, and of weights files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.camera import project
from face3d.checkpoint import save_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import PgnConfig
from face3d.networks.pose_regressor import PoseRegressorConfig
from face3d.networks.regressor import RegressorConfig
from face3d.networks_file import is_unguided, load_networks
from face3d.pipeline import Reconstructor
from face3d.reconstruct import FaceNetworks, build_regressor, empty_pgn
from face3d.unguided import UnguidedNetworks, build_pose_regressor, build_unguided_regressor
from face3d.video import reconstruct_video
from tests.fake_networks import FakeDetector, noise_photo

BACKBONE = BackboneConfig(width=0.5)
POSE = PoseRegressorConfig(BACKBONE, crop_size=64, squeeze=8, hidden=16)
REGRESSOR = RegressorConfig(16, 6, 4, backbone=BACKBONE, crop_size=32, squeeze=8)


@pytest.fixture
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=13, columns=13)


def networks_of(model: MorphableModel) -> UnguidedNetworks:
    """Fresh networks that see different faces in different crops."""
    torch.manual_seed(0)
    networks = UnguidedNetworks(build_pose_regressor(POSE, model), build_unguided_regressor(REGRESSOR), model)
    torch.nn.init.normal_(networks.pose_regressor.head[2].weight, 0, 0.05)
    torch.nn.init.normal_(networks.regressor.out.weight, 0, 0.02)
    return networks.eval()


def saved(networks: UnguidedNetworks | FaceNetworks, path: Path) -> Path:
    save_weights(path, networks.state_dict(), {"stage": "single", "network": networks.describe()})
    return path


def test_estimate_agrees_with_itself(model: MorphableModel) -> None:
    estimate = networks_of(model)(torch.rand(3, 3, 64, 64))
    torch.testing.assert_close(estimate.vertices_px, project(estimate.vertices_mm, estimate.pose))
    torch.testing.assert_close(estimate.vertices_mm, model.vertices(estimate.identity, estimate.expression))
    torch.testing.assert_close(estimate.landmarks_px, model.landmarks_of(estimate.vertices_px))
    torch.testing.assert_close(torch.linalg.det(estimate.pose.rotation), torch.ones(3))
    assert model.grid is not None
    torch.testing.assert_close(estimate.position_map_px[:, :, 3, 5], estimate.vertices_px[:, int(model.grid[3, 5])])
    assert (estimate.identity[0] - estimate.identity[1]).abs().max() > 1e-4
    assert bool((estimate.landmarks_confidence == 1).all())


def test_a_first_look_has_the_same_landmarks(model: MorphableModel) -> None:
    networks, crops = networks_of(model), torch.rand(2, 3, 64, 64)
    look, estimate = networks.look(crops), networks(crops)
    torch.testing.assert_close(look.landmarks_px, estimate.landmarks_px)


def test_the_start_is_the_mean_face_as_crops_show_it(model: MorphableModel) -> None:
    networks = UnguidedNetworks(build_pose_regressor(POSE, model), build_unguided_regressor(REGRESSOR), model).eval()
    landmarks_px = networks(torch.rand(1, 3, 64, 64)).landmarks_px[0]
    side = (landmarks_px.amax(0) - landmarks_px.amin(0))[:2].max()
    torch.testing.assert_close(networks.crop_factor * side, torch.tensor(64.0))


def test_weights_come_back(model: MorphableModel, tmp_path: Path) -> None:
    networks, crops = networks_of(model), torch.rand(2, 3, 64, 64)
    path = saved(networks, tmp_path / "weights.safetensors")
    assert is_unguided(path)
    loaded = load_networks(path, model)
    assert isinstance(loaded, UnguidedNetworks)
    with torch.inference_mode():
        got, expected = loaded(crops), networks(crops)
    torch.testing.assert_close(got.vertices_px, expected.vertices_px, atol=0.2, rtol=0)
    torch.testing.assert_close(got.identity, expected.identity, atol=0.02, rtol=0.02)


def test_each_kind_refuses_the_weights_of_the_other(model: MorphableModel, tmp_path: Path) -> None:
    unguided = saved(networks_of(model), tmp_path / "unguided.safetensors")
    config = PgnConfig(BACKBONE, crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))
    pgn = empty_pgn(config)
    guided = saved(FaceNetworks(pgn, build_regressor(REGRESSOR, pgn), model), tmp_path / "guided.safetensors")
    assert isinstance(load_networks(guided, model), FaceNetworks) and not is_unguided(guided)
    with pytest.raises(ValueError, match="holds pose_regressor and regressor, no pgn"):
        FaceNetworks.read(unguided, model)
    with pytest.raises(ValueError, match="holds pgn and regressor, no pose_regressor"):
        UnguidedNetworks.read(guided, model)
    with pytest.raises(ValueError, match="9 and 4"):
        load_networks(unguided, MorphableModel.random(0, rows=13, columns=13, identity=9))


def test_models_without_a_square_grid_are_refused() -> None:
    model = MorphableModel.random(0, rows=12, columns=13)
    with pytest.raises(ValueError, match="square"):
        UnguidedNetworks(build_pose_regressor(POSE, model), build_unguided_regressor(REGRESSOR), model)


def test_photos_and_videos_take_them(model: MorphableModel, tmp_path: Path) -> None:
    path = saved(networks_of(model), tmp_path / "weights.safetensors")
    reconstructor = Reconstructor(path, model, "cpu")
    (face,) = reconstructor(noise_photo(), boxes=[[20, 20, 80, 80]])
    np.testing.assert_array_equal(face.landmarks_confidence, np.ones(68))
    box = FakeDetector([[20, 20, 80, 80]])
    reconstructor = Reconstructor.from_parts(reconstructor.networks, box, model)
    (track,) = reconstruct_video([noise_photo()] * 3, reconstructor).tracks
    assert len(track.frames) == 3 and np.isfinite(track.vertices_px(0)).all()


def test_the_door_is_differentiable(model: MorphableModel) -> None:
    crops = torch.rand(1, 3, 64, 64, requires_grad=True)
    networks_of(model)(crops).vertices_px.sum().backward()
    assert crops.grad is not None and bool(torch.isfinite(crops.grad).all()) and bool(crops.grad.any())
