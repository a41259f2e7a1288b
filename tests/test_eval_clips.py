"""eval.clips, clip_motion, clip_camera, clip_scores, clip_run: known motion, noise and geometry give known figures."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.clip_camera import Camera, line_kernel
from eval.clip_motion import Motion, blended, clip_times, eased, random_motion, sway
from eval.clip_run import FrameByFrame, run_clips
from eval.clip_scores import landmark_jitter_percent, pooled_face
from eval.clips import SIZE_PX, Clip, GeneratedClips, ScanClip, skin_marks
from eval.florence_metrics import FaceMesh
from eval.mean_face import MeanFace
from eval.method_face3d import Face3d
from eval.people import GeneratedPeople
from eval.protocol import Found, Prediction, Run
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel
from tests.fake_networks import fake_reconstructor

MESH_ERRORS = ("per_vertex_mm", "neutral_mm", "pooled_neutral_mm", "point_to_plane_mm")
STEADY = Camera((1.0, 1.0, 1.0), 1.0, 0.0, 0.0, 3.0, 0.2, 0.01, 100)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0)


@pytest.fixture(scope="module")
def clips(model: MorphableModel) -> GeneratedClips:
    made = GeneratedClips(model, people=2, frames=4)
    made.clip = cache(made.clip)
    return made


class Knowing:
    """Knows the truth of every clip, and is wrong by what each frame is told: mm of the mesh, px, coefficients."""

    name = "knowing"

    def __init__(self, clips: GeneratedClips, mesh_mm=(0.0,), shift_px=(0.0,), code=(0.0,)) -> None:
        self.clips, self.wrong = clips, (mesh_mm, shift_px, code)
        rng = np.random.default_rng(5)
        self.direction = rng.standard_normal(clips.mean_mm.shape)
        self.known = {tuple(clip.boxes_px[0]): clip for clip in map(clips.clip, range(clips.count))}

    def predict_clip(self, images: list[np.ndarray], boxes_px: np.ndarray) -> list[Prediction]:
        clip = self.known[tuple(boxes_px[0])]
        return [self._frame(clip, frame) for frame in range(len(images))]

    def _frame(self, clip: Clip, frame: int) -> Prediction:
        mesh_mm, shift_px, code = (values[frame % len(values)] for values in self.wrong)
        assert clip.truth.vertices_mm is not None
        return Prediction(
            landmarks_px={"3dmm": clip.truth.landmarks_px[frame] + shift_px},
            vertices_mm=clip.truth.vertices_mm[frame] + mesh_mm * self.direction,
            neutral_mm=clip.truth.neutral.vertices + mesh_mm * self.direction,
            model_landmarks_mm=clip.truth.neutral.landmarks,
            triangles=clip.truth.neutral.triangles,
            identity=np.full(6, float(clip.name[-1])) + code,
        )


def figures(clips: GeneratedClips, method: Knowing) -> dict[str, float]:
    (run,) = run_clips(clips, [method])
    return {name: figure["mean"] for name, figure in run.summary.items()}


def test_a_perfect_method_has_no_error(clips: GeneratedClips) -> None:
    found = figures(clips, Knowing(clips))
    assert all(found[name] < 1e-4 for name in MESH_ERRORS)
    assert found["identity_spread"] == 0 and found["landmark_jitter_percent/3dmm"] < 1e-6
    assert found["identity_spread_across_people"] == pytest.approx(0.5)  # person 0 and person 1


def test_a_constant_offset_gives_its_error(clips: GeneratedClips, model: MorphableModel) -> None:
    method = Knowing(clips, mesh_mm=(0.3,), shift_px=(7.0,), code=(2.0,))
    found = figures(clips, method)
    people = GeneratedPeople(model, count=1)
    truths = [clip.truth.neutral.vertices for clip in method.known.values()]
    expected = np.mean([people.error_mm(truth + 0.3 * method.direction, truth) for truth in truths])
    assert 0.3 < expected < 0.6  # the mean length of a normal 3-vector is 1.6
    assert found["neutral_mm"] == pytest.approx(expected, rel=1e-6)
    assert found["pooled_neutral_mm"] == pytest.approx(expected, rel=1e-6)
    assert found["per_vertex_mm"] == pytest.approx(expected, rel=0.05)
    assert 0 < found["point_to_plane_mm"] < expected
    assert found["identity_spread"] == 0
    assert found["landmark_jitter_percent/3dmm"] < 1e-6  # a constant shift is no jitter


def test_meshes_wrong_in_turn_are_right_in_the_mean(clips: GeneratedClips) -> None:
    found = figures(clips, Knowing(clips, mesh_mm=(0.3, -0.3)))
    assert found["neutral_mm"] > 0.3
    assert found["pooled_neutral_mm"] < 0.02


def test_a_jittering_identity_raises_its_spread_only(clips: GeneratedClips) -> None:
    steady, jittering = figures(clips, Knowing(clips)), figures(clips, Knowing(clips, code=(0.25, -0.25)))
    assert jittering.pop("identity_spread") == pytest.approx(0.25)
    steady.pop("identity_spread")
    assert jittering == pytest.approx(steady)


def test_landmarks_that_jitter(clips: GeneratedClips) -> None:
    found = figures(clips, Knowing(clips, shift_px=(1.0, -1.0)))
    sizes = [
        np.sqrt(np.prod(clip.boxes_px[:, 2:] - clip.boxes_px[:, :2], axis=1)).mean()
        for clip in map(clips.clip, range(clips.count))
    ]
    assert found["landmark_jitter_percent/3dmm"] == pytest.approx(np.mean([141.42 / size for size in sizes]), rel=1e-3)
    points = np.random.default_rng(0).uniform(0, 100, (5, 68, 2))
    assert landmark_jitter_percent(points + np.arange(68)[:, None], points) < 1e-6


def test_mean_face_is_the_floor(clips: GeneratedClips, model: MorphableModel) -> None:
    first, second = run_clips(clips, [MeanFace(model), Knowing(clips)])
    people = GeneratedPeople(model, count=1)
    for index, record in enumerate(first.records):
        truth = clips.clip(index).truth
        floor = people.error_mm(clips.mean_mm, truth.neutral.vertices)
        assert record.scores["neutral_mm"] == pytest.approx(floor) == record.scores["pooled_neutral_mm"]
        assert record.scores["identity_spread"] == 0
    assert first.method == "mean face" and second.method == "knowing"
    assert all(first.summary[name]["mean"] > 10 * second.summary[name]["mean"] for name in MESH_ERRORS)


@pytest.mark.parametrize("seed", range(20))
def test_heads_turn_far_and_smoothly(seed: int) -> None:
    motion = random_motion(clip_times(8), (1.0, 1.2), np.random.default_rng(seed))
    pitch, yaw, roll = motion.euler_deg.T
    assert np.ptp(yaw) >= 40 - 1e-9 and np.abs(yaw).max() <= 60
    assert np.abs([pitch, roll]).max() <= 15
    assert np.abs(np.diff(yaw)).max() < 1.26 * 80 / 7
    assert np.abs(np.diff(yaw, 2)).max() < 5 and np.abs(np.diff([pitch, roll])).max() < 6
    assert 0.92 < motion.scale.min() and motion.scale.max() < 1.3
    assert np.abs(motion.offset_px).max() <= 8


def test_motion_does_not_depend_on_the_number_of_frames() -> None:
    few, many = (random_motion(clip_times(n), (1.0, 1.2), np.random.default_rng(3)) for n in (5, 9))
    for one, other in zip(few, Motion(*(curve[::2] for curve in many)), strict=True):
        np.testing.assert_allclose(one, other)
    with pytest.raises(ValueError, match="at least 2 frames"):
        clip_times(1)


def test_curves_reach_their_ends() -> None:
    times = np.linspace(0, 1, 101)
    np.testing.assert_allclose(eased(times)[[0, 50, 100]], [0, 0.5, 1])
    assert np.diff(eased(times)).max() < 0.0126
    assert np.abs(sway(times, 3.0, np.random.default_rng(0))).max() <= 3
    keys = np.random.default_rng(0).uniform(0, 1, (5, 3))
    mixed = blended(keys, times)
    np.testing.assert_allclose(mixed[::25], keys)
    assert np.abs(np.diff(mixed, axis=0)).max() < 1.5 * 4 / 100  # a smooth step is never faster than 1.5


def test_frames_change_smoothly(model: MorphableModel) -> None:
    clip = GeneratedClips(model, people=1, frames=8).clip(0)
    truth = clip.truth
    assert truth.vertices_mm is not None and np.ptp(truth.euler_deg[:, 1]) >= 40 - 1e-9
    step_px = np.linalg.norm(np.diff(truth.landmarks_px[..., :2], axis=0), axis=-1)
    assert 0.5 < step_px.mean(1).min() and step_px.max() < 0.25 * SIZE_PX
    step_mm = np.linalg.norm(np.diff(truth.vertices_mm, axis=0), axis=-1)
    assert 0 < step_mm.mean() and step_mm.max() < 10
    np.testing.assert_array_equal(clip.boxes_px, landmark_box_px(truth.landmarks_px))
    assert clip.boxes_px.min() >= 0 and clip.boxes_px.max() <= SIZE_PX - 1
    near, far = (np.abs(clip.images[0].astype(int) - clip.images[i]).mean() for i in (1, 7))
    assert 0 < near < far


def test_clips_are_reproducible_whatever_their_number(clips: GeneratedClips, model: MorphableModel) -> None:
    first, again = clips.clip(1), GeneratedClips(model, people=500, frames=4).clip(1)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.boxes_px, again.boxes_px)
    other = GeneratedClips(model, people=2, frames=4, seed=1).clip(1)
    assert np.abs(first.truth.neutral.vertices - other.truth.neutral.vertices).max() > 1
    assert np.abs(first.truth.neutral.vertices - clips.clip(0).truth.neutral.vertices).max() > 1
    assert {image.shape for image in first.images} == {(SIZE_PX, SIZE_PX, 3)}


def test_camera_noise_is_seeded_and_as_strong_as_said() -> None:
    scene, still = np.full((128, 128, 3), 100, np.uint8), np.zeros(2)
    one, same, other = (STEADY.take(scene, still, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.5
    luma = (one.astype(float) @ [0.299, 0.587, 0.114]).std()  # JPEG thins out colour
    assert luma == pytest.approx(np.sqrt(3.0**2 + 0.2 * 100) * np.linalg.norm([0.299, 0.587, 0.114]), rel=0.05)
    assert Camera.random(np.random.default_rng(0)) == Camera.random(np.random.default_rng(0))


def test_motion_blur_is_as_long_as_the_motion() -> None:
    grid = np.arange(-3, 4)
    for motion_px in ((3.0, 0.0), (0.0, 2.0), (1.5, -1.5)):
        kernel = line_kernel(np.array(motion_px))
        assert kernel.sum() == pytest.approx(1.0)
        spread = np.array([(kernel.sum(0) * grid**2).sum(), (kernel.sum(1) * grid**2).sum()])
        expected = np.square(motion_px) / 12  # of a line, and what bilinear weights add
        assert (spread >= expected).all() and (spread <= expected + 0.3).all()
    np.testing.assert_allclose(line_kernel(np.zeros(2))[3, 3], 1.0)
    np.testing.assert_allclose(line_kernel(np.array([50.0, 0.0])), line_kernel(np.array([4.0, 0.0])))


def test_skin_marks_are_about_one() -> None:
    marks = skin_marks(np.random.default_rng(0).uniform(-80, 80, (2000, 3)), np.random.default_rng(1))
    assert marks.mean() == pytest.approx(1.0, abs=0.05) and 0.005 < marks.std() < 0.15


def test_single_images_are_asked_frame_by_frame(clips: GeneratedClips, model: MorphableModel) -> None:
    class Asked(MeanFace):
        boxes: list[list[float]] = []

        def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
            self.boxes.append(box_px.tolist())
            return super().predict(image, box_px)

        def find(self, image: np.ndarray) -> list[Found]:
            raise AssertionError

    clip, method = clips.clip(0), Asked(model)
    FrameByFrame(method).predict_clip(clip.images, clip.boxes_px)
    assert method.boxes == clip.boxes_px.tolist()


def test_what_cannot_be_scored_is_named(clips: GeneratedClips, model: MorphableModel) -> None:
    class Broken(Knowing):
        def predict_clip(self, images: list[np.ndarray], boxes_px: np.ndarray) -> list[Prediction]:
            return self.change(super().predict_clip(images, boxes_px))

        def change(self, right: list[Prediction]) -> list[Prediction]:
            return [Prediction(neutral_mm=each.neutral_mm) for each in right]

    def run(method: Broken) -> Run:
        return run_clips(clips, [method])[0]

    method = Broken(clips)
    with pytest.raises(ValueError, match="vertices_mm"):
        run(method)
    method.change = lambda right: right[:-1]
    with pytest.raises(ValueError, match="3 predictions of 4 frames"):
        run(method)
    method.change = lambda right: [Prediction(landmarks_px={"3dmm": np.full((68, 3), np.nan)}) for _ in right]
    assert all("not finite" in str(record.problem) for record in run(method).records)
    faces = [FaceMesh(np.zeros((n, 3)), np.zeros((1, 3), int), np.zeros((68, 3))) for n in (4, 5)]
    with pytest.raises(ValueError, match=r"\[4, 5\] vertices"):
        pooled_face(faces)


@pytest.fixture
def command(monkeypatch):
    method = Face3d(fake_reconstructor([]))
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)

    def invoke(*arguments: str | Path) -> str:
        arguments = ("clips-shape", "--people", "2", "--frames", "2", *map(str, arguments))
        result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output.replace("\n", " ")

    return invoke


def test_command_without_the_scan(command, tmp_path: Path) -> None:
    output = command("--data", tmp_path, "--json", tmp_path / "c.json")
    assert "only generated people" in output and "per_vertex_mm" in output
    result = json.loads((tmp_path / "c.json").read_text())
    assert set(result["people"]["samples"]) == {"person 000", "person 001"}
    assert set(MESH_ERRORS) <= set(result["people_floor"]["summary"])
    assert result["frames"] == 2 and "scan" not in result and "packages" in result["environment"]


def test_clips_of_exported_predictions_are_the_same(command, tmp_path: Path) -> None:
    directly = command("--data", tmp_path, "--export", tmp_path / "e")
    again = ("--data", tmp_path, "--method", "files", "--predictions", tmp_path / "e")
    assert command(*again) == directly
    with pytest.raises(ValueError, match="another configuration: benchmark: .*, 2 frames, asked .*, 3 frames"):
        command(*again, "--frames", "3")
    (tmp_path / "e" / "people" / "person 001 frame 001.npz").unlink()
    assert "left out: person 001: person 001 frame 001: no file" in command(*again)
    with pytest.raises(FileNotFoundError, match="no folder people or scan"):
        command("--data", tmp_path, "--method", "files", "--predictions", tmp_path)


def test_frames_are_written_for_other_systems(command, tmp_path: Path) -> None:
    command("--data", tmp_path, "--samples", tmp_path / "s")
    listed = json.loads((tmp_path / "s" / "people" / "samples.json").read_text())
    assert [each["name"] for each in listed[:2]] == ["person 000 frame 000", "person 000 frame 001"]
    assert len(listed) == 4 and all(len(each["box_px"]) == 4 for each in listed)


def test_command_with_the_scan(command, data_dir: Path, tmp_path: Path) -> None:
    command("--data", data_dir, "--json", tmp_path / "c.json")
    summary = json.loads((tmp_path / "c.json").read_text())["scan"]["summary"]
    assert summary["pooled_median_mm"]["count"] == 1 and summary["point_to_plane_mm"]["mean"] < 5


def test_scan_turns_from_side_to_side(data_dir: Path, model: MorphableModel) -> None:
    scan = ScanClip(data_dir / "scans" / "lee_perry_smith", model, frames=2)
    clip = scan.clip()
    np.testing.assert_allclose(clip.truth.euler_deg[:, 1], [-50, 50])
    assert clip.truth.landmarks_px[0, 30, 0] != clip.truth.landmarks_px[1, 30, 0]
    assert clip.boxes_px.min() >= 0 and clip.boxes_px.max() <= SIZE_PX - 1
    seen = len(scan.scan.seen_triangles)
    assert 0.4 * len(scan.scan.triangles) < seen < len(scan.scan.triangles)
