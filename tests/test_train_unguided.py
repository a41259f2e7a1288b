"""Stages single and multi without pose guidance: what learns, what they start from, what they refuse, the ablation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from face3d.checkpoint import load_weights, save_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import Pgn, PgnConfig
from face3d.networks.pose_regressor import PoseRegressorConfig
from face3d.networks.regressor import RegressorConfig
from face3d.networks_file import load_networks
from face3d.reconstruct import FaceNetworks, build_regressor
from face3d.unguided import UnguidedNetworks
from tests.flow_weights import TINY, write_flow_weights
from tests.toy_shards import write_shards
from tests.toy_views import toy_model, toy_photos, toy_views
from train import ablation
from train.__main__ import choose_config, run
from train.config import Inputs, OptimiserConfig, RunOptions
from train.mixed_batches import views_of
from train.multi import MultiTask, MultiTrainConfig
from train.objective import ConsistencyWeights
from train.pgn import PgnTask, PgnTrainConfig
from train.single import SingleTask, SingleTrainConfig
from train.supervision import landmark_uv, mean_map
from train.unguided_networks import UnguidedPeople, UnguidedViews

CPU = torch.device("cpu")
BACKBONE = BackboneConfig(width=0.5)
NETWORK = PgnConfig(BACKBONE, crop_size=64, squeeze=16, seed_size=4, channels=(8, 8, 8))
REGRESSOR = RegressorConfig(16, 6, 4, backbone=BACKBONE, crop_size=32, squeeze=8)
SINGLE = SingleTrainConfig(
    regressor=REGRESSOR,
    pose_regressor=PoseRegressorConfig(BACKBONE, crop_size=64, squeeze=8, hidden=16),
    batch_size=4,
    optimiser=OptimiserConfig(learning_rate=3e-3, ema_decay=0.5),
)
PICTURES = ConsistencyWeights(census=0.5, rgb=0.5, flow=0.0, semantic=0.0)
MULTI = MultiTrainConfig(batch_size=3, consistency=PICTURES, pool=4, validation_people=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Views to learn from; no weights."""
    folder = tmp_path_factory.mktemp("unguided")
    path = toy_model(folder)
    return Inputs(folder, extra=(path, toy_views(folder, MorphableModel.load(path).arrays())))


@pytest.fixture(scope="module")
def guided(inputs: Inputs) -> Path:
    """Weights of stage single with pose guidance."""
    torch.manual_seed(1)
    model = MorphableModel.load(inputs.extra[0])
    pgn = Pgn(NETWORK, mean_map(model, NETWORK.map_size), landmark_uv(model))
    networks = FaceNetworks(pgn, build_regressor(REGRESSOR, pgn), model)
    path = inputs.data_dir / "guided.safetensors"
    save_weights(path, networks.state_dict(), {"stage": "single", "network": networks.describe()})
    return path


@pytest.fixture(scope="module")
def unguided(inputs: Inputs) -> Path:
    """Weights of stage single without pose guidance, after two steps."""
    fabric = Fabric(accelerator="cpu", devices=1)
    return run("single", SINGLE, inputs, RunOptions(inputs.data_dir / "run", steps=2, workers=0), fabric)


def test_the_configuration_differs_from_fast_in_the_pose_alone() -> None:
    fast, chosen = choose_config("single", "fast", []), choose_config("single", "regressed_pose", [])
    assert isinstance(fast, SingleTrainConfig) and isinstance(chosen, SingleTrainConfig)
    assert replace(chosen, name="fast", pose_regressor=None) == fast and chosen.pose_regressor is not None


def test_pose_and_shape_overfit_one_batch(inputs: Inputs) -> None:
    torch.manual_seed(0)
    task = SingleTask(SINGLE, inputs, CPU)
    task.model.train()
    batch = next(task.train_data()(0))
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    figures = []
    for _ in range(40):
        values = task.train_step(task.model, batch, 0.0)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        figures.append(float(values["landmark"].detach()))
    assert figures[-1] < 0.5 * figures[0]
    assert {name for name, p in task.model.named_parameters() if p.grad is None} == set()


def test_the_stage_ends_in_weights_that_reconstruct(inputs: Inputs, unguided: Path) -> None:
    networks = load_networks(unguided, MorphableModel.load(inputs.extra[0]))
    assert isinstance(networks, UnguidedNetworks)
    assert networks(torch.rand(2, 3, 64, 64)).vertices_px.isfinite().all()
    _, meta = load_weights(unguided)
    assert meta["stage"] == "single" and set(meta["network"]) == {"pose_regressor", "regressor"}
    assert {"nme", "shape_mm", "neutral_mm"} < set(meta["figures"])


def test_encoders_start_as_that_of_a_pgn_or_all_goes_on(inputs: Inputs, guided: Path, unguided: Path) -> None:
    model = SingleTask(SINGLE, replace(inputs, weights=(guided,)), CPU).model
    assert isinstance(model, UnguidedViews)
    encoder = {n: v for n, v in load_weights(guided)[0].items() if n.startswith("pgn.encoder.")}
    assert encoder
    for name, value in encoder.items():
        for part in (model.pose_regressor, model.regressor):
            got = part.encoder.state_dict()[name.removeprefix("pgn.encoder.")]
            torch.testing.assert_close(got, value, atol=1e-3, rtol=1e-3)
    trained = load_weights(unguided)[0]
    for weights in ((unguided,), (guided, unguided)):
        state = SingleTask(SINGLE, replace(inputs, weights=weights), CPU).model.state_dict()
        assert state.keys() == trained.keys()
        for name, value in trained.items():
            torch.testing.assert_close(state[name], value)


