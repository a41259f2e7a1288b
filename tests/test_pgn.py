"""The pose guidance network and its regressors: shapes, reading landmarks, confidence, configurations."""

from dataclasses import replace

import pytest
import torch

from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import Pgn, PgnConfig
from face3d.networks.regressor import Regressor, RegressorConfig
from face3d.networks.upright import Upright

SMALL = PgnConfig(BackboneConfig(width=0.5), crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))


def small_pgn() -> Pgn:
    torch.manual_seed(0)
    size = SMALL.map_size
    rows = torch.linspace(-0.5, 0.5, size)
    mean = torch.stack([rows.expand(size, size), rows[:, None].expand(size, size), torch.zeros(size, size)])
    return Pgn(SMALL, mean, torch.rand(68, 2)).eval()


def test_map_size_doubles_with_its_corners_in_place() -> None:
    assert SMALL.map_size == 13
    assert PgnConfig().map_size == 49
    assert replace(PgnConfig(), channels=(128, 128, 64, 32, 16)).map_size == 97


def test_untrained_network_gives_the_mean_face() -> None:
    """The head starts at zero, so a linear mean map is read back exactly at any landmark."""
    pgn = small_pgn()
    maps, features = pgn(torch.rand(2, 3, 64, 64))
    landmarks, deviation = pgn.landmarks(maps)
    expected = (pgn.landmark_uv - 0.5) * 32 + 31.5
    torch.testing.assert_close(landmarks[0, :, :2], expected, atol=1e-4, rtol=0)
    assert maps.position_px.shape == (2, 3, 13, 13) and landmarks.shape == (2, 68, 3)
    torch.testing.assert_close(deviation, torch.full((2, 68), 32.0))
    assert features.stride32.shape[-2:] == (2, 2)


def test_mean_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(3, 13, 13\)"):
        Pgn(SMALL, torch.zeros(3, 9, 9), torch.rand(68, 2))


def test_gradients_reach_every_parameter() -> None:
    pgn = small_pgn().train()
    with torch.no_grad():
        for parameter in [*pgn.decoder.head.parameters(), *pgn.refiner.heads.parameters()]:
            parameter.normal_(0, 0.1)
    maps, _ = pgn(torch.rand(4, 3, 64, 64))
    points, deviation = pgn.landmarks(maps)
    (points.square().sum() + deviation.sum()).backward()
    missing = [name for name, parameter in pgn.named_parameters() if parameter.grad is None]
    assert not missing


def test_regressor_starts_at_the_mean_face() -> None:
    config = RegressorConfig(hidden=16, identity=6, expression=4, backbone=BackboneConfig(width=0.5), crop_size=32)
    upright = Upright(torch.rand(2, 3, 32, 32), torch.eye(3).expand(2, -1, -1))
    found = Regressor(config, 70).eval()(upright, torch.randn(2, 70, 3))
    assert found.identity.shape == (2, 6) and found.expression.shape == (2, 4)
    assert not found.identity.any() and not found.expression.any()


def test_parameter_counts() -> None:
    config = PgnConfig()
    pgn = Pgn(config, torch.zeros(3, 49, 49), torch.rand(68, 2))
    assert sum(p.numel() for p in pgn.parameters()) == 4_995_855
