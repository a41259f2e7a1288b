"""Any system's results on Florence: drawn frames by name, what is scored of them, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.florence import SETTINGS, Florence
from eval.florence_frames import VideoFrames
from eval.florence_metrics import FaceMesh
from eval.florence_run import run_florence
from eval.method_files import FromFiles
from eval.predictions_folder import Exported
from eval.protocol import Found, Prediction
from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from tests.mini_florence import Knows, a_move, moved, prediction_of, toy_face, write_florence, write_obj

SETTING = "PTZ-Indoor"
ROWS = 14
DRAWN = "subject_01_PTZ-Indoor_frame_"


class KnowsModel(Knows):
    model = MorphableModel.random(0)


def faces() -> dict[int, FaceMesh]:
    """In millimetres, as files of predictions must be; in a frame and an order of their own."""
    return {subject: moved(toy_face(subject, ROWS), a_move(1.0)) for subject in (1, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_florence(tmp_path / "florence", {1: toy_face(1, ROWS), 2: toy_face(2, ROWS)})


@pytest.fixture
def command(folder: Path, monkeypatch):
    method = KnowsModel(faces())
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)

    def invoke(*options: str | Path) -> str:
        arguments = ["florence", "--data", folder.parent, "--variant", "mvf", "--setting", SETTING, *options]
        result = CliRunner().invoke(commands.app, [str(each) for each in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return invoke


def test_exported_predictions_are_scored_the_same(command, tmp_path: Path) -> None:
    directly = command("--frames", 2, "--export", tmp_path / "e")
    assert "0 of 2 videos left out" in directly
    written = sorted(file.name for file in (tmp_path / "e").glob("*.npz"))
    assert [name for name in written if "_01_" in name] == [f"{DRAWN}{number:05d}.npz" for number in (1, 2, 3)]
    for again in (("--predictions", tmp_path / "e"), ("--method", "files", "--predictions", tmp_path / "e")):
        assert command("--frames", 2, *again) == directly


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--frames", 3), "benchmark: MICC Florence, PTZ-Indoor, 2 frames a video, seed 0, asked .*3 frames"),
        (("--frames", 2, "--setting", "all"), "asked MICC Florence, Indoor-Cooperative, PTZ-Indoor, PTZ-Outdoor"),
        (("--frames", 2, "--method", "mean-face"), "method: face3d, asked mean-face"),
        (("--frames", 2, "--model", "model.npz"), "model_sha256"),
    ],
)
def test_predictions_of_another_configuration_are_refused(
    command, tmp_path: Path, options: tuple, words: str, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.npz").write_bytes(b"another model")
    command("--frames", 2, "--export", "e")
    with pytest.raises(ValueError, match=words):
        command("--predictions", "e", *options)


def test_all_frames_drawn_are_written_for_other_systems(command, tmp_path: Path) -> None:
    command("--frames", 2, "--samples", tmp_path / "s")
    listed = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert len(listed) == 8 and all(sample["box_px"] is None for sample in listed)  # a video has no more than four
    assert {sample["name"] for sample in listed} >= {f"{DRAWN}00000", f"{DRAWN}00003"}


def write_meshes(folder: Path, data: Florence) -> Path:
    """Meshes of each frame that has a face, their landmarks at the nearest vertices."""
    folder.mkdir()
    known = faces()
    for sample in VideoFrames(data, 2).samples():
        if sample.image.mean() > 20:
            face = known[sample.truth.subject]
            write_obj(folder / f"{sample.name.replace('/', '_')}.obj", face.vertices, face.triangles)
    return folder


def embedded_landmarks() -> np.ndarray:
    arrays = MorphableArrays.load(asset_path("face3d_model.npz"))
    corners = arrays.mean[arrays.triangles[arrays.landmark_triangles]]
    return (corners.astype(np.float64) * arrays.landmark_barycentric[..., None]).sum(1)


def landmark_vertices(face: FaceMesh) -> str:
    return " ".join(map(str, cKDTree(face.vertices).query(face.landmarks)[1]))


@pytest.fixture
def meshes(folder: Path, tmp_path: Path) -> Path:
    data = Florence(folder, (SETTING,))
    written = write_meshes(tmp_path / "meshes", data)
    (written / "landmark_vertices.txt").write_text(landmark_vertices(faces()[1]))
    return written


def run_files(folder: Path, meshes: Path, frames: int = 2):
    return run_florence(Florence(folder, (SETTING,)), FromFiles(meshes), "mvf", frames)


def test_meshes_of_another_topology_are_scored(folder: Path, meshes: Path) -> None:
    records = run_files(folder, meshes).records
    assert [record.name for record in records] == ["subject_01 PTZ-Indoor", "subject_02 PTZ-Indoor"]
    for record in records:
        assert record.scores["frames"] == 2
        assert record.scores["mvf/pooled_mm"] < 0.05  # rough landmarks only start the alignment


def test_a_frame_without_a_file_is_replaced_by_the_next_and_named(folder: Path, meshes: Path) -> None:
    before = run_files(folder, meshes, 1)
    used = next(
        sample.name for sample in VideoFrames(Florence(folder, (SETTING,)), 1).samples() if sample.image.mean() > 20
    )
    (meshes / f"{used.replace('/', '_')}.obj").unlink()
    after = run_files(folder, meshes, 1)
    passed_over = after.summary["frames_passed_over"]
    assert passed_over["count"] > before.summary["frames_passed_over"]["count"]
    assert passed_over["reasons"][used].startswith("no file subject_01_PTZ-Indoor_frame_")
    assert after.records[0].scores == before.records[0].scores  # the same face in every frame


def test_a_mesh_that_cannot_be_measured_is_passed_over_with_its_file(folder: Path, meshes: Path) -> None:
    for file in meshes.glob("subject_01*.obj"):
        file.write_text(file.read_text().replace("v ", "v nan ", 1))
    record = run_files(folder, meshes).records[0]
    assert record.problem is not None and "no face in any of 4 frames" in record.problem
    assert "not finite" in record.problem or "no file" in record.problem


def test_faces_of_two_topologies_have_no_mean(folder: Path, meshes: Path) -> None:
    files = sorted(meshes.glob("subject_01*.obj"))
    face = faces()[1]
    for file in files[1:]:
        write_obj(file, face.vertices, face.triangles[:-1])
    run = run_files(folder, meshes, 3)
    assert "different triangles: they have no mean" in (run.records[0].problem or "")
    assert run.summary["videos_left_out"] == 1 and run.summary["videos"] == 2


def test_landmarks_alone_are_no_face(command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    points = embedded_landmarks() * [1, -1, -1] + [200, 200, 0]
    for sample in VideoFrames(Florence(folder, (SETTING,))).samples():
        np.savetxt(tmp_path / "p" / f"{sample.name.replace('/', '_')}.txt", points)
    with pytest.raises(ValueError, match="none of 2 videos can be measured; subject_01 .*needs neutral_mm"):
        command("--method", "files", "--predictions", tmp_path / "p")


def test_of_several_faces_in_files_the_largest_counts(folder: Path, tmp_path: Path) -> None:
    sample = next(VideoFrames(Florence(folder, SETTINGS[:1])).samples())
    stem = sample.name.replace("/", "_")
    points = embedded_landmarks() * [1, -1, -1] + [200, 200, 0]
    for suffix, size in (("", 0.5), ("_face2", 1.0), ("_face3", 0.7)):
        np.savetxt(tmp_path / f"{stem}{suffix}.txt", size * points)
    found = FromFiles(tmp_path).of_sample(sample, "largest")
    np.testing.assert_allclose(found.landmarks_px["landmarks"], points)
    assert isinstance(found, Prediction)


def test_what_a_class_finds_is_exported_by_the_largest_face(folder: Path, tmp_path: Path) -> None:
    """Knows finds a small face without a mesh first."""
    pictures = VideoFrames(Florence(folder, (SETTING,)), 1)
    choice = methods.Choice("mean-face", export=tmp_path / "e")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "mean-face", lambda *_: Knows(faces()))
        exported = choice.source(pictures, "largest")
    assert isinstance(exported, Exported)
    sample = next(sample for sample in pictures.samples() if sample.image.mean() > 20)
    (_, large) = Knows(faces()).find(sample.image)
    assert isinstance(large, Found)
    expected = prediction_of(faces()[sample.truth.subject]).neutral_mm
    np.testing.assert_array_equal(exported.of_sample(sample, "largest").neutral_mm, expected)
