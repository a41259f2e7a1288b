"""Batches of frames of one person: shapes, the gap in yaw, landmarks that stay on the face, damaged shards."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fake_people import CONFIG, DOT, frames, open_fake, write_video
from train.people_batches import STILL, Jitter, PeopleBatches, held_out_people, read_samples, shards_in, turned_apart
from train.people_folders import find_people, held_out
from train.people_shards import make_shards
from train.task import Batch

PEOPLE = [f"id{number:05d}" for number in range(8)]
SEEN = [person for person in PEOPLE if not held_out(person)]
UNSEEN = [person for person in PEOPLE if held_out(person)]
SIZE = 64


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people in four shards; each turns by 40 degrees, in eight frames."""
    root = tmp_path_factory.mktemp("people")
    for person in PEOPLE:
        write_video(root / "videos" / person / "video" / "00001.mp4", frames(16))
    list(make_shards(find_people([root / "videos"]).sources, root / "shards", open_fake, CONFIG, 0, 2))
    return root / "shards"


def dots_px(batch: Batch) -> np.ndarray:
    """(B,K,2) centre of what is white in each crop."""
    images = batch["frames"].permute(0, 1, 3, 4, 2).numpy().min(-1) > 150
    return np.array([[np.argwhere(image).mean(0)[::-1] for image in sample] for sample in images])


def yaws_deg(batch: Batch) -> np.ndarray:
    """(B,K) from the blue of the middle, as it was painted."""
    points = batch["landmarks_px"][:, :, :, :2].mean(2).round().int()
    blue = [[image[2, y + 6, x].item() for image, (x, y) in zip(s, p, strict=True)]
            for s, p in zip(batch["frames"], points.tolist(), strict=True)]  # fmt: skip
    return (np.array(blue, float) - 128) / 2


def test_there_are_people_on_both_sides() -> None:
    assert SEEN and UNSEEN


def test_batches_have_the_promised_shapes_and_repeat_with_the_seed(shards: Path) -> None:
    source = PeopleBatches((shards,), frames=3, crop_size=SIZE, batch_size=5, pool=8)
    one, two, other = source(4), pickle.loads(pickle.dumps(source))(4), source(5)
    for _ in range(2):
        batch, same = next(one), next(two)
        assert {name: tuple(value.shape) for name, value in batch.items()} == {
            "frames": (5, 3, 3, SIZE, SIZE), "landmarks_px": (5, 3, 68, 3), "confidence": (5, 3, 68)}  # fmt: skip
        assert [value.dtype for value in batch.values()] == [torch.uint8, torch.float32, torch.float32]
        assert all(torch.equal(batch[name], same[name]) for name in batch)
    assert not torch.equal(batch["frames"], next(other)["frames"])


def test_landmarks_follow_the_crop(shards: Path) -> None:
    jitter = Jitter(scale=0.25, shift=0.1, roll_deg=30.0)
    batch = next(PeopleBatches((shards,), crop_size=SIZE, batch_size=16, pool=8, jitter=jitter)(0))
    assert np.abs(dots_px(batch) - batch["landmarks_px"][:, :, DOT, :2].numpy()).max() < 1.5
    spans = np.ptp(batch["landmarks_px"].numpy(), axis=2)
    across = np.linalg.norm(batch["landmarks_px"][:, :, 0, :2] - batch["landmarks_px"][:, :, 16, :2], axis=-1)
    assert across.std() > 2 and np.abs(spans[..., 2] / across - 0.25).max() < 0.02  # depth is scaled as the plane is


def test_frames_are_apart_and_coloured_alike(shards: Path) -> None:
    still = PeopleBatches((shards,), crop_size=SIZE, batch_size=24, pool=8, least_yaw_gap_deg=25, jitter=STILL)
    gaps = np.ptp(yaws_deg(next(still(0))), axis=1)
    assert gaps.min() > 22 and gaps.max() <= 45
    bright = Jitter(0, 0, 0, gain=0.3, gamma=0.3)
    frames = next(PeopleBatches((shards,), crop_size=SIZE, batch_size=24, pool=8, jitter=bright)(0))["frames"]
    corner = frames[:, :, 0, 2, 2].float()
    assert corner[:, 0].std() > 5 and (corner[:, 0] - corner[:, 1]).abs().max() < 8


def test_the_largest_gap_will_do_where_there_is_none_of_that_size() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert {0, 3} <= set(turned_apart(np.array([-3.0, 0, 1, 4]), 3, 10.0, rng).tolist())
        rows = turned_apart(np.array([0.0, 20, 22, 3]), 2, 10.0, rng)
        assert abs(int(np.isin(rows, [1, 2]).sum())) == 1
    assert sorted(turned_apart(np.zeros(2), 2, 10.0, rng)) == [0, 1]
    with pytest.raises(ValueError, match="expected 2 to 4 frames"):
        turned_apart(np.zeros(4), 5, 10.0, rng)


def test_held_out_people_are_fixed_and_never_trained_on(shards: Path) -> None:
    batch = held_out_people([shards], 2, SIZE, 50)
    assert len(batch["frames"]) == len(UNSEEN) and torch.equal(
        batch["frames"], held_out_people([shards], 2, SIZE, 50)["frames"]
    )
    assert np.abs(dots_px(batch) - batch["landmarks_px"][:, :, DOT, :2].numpy()).max() < 1.5
    assert np.ptp(yaws_deg(batch), axis=1).min() > 8
    described = [sample for shard in shards_in([shards]) for sample, _ in read_samples(shard)]
    assert {d["person"] for d in described if d["held_out"]} == set(UNSEEN) and len(described) == 8
    unseen = next(PeopleBatches((shards,), crop_size=SIZE, batch_size=2, pool=2, held_out=True)(0))
    assert len(unseen["frames"]) == 2


def test_shards_are_shared_out_to_ranks_and_workers(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []

    def noted(shard: Path):
        paths.append(shard)
        return read_samples(shard)

    monkeypatch.setattr("train.people_batches.read_samples", noted)
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    for rank in ("0", "1"):
        paths.clear()
        monkeypatch.setenv("RANK", rank)
        next(PeopleBatches((shards,), crop_size=SIZE, batch_size=2, pool=8)(0))
        seen.append(set(paths))
    assert seen[0] | seen[1] == set(shards_in([shards])) and not seen[0] & seen[1]


def test_a_damaged_shard_is_passed_over(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for shard in shards_in([shards]):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    damaged = tmp_path / "people-000001.tar"
    damaged.write_bytes(damaged.read_bytes()[:-30_000])
    assert len(list(read_samples(damaged))) < 2 and "passed over" in caplog.text
    assert len(next(PeopleBatches((tmp_path,), crop_size=SIZE, batch_size=4, pool=8)(0))["frames"]) == 4


def test_what_is_missing_is_said(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m train.prepare people"):
        next(PeopleBatches((tmp_path,))(0))
    with pytest.raises(ValueError, match="no track of people to train on with 30 frames"):
        next(PeopleBatches((shards,), frames=30)(0))
    with pytest.raises(ValueError, match="no held-out person with 30 frames"):
        held_out_people([shards], 30, SIZE, 4)
