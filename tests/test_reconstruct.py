"""The tensor door: what it promises of frames, pose, and weights files."""

from pathlib import Path

import pytest
import torch

from face3d.camera import project
from face3d.checkpoint import save_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import Pgn, PgnConfig, PositionMap
from face3d.networks.regressor import RegressorConfig
from face3d.reconstruct import FaceNetworks, build_regressor, shape_vertices
from face3d.types import ScaledOrthography

SMALL = {"backbone": BackboneConfig(width=0.5), "crop_size": 32, "squeeze": 8}
CONFIG = PgnConfig(BackboneConfig(width=0.5), crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))


@pytest.fixture
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=13, columns=13)


def networks_of(model: MorphableModel) -> FaceNetworks:
    torch.manual_seed(0)
    assert model.uv is not None
    corners = model.uv[model.triangles[model.landmark_triangles]]
    uv = (corners * model.landmark_barycentric[..., None]).sum(1)
    points = model.mean.T.unflatten(1, (13, 13)) * torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    pgn = Pgn(CONFIG, points / points.abs().max(), uv)
    regressor = build_regressor(RegressorConfig(16, model.identity_count, model.expression_count, **SMALL), pgn)
    return FaceNetworks(pgn, regressor, model).eval()


def test_estimate_agrees_with_itself(model: MorphableModel) -> None:
    estimate = networks_of(model)(torch.rand(3, 3, 64, 64))
    torch.testing.assert_close(estimate.vertices_px, project(estimate.vertices_mm, estimate.pose))
    torch.testing.assert_close(estimate.vertices_mm, model.vertices(estimate.identity, estimate.expression))
    torch.testing.assert_close(torch.linalg.det(estimate.pose.rotation), torch.ones(3))
    assert bool((estimate.landmarks_confidence > 0).all() and (estimate.landmarks_confidence <= 1).all())


