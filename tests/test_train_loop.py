"""The loop learns, ends by steps or minutes, resumes exactly, survives damage, and stops on what is not finite."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from face3d.checkpoint import load_weights
from tests.two_processes import CurveTask, SharedSource, SplitSource
from tests.two_processes import train as train_curve
from train.average import Average
from train.checkpoints import is_whole, load_latest, save_state, states
from train.config import Inputs, OptimiserConfig, RunOptions, TrainConfig, as_dict, change
from train.loop import Loop, NonFiniteError, parameter_groups
from train.pgn import PgnTrainConfig
from train.prefetch import prefetch
from train.schedule import learning_rate, progress_of


@dataclass(frozen=True)
class LineSource:
    """y = 2 x - 1."""

    bad_from: int = 10**9
    interrupt_at: int = 10**9

    def __call__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for index in itertools.count():
            if index == self.interrupt_at:
                os.kill(os.getpid(), signal.SIGTERM)
            x = torch.rand(16, 1, generator=generator)
            yield {"x": x, "y": 2 * x - 1 + (float("nan") if index >= self.bad_from else 0.0)}


class LineTask:
    def __init__(self, source=LineSource()):  # noqa: B008
        torch.manual_seed(0)
        # no bias before the normalisation: its gradient is rounding noise, which Adam would make steps of
        self.model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 1))
        self.source = source

    def train_data(self):
        return self.source

    def train_step(self, model, batch, progress):
        error = (model(batch["x"]) - batch["y"]).square().mean()
        return {"loss": error, "root": error.detach().sqrt()}

    def validate(self, model):
        x = torch.linspace(0, 1, 9)[:, None]
        return {"error": float((model(x) - (2 * x - 1)).abs().mean())}

    def pictures(self, model):
        return {"grey": np.full((4, 4, 3), 127, np.uint8)}

    def describe(self):
        return {"kind": "line"}


def make_loop(out, task=None, **options):
    config = TrainConfig(channels_last=False, optimiser=OptimiserConfig(learning_rate=0.05, ema_decay=0.95))
    fabric = Fabric(accelerator="cpu", devices=1)
    return Loop(task or LineTask(), config, RunOptions(out, **({"workers": 0} | options)), fabric, "line")


def test_a_run_learns_and_leaves_everything(tmp_path):
    loop = make_loop(tmp_path, steps=200)
    path = loop.run()
    assert loop.step == 200 and loop.progress == 1.0
    assert loop.figures["error"] < 0.05
    state, meta = load_weights(path)
    assert meta["stage"] == "line" and meta["network"] == {"kind": "line"} and meta["step"] == 200
    assert set(state) == set(loop.task.model.state_dict())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["group"] for line in lines].count("valid") == 1
    assert lines[0]["step"] == 1 and {"loss", "root", "rate", "gradient"} <= set(lines[0])
    assert (tmp_path / "grey.png").is_file() and any((tmp_path / "tensorboard").iterdir())


def test_minutes_end_a_run_with_the_rate_annealed(tmp_path):
    loop = make_loop(tmp_path, minutes=0.02, log_steps=1)
    loop.run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [line["rate"] for line in lines if line["group"] == "train"]
    assert 1.2 <= loop.elapsed_s < 10
    assert max(rates) > 0.04 and rates[-1] < 0.01


def test_resuming_restores_weights_optimiser_and_clock(tmp_path):
    first = make_loop(tmp_path, steps=30)
    first.run()
    again = make_loop(tmp_path, steps=40, resume=True)
    again._resume()
    assert again.step == 30 and again.elapsed_s > 0
    for a, b in zip(again.task.model.parameters(), first.task.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.optimiser.state_dict()["state"][0]["step"] == 30
    again.run()
    assert again.step == 40


def test_two_processes_learn_what_one_learns_from_the_joined_batch(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*command, "-m", "tests.two_processes", str(tmp_path / "two")],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    one, two = (
        load_weights(path)[0] for path in (train_curve(tmp_path / "one", 1), tmp_path / "two/weights.safetensors")
    )
    torch.testing.assert_close(two, one, atol=1e-3, rtol=1e-3)  # stored in half precision
    losses = [
        [entry["gradient"] for entry in map(json.loads, (tmp_path / run / "log.jsonl").read_text().splitlines())
         if entry["group"] == "train"]
        for run in ("one", "two")
    ]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) > 3


def test_accumulated_gradients_are_those_of_the_joined_batch(tmp_path):
    optimiser = OptimiserConfig(clip_norm=0.5, ema_decay=0.0)
    states = []
    for source, accumulate in ((SharedSource(1), 1), (SplitSource(), 2)):
        task = CurveTask(1)
        task.train_data = lambda source=source: source
        config = TrainConfig(accumulate=accumulate, optimiser=optimiser)
        fabric = Fabric(accelerator="cpu", devices=1)
        loop = Loop(task, config, RunOptions(tmp_path / str(accumulate), steps=5, workers=0), fabric, "curve")
        loop.run()
        assert loop.step == 5
        states.append(task.model.state_dict())
    torch.testing.assert_close(states[1], states[0])


def test_damaged_checkpoints_are_passed_over(tmp_path):
    for step in (1, 2, 3, 4):
        save_state(tmp_path, step, {"step": step, "w": torch.full((1000,), float(step))}, keep=3)
    assert [p.name for p in states(tmp_path)] == [f"step-{s:09d}.pt" for s in (4, 3, 2)]
    newest, middle, _ = states(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    bits = bytearray(middle.read_bytes())
    bits[len(bits) // 2] ^= 1
    middle.write_bytes(bytes(bits))
    assert not is_whole(newest) and not is_whole(middle)
    state, damaged = load_latest(tmp_path)
    assert state["step"] == 2 and damaged == [newest, middle]
    assert load_latest(tmp_path / "none") == (None, [])


def test_a_checkpoint_of_another_stage_is_refused(tmp_path):
    make_loop(tmp_path, steps=1).run()
    other = make_loop(tmp_path, steps=1, resume=True)
    other.stage = "circle"
    with pytest.raises(ValueError, match="'line'"):
        other.run()


def test_what_is_not_finite_stops_the_run_and_keeps_the_batch(tmp_path):
    loop = make_loop(tmp_path, LineTask(LineSource(bad_from=5)), steps=100)
    with pytest.raises(NonFiniteError, match="loss.*step 5.*bad-batch-5"):
        loop.run()
    assert all(bool(torch.isfinite(p).all()) for p in loop.task.model.parameters())
    assert (tmp_path / "bad-batch-5.safetensors").is_file()


def test_a_signal_ends_the_run_with_its_state_kept(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    loop = make_loop(tmp_path, LineTask(LineSource(interrupt_at=7)), steps=10_000)
    loop.run()
    assert 7 <= loop.step <= 8
    assert load_latest(tmp_path / "checkpoints")[0]["step"] == loop.step
    assert signal.getsignal(signal.SIGTERM) is before


def test_prefetching_gives_the_batches_of_the_source():
    expected = list(itertools.islice(LineSource()(3), 3))
    got = list(itertools.islice(prefetch(LineSource(), 3, workers=1), 3))
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a["x"], b["x"])


def test_average_follows_weights_and_copies_integers():
    model = nn.BatchNorm1d(1)
    average = Average(model, 0.9)
    model.weight.data.fill_(2.0)
    model.num_batches_tracked += 5
    average.update(model, 10_000)
    assert average.model.weight.item() == pytest.approx(1.1)
    assert average.model.num_batches_tracked == 5
    average.update(model, 0)
    assert average.model.weight.item() == pytest.approx(1.1 + 0.9 * 0.9)


def test_schedule_is_a_function_of_progress():
    config = OptimiserConfig(learning_rate=1.0, warmup_fraction=0.1, final_fraction=0.01)
    assert learning_rate(0.0, config) == pytest.approx(0.04)
    assert learning_rate(0.1, config) == pytest.approx(1.0)
    assert learning_rate(1.0, config) == pytest.approx(0.01)
    rates = [learning_rate(p, config) for p in np.linspace(0.1, 1, 50)]
    assert rates == sorted(rates, reverse=True)
    assert progress_of(50, 0, 100, None) == 0.5
    assert progress_of(50, 90, 100, 2.0) == 0.75
    assert progress_of(500, 0, 100, None) == 1.0


def test_vectors_are_not_decayed_and_frozen_weights_are_left_out():
    model = nn.Linear(2, 2)
    groups = parameter_groups(model, 0.1)
    assert [len(g["params"]) for g in groups] == [1, 1] and groups[1]["weight_decay"] == 0
    with pytest.raises(ValueError, match="frozen"):
        parameter_groups(model.requires_grad_(False), 0.1)


def test_changes_to_configurations():
    config = change(PgnTrainConfig(), ["batch_size=8", "optimiser.learning_rate=1", "network.backbone.name=resnet50"])
    assert (config.batch_size, config.optimiser.learning_rate) == (8, 1.0)
    assert config.network.backbone.name == "resnet50"
    assert as_dict(Inputs(data_dir=__import__("pathlib").Path("x")))["data_dir"] == "x"
    for bad, message in (("batch_size", "NAME=VALUE"), ("size=3", "has no 'size'"), ("steps=1.5", "must be int")):
        with pytest.raises(ValueError, match=message):
            change(TrainConfig(), [bad])


def test_freed_memory_is_kept_where_the_library_can():
    # in a process of its own: the setting lasts
    code = "from train.memory import keep_freed_memory; print(keep_freed_memory())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told in ("True", "False") and (told == "True" or not sys.platform.startswith("linux"))
