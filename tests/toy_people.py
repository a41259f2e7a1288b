"""Small random networks and shards of people: what stage multi starts from."""

from pathlib import Path

import torch

from face3d.checkpoint import save_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import Pgn, PgnConfig
from face3d.networks.regressor import RegressorConfig
from face3d.reconstruct import FaceNetworks, build_regressor
from tests.toy_shards import write_shards
from tests.toy_views import toy_model
from train.config import Inputs
from train.supervision import landmark_uv, mean_map

NETWORK = PgnConfig(BackboneConfig(width=0.5), crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))


def toy_inputs(folder: Path) -> Inputs:
    """Weights of stage single, a random morphable model and shards, written to a folder."""
    model_path = toy_model(folder)
    model = MorphableModel.load(model_path)
    torch.manual_seed(0)
    pgn = Pgn(NETWORK, mean_map(model, NETWORK.map_size), landmark_uv(model))
    networks = FaceNetworks(
        pgn,
        build_regressor(RegressorConfig(16, 6, 4, backbone=BackboneConfig(width=0.5), crop_size=32, squeeze=8), pgn),
        model,
    )
    torch.nn.init.normal_(networks.regressor.out.weight, 0, 0.02)
    weights = folder / "single.safetensors"
    save_weights(weights, networks.state_dict(), {"stage": "single", "network": networks.describe()})
    return Inputs(folder, weights=(weights,), extra=(model_path, write_shards(folder / "shards", model)))
