"""Refined tracks as shards: what is found reaches the batches and the loss, what does not hold is left out."""

import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from face3d.face_track import Refinement
from face3d.flow_adjustment import Flow
from face3d.keyframes import Keyframe
from face3d.morphable import MorphableModel
from face3d.reconstruct import FaceNetworks
from face3d.refine import Refined
from tests.flow_weights import TINY, write_flow_weights
from tests.toy_people import toy_inputs
from tests.toy_shards import write_shards
from train import people_refined
from train.config import Inputs
from train.multi import MultiTask, MultiTrainConfig
from train.objective import ConsistencyWeights
from train.people_batches import PeopleBatches, held_track, read_samples
from train.people_refined import OpenRefiner, Refiner, refined_tracks, seen, write_refined
from train.people_shards import add_files
from train.prepare import app

CPU = torch.device("cpu")
LABELS_ALONE = MultiTrainConfig(
    batch_size=3,
    pool=4,
    validation_people=2,
    consistency=ConsistencyWeights(census=0.0, rgb=0.0, flow=0.0, semantic=0.0),
    pseudo_label_weight=1.0,
    landmark_weight=0.0,
    prior_weight=0.0,
    agreement_weight=0.0,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return toy_inputs(tmp_path_factory.mktemp("refined"))


@pytest.fixture(scope="module")
def networks(inputs: Inputs) -> FaceNetworks:
    return FaceNetworks.read(inputs.weights[0], MorphableModel.load(inputs.extra[0])).eval()


@pytest.fixture(scope="module")
def shards(inputs: Inputs, networks: FaceNetworks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("people") / "shards", networks.model, people=4, frames=5)


def refine(networks: FaceNetworks, shards: list[Path], out: Path, frames: int = 3) -> str:
    return write_refined(shards, out, lambda: Refiner(networks, still, frames), {"frames": frames})


def still(pairs: Tensor) -> Tensor:
    return torch.zeros(len(pairs), 2, *pairs.shape[-2:])


def found(keyframes: Sequence[Keyframe], identity: np.ndarray, model: MorphableModel, flow: Flow) -> Refined:
    """In place of a refinement: every coefficient one more, of every track but the first."""
    found.calls += 1
    rows = tuple(keyframe.seen.frame for keyframe in keyframes)
    expression = np.stack([keyframe.seen.expression for keyframe in keyframes])
    return Refined(identity + 1, expression + 1, Refinement(found.calls > 1, "so", rows))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    found.calls = 0
    monkeypatch.setattr(people_refined, "refine_face", found)


@pytest.mark.usefixtures("stand_in")
def test_what_holds_is_written_and_learned_from(
    inputs: Inputs,
    networks: FaceNetworks,
    shards: Path,
    tmp_path: Path,
) -> None:
    told = refine(networks, [shards], tmp_path / "refined")
    assert told.startswith("3 tracks, 9 frames")
    before = {about["person"]: (about, jpegs) for about, jpegs in read_samples(shards / "people-000000.tar")}
    for about, jpegs in read_samples(tmp_path / "refined" / "people-000000.tar"):
        original, pictures = before[about["person"]]
        sightings, _ = seen(networks, pictures, held_track(original, pictures).landmarks_px)
        rows = [pictures.index(jpeg) for jpeg in jpegs]
        assert about["frames"][0]["landmarks_px"] == original["frames"][rows[0]]["landmarks_px"]
        for frame, row in zip(about["frames"], rows, strict=True):
            np.testing.assert_allclose(frame["expression"], sightings[row].expression + 1, atol=1e-4)
        shared = np.average(
            [face.identity for face in sightings],
            axis=0,
            weights=[face.landmarks_confidence.mean() for face in sightings],
        )
        np.testing.assert_allclose(about["identity"], shared + 1, atol=1e-3)

    folder = replace(inputs, extra=(inputs.extra[0], tmp_path / "refined"))
    task = MultiTask(LABELS_ALONE, folder, CPU)
    task.model.eval()
    source = task.train_data()
    assert isinstance(source, PeopleBatches)
    batch = next(source(0))
    assert batch["identity"].shape == (3, networks.model.identity_count)
    assert batch["expression"].shape == (3, 2, networks.model.expression_count)
    optimiser = torch.optim.Adam([p for p in task.model.parameters() if p.requires_grad], lr=3e-3)
    values = []
    for _ in range(12):
        losses = task.train_step(task.model, batch, 0.0)
        assert {"pseudo_label", "loss"} <= set(losses) and "census" not in losses
        optimiser.zero_grad()
        losses["pseudo_label"].backward()
        optimiser.step()
        values.append(float(losses["pseudo_label"].detach()))
    assert values[-1] < 0.5 * values[0]
    with torch.no_grad():
        figures = task.validate(task.model)
    assert figures["term/pseudo_label"] > 0 and figures["gradient/pseudo_label"] > 0


@pytest.mark.usefixtures("stand_in")
def test_shards_that_are_there_stay(networks: FaceNetworks, shards: Path, tmp_path: Path) -> None:
    refine(networks, [shards], tmp_path)
    calls, before = found.calls, (tmp_path / "people-000000.tar").read_bytes()
    (tmp_path / "people-000001.part").write_bytes(b"what a kill left")
    refine(networks, [shards], tmp_path)
    assert found.calls == calls and (tmp_path / "people-000000.tar").read_bytes() == before
    refine(networks, [shards, shards], tmp_path)
    assert found.calls == 2 * calls and not list(tmp_path.glob("*.part"))
    assert len(list(tmp_path.glob("people-*.tar"))) == 2


def test_heads_that_do_not_turn_tell_nothing(networks: FaceNetworks, shards: Path) -> None:
    assert not list(refined_tracks(shards / "people-000000.tar", networks, still, 3))


def test_what_is_wrong_is_said(inputs: Inputs, networks: FaceNetworks, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no people-NNNNNN.tar"):
        refine(networks, [tmp_path], tmp_path / "out")
    with pytest.raises(ValueError, match="p0 has no pseudo-labels.*prepare refined"):
        next(PeopleBatches((shards,), pseudo_labels=True)(0))


@pytest.mark.usefixtures("stand_in")
def test_shards_of_other_settings_do_not_mix(networks: FaceNetworks, shards: Path, tmp_path: Path) -> None:
    refine(networks, [shards], tmp_path)
    with pytest.raises(ValueError, match=r"'frames': 3.*expected.*'frames': 2"):
        refine(networks, [shards], tmp_path, 2)
    other = shards.with_name("other")
    other.mkdir()
    (other / "people-000000.tar").write_bytes((shards / "people-000000.tar").read_bytes())
    with pytest.raises(ValueError, match="give the same folders first"):
        refine(networks, [other, shards], tmp_path)
    with pytest.raises(ValueError, match=r"no refined.json: give an empty folder"):
        refine(networks, [other], shards)


@pytest.mark.usefixtures("stand_in")
def test_a_damaged_shard_is_named(networks: FaceNetworks, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    shard = tmp_path / "people" / "people-000000.tar"
    with tarfile.open(shard, "w") as archive:
        add_files(archive, {"a.json": b'{"format": "of another program"}', "a.f000.jpg": b""})
    told = refine(networks, [shard.parent], tmp_path / "out")
    assert told.startswith("0 tracks") and f"skipped: {shard}: " in told
    assert not list((tmp_path / "out").glob("people-*"))


def test_settings_tell_the_files(inputs: Inputs, tmp_path: Path) -> None:
    one = OpenRefiner(inputs.extra[0], inputs.weights[0]).settings()
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(inputs.weights[0].read_bytes())
    assert OpenRefiner(inputs.extra[0], copy).settings() == one
    assert OpenRefiner(inputs.extra[0]).settings()["weights"] != one["weights"]


@pytest.mark.usefixtures("stand_in")
def test_the_command_takes_weights(inputs: Inputs, shards: Path, tmp_path: Path) -> None:
    flow = write_flow_weights(tmp_path / "flow.safetensors", TINY)
    given = ["--weights", inputs.weights[0], "--flow", flow, "--model", inputs.extra[0], "--device", "cpu"]
    arguments = ["refined", "--people", shards, "-o", tmp_path / "out", "--frames", 2, "--workers", 0, *given]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "3 tracks, 6 frames" in result.output
