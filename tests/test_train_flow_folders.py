"""Sequences from videos, tars and folders: consecutive, cropped alike, a fifth unseen, broken files named."""

import io
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from train.flow_folders import Clip, FrameSequences, find_clips, one_frame_each, read_run

FRAMES = 8


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A flat picture whose brightness tells its number."""
    return np.full((height, width, 3), 20 * number + 10, np.uint8)


def write_video(path: Path, frames: int = FRAMES) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def write_images(folder: Path, frames: int = FRAMES) -> None:
    folder.mkdir(parents=True)
    for number in range(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), picture(number))


def write_tar(path: Path, clips: tuple[str, ...]) -> None:
    with tarfile.open(path, "w") as archive:
        for clip in clips:
            for number in range(FRAMES):
                content = cv2.imencode(".png", picture(number))[1].tobytes()
                member = tarfile.TarInfo(f"{clip}/{number:04d}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(6):
        write_video(root / f"video{number}.mp4")
        write_images(root / f"images{number}")
    write_tar(root / "some.tar", tuple(f"walk{n}" for n in range(6)))
    return root


def numbers(frames: torch.Tensor) -> list[list[int]]:
    """Which pictures (B,T) a batch shows."""
    return ((frames.float().mean((2, 3, 4)) - 10) / 20).round().int().tolist()


def test_every_kind_of_clip_is_found(folder: Path) -> None:
    found = find_clips([folder])
    assert len(found.clips) == 18 and not found.broken
    names = {clip.name for clip in found.clips}
    assert {"video0.mp4", "clips/images3", "some.tar/walk5"} <= names
    assert find_clips([folder / "some.tar"]).clips[0].name == "some.tar/walk0"


def test_frames_follow_each_other_at_the_stride(folder: Path) -> None:
    for stride in (1, 3):
        source = FrameSequences((folder,), (32, 40), 3, 12, strides=(stride,), pool=12)
        for sequence in numbers(next(source(0))["frames"]):
            assert np.diff(sequence).tolist() == [stride, stride]


def test_a_fifth_is_kept_unseen(folder: Path) -> None:
    kept, trained = (FrameSequences((folder,), (32, 40), 2, 1, held_out=h).clips().clips for h in (True, False))
    assert not {c.name for c in kept} & {c.name for c in trained} and len(kept) + len(trained) == 18 and kept
    share = np.mean([Clip(f"clip{number}.mp4", Path()).held_out for number in range(4000)])
    assert 0.17 < share < 0.23


def test_batches_are_the_same_for_the_same_seed(folder: Path) -> None:
    source = FrameSequences((folder,), (32, 40), 3, 4, pool=4)
    one, two = source(1), pickle.loads(pickle.dumps(source))(1)
    for _ in range(3):
        first = next(one)["frames"]
        assert first.shape == (4, 3, 3, 32, 40) and first.dtype == torch.uint8
        assert torch.equal(first, next(two)["frames"])


def test_every_frame_of_a_sequence_has_the_same_crop(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "still"
    folder.mkdir()
    still = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), still)
    held_out = find_clips([folder]).clips[0].held_out
    frames = next(FrameSequences((folder,), (32, 32), 3, 4, held_out=held_out)(0))["frames"]
    assert torch.equal(frames[:, 0], frames[:, 2]) and not torch.equal(frames[0], frames[1])


def test_broken_files_are_skipped_counted_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.tar").write_bytes(b"no tar" * 200)
    (folder / "images1" / "0003.png").write_bytes(b"no image")
    write_video(folder / "short.mp4", 1)
    write_images(folder / "empty_picture")
    (folder / "empty_picture" / "0000.png").write_bytes(b"")
    broken: list[str] = []
    for held_out in (False, True):
        source = FrameSequences((folder,), (32, 40), FRAMES, 2, strides=(1,), held_out=held_out)
        batches = source(0)
        for _ in range(12):
            assert next(batches)["frames"].shape == (2, FRAMES, 3, 32, 40)
        with caplog.at_level("INFO"):
            broken += source.broken()
    assert {Path(name).name for name in broken} == {
        "broken.mp4", "broken.tar", "images1", "short.mp4", "empty_picture"}  # fmt: skip
    assert "clips can be used; broken: " in caplog.text


def test_where_nothing_can_be_read_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_clips([tmp_path / "none"])
    with pytest.raises(ValueError, match="no clips in"):
        next(FrameSequences((tmp_path,), (32, 32), 2, 1)(0))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    held_out = Clip("a.mp4", tmp_path).held_out
    with pytest.raises(ValueError, match=r"no clip can be read.*a\.mp4"):
        next(FrameSequences((tmp_path,), (32, 32), 2, 1, held_out=held_out)(0))


def test_frames_of_different_size_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "odd", 3)
    cv2.imwrite(str(tmp_path / "odd" / "0001.png"), picture(1, 20, 30))
    with pytest.raises(ValueError, match="differ in size"):
        read_run(find_clips([tmp_path / "odd"]).clips[0], np.random.default_rng(0), 2, 3)


def test_small_clips_are_enlarged_and_textures_come_one_a_clip(folder: Path) -> None:
    frames = next(FrameSequences((folder,), (96, 96), 2, 2)(0))["frames"]
    assert frames.shape == (2, 2, 3, 96, 96)
    assert len(one_frame_each([folder])) == 18 and one_frame_each([]) == []
