"""Frames of one person against each other: true geometry agrees, a shaken one does not; shards are read."""

import io
import json
import tarfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from eval.agreement import TAKES, score_agreement, still_jitter_px, swapped_census
from eval.clips import GeneratedClips
from eval.people_tracks import FORMAT, Track, held_out_tracks
from eval.protocol import Prediction
from face3d.camera import project
from face3d.consistency import counted_triangles
from face3d.morphable import MorphableModel
from face3d.pose import pose_from_landmarks
from tests.toy_shards import write_shards

MODEL = Path(__file__).resolve().parents[1] / "face3d" / "assets" / "face3d_model.npz"
ABOUT = {"format": FORMAT, "version": 1, "size": 32, "crop_factor": 1.6}


def write_shard(folder: Path, tracks: dict[str, dict[str, Any]], yaws_deg: list[float], fewer: int = 0) -> None:
    with tarfile.open(folder / "people-000000.tar", "w") as archive:
        for name, about in tracks.items():
            frames = [{"yaw_deg": yaw, "landmarks_px": np.full((68, 3), yaw).tolist()} for yaw in yaws_deg]
            files = {f"{name}.json": json.dumps({**ABOUT, "frames": frames, **about}).encode()}
            for at, yaw in enumerate(yaws_deg[: len(yaws_deg) - fewer]):
                picture = np.full((32, 32, 3), 100 + yaw, np.uint8)
                files[f"{name}.f{at:03d}.jpg"] = cv2.imencode(".jpg", picture)[1].tobytes()
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def about(person: str, held_out: bool, source: str = "video:x") -> dict[str, Any]:
    return {"person": person, "held_out": held_out, "source": source}


def test_frames_come_evenly_apart_in_yaw_of_people_who_are_held_out(tmp_path: Path) -> None:
    tracks = {"a__x__00": about("a", True), "a__y__00": about("a", True), "b__x__00": about("b", False)}
    write_shard(tmp_path, {**tracks, "c__photos__00": about("c", True, "photos:photos")}, [30.0, -20.0, 0.0, 10.0])
    photos, video = held_out_tracks(tmp_path, 5, 3)
    assert (video.name, video.kind, photos.name, photos.kind) == ("a__x__00", "videos", "c__photos__00", "photos")
    assert [int(frame.mean().round()) for frame in video.frames] == [80, 110, 130]
    np.testing.assert_array_equal(video.landmarks_px[:, 0, 0], [-20.0, 10.0, 30.0])


def test_shards_that_cannot_be_scored_say_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no people-NNNNNN.tar"):
        held_out_tracks(tmp_path, 5, 4)
    write_shard(tmp_path, {"a__x__00": about("a", False)}, [0.0, 1.0])
    with pytest.raises(ValueError, match="nobody is held out"):
        held_out_tracks(tmp_path, 5, 4)
    write_shard(tmp_path, {"a__x__00": about("a", True)}, [0.0, 1.0], fewer=1)
    with pytest.raises(ValueError, match="1 pictures for 2 frames"):
        held_out_tracks(tmp_path, 5, 4)
    write_shard(tmp_path, {"a__x__00": {**about("a", True), "version": 2}}, [0.0, 1.0])
    with pytest.raises(ValueError, match="version 1"):
        held_out_tracks(tmp_path, 5, 4)
    (tmp_path / "people-000000.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(ValueError, match="make it again"):
        held_out_tracks(tmp_path, 5, 4)


class Truth:
    """What a generated clip's geometry is, told frame by frame, moved a little where it is asked to be."""

    def __init__(self, shake_px: float = 0.0) -> None:
        self.model = MorphableModel.load(MODEL)
        clips = GeneratedClips(self.model, people=1, frames=4)
        self.clip = clips.clip(0)
        self.placed, self.shake_px, self.rng = self._placed(clips), shake_px, np.random.default_rng(0)
        points = self.clip.truth.landmarks_px[..., :2]
        self.track = Track("t", "videos", self.clip.images, points)

    def _placed(self, clips: GeneratedClips) -> list[np.ndarray]:
        """Vertices in the frames: of the poses that lay the mesh's landmarks where they are."""
        assert self.clip.truth.vertices_mm is not None
        vertices = torch.from_numpy(self.clip.truth.vertices_mm).double()
        landmarks_mm = deepcopy(self.model).double().landmarks_of(vertices)
        pose = pose_from_landmarks(landmarks_mm, torch.from_numpy(self.clip.truth.landmarks_px).double())
        return list(project(vertices, pose).float().numpy())

    def predictions(self) -> list[Prediction]:
        moved = [p + self.rng.normal(0, self.shake_px, 3).astype(np.float32) for p in self.placed]
        return [Prediction(vertices_px=points) for points in moved]


def test_true_geometry_agrees_and_a_shaken_one_does_not() -> None:
    true, shaken = Truth(), Truth(shake_px=4.0)
    model = MorphableModel.load(MODEL)
    counted = counted_triangles(model)
    errors = [swapped_census(t.track, t.predictions(), model, counted) for t in (true, shaken)]
    assert errors[0] < 0.9 * errors[1]


def test_jitter_is_what_the_takes_add() -> None:
    track = Track(
        "t",
        "videos",
        [np.full((112, 112, 3), 90, np.uint8)] * 3,
        np.random.default_rng(3).uniform(20, 90, (3, 68, 2)),
    )
    corners = np.zeros((68, 2))

    def steady(image: np.ndarray, box_px: np.ndarray) -> Prediction:
        """Follows the take exactly, but for its roll: the middle of the box."""
        return Prediction(landmarks_px={"3dmm": corners + (box_px[:2] + box_px[2:]) / 2})

    rng = np.random.default_rng(4)

    def trembling(image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return Prediction(
            landmarks_px={"3dmm": steady(image, box_px).landmarks_px["3dmm"] + rng.normal(0, 1.0, (1, 2))}
        )

    quiet, loud = still_jitter_px(track, steady), still_jitter_px(track, trembling)
    assert quiet < 0.6
    assert loud == pytest.approx(2 * np.sqrt(2), rel=0.4)  # the crop is half of 224 px; TAKES are few
    assert TAKES == 8


def test_frames_that_share_nothing_are_left_out_and_named() -> None:
    truth = Truth()
    model = MorphableModel.load(MODEL)
    aside = iter([(1000.0 * at, 0.0, 0.0) for at in range(1, 5)])

    def elsewhere(image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return Prediction(vertices_px=truth.placed[0] + np.float32(next(aside)), identity=np.zeros(3))

    result = score_agreement([truth.track], elsewhere, model)
    assert result["left_out"] == {"t": "no two frames show any skin in common"}
    assert result["samples"] == {} and result["summary"] == {}


def test_shards_of_the_training_are_read(tmp_path: Path) -> None:
    tracks = held_out_tracks(write_shards(tmp_path / "shards", MorphableModel.random(0), photo_people=2), 5, 2)
    assert [(track.name, track.kind, len(track.frames)) for track in tracks] == [
        ("p3__v__0", "photos", 2),
        ("p1__v__0", "videos", 2),
    ]


def test_a_method_without_identity_is_refused() -> None:
    truth = Truth()
    model = MorphableModel.load(MODEL)
    with pytest.raises(ValueError, match="needs identity"):
        score_agreement([truth.track], lambda image, box: Prediction(vertices_px=truth.placed[0]), model)
