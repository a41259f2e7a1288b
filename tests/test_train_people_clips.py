"""Clips of people who do not exist: VoxCeleb's folders, heads that turn far, photos' skin on other heads."""

from pathlib import Path

import numpy as np
import pytest

from face3d.io import read_image
from face3d.morphable_file import MorphableArrays
from tests.toy_views import toy_model, toy_photos
from train.face_clips import ClipDrawer, FaceClips, HeadMotion
from train.flow_scenes import patches_of
from train.people_clips import TURNING, write_people
from train.people_folders import find_people
from train.photos import load_photos

MODEL = Path(__file__).resolve().parents[1] / "face3d" / "assets" / "face3d_model.npz"


def test_people_lie_as_voxceleb_does_and_are_made_once(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    photos = toy_photos(tmp_path, MorphableArrays.load(model))
    write_people(model, photos, tmp_path / "out", count=2, frames=3, size=64)
    files = sorted((tmp_path / "out").rglob("*.jpg"))
    assert [f.relative_to(tmp_path / "out").as_posix() for f in files[:4]] == [
        "id90000/drawn/00000/0000.jpg",
        "id90000/drawn/00000/0001.jpg",
        "id90000/drawn/00000/0002.jpg",
        "id90001/drawn/00000/0000.jpg",
    ]
    assert read_image(files[0]).shape == (64, 64, 3)
    sources = find_people([tmp_path / "out"]).sources
    assert {(source.person, source.kind) for source in sources} == {("id90000", "frames"), ("id90001", "frames")}
    times = [file.stat().st_mtime_ns for file in files]
    content = files[-1].read_bytes()
    files[-1].unlink()
    write_people(model, photos, tmp_path / "out", count=2, frames=3, size=64)
    assert [file.stat().st_mtime_ns for file in files[:3]] == times[:3] and files[-1].read_bytes() == content


def test_too_many_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10001 people"):
        write_people(MODEL, tmp_path, tmp_path / "out", count=10_001, frames=2, size=64)


def test_heads_turn_farther_than_between_frames_of_a_video() -> None:
    def widths(motion: HeadMotion) -> list[float]:
        """How much the outer eye corners' distance changes within a clip, of its largest."""
        clips = [FaceClips(MODEL, 96, 6, 1, with_skimage=False, motion=motion).clip(seed) for seed in range(6)]
        apart = [np.linalg.norm(c.landmarks_px[:, 45] - c.landmarks_px[:, 36], axis=-1) for c in clips]
        return [float(1 - a.min() / a.max()) for a in apart]

    assert np.median(widths(TURNING)) > 2 * np.median(widths(HeadMotion()))


def test_no_yaw_is_beyond_the_most() -> None:
    drawer = ClipDrawer(MorphableArrays.load(MODEL), None, patches_of((), False, False), motion=TURNING)
    for seed in range(5):
        poses = drawer._poses(np.random.default_rng(seed), [drawer.model.mean] * 30, 60.0, 96)
        assert all(pose.rotation[2, 2] < 0 for pose in poses)  # nobody looks away


def test_photos_skin_comes_on_other_heads(tmp_path: Path) -> None:
    model = MorphableArrays.load(toy_model(tmp_path))
    photos = load_photos(toy_photos(tmp_path, model))
    found = []
    for motion in (HeadMotion(), HeadMotion(other_face=True)):
        drawer = ClipDrawer(model, photos, patches_of((), False, False), motion=motion)
        found.append(drawer._photographed(np.random.default_rng(1))[0])
    rows = np.abs(photos.identity - found[0]).max(1)
    assert rows.min() == 0 and np.abs(photos.identity - found[1]).max(1).min() > 0.1
