"""What stage multi takes where it is given less than all: embedded weights, and shards of the videos in --data."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from lightning_fabric import Fabric

from face3d.checkpoint import asset_path
from tests.fake_people import frames, open_fake, write_frames, write_video
from train import multi, multi_inputs
from train.config import Inputs, RunOptions
from train.multi_inputs import EMBEDDED, complete_inputs, people_in_videos, with_embedded_weights
from train.people_tracks import TrackConfig, TrackFinder
from train.weights_files import by_stage


@dataclass(frozen=True)
class FakeFinder:
    config: TrackConfig = TrackConfig()

    def __call__(self) -> TrackFinder:
        return open_fake()


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for person in ("id00012", "id00013"):
        (folder / person / "abc").mkdir(parents=True)
        write_video(folder / person / "abc" / "00001.mp4", frames(6))
    write_frames(folder / "id00014" / "abc" / "00001", frames(6))
    write_frames(folder / "a benchmark", frames(6))
    return folder


def test_weights_that_are_not_given_are_the_embedded_ones(tmp_path: Path) -> None:
    everything = with_embedded_weights(Inputs(tmp_path))
    assert by_stage(everything.weights) == {stage: asset_path(name) for stage, name in EMBEDDED.items()}
    assert with_embedded_weights(everything) == everything


def test_weights_of_stage_multi_stand_for_those_of_stage_single(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "multi.safetensors"
    monkeypatch.setattr(multi_inputs, "by_stage", lambda paths: {"multi": paths[0]})
    found = with_embedded_weights(Inputs(tmp_path, weights=(given,))).weights
    assert found == (given, asset_path(EMBEDDED["flow"]), asset_path(EMBEDDED["parser"]))


def test_pictures_that_are_no_video_are_not_learned_from(videos: Path) -> None:
    assert {source.person for source in people_in_videos(videos).sources} == {"id00012", "id00013", "id00014"}


def test_a_folder_without_videos_is_refused(videos: Path) -> None:
    with pytest.raises(ValueError, match="no videos in .*a benchmark.*--data"):
        people_in_videos(videos / "a benchmark")


def test_shards_are_made_of_the_videos_once(
    videos: Path, tmp_path: Path, fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_inputs, "OpenFinder", FakeFinder)
    options = RunOptions(tmp_path / "out", workers=0)
    completed = complete_inputs(Inputs(videos), options, fabric)
    assert completed.extra == (tmp_path / "out" / "people",)
    (shard,) = completed.extra[0].glob("people-*.tar")
    written = shard.stat().st_mtime_ns
    assert complete_inputs(Inputs(videos), options, fabric) == completed
    assert shard.stat().st_mtime_ns == written
    elsewhere = replace(options, out=tmp_path / "other")
    assert complete_inputs(replace(completed, data_dir=tmp_path), elsewhere, fabric).extra == completed.extra
    assert not elsewhere.out.exists()


def test_the_command_asks_the_stage(fabric: Fabric) -> None:
    assert multi.complete_inputs is complete_inputs
