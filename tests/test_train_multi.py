"""Stage multi: frames of one person share an identity, only the regressors learn, and the weights make a face."""

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from face3d.checkpoint import load_weights, save_weights
from face3d.flow_adjustment import AdjustmentConfig
from face3d.morphable import MorphableModel
from face3d.networks.parser import ParserConfig, ParserNetwork
from face3d.reconstruct import FaceNetworks
from tests.flow_weights import THREE, TINY, write_flow_weights
from tests.toy_people import toy_inputs
from tests.toy_shards import write_shards
from tests.toy_views import toy_photos
from train import ablation
from train.__main__ import choose_config, run
from train.config import Inputs, RunOptions, as_dict
from train.mixed_batches import PeopleAndViews, views_of
from train.multi import CONFIGS, MultiTask, MultiTrainConfig, judged_as
from train.objective import ConsistencyWeights
from train.people_batches import PeopleBatches
from train.people_networks import PeopleNetworks, PersonEstimate
from train.single import SingleTrainConfig
from train.weights_files import by_stage

CPU = torch.device("cpu")
PICTURES = ConsistencyWeights(census=0.5, rgb=0.5, flow=0.0, semantic=0.0)
NOTHING = ConsistencyWeights(census=0.0, rgb=0.0, flow=0.0, semantic=0.0)
ADJUSTED = MultiTrainConfig(batch_size=3, consistency=NOTHING, adjustment_weight=1.0, pool=4, validation_people=2)
CONFIG = MultiTrainConfig(batch_size=3, consistency=PICTURES, pool=4, validation_people=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return toy_inputs(tmp_path_factory.mktemp("multi"))


def batch_of(task: MultiTask) -> dict[str, Tensor]:
    source = task.train_data()
    assert isinstance(source, PeopleBatches)
    return next(source(0))


@pytest.fixture(scope="module")
def with_views(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Photos beside the shards, of which views are drawn."""
    photos = toy_photos(tmp_path_factory.mktemp("views"), MorphableModel.load(inputs.extra[0]).arrays())
    return replace(inputs, extra=(*inputs.extra, photos))


@pytest.fixture(scope="module")
def with_networks(inputs: Inputs) -> Inputs:
    """Weights of random flow and parser networks too."""
    torch.manual_seed(0)
    parser = ParserNetwork(ParserConfig((8, 8, 8, 8), 64))
    torch.nn.init.normal_(parser.predict.weight, 0, 1.0)
    meta = {"stage": "parser", "network": {"config": asdict(parser.config)}}
    save_weights(inputs.data_dir / "parser.safetensors", parser.state_dict(), meta)
    flow = write_flow_weights(inputs.data_dir / "flow.safetensors", TINY)
    return replace(inputs, weights=(*inputs.weights, flow, inputs.data_dir / "parser.safetensors"))


def test_frames_share_an_identity_and_keep_their_expressions(inputs: Inputs) -> None:
    networks = MultiTask(CONFIG, inputs, CPU).model.eval()
    frames = torch.rand(2, 3, 3, 64, 64)
    found: PersonEstimate = networks(frames)
    share = found.landmarks_confidence.mean(2, keepdim=True)
    torch.testing.assert_close(found.identity, (found.own_identity * share).sum(1) / share.sum(1))
    assert (found.own_identity[:, 0] - found.own_identity[:, 1]).abs().max() > 1e-3
    assert (found.expression[:, 0] - found.expression[:, 1]).abs().max() > 1e-4
    plain = FaceNetworks(networks.pgn, networks.regressor, networks.model).eval()
    maps, _ = plain.pgn(frames[:, 0])
    torch.testing.assert_close(found.landmarks_px[:, 0], plain.pgn.landmarks(maps)[0])


def test_only_the_regressors_learn(inputs: Inputs) -> None:
    task = MultiTask(CONFIG, inputs, CPU)
    before = {name: value.clone() for name, value in task.model.pgn.state_dict().items()}
    task.model.train()
    assert not any(module.training for module in task.model.pgn.modules())
    losses = task.train_step(task.model, batch_of(task), 0.0)
    losses["loss"].backward()
    assert {"census", "rgb", "landmark", "prior", "agreement", "shared"} < set(losses)
    learned = {name.split(".")[0] for name, p in task.model.named_parameters() if p.grad is not None}
    assert learned == {"regressor"}
    torch.testing.assert_close(dict(task.model.pgn.state_dict()), before)


@pytest.mark.parametrize("held", [False, True])
def test_losses_between_frames_reach_expressions_unless_they_are_held(inputs: Inputs, held: bool) -> None:
    task = MultiTask(replace(CONFIG, hold_expression=held), inputs, CPU)
    task.model.train()
    heads = []
    hook = task.model.regressor.register_forward_hook(lambda *call: heads.extend([call[2][0], call[2][1]]))
    found = task.model(batch_of(task)["frames"].float().div(255))
    hook.remove()
    identity, expression = heads
    identity.retain_grad()
    expression.retain_grad()
    found.vertices_px.square().mean().backward(retain_graph=True)
    assert identity.grad is not None and bool(identity.grad.any())
    assert (expression.grad is None or not bool(expression.grad.any())) == held
    found.model_landmarks_px.square().mean().backward()
    assert expression.grad is not None and bool(expression.grad.any())


def test_frames_of_a_person_come_to_agree(inputs: Inputs) -> None:
    alone = replace(CONFIG, agreement_weight=1.0, landmark_weight=0.0, prior_weight=0.0, consistency=NOTHING)
    task = MultiTask(alone, inputs, CPU)
    batch = batch_of(task)
    task.model.eval()  # no dropout
    optimiser = torch.optim.Adam([p for p in task.model.parameters() if p.requires_grad], lr=3e-4)
    figures = []
    for _ in range(15):
        loss = task.train_step(task.model, batch, 0.0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        figures.append(float(loss.detach()))
    assert 0 < figures[-1] < 0.7 * figures[0]


def test_flow_and_parser_reach_the_regressors(with_networks: Inputs) -> None:
    config = replace(CONFIG, consistency=ConsistencyWeights(census=0.0, flow=1.0, semantic=1.0))
    task = MultiTask(config, with_networks, CPU)
    batch = batch_of(task)
    for name in ("flow", "semantic"):
        task.model.zero_grad()
        losses = task.train_step(task.model, batch, 0.0)
        losses[name].backward()
        assert float(losses[name].detach()) > 0
        assert task.model.regressor.out.weight.grad is not None and task.model.regressor.out.weight.grad.abs().sum() > 0


def test_identities_learn_to_explain_the_flow(with_networks: Inputs) -> None:
    """The loss leads from the identity found to the one adjusted, which is that of the anchor where none is weighed."""
    task = MultiTask(replace(ADJUSTED, adjustment=AdjustmentConfig(identity_ridge=1e6)), with_networks, CPU)
    assert task.anchor is not None and MultiTask(CONFIG, with_networks, CPU).anchor is None
    task.model.train()
    batch = batch_of(task)
    losses = task.train_step(task.model, batch, 0.0)
    assert {"adjustment", "landmark", "shared"} < set(losses) and "census" not in losses
    assert float(losses["adjustment"].detach()) < 1e-4  # the weights are still those of the anchor
    with torch.no_grad():
        task.model.regressor.out.bias.add_(0.3)
    frames = batch["frames"].float().div(255)
    with torch.no_grad():
        away = (task.model(frames).identity - task.anchor(frames).identity).square().mean()
    losses = task.train_step(task.model, batch, 0.0)
    assert float(away) > 0.01
    torch.testing.assert_close(losses["adjustment"], away, rtol=0.05, atol=0)
    losses["adjustment"].backward()
    assert any(bool(p.grad.any()) for p in task.model.regressor.parameters() if p.grad is not None)
    assert not any(p.requires_grad for p in task.anchor.parameters())


def test_views_come_beside_the_people_where_there_are_photos(inputs: Inputs, with_views: Inputs) -> None:
    config = replace(CONFIG, views_batch=5, views_weight=0.5)
    task = MultiTask(config, with_views, CPU)
    source = task.train_data()
    assert isinstance(source, PeopleAndViews)
    batch = next(pickle.loads(pickle.dumps(source))(0))  # as worker processes get it
    assert len(batch["frames"]) == 3 and len(views_of(batch)["crop"]) == 5
    losses = task.train_step(task.model, batch, 0.0)
    assert task.views is not None
    alone = task.views.train_step(task.views.model.eval(), views_of(batch), 0.0)  # the same networks, by stage single
    torch.testing.assert_close(losses["views"], 0.5 * alone["loss"], rtol=1e-3, atol=1e-4)
    terms = ("census", "rgb", "landmark", "prior", "agreement", "views")
    torch.testing.assert_close(losses["loss"], torch.stack([losses[name] for name in terms]).sum())
    losses["views"].backward()
    assert task.model.regressor.out.weight.grad is not None and bool(task.model.regressor.out.weight.grad.any())
    people = {name: values for name, values in batch.items() if name in ("frames", "landmarks_px", "confidence")}
    torch.testing.assert_close(task.train_step(task.model, people, 0.0)["census"], losses["census"], rtol=1e-3, atol=0)
    for silent, given in ((replace(config, views_weight=0.0), with_views), (config, inputs)):
        task = MultiTask(silent, given, CPU)
        assert "views" not in task.train_step(task.model, batch_of(task), 0.0)


def test_views_tell_no_more_than_stage_single_was_told(with_views: Inputs, tmp_path: Path) -> None:
    state, meta = load_weights(with_views.weights[0])
    landmarks = choose_config("single", "landmarks", ["landmark_weight=0.7"])
    weights = tmp_path / "landmarks.safetensors"
    save_weights(weights, state, {**meta, "config": as_dict(landmarks)})
    task = MultiTask(CONFIG, replace(with_views, weights=(weights,)), CPU)
    assert task.views is not None
    told = task.views.config
    assert (told.landmark_weight, told.shape_weight, told.neutral_weight, told.prior_weight) == (0.7, 0.0, 0.0, 3e-3)
    assert told.closure_weight == 0.0
    own = SingleTrainConfig(shape_weight=0.3)
    assert judged_as(own, with_views.weights[0]) == own  # they do not say
    multi = {**meta, "stage": "multi", "config": as_dict(CONFIG)}
    save_weights(weights, state, multi)
    assert judged_as(own, weights) == own  # nor do these
    save_weights(weights, state, {**multi, "network": task.describe()})
    assert judged_as(own, weights) == replace(
        own, landmark_weight=0.7, shape_weight=0.0, neutral_weight=0.0, closure_weight=0.0, prior_weight=3e-3
    )


def test_the_share_of_photos_reaches_the_batches(inputs: Inputs) -> None:
    source = MultiTask(replace(CONFIG, photo_share=0.25), inputs, CPU).train_data()
    assert isinstance(source, PeopleBatches) and source.photo_share == 0.25


def test_validation_tells_what_each_term_weighs(with_views: Inputs) -> None:
    config = replace(CONFIG, views_batch=2)
    task = MultiTask(config, with_views, CPU)
    with torch.no_grad():
        figures = task.validate(task.model.eval())
        twice = MultiTask(replace(config, landmark_weight=10.0), with_views, CPU)
        twice.model.load_state_dict(task.model.state_dict())
        other = twice.validate(twice.model.eval())
    terms = {name.removeprefix("term/") for name in figures if name.startswith("term/")}
    assert terms == {"census", "rgb", "landmark", "prior", "agreement", "views"}
    for name in terms:
        assert figures[f"term/{name}"] > 0 and figures[f"gradient/{name}"] > 0, name
        factor = 2.0 if name == "landmark" else 1.0
        assert other[f"gradient/{name}"] == pytest.approx(factor * figures[f"gradient/{name}"], rel=1e-3)
    assert not task.model.regressor._forward_hooks and all(p.grad is None for p in task.model.parameters())


def test_pictures_show_a_row_a_person(with_networks: Inputs) -> None:
    for weights, columns in ((PICTURES, 5), (replace(PICTURES, flow=1.0), 6), (ConsistencyWeights(), 8)):
        task = MultiTask(replace(CONFIG, consistency=weights), with_networks, CPU)
        picture = task.pictures(task.model.eval())["swapped"]
        assert picture.dtype == np.uint8 and picture.shape == (2 * 64, columns * 64, 3)
        shown = task._held_out()["frames"][:, 0].permute(0, 2, 3, 1).flatten(0, 1).numpy()
        np.testing.assert_array_equal(picture[:, :64], shown)


def test_the_stage_ends_in_weights_that_reconstruct(inputs: Inputs, with_views: Inputs, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    config, options = replace(CONFIG, views_batch=2), RunOptions(tmp_path / "run", steps=2, workers=0, log_steps=1)
    weights = run("multi", config, with_views, options, fabric)
    networks = FaceNetworks.load(weights, MorphableModel.load(inputs.extra[0]))
    assert networks(torch.rand(2, 3, 64, 64)).vertices_px.isfinite().all()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    figures = next(entry for entry in log if entry["group"] == "valid")
    assert {"census_distance", "landmark_percent", "among_frames", "among_people", "gradient/views"} < set(figures)
    assert {"views", "views_shape_mm", "views_neutral_mm"} < set(log[0])
    again = MultiTask(CONFIG, replace(with_views, weights=(weights,)), CPU)  # from stage multi too
    assert isinstance(again.model, PeopleNetworks) and again.views is not None
    assert (tmp_path / "run" / "swapped.png").is_file()


def test_what_is_missing_is_said(inputs: Inputs, tmp_path: Path) -> None:
    three = write_flow_weights(tmp_path / "three.safetensors", THREE)
    with_flow = replace(CONFIG, consistency=replace(PICTURES, flow=1.0))
    for config, given, message in (
        (CONFIG, replace(inputs, weights=()), "starts from stage single"),
        (CONFIG, replace(inputs, weights=inputs.weights * 2), "both of stage 'single'"),
        (CONFIG, replace(inputs, extra=inputs.extra[:1]), "train.prepare people"),
        (with_flow, inputs, "weights of stage flow"),
        (with_flow, replace(inputs, weights=(*inputs.weights, three)), "three frames"),
        (replace(CONFIG, consistency=ConsistencyWeights(flow=0.0)), inputs, "weights of stage parser"),
    ):
        with pytest.raises(ValueError, match=message):
            MultiTask(config, given, CPU)


def test_weights_are_told_apart_by_their_stage(inputs: Inputs, tmp_path: Path) -> None:
    flow = write_flow_weights(tmp_path / "flow.safetensors", TINY)
    assert by_stage((flow, *inputs.weights)) == {"flow": flow, "single": inputs.weights[0]}


def test_a_few_people_can_be_learned_from_without_anyone_unseen(
    inputs: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model_path = inputs.extra[0]
    shards = write_shards(tmp_path / "one", MorphableModel.load(model_path), people=1)
    alone = replace(inputs, extra=(model_path, shards))
    fabric = Fabric(accelerator="cpu", devices=1)
    weights = run(
        "multi", replace(CONFIG, batch_size=1), alone, RunOptions(tmp_path / "out", steps=1, workers=0), fabric
    )
    assert weights.is_file() and not (tmp_path / "out" / "swapped.png").exists()
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "no held-out person with 2 frames" in warning


def test_rows_of_the_ablation_differ_in_their_losses() -> None:
    rows = {name: config.consistency for name, config in CONFIGS.items() if isinstance(config, MultiTrainConfig)}
    assert rows["rgb"].rgb > 0 and rows["rgb"].census == rows["rgb"].flow == rows["rgb"].semantic == 0
    assert rows["census"].census > 0 and rows["census"].rgb == rows["census"].flow == 0
    assert rows["census_flow"].flow > 0 and rows["census_flow"].semantic == 0
    assert rows["census_semantic"].semantic > 0 and rows["census_semantic"].flow == 0
    none = rows["no_pairs"]
    assert none.rgb == none.census == none.flow == none.semantic == 0
    assert CONFIGS["no_pairs"].agreement_weight == 0  # type: ignore[attr-defined]
    assert min(rows["all"].census, rows["all"].flow, rows["all"].semantic) > 0
    assert rows["residual"] == replace(rows["all"], residual_flow=rows["residual"].residual_flow)
    adjusted = CONFIGS["adjusted"]
    assert isinstance(adjusted, MultiTrainConfig) and adjusted.adjustment_weight > 0 and not adjusted.agreement_weight
    assert rows["adjusted"] == none
    assert CONFIGS["held"] == replace(CONFIGS["residual"], name="held", hold_expression=True)  # type: ignore[call-arg]
    assert rows["residual"].residual_flow > rows["all"].residual_flow == 0


def test_the_ablation_trains_and_measures_every_row_once(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, measured, together = [], [], []

    def train(stage: str, config: MultiTrainConfig, given: Inputs, options: RunOptions, fabric: Fabric) -> Path:
        trained.append((stage, config.name, config.batch_size, options.steps))
        return options.out / "weights.safetensors"

    def evaluate(arguments: list[str], check: bool) -> None:
        assert check and arguments[1:4] == ["-m", "eval", "clips-shape"]
        measured.append(Path(arguments[arguments.index("--weights") + 1]))
        together.append(arguments[arguments.index("--together") + 1])
        summary = {name: {"mean": float(len(measured))} for name in ablation.FIGURES}
        Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps({"people": {"summary": summary}}))

    monkeypatch.setattr("train.ablation.subprocess.run", evaluate)
    options = RunOptions(tmp_path / "out", steps=7)
    for _ in range(2):
        ablation.run_ablation(train, inputs, options, ["batch_size=5"], "cpu")
    recipes = ("no_pairs", "rgb", "census", "census_flow", "census_semantic", "all", "residual", "held", "adjusted")
    assert trained == [("multi", recipe, 5, 7) for recipe in recipes]
    learned = [tmp_path / "out" / recipe / "weights.safetensors" for recipe in recipes]
    assert measured == [inputs.weights[0], *learned, inputs.weights[0]]
    assert together == [*["frames"] * 10, "refined"]
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert table["steps"] == 7 and [row["neutral_mm"] for row in table["rows"].values()] == list(range(1, 12))
    with pytest.raises(ValueError, match="--steps or --minutes"):
        ablation.run_ablation(train, inputs, RunOptions(tmp_path), [], "cpu")
    with pytest.raises(ValueError, match="starts from stage single"):
        ablation.run_ablation(train, replace(inputs, weights=()), options, [], "cpu")