def test_mirrored_crops_give_mirrored_faces(model: MorphableModel) -> None:
    """Averaging over the mirror image makes the position map exactly equivariant to mirroring."""
    networks, crops = networks_of(model), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for parameter in networks.pgn.decoder.head.parameters():
            parameter.normal_(0, 0.1)
    plain, mirrored = networks.maps(crops), networks.maps(crops.flip(3))
    back = mirrored.position_px.flip(3)
    back = torch.cat([63 - back[:, :1], back[:, 1:]], dim=1)
    torch.testing.assert_close(back, plain.position_px, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(mirrored.log_variance.flip(2), plain.log_variance)


def test_a_first_look_is_that_of_the_plain_crop(model: MorphableModel) -> None:
    networks, crops = networks_of(model), torch.rand(2, 3, 64, 64)
    maps, _ = networks.pgn(crops)
    look = networks.look(crops)
    landmarks_px, deviation_px = networks.pgn.landmarks(maps)
    torch.testing.assert_close(look.landmarks_px, landmarks_px)
    torch.testing.assert_close(look.landmarks_confidence, 1 / (1 + deviation_px * 128 / 64))


def test_shape_offsets_do_not_depend_on_the_pose(model: MorphableModel) -> None:
    networks = networks_of(model)
    shape = model.vertices(torch.randn(1, model.identity_count), torch.zeros(1, model.expression_count))
    offsets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        rotation, _ = torch.linalg.qr(torch.randn(1, 3, 3))
        rotation = rotation * torch.linalg.det(rotation)[:, None, None]
        pose = ScaledOrthography(rotation, torch.rand(1) + 0.2, 30 * torch.rand(1, 2))
        placed = project(shape, pose)
        maps = PositionMap(placed.transpose(1, 2).unflatten(2, (13, 13)), torch.zeros(1, 13, 13))
        offsets.append(networks.seen(torch.rand(1, 3, 64, 64), maps, model.landmarks_of(placed), torch.ones(1, 68))[1])
    torch.testing.assert_close(offsets[0], offsets[1], atol=1e-4, rtol=1e-4)
    assert offsets[0].shape == (1, 68 + 169, 3)


def test_weights_come_back(model: MorphableModel, tmp_path: Path) -> None:
    """Stored in half precision and with norms folded, the networks give the same faces within a fraction of a pixel."""
    networks, crops = networks_of(model), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for parameter in networks.regressor.out.parameters():
            parameter.normal_(0, 0.01)
    path = tmp_path / "weights.safetensors"
    save_weights(path, networks.state_dict(), {"stage": "single", "network": networks.describe()})
    loaded = FaceNetworks.load(path, model)
    with torch.inference_mode():
        got, expected = loaded(crops), networks(crops)
    torch.testing.assert_close(got.landmarks_px, expected.landmarks_px, atol=0.1, rtol=0)
    torch.testing.assert_close(got.identity, expected.identity, atol=0.02, rtol=0.02)


def test_weights_of_another_model_are_refused(model: MorphableModel, tmp_path: Path) -> None:
    networks = networks_of(model)
    path = tmp_path / "weights.safetensors"
    save_weights(path, networks.state_dict(), {"stage": "single", "network": networks.describe()})
    other = MorphableModel.random(0, rows=13, columns=13, identity=9)
    with pytest.raises(ValueError, match="9 and 4"):
        FaceNetworks.load(path, other)


def test_weights_of_stage_pgn_are_refused(model: MorphableModel, tmp_path: Path) -> None:
    networks = networks_of(model)
    path = tmp_path / "pgn.safetensors"
    save_weights(path, networks.pgn.state_dict(), {"stage": "pgn", "network": {"pgn": networks.describe()["pgn"]}})
    with pytest.raises(ValueError, match="expected weights of stage 'single'"):
        FaceNetworks.load(path, model)


def test_regressors_of_the_earlier_kind_are_refused(model: MorphableModel, tmp_path: Path) -> None:
    networks = networks_of(model)
    described = networks.describe()
    described["regressor"] = {"hidden": 16, "identity": 6, "expression": 4, "dropout": 0.1}
    path = tmp_path / "old.safetensors"
    save_weights(path, networks.state_dict(), {"stage": "single", "network": described})
    with pytest.raises(ValueError, match="train them again"):
        FaceNetworks.load(path, model)


def test_the_regressors_see_the_same_however_the_crop_is_turned(model: MorphableModel) -> None:
    """Of a crop turned by a right angle, with its landmarks, they get the same picture and the same points."""
    networks, crops = networks_of(model), torch.rand(1, 3, 64, 64)
    turned, marks = crops.rot90(1, (2, 3)), 20 * torch.rand(1, 68, 3) + 20
    marks_turned = torch.stack([marks[..., 1], 63 - marks[..., 0], marks[..., 2]], dim=-1)
    position = 60 * torch.rand(1, 3, 13, 13)
    position_turned = torch.stack([position[:, 1], 63 - position[:, 0], position[:, 2]], dim=1)
    flat = torch.zeros(1, 13, 13)
    one, offsets = networks.seen(crops, PositionMap(position, flat), marks, torch.ones(1, 68))
    two, offsets_turned = networks.seen(turned, PositionMap(position_turned, flat), marks_turned, torch.ones(1, 68))
    torch.testing.assert_close(two.crops, one.crops, atol=1e-3, rtol=0)
    torch.testing.assert_close(two.rotation, one.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(offsets_turned, offsets, atol=1e-3, rtol=1e-3)


def test_models_without_a_fitting_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="UV grid"):
        shape_vertices(MorphableModel.random(0, rows=12, columns=12))


def test_the_door_is_differentiable(model: MorphableModel) -> None:
    crops = torch.rand(1, 3, 64, 64, requires_grad=True)
    networks = networks_of(model)
    with torch.no_grad():
        for parameter in networks.pgn.decoder.head.parameters():
            parameter.normal_(0, 0.01)
    networks(crops).vertices_px.sum().backward()
    assert crops.grad is not None and bool(torch.isfinite(crops.grad).all()) and bool(crops.grad.any())