def test_weights_that_do_not_fit_are_refused(inputs: Inputs, unguided: Path, tmp_path: Path) -> None:
    flow = write_flow_weights(tmp_path / "flow.safetensors", TINY)
    with pytest.raises(ValueError, match="neither a PGN nor a pose regressor"):
        SingleTask(SINGLE, replace(inputs, weights=(flow,)), CPU)
    with pytest.raises(ValueError, match="no PGN, its pose is regressed"):
        SingleTask(replace(SINGLE, pose_regressor=None), replace(inputs, weights=(unguided,)), CPU)
    with pytest.raises(ValueError, match="no PGN, its pose is regressed"):
        PgnTask(PgnTrainConfig(network=NETWORK), replace(inputs, weights=(unguided,)), CPU)


@pytest.fixture(scope="module")
def people(inputs: Inputs, unguided: Path) -> Inputs:
    """Shards of people, and the weights without pose guidance."""
    shards = write_shards(inputs.data_dir / "shards", MorphableModel.load(inputs.extra[0]))
    return replace(inputs, weights=(unguided,), extra=(inputs.extra[0], shards))


def test_frames_of_people_teach_the_pose_too(people: Inputs) -> None:
    torch.manual_seed(0)
    task = MultiTask(MULTI, people, CPU)
    assert isinstance(task.model, UnguidedPeople)
    task.model.train()
    encoder = task.model.pose_regressor.encoder
    assert task.model.pose_regressor.head.training and not any(module.training for module in encoder.modules())
    losses = task.train_step(task.model, next(task.train_data()(0)), 0.0)
    for name in ("census", "rgb", "landmark"):
        task.model.zero_grad()
        losses[name].backward(retain_graph=True)
        for part in (task.model.pose_regressor.head[2], task.model.regressor.out):
            assert part.weight.grad is not None and bool(part.weight.grad.any()), name


def test_frames_share_an_identity_and_lie_where_their_poses_say(people: Inputs) -> None:
    torch.manual_seed(0)
    networks = MultiTask(MULTI, people, CPU).model.eval()
    torch.nn.init.normal_(networks.regressor.out.weight, 0, 0.05)
    found = networks(torch.rand(2, 3, 3, 64, 64))
    torch.testing.assert_close(found.identity, found.own_identity.mean(1))
    assert (found.own_identity[:, 0] - found.own_identity[:, 1]).abs().max() > 1e-3
    landmarks_px = networks.model.landmarks_of(found.vertices_px.flatten(0, 1))
    torch.testing.assert_close(found.model_landmarks_px.flatten(0, 1), landmarks_px)


def test_stage_multi_keeps_the_kind(people: Inputs, tmp_path: Path) -> None:
    model = MorphableModel.load(people.extra[0])
    with_views = replace(people, extra=(*people.extra, toy_photos(tmp_path, model.arrays())))
    fabric = Fabric(accelerator="cpu", devices=1)
    task = MultiTask(replace(MULTI, views_batch=2, views_weight=1.0), with_views, CPU)
    assert task.views is not None and isinstance(task.views.model, UnguidedViews)
    batch = next(task.train_data()(0))
    losses = task.train_step(task.model.eval(), batch, 0.0)
    alone = task.views.train_step(task.views.model.eval(), views_of(batch), 0.0)
    torch.testing.assert_close(losses["views"], alone["loss"], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        figures = task.validate(task.model)
    assert min(figures[f"gradient/{name}"] for name in ("census", "landmark", "views")) > 0
    weights = run("multi", MULTI, people, RunOptions(tmp_path / "run", steps=1, workers=0), fabric)
    assert isinstance(load_networks(weights, model), UnguidedNetworks)
    assert isinstance(MultiTask(MULTI, replace(people, weights=(weights,)), CPU).model, UnguidedPeople)


def test_expressions_cannot_be_held_without_pose_guidance(people: Inputs) -> None:
    with pytest.raises(ValueError, match="without pose guidance cannot hold expressions"):
        MultiTask(replace(MULTI, hold_expression=True), people, CPU)


def test_the_ablation_has_rows_for_either_kind(
    people: Inputs, guided: Path, unguided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, measured = [], []

    def train(stage: str, config: MultiTrainConfig, given: Inputs, options: RunOptions, fabric: Fabric) -> Path:
        trained.append((config.name, options.out.name, given.weights))
        return options.out / "weights.safetensors"

    def evaluate(arguments: list[str], check: bool) -> None:
        measured.append(Path(arguments[arguments.index("--weights") + 1]))
        summary = {name: {"mean": float(len(measured))} for name in ablation.FIGURES}
        Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps({"people": {"summary": summary}}))

    monkeypatch.setattr("train.ablation.subprocess.run", evaluate)
    flow = write_flow_weights(tmp_path / "flow.safetensors", TINY)
    both = replace(people, weights=(unguided, flow, guided))
    ablation.run_ablation(train, both, RunOptions(tmp_path / "out", steps=7), [], "cpu")
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(table["rows"])[-3:] == [
        "step 2, clips refined",
        "pose regressed, step 2 only",
        "pose regressed, all",
    ]
    assert trained[-2:] == [
        ("adjusted", "adjusted", (guided, flow)),
        ("all", "pose_regressed_all", (unguided, flow)),
    ]
    assert measured[0] == guided and measured[-2] == unguided and len(measured) == 13
    alone = RunOptions(tmp_path / "alone", steps=7)
    ablation.run_ablation(train, people, alone, [], "cpu")
    assert len(json.loads((tmp_path / "alone" / "table.json").read_text())["rows"]) == 2
    with pytest.raises(ValueError, match="both of stage 'single'"):
        ablation.run_ablation(train, replace(both, weights=(unguided, unguided)), alone, [], "cpu")
