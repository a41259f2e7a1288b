"""Stages pgn and single learn on toy views, and their weights make a face."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from face3d.checkpoint import load_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import PgnConfig
from face3d.networks.regressor import RegressorConfig
from face3d.reconstruct import FaceNetworks
from tests.toy_views import toy_model, toy_views
from train.__main__ import run
from train.config import Inputs, OptimiserConfig, RunOptions
from train.pgn import PgnTask, PgnTrainConfig, start
from train.single import SingleTask, SingleTrainConfig

NETWORK = PgnConfig(BackboneConfig(width=0.5), crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))
CPU = torch.device("cpu")


def small_pgn_config() -> PgnTrainConfig:
    return PgnTrainConfig(network=NETWORK, batch_size=4, optimiser=OptimiserConfig(learning_rate=3e-3, ema_decay=0.5))


def descend(task: PgnTask, watched: str, steps: int = 25) -> list[float]:
    """One of the figures of some steps on one batch."""
    batch = next(task.train_data()(0))
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    figures = []
    for _ in range(steps):
        values = task.train_step(task.model, batch, 0.0)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        figures.append(float(values[watched].detach()))
    return figures


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    path = toy_model(tmp_path)
    return Inputs(tmp_path, extra=(path, toy_views(tmp_path, MorphableModel.load(path).arrays())))


def test_stage_without_views_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train.prepare photos"):
        PgnTask(small_pgn_config(), Inputs(tmp_path), CPU)


def test_single_needs_a_pgn(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match="--weights"):
        SingleTask(SingleTrainConfig(), inputs, CPU)


def test_pgn_overfits_one_batch(inputs: Inputs) -> None:
    torch.manual_seed(0)
    losses = descend(PgnTask(small_pgn_config(), inputs, CPU), "landmark")
    assert losses[-1] < 0.6 * losses[0]


def test_a_pgn_from_before_the_refiner_can_be_trained_further(inputs: Inputs) -> None:
    earlier, later = (PgnTask(small_pgn_config(), inputs, CPU).model for _ in range(2))
    state = {name: value + 1 for name, value in earlier.state_dict().items() if not name.startswith("refiner.")}
    fresh = {name: value.clone() for name, value in later.refiner.state_dict().items()}
    start(later, state)
    torch.testing.assert_close(later.decoder.head.weight, earlier.decoder.head.weight + 1)
    torch.testing.assert_close(dict(later.refiner.state_dict()), fresh)
    with pytest.raises(RuntimeError, match="decoder"):
        start(later, {name: value for name, value in state.items() if not name.startswith("decoder.")})


def test_flat_labels_teach_only_the_landmarks_in_the_picture(inputs: Inputs) -> None:
    """Where only 2D landmarks are known, a wrong depth and a wrong surface cost nothing."""
    task = PgnTask(small_pgn_config(), inputs, CPU)
    batch = next(task.train_data()(0))
    flat = {**batch, "flat": torch.ones(4, dtype=torch.bool)}
    values = task.train_step(task.model, flat, 0.0)
    assert float(values["texel"].detach()) == 0.0 and float(values["landmark"].detach()) > 0
    (gradient,) = torch.autograd.grad(values["loss"], task.model.mean_map)
    assert bool(gradient[:2].any()) and not bool(gradient[2].any())


def test_the_map_learns_the_shape_whatever_the_pose(inputs: Inputs) -> None:
    """Asked for nothing but the shape with its pose taken out, the map falls below the mean face's error."""
    torch.manual_seed(0)
    nothing_else = {"landmark_weight": 0.0, "map_weight": 0.0, "likelihood_weight": 0.0}
    config = replace(small_pgn_config(), map_shape_weight=1.0, **nothing_else)
    distances = descend(PgnTask(config, inputs, CPU), "shape_mm", steps=60)
    assert distances[-1] < 0.7 * distances[0]


def test_both_stages_end_in_weights_that_reconstruct(inputs: Inputs, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    options = RunOptions(tmp_path / "pgn", steps=2, workers=0, log_steps=1)
    pgn = run("pgn", small_pgn_config(), inputs, options, fabric)
    single_inputs = Inputs(inputs.data_dir, weights=(pgn,), extra=inputs.extra)
    config = SingleTrainConfig(
        regressor=RegressorConfig(16, 6, 4, backbone=BackboneConfig(width=0.5), crop_size=32, squeeze=8), batch_size=4
    )
    single = run("single", config, single_inputs, RunOptions(tmp_path / "single", steps=2, workers=0), fabric)
    networks = FaceNetworks.load(single, MorphableModel.load(inputs.extra[0]))
    estimate = networks(torch.rand(2, 3, 64, 64))
    assert estimate.vertices_px.shape == (2, 625, 3) and np.isfinite(estimate.vertices_px.detach().numpy()).all()
    again = PgnTask(small_pgn_config(), single_inputs, CPU)
    before, after = load_weights(pgn)[0], load_weights(single)[0]
    torch.testing.assert_close(again.model.mean_map.detach(), before["mean_map"], atol=1e-3, rtol=1e-3)
    for name, value in before.items():  # encoder and PGN stayed as they were
        torch.testing.assert_close(after[f"pgn.{name}"], value)


REGRESSOR = RegressorConfig(16, 6, 4, backbone=BackboneConfig(width=0.5), crop_size=32, squeeze=8)


def test_regressors_start_with_the_encoder_of_the_pgn_or_go_on(inputs: Inputs, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    pgn = run("pgn", small_pgn_config(), inputs, RunOptions(tmp_path / "pgn", steps=1, workers=0), fabric)
    config = SingleTrainConfig(regressor=REGRESSOR, batch_size=4)
    fresh = SingleTask(config, replace(inputs, weights=(pgn,)), CPU).model
    torch.testing.assert_close(fresh.regressor.encoder.state_dict(), fresh.pgn.encoder.state_dict())
    options = RunOptions(tmp_path / "single", steps=2, workers=0)
    single = run("single", config, replace(inputs, weights=(pgn,)), options, fabric)
    trained = {n: v for n, v in load_weights(single)[0].items() if n.startswith("regressor.")}
    for weights in ((single,), (pgn, single)):  # alone, or for another PGN
        model = SingleTask(config, replace(inputs, weights=weights), CPU).model
        for name, value in trained.items():
            torch.testing.assert_close(model.state_dict()[name], value)
    wider = replace(config, regressor=replace(REGRESSOR, hidden=24))
    anew = SingleTask(wider, replace(inputs, weights=(single,)), CPU).model
    assert not anew.regressor.out.weight.any()


def test_only_the_regressors_of_stage_single_learn(inputs: Inputs, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    pgn = run("pgn", small_pgn_config(), inputs, RunOptions(tmp_path / "pgn", steps=1, workers=0), fabric)
    config = SingleTrainConfig(regressor=REGRESSOR, batch_size=4)
    task = SingleTask(config, replace(inputs, weights=(pgn,)), CPU)
    task.model.train()
    assert not any(module.training for module in task.model.pgn.modules())
    assert all(module.training for module in task.model.regressor.modules())
    torch.nn.init.normal_(task.model.regressor.out.weight, 0, 0.1)
    task.train_step(task.model, next(task.train_data()(0)), 0.0)["loss"].backward()
    with_gradient = {name for name, p in task.model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in task.model.named_parameters() if name.startswith("regressor.")}
