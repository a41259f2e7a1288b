"""Stage `flow`: its losses by hand, its recipes on small scenes, teachers and students, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from lightning_fabric import Fabric
from torch import Tensor
from typer.testing import CliRunner

from face3d.checkpoint import load_weights
from face3d.flow_refinement import refined_flow
from face3d.networks.flow import SMALL, FlowConfig, FlowNetwork
from face3d.optical_flow import load_flow_network
from train import flow, flow_ablation
from train.__main__ import run
from train.config import Inputs, OptimiserConfig, RunOptions, change
from train.flow import CONFIGS, FlowTask, FlowTrainConfig
from train.flow_batches import StereoPairs, superpixels_of
from train.flow_data import DataConfig
from train.flow_objective import Hidden, ObjectiveConfig, hidden, taught_loss, unlabelled_losses
from train.flow_pairs import STEREO_PAIRS, Pairs
from train.flow_scenes import StereoScenes
from train.flow_stereo import stereo_constraints
from train.flow_teachers import Teachers
from train.flow_views import Lesson
from train.loop import Loop

TINY = FlowConfig(
    frames=2,
    pyramid=(8, 12, 16),
    decoder=(16, 12),
    context=(12,),
    dilations=(1,),
    radius=2,
    residual_decoder=True,
    residual_context=True,
    shared_width=10,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flow.NETWORKS, "small", TINY)
    monkeypatch.setitem(flow.NETWORKS, "selflow", replace(TINY, frames=3))


def recipe(name: str, network: str = "small") -> FlowTrainConfig:
    config = CONFIGS[name]
    assert isinstance(config, FlowTrainConfig)
    data = replace(config.data, size=32)
    rate = OptimiserConfig(learning_rate=2e-3)
    return replace(config, network=network, batch_size=2, data=data, validation_scenes=3, optimiser=rate)


def train(config: FlowTrainConfig, out: Path, weights: tuple[Path, ...] = (), steps: int = 2) -> Path:
    torch.manual_seed(0)
    inputs = Inputs(out, weights=weights)
    out.mkdir(parents=True, exist_ok=True)
    options = RunOptions(out, steps=steps, workers=0)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Loop(FlowTask(config, inputs, CPU), config, options, fabric, "flow").run()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(flow.NETWORKS, "small", TINY)
        return train(recipe("occlusion"), tmp_path_factory.mktemp("teacher"))


@pytest.mark.parametrize("network", ["small", "selflow"])
@pytest.mark.parametrize("name", ["photometric", "occlusion", "supervised"])
def test_recipes_without_a_teacher(name: str, network: str, tmp_path: Path) -> None:
    _, meta = load_weights(train(recipe(name, network), tmp_path))
    assert meta["stage"] == "flow" and meta["figures"]["epe_occluded"] > 0
    assert meta["network"]["config"]["frames"] == flow.NETWORKS[network].frames


@pytest.mark.parametrize("network", ["small", "selflow"])
@pytest.mark.parametrize("name", ["ddflow", "selflow", "rectangles", "distillflow", "refined"])
def test_students(name: str, network: str, teacher: Path, tmp_path: Path) -> None:
    _, meta = load_weights(train(recipe(name, network), tmp_path, (teacher, teacher)))
    assert meta["config"]["name"] == name and meta["figures"]["epe"] > 0


@pytest.mark.parametrize("name", ["stereo", "flow2stereo"])
def test_stereo_recipes(name: str, tmp_path: Path) -> None:
    _, meta = load_weights(train(recipe(name), tmp_path))
    assert {"epe", "disparity", "disparity_occluded"} <= set(meta["figures"])


def test_student_of_stereo(teacher: Path, tmp_path: Path) -> None:
    assert train(recipe("flow2stereo_student"), tmp_path, (teacher,)).is_file()


@pytest.mark.slow
def test_learning_without_labels_lowers_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(flow.NETWORKS, "small", SMALL)
    small = recipe("occlusion")
    rate = OptimiserConfig(learning_rate=1e-3, weight_decay=1e-4, ema_decay=0.98)
    objective = ObjectiveConfig(occlusion_from=0.5, smoothness_weight=1.0)
    config = replace(small, batch_size=4, validation_scenes=16, objective=objective, optimiser=rate)
    config = replace(config, data=replace(small.data, size=96))
    _, first = load_weights(train(config, tmp_path / "first", steps=1))
    _, last = load_weights(train(config, tmp_path / "last", steps=400))
    assert last["figures"]["epe_visible"] < 0.85 * first["figures"]["epe_visible"]


def test_a_student_starts_as_its_teacher(teacher: Path, tmp_path: Path) -> None:
    task = FlowTask(recipe("ddflow"), Inputs(tmp_path, weights=(teacher,)), CPU)
    state, _ = load_weights(teacher)
    torch.testing.assert_close(dict(task.model.state_dict()), state)


def test_teachers_are_frozen_and_average(teacher: Path) -> None:
    networks = [load_flow_network(teacher), load_flow_network(teacher)]
    frames = torch.rand(1, 2, 3, 32, 32)
    one, two = Teachers(networks[:1], CPU)(frames, False), Teachers(networks, CPU)(frames, False)
    torch.testing.assert_close(one.forward_px, two.forward_px)
    assert not any(parameter.requires_grad for parameter in networks[0].parameters())


def test_refined_teachers_say_what_is_refined_of_what_they_say(teacher: Path) -> None:
    network = load_flow_network(teacher)
    frames = torch.rand(2, 2, 3, 32, 48)
    plain, refined = (Teachers([network], CPU, refine)(frames, False) for refine in (False, True))
    images = frames.mul(255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    for (first, second), there, back, fitted, fitted_back in zip(
        images, plain.forward_px, plain.backward_px, refined.forward_px, refined.backward_px, strict=True
    ):
        there_px, back_px = (np.ascontiguousarray(flow.permute(1, 2, 0)) for flow in (there, back))
        np.testing.assert_array_equal(fitted.permute(1, 2, 0), refined_flow(first, second, there_px))
        np.testing.assert_array_equal(fitted_back.permute(1, 2, 0), refined_flow(second, first, back_px))
    assert not torch.equal(plain.forward_px, refined.forward_px)


def pairs(forward: Tensor, backward: Tensor, first: Tensor, second: Tensor) -> Pairs:
    return Pairs(first, second, forward, backward, forward[..., ::4, ::4] / 4, backward[..., ::4, ::4] / 4)


def shifted(pixels: int = 2, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A picture, the same moved to the right, and the flow."""
    wide = torch.rand(batch, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    flow_px = torch.zeros(batch, 2, 24, 32)
    flow_px[:, 0] = pixels
    return wide[..., 4:36], wide[..., 4 - pixels : 36 - pixels], flow_px


def test_true_flow_costs_least() -> None:
    first, second, true = shifted()
    config = ObjectiveConfig(smoothness_weight=0.0)
    seen = hidden(pairs(true, -true, first, second), "consistency")
    right = unlabelled_losses(pairs(true, -true, first, second), seen, config)["census"]
    wrong = unlabelled_losses(pairs(0 * true, 0 * true, first, second), seen, config)["census"]
    assert float(right) < 0.3 and float(wrong) > 3 * float(right)


@pytest.mark.parametrize("how", ["consistency", "range"])
def test_pixels_that_leave_are_hidden(how: str) -> None:
    first, second, true = shifted()
    seen = hidden(pairs(true, -true, first, second), how)
    assert seen.forward[:, :, -2:].all() and not seen.forward[:, :, :-2].any()
    assert seen.backward[:, :, :2].all() and not seen.backward[:, :, 2:].any()
    assert not any(mask.any() for mask in hidden(pairs(true, -true, first, second), "none"))


def test_flows_that_disagree_everywhere_hide_nothing() -> None:
    first, second, true = shifted(batch=2)
    backward = torch.cat([-true[:1], 3 + true[1:]])
    seen = hidden(pairs(true, backward, first, second), "consistency")
    assert seen.forward[0].any() and not seen.forward[1].any() and not seen.backward[1].any()


def test_only_the_weights_that_are_set_give_losses() -> None:
    first, second, true = shifted()
    nothing = hidden(pairs(true, -true, first, second), "none")
    config = ObjectiveConfig(census_weight=0.0, rgb_weight=2.0, smoothness_order=2)
    losses = unlabelled_losses(pairs(true, -true, first, second), nothing, config)
    assert set(losses) == {"rgb", "smoothness"} and float(losses["smoothness"]) < 0.01


def test_what_a_student_is_taught() -> None:
    """One pixel off by (1, 0), hidden from the student and known to the teacher."""
    first, second, true = shifted()
    student = pairs(true.clone(), -true, first, second)
    student.forward_px[:, 0, 3, 5] += 1.0
    known = torch.ones(1, 24, 32, dtype=torch.bool)
    lesson = Lesson(torch.stack([first, second], 1), true, -true, known, known)
    unseen = Hidden(torch.zeros_like(known), torch.zeros_like(known))
    assert float(taught_loss(student, lesson, unseen, "occluded")) == 0
    unseen.forward[:, 3, 5] = True
    expected = (1.01**0.4 + 0.01**0.4) / 2
    assert float(taught_loss(student, lesson, unseen, "occluded")) == pytest.approx(expected, rel=1e-5)
    everywhere = float(taught_loss(student, lesson, unseen, "confident"))
    assert everywhere == pytest.approx(2 * 0.01**0.4 + (1.01**0.4 - 0.01**0.4) / 24 / 32 / 2, rel=1e-4)
    unknown = lesson._replace(known_forward=~known)
    assert float(taught_loss(student, unknown, unseen, "occluded")) == 0


def stereo_flow(disparity: float, later: float, left: float, right: float) -> Pairs:
    """Constant flows of the six pairs: disparities at two moments, motion of the left and of the right camera."""
    values = {(0, 1): -disparity, (2, 3): -later, (0, 2): left, (1, 3): right, (0, 3): left - later, (1, 2): 0.0}
    forward = torch.zeros(6, 2, 16, 16)
    for at, pair in enumerate(STEREO_PAIRS):
        forward[at, 0] = values[pair]
    image = torch.zeros(6, 3, 16, 16)
    return pairs(forward, -forward, image, image)


def test_stereo_flow_of_a_rigid_plane_satisfies_the_constraints() -> None:
    """Disparity grows by what the cameras' motions differ: u_r - u_l = d - d_later."""
    nothing = Hidden(*(torch.zeros(6, 16, 16, dtype=torch.bool),) * 2)
    good = stereo_constraints(stereo_flow(2.0, 3.0, 1.0, 0.0), nothing)
    least = 2 * 0.01**0.4
    assert float(good[0]) == pytest.approx(least) and float(good[1]) == pytest.approx(least) and float(good[2]) == 0
    bad = stereo_constraints(stereo_flow(2.0, 3.0, 1.0, 0.5), nothing)
    assert float(bad[0]) > 1.2 * least and float(bad[1]) > 1.2 * least
    assert float(stereo_constraints(stereo_flow(-2.0, 3.0, 1.0, 0.0), nothing)[2]) > 0.5


def test_nothing_visible_in_all_frames_costs_nothing() -> None:
    everything = Hidden(*(torch.ones(6, 16, 16, dtype=torch.bool),) * 2)
    quadrilateral, triangle, _ = stereo_constraints(stereo_flow(2.0, 3.0, 1.0, 0.5), everything)
    assert float(quadrilateral) == 0 and float(triangle) == 0


def test_superpixels_are_numbered_from_zero() -> None:
    image = (torch.rand(48, 56, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    segments = superpixels_of(image)
    assert segments.shape == (48, 56) and segments.min() == 0 and 20 < segments.max() < 400


@pytest.mark.parametrize(
    ("changes", "weights", "message"),
    [
        (['views=["crop"]'], False, "needs a teacher"),
        (['views=["mosaic"]'], True, "no view 'mosaic'"),
        (["network=raft"], False, "no flow network 'raft'"),
        (["network=selflow", "data.stereo=true"], False, "network of two frames"),
        (["labels=true", "data.stereo=true"], False, "not of stereo"),
    ],
)
def test_recipes_that_cannot_be(changes: list[str], weights: bool, message: str, teacher: Path, tmp_path: Path) -> None:
    config = change(recipe("occlusion"), changes)
    with pytest.raises(ValueError, match=message):
        FlowTask(config, Inputs(tmp_path, weights=(teacher,) if weights else ()), CPU)


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (DataConfig(scenes=0.0), False, "a share of any"),
        (DataConfig(videos=0.5), True, "scenes or faces alone"),
        (DataConfig(scenes=0.0, stereo_pairs=1.0), True, "scenes or faces alone"),
        (DataConfig(videos=0.5), False, "name their folders"),
    ],
)
def test_data_that_cannot_be(data: DataConfig, labels: bool, message: str, tmp_path: Path) -> None:
    config = replace(recipe("occlusion"), data=data, labels=labels)
    with pytest.raises(ValueError, match=message):
        FlowTask(config, Inputs(tmp_path), CPU).train_data()


def test_stereo_pairs_are_left_and_right_of_one_moment() -> None:
    scenes = StereoScenes((24, 32), 2)
    four = next(scenes(5))["frames"]
    three = next(StereoPairs(scenes, 3)(5))["frames"]
    assert three.shape == (3, 2, 3, 24, 32)
    torch.testing.assert_close(three, torch.stack([four[0, :2], four[0, 2:], four[1, :2]]))
    assert not torch.equal(three[0, 0], three[0, 1])


def test_stereo_pairs_are_one_kind_of_several(tmp_path: Path) -> None:
    data = DataConfig(size=32, scenes=0.5, stereo_pairs=0.5)
    batches = FlowTask(replace(recipe("occlusion"), data=data, batch_size=2), Inputs(tmp_path), CPU).train_data()(0)
    assert {next(batches)["frames"].shape for _ in range(4)} == {(2, 2, 3, 32, 32)}
    three = replace(recipe("occlusion"), data=data, network="small3")
    with pytest.raises(ValueError, match="stereo_pairs are of two frames"):
        FlowTask(three, Inputs(tmp_path), CPU).train_data()


def test_a_student_begins_as_a_teacher_without_its_upsampler() -> None:
    torch.manual_seed(0)
    teacher, student = FlowNetwork(TINY), FlowNetwork(replace(TINY, convex_upsampling=True))
    fresh = {name: value.clone() for name, value in student.state_dict().items()}
    flow.start(student, FlowNetwork(replace(TINY, radius=3)))  # of another kind
    torch.testing.assert_close(dict(student.state_dict()), fresh)
    flow.start(student, teacher)
    frames = torch.rand(1, 2, 3, 16, 24)
    torch.testing.assert_close(student(frames).quarter_forward_px, teacher(frames).quarter_forward_px)
    torch.testing.assert_close(student.state_dict()["upsampler.hidden.weight"], fresh["upsampler.hidden.weight"])
    other = FlowNetwork(TINY)
    flow.start(other, student)  # and back
    torch.testing.assert_close(dict(other.state_dict()), dict(teacher.state_dict()))


def ablation(out: Path, table: str) -> Any:
    changes = ["data.size=32", "batch_size=2", "validation_scenes=3"]
    arguments = ["--table", table, "--out", str(out), "--steps", "4", "--workers", "0"]
    app = typer.Typer()
    app.command()(flow_ablation.command)
    return CliRunner().invoke(app, [*arguments, *(part for change in changes for part in ("--set", change))])


def test_the_ablation_trains_every_row_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(flow.NETWORKS, "small", TINY)
    monkeypatch.setitem(flow.NETWORKS, "small3", replace(TINY, frames=3))
    trained = []

    def watched(*args: Any) -> Path:
        trained.append((args[1].name, args[1].seed, len(args[2].weights)))
        return run(*args)

    monkeypatch.setattr("train.flow_ablation.run", watched)
    for table in ("selflow", "selflow", "students", "stereo"):
        result = ablation(tmp_path, table)
        assert result.exit_code == 0, result.output
        rows = json.loads((tmp_path / f"{table}.json").read_text())["rows"]
        assert list(rows) == [row.name for row in flow_ablation.TABLES[table]]
        assert all(set(flow_ablation.FIGURES) <= set(values) for values in rows.values())
    assert set(flow_ablation.STEREO_FIGURES) <= set(rows["its student"])
    no_teachers = ("photometric", "occlusion", "occlusion", "occlusion")
    assert trained[:6] == [*((name, 0, 0) for name in no_teachers), ("rectangles", 0, 1), ("selflow", 0, 1)]
    assert trained[6:9] == [("occlusion", 0, 0), ("occlusion", 1, 0), ("ddflow", 0, 1)]
    assert trained[9:11] == [("distillflow", 0, 1), ("distillflow", 0, 2)]
    assert [name for name, *_ in trained[11:]] == ["stereo", "flow2stereo", "flow2stereo", "flow2stereo_student"]


def test_a_table_without_the_rows_that_it_starts_from(tmp_path: Path) -> None:
    result = ablation(tmp_path, "stereo")
    assert result.exit_code == 1 and "'stereo' needs" in result.output and not (tmp_path / "stereo.json").exists()


@pytest.mark.parametrize(
    ("length", "reached", "finished"),
    [
        ({"steps": 10}, {"step": 10, "minutes": 0.0}, True),
        ({"steps": 10}, {"step": 9, "minutes": 0.0}, False),
        ({"minutes": 0.01}, {"step": 3, "minutes": 0.0}, True),
        ({"minutes": 20.0}, {"step": 900, "minutes": 12.3}, False),
    ],
)
def test_a_row_that_was_stopped_is_not_finished(
    length: dict[str, float], reached: dict[str, float], finished: bool, tmp_path: Path
) -> None:
    options = flow_ablation.RunOptions(tmp_path, **length)  # type: ignore[arg-type]
    assert flow_ablation._finished(reached, options) == finished
