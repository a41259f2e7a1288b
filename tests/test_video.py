"""A video from frames to files, with stand-ins that see a face in every bright disc."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from typer.testing import CliRunner, Result

from face3d import cli_video, video_io
from face3d.camera import project
from face3d.cli import app
from face3d.reconstruction import Reconstruction
from face3d.tracking import TrackingOptions
from face3d.types import ScaledOrthography
from face3d.video import VideoReconstruction, reconstruct_video
from face3d.video_io import FrameSource, VideoWriter
from tests.fake_networks import noise_photo
from tests.fake_video import DULL, SeeingDetector, film, seeing_reconstructor, write_film

COUNT = 24
STILL = [(50.0, 60.0)] * COUNT
WALK = [(30.0 + 4 * t, 60.0 + t) for t in range(COUNT)]


def centres_px(video: VideoReconstruction, track: int) -> np.ndarray:
    meshes = np.stack([video.tracks[track].vertices_px(frame) for frame in video.tracks[track].frames])
    return (meshes.min(axis=1) + meshes.max(axis=1))[:, :2] / 2


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_face_is_followed_and_rarely_detected() -> None:
    model = seeing_reconstructor()
    done: list[int] = []
    video = reconstruct_video(film([WALK]), model, progress=done.append)
    assert done == list(range(1, COUNT + 1)) and video.frame_count == COUNT
    assert video.image_size_hw == (120, 160) and video.cuts == () and video.rate_hz is None
    (track,) = video.tracks
    np.testing.assert_array_equal(track.frames, np.arange(COUNT))
    np.testing.assert_allclose(centres_px(video, 0), WALK, atol=1.5)
    assert isinstance(model.detector, SeeingDetector) and model.detector.calls == 3  # frames 0, 10 and 20


def test_one_identity_is_the_confidence_weighted_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    model = seeing_reconstructor()
    original = model.networks.__class__.__call__

    def recorded(self: object, crops: torch.Tensor) -> object:
        estimate = original(self, crops)  # type: ignore[arg-type]
        seen.append((estimate.landmarks_confidence[0].mean(), estimate.identity[0]))
        return estimate

    monkeypatch.setattr(model.networks.__class__, "__call__", recorded)
    (track,) = reconstruct_video(film([STILL]), model).tracks
    weights, identities = (torch.stack(list(part)).numpy() for part in zip(*seen[1:], strict=True))  # a first look
    assert len(weights) == COUNT and np.ptp(weights) > 0.1
    np.testing.assert_allclose(track.identity, (weights @ identities) / weights.sum(), atol=1e-5)
    np.testing.assert_allclose(track.landmarks_confidence.mean(axis=1), weights, atol=1e-6)
    assert track.portrait_frame == next(t for t in range(COUNT) if weights[t] > weights.max() / 1.02)


def test_mesh_pose_and_landmarks_agree_in_every_frame() -> None:
    (track,) = reconstruct_video(film([WALK]), seeing_reconstructor()).tracks
    for frame in (0, 11, COUNT - 1):
        face = track.face(frame)
        assert isinstance(face, Reconstruction)
        np.testing.assert_array_equal(face.vertices_px, track.vertices_px(frame))
        np.testing.assert_array_equal(face.identity, track.identity)
        pose = ScaledOrthography(
            *(torch.from_numpy(part[frame][None]) for part in (track.rotation, track.scale, track.translation_px))
        )
        vertices_mm = torch.from_numpy(track.vertices_mm(frame))[None]
        np.testing.assert_allclose(project(vertices_mm, pose)[0].numpy(), face.vertices_px, atol=1e-3)
        landmarks = track.model.landmarks_of(torch.from_numpy(face.vertices_px)[None])[0].numpy()
        assert np.abs(landmarks[:, :2] - face.landmarks_px[:, :2]).mean() < 1.5
        assert (face.texture is not None) == (frame == track.portrait_frame)
        assert face.visibility.any()
    assert track.euler_deg.shape == (COUNT, 3) and len(track) == COUNT and 5 in track and COUNT not in track
    with pytest.raises(KeyError, match="not in frame 99"):
        track.vertices_px(99)


def test_a_jittered_still_face_has_less_jitter_and_motion_no_lag() -> None:
    raw, smooth = (
        reconstruct_video(film([STILL]), seeing_reconstructor(jitter_px=0.3), smooth=smooth) for smooth in (False, True)
    )
    for name in ("translation_px", "landmarks_px"):
        before, after = (np.diff(getattr(video.tracks[0], name), axis=0).std() for video in (raw, smooth))
        assert after < 0.6 * before
    np.testing.assert_allclose(
        smooth.tracks[0].rotation @ smooth.tracks[0].rotation.transpose(0, 2, 1),
        np.broadcast_to(np.eye(3), (COUNT, 3, 3)),
        atol=1e-5,
    )
    moving = reconstruct_video(film([WALK]), seeing_reconstructor(jitter_px=0.5))
    assert np.abs((centres_px(moving, 0) - WALK).mean(axis=0)).max() < 0.5


def test_two_people_cross_and_keep_their_tracks() -> None:
    right = [(20.0 + 5 * t, 35.0) for t in range(COUNT)]
    left = [(140.0 - 5 * t, 85.0) for t in range(COUNT)]
    video = reconstruct_video(film([right, left]), seeing_reconstructor())
    assert len(video.tracks) == 2
    for track, path in enumerate((right, left)):
        np.testing.assert_allclose(centres_px(video, track), path, atol=1.5)
    first, second = (track.identity for track in video.tracks)
    assert second[2] - first[2] > 0.15, "the second disc has more blue"
    assert len(video.in_frame(3)) == 2


def test_a_lost_face_is_found_again_as_the_same() -> None:
    hidden = [None if 8 <= t < 14 else place for t, place in enumerate(WALK)]
    video = reconstruct_video(film([hidden]), seeing_reconstructor())
    (track,) = video.tracks
    np.testing.assert_array_equal(track.frames, [t for t in range(COUNT) if not 8 <= t < 14])
    assert video.in_frame(10) == []
    np.testing.assert_array_equal(video.overlay(10, film([hidden])[10]), film([hidden])[10])


def test_a_face_that_is_lost_for_long_or_seen_briefly() -> None:
    hidden = [None if 8 <= t < 14 else place for t, place in enumerate(STILL)]
    brief = [place if t in (3, 4, 5) else None for t, place in enumerate([(120.0, 60.0)] * COUNT)]
    options = TrackingOptions(lost_for=3, detect_every=1)
    video = reconstruct_video(film([hidden, brief]), seeing_reconstructor(), options=options)
    assert [len(track) for track in video.tracks] == [10, 8]
    everything = TrackingOptions(lost_for=3, detect_every=1, least_frames=1)
    assert len(reconstruct_video(film([hidden, brief]), seeing_reconstructor(), options=everything).tracks) == 3


def test_a_cut_starts_new_tracks() -> None:
    """The face stays in its place, but the scene is another one."""
    frames = film([STILL])
    for frame in frames[12:]:
        frame[(frame == DULL).all(axis=2)] = (120, 10, 120)
    video = reconstruct_video(frames, seeing_reconstructor())
    assert video.cuts == (12,) and [track.frames.tolist() for track in video.tracks] == [
        list(range(12)),
        list(range(12, COUNT)),
    ]


def test_no_face_and_frames_too_small_for_one() -> None:
    assert reconstruct_video(np.zeros((3, 40, 50, 3), np.uint8), seeing_reconstructor()).tracks == ()
    assert reconstruct_video([noise_photo(10, 10)] * 2, seeing_reconstructor()).tracks == ()
    one = reconstruct_video(film([STILL])[:1], seeing_reconstructor())
    assert len(one.tracks) == 1 and len(one.tracks[0]) == 1


def test_frames_from_everywhere(tmp_path: Path) -> None:
    """A list, a generator, a folder in natural order and a file that keeps every bit give the same."""
    frames = film([WALK])[:8]
    (tmp_path / "folder").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "folder" / f"frame_{index + 5}.png")
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    sources = [frames, iter(frames), np.stack(frames), tmp_path / "folder", sorted_names(tmp_path / "folder")]
    results = [reconstruct_video(source, seeing_reconstructor()) for source in sources]
    for video in results[1:]:
        np.testing.assert_array_equal(video.tracks[0].landmarks_px, results[0].tracks[0].landmarks_px)
    write_film(str(tmp_path / "film.avi"), frames, rate_hz=12.5)
    video = reconstruct_video(tmp_path / "film.avi", seeing_reconstructor())
    assert video.rate_hz == 12.5 and video.frame_count == 8
    np.testing.assert_allclose(centres_px(video, 0), WALK[:8], atol=1.5)


def sorted_names(folder: Path) -> list[str]:
    return [str(folder / f"frame_{index}.png") for index in range(5, 13)]


def test_frames_are_read_as_a_stream() -> None:
    alive = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal alive
        for frame in film([STILL]):
            alive += 1
            yield frame

    seen: list[int] = []
    reconstruct_video(stream(), seeing_reconstructor(), progress=lambda done: seen.append(alive - done))
    assert seen == [0] * COUNT


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (noise_photo(), ValueError, r"one array of shape \(120, 160, 3\)"),
        (
            [noise_photo(), noise_photo(100, 160)],
            ValueError,
            "frame 1 of the frames is 160 x 100 px, those before it 160",
        ),
        ([noise_photo().astype(np.float32)], ValueError, "frame 0 of the frames: got a float32 array"),
        ([], ValueError, "not one frame could be read"),
        (7, TypeError, "frames"),
        ([noise_photo(), "nowhere.png"], FileNotFoundError, "no such photo: nowhere.png"),
        ("nowhere.mp4", FileNotFoundError, "no such video: nowhere.mp4"),
    ],
)
def test_what_is_no_video(frames: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reconstruct_video(frames, seeing_reconstructor())  # type: ignore[arg-type]


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "folder").mkdir()
    for name, message in (("text.mp4", "not a video that can be read"), ("folder", "holds no images")):
        with pytest.raises(ValueError, match=message):
            FrameSource(tmp_path / name)


def test_parameters_in_files(tmp_path: Path) -> None:
    right, left = [(30.0, 35.0)] * COUNT, [(120.0, 85.0)] * (COUNT - 4) + [None] * 4
    video = reconstruct_video(film([right, left]), seeing_reconstructor())
    video.save(tmp_path / "film.npz")
    video.save(tmp_path / "film.json")
    arrays, record = np.load(tmp_path / "film.npz"), json.loads((tmp_path / "film.json").read_text())
    assert str(arrays["format"]) == record["format"] == "face3d-video-1"
    assert arrays["tracks"].tolist() == [listed["track"] for listed in record["tracks"]] == [0, 1]
    assert arrays["image_size_hw"].tolist() == record["image_size_hw"] == [120, 160]
    assert record["frame_count"] == arrays["frame_count"] == COUNT and record["rate_hz"] is None
    for track, listed in zip(video.tracks, record["tracks"], strict=True):
        for name in listed.keys() - {"track"}:
            np.testing.assert_array_equal(arrays[f"track{track.number}_{name}"], getattr(track, name))
            np.testing.assert_allclose(listed[name], getattr(track, name), atol=1e-4)
    video.tracks[1].save(tmp_path / "second.npz")
    assert np.load(tmp_path / "second.npz")["track1_frames"].tolist() == list(range(COUNT - 4))
    with pytest.raises(ValueError, match=r"saved as .json or .npz"):
        video.save(tmp_path / "film.glb")
    with pytest.raises(ValueError, match="unknown format"):
        video.tracks[0].save(tmp_path / "face.stl")


def test_one_mesh_without_expression(tmp_path: Path) -> None:
    (track,) = reconstruct_video(film([STILL]), seeing_reconstructor()).tracks
    for name in ("face.glb", "face.obj", "face.ply"):
        track.save(tmp_path / name)
    mesh = trimesh.load(tmp_path / "face.obj", process=False, force="mesh")
    neutral = track.model.vertices(torch.from_numpy(track.identity)[None])[0].numpy()
    np.testing.assert_allclose(track.neutral_mm, neutral, atol=1e-4)
    assert mesh.vertices.min() == pytest.approx(neutral.min(), abs=1e-3)
    assert (tmp_path / "face_texture.png").exists()


def test_overlay_video(tmp_path: Path) -> None:
    frames = [frame[:119, :159] for frame in film([WALK])]
    video = reconstruct_video(frames, seeing_reconstructor())
    done: list[int] = []
    video.write_overlay(frames, tmp_path / "new" / "overlay.mp4", done.append)
    drawn = list(FrameSource(tmp_path / "new" / "overlay.mp4"))
    assert len(drawn) == COUNT == done[-1] and drawn[0].shape == (118, 158, 3)
    changed = np.abs(drawn[9].astype(int) - frames[9][:118, :158]).sum(axis=2) > 100
    assert 100 < changed.sum() < 4000, "the mesh lies over the disc, and nowhere else"
    assert names(tmp_path / "new") == ["overlay.mp4"]
    with pytest.raises(ValueError, match="the picture is 160 x 120, the video 159 x 119"):
        video.write_overlay(film([WALK]), tmp_path / "new" / "other.mp4")
    with pytest.raises(ValueError, match=r"ends in .mp4"):
        video.write_overlay(frames, tmp_path / "new" / "overlay.avi")
    assert names(tmp_path / "new") == ["overlay.mp4"]


def test_nothing_half_written_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "a.mp4", 25.0) as writer:
        writer.write(noise_photo())
        raise RuntimeError("stop")
    with pytest.raises(ValueError, match="no frame was given"), VideoWriter(tmp_path / "a.mp4", None):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match="choose a folder that can be written"),
        VideoWriter(tmp_path / "file" / "a.mp4", 1.0),
    ):
        pass
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda *arguments: None)  # as OpenCV does on a full disk
    with pytest.raises(OSError, match="is the disk full"), VideoWriter(tmp_path / "a.mp4", 25.0) as writer:
        writer.write(noise_photo())
    monkeypatch.setattr(video_io, "_CODEC", "none")
    with pytest.raises(OSError, match="no encoder"), VideoWriter(tmp_path / "a.mp4", 25.0) as writer:
        writer.write(noise_photo())
    assert names(tmp_path) == ["file"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_video, "_load", lambda *arguments: seeing_reconstructor())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["video", *(str(argument) for argument in arguments)])


@pytest.mark.usefixtures("fake")
def test_the_command_writes_everything(tmp_path: Path) -> None:
    write_film(str(tmp_path / "film.avi"), film([WALK, [(130.0, 25.0)] * COUNT]))
    result = run(tmp_path / "film.avi", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"{COUNT} frames, 2 faces, 0 cuts" in result.output
    expected = ["film.json", "film.npz", "film_overlay.mp4", "film_track0.glb", "film_track1.glb"]
    assert names(tmp_path / "out") == expected
    assert FrameSource(tmp_path / "out" / "film_overlay.mp4").rate_hz == 10
    assert run(tmp_path / "film.avi", "-o", tmp_path / "raw", "--no-overlay", "--no-smooth").exit_code == 0
    assert names(tmp_path / "raw") == [name for name in expected if name != "film_overlay.mp4"]
    assert (tmp_path / "raw" / "film.json").read_text() != (tmp_path / "out" / "film.json").read_text()


@pytest.mark.usefixtures("fake")
def test_a_folder_of_frames_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "shot").mkdir()
    for index, frame in enumerate(film([STILL])[:6]):
        Image.fromarray(frame).save(tmp_path / "shot" / f"{index}.png")
    assert run(tmp_path / "shot", "-o", tmp_path / "out", "--no-overlay").exit_code == 0
    assert names(tmp_path / "out") == ["shot.json", "shot.npz", "shot_track0.glb"]


@pytest.mark.usefixtures("fake")
def test_a_clip_that_is_cut_short(tmp_path: Path) -> None:
    write_film(str(tmp_path / "film.avi"), film([STILL]))
    whole = (tmp_path / "film.avi").read_bytes()
    (tmp_path / "film.avi").write_bytes(whole[: len(whole) // 2])
    result = run(tmp_path / "film.avi", "-o", tmp_path / "out", "--no-overlay")
    assert result.exit_code == 0, result.output
    assert f"of {COUNT} frames could be read, is it cut short?" in result.output


@pytest.mark.usefixtures("fake")
def test_exit_codes(tmp_path: Path) -> None:
    write_film(str(tmp_path / "empty.avi"), film([[None] * 6]))
    result = run(tmp_path / "empty.avi", "-o", tmp_path / "out")
    assert result.exit_code == 3 and "no face found in 6 frames" in result.output and names(tmp_path / "out") == []
    (tmp_path / "text.mp4").write_text("no video")
    for clip, out, message in (
        ("missing.mp4", "new", "no such video"),
        ("text.mp4", "new", "not a video that can be read"),
        ("empty.avi", "text.mp4/out", "choose a folder that can be written"),
    ):
        result = run(tmp_path / clip, "-o", tmp_path / out)
        assert result.exit_code == 2 and message in result.output, result.output
    assert not (tmp_path / "new").exists()
    (tmp_path / "shot").mkdir()
    for index in range(2):
        Image.fromarray(noise_photo(50 + index, 60)).save(tmp_path / "shot" / f"{index}.png")
    result = run(tmp_path / "shot", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "frame 1 of" in result.output and names(tmp_path / "out") == []
    assert run(tmp_path / "empty.avi").exit_code == 2


def test_public_names() -> None:
    import face3d

    assert face3d.reconstruct_video is reconstruct_video
    assert face3d.VideoReconstruction is VideoReconstruction
    assert face3d.FaceTrack.__module__ == "face3d.face_track"
