"""eval.florence: known errors for every variant, and the layout in small."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.distance import Surface
from eval.florence import SETTINGS, Florence, read_ljson
from eval.florence_frames import random_frames
from eval.florence_metrics import CROP_MM, VARIANTS, FaceMesh, face_of, global_scale, mean_face_of
from eval.florence_run import run_florence
from eval.mean_face import MeanFace
from eval.point_to_plane import surface_normals
from eval.protocol import Prediction
from face3d.morphable import MorphableModel
from tests.mini_florence import (
    Knows,
    a_move,
    moved,
    toy_face,
    write_florence,
    write_scan,
    write_video,
)

ALL = sorted(VARIANTS)
SCALE_A_MESH = [name for name in ALL if not VARIANTS[name].one_scale]


def error(name: str, face: FaceMesh, scan: FaceMesh, radius_mm: float = CROP_MM) -> float:
    """One face alone: its own landmarks give the scale that a protocol has for all."""
    protocol = VARIANTS[name]
    scale = global_scale([(face, scan)]) if protocol.one_scale else 1.0
    return protocol.error(face.scaled(scale), scan, radius_mm)


def bumpy(face: FaceMesh, low_mm: float, high_mm: float) -> FaceMesh:
    """Every vertex moved along its normal, in or out, by one of two lengths, half of them each."""
    surface = Surface(face.vertices, face.triangles)
    normals, _ = surface_normals(surface, surface.closest(face.vertices))
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.tile([low_mm, -low_mm, high_mm, -high_mm], len(normals) // 4))
    return face._replace(vertices=face.vertices + lengths[:, None] * normals)


@pytest.fixture(scope="module")
def scan() -> FaceMesh:
    return toy_face(3)


@pytest.mark.parametrize("name", ALL)
def test_the_truth_moved_and_shuffled_has_no_error(name: str, scan: FaceMesh) -> None:
    assert error(name, moved(scan, a_move()), scan) < 1e-6


@pytest.mark.parametrize("name", SCALE_A_MESH)
def test_rough_landmarks_only_start_the_alignment(name: str, scan: FaceMesh) -> None:
    assert error(name, moved(scan, a_move(), landmark_noise=2.0), scan) < 0.05


@pytest.mark.parametrize("name", ALL)
def test_another_face_has_an_error_whatever_its_frame_and_order(name: str, scan: FaceMesh) -> None:
    other = toy_face(4)
    plain = error(name, other, scan)
    assert plain > 1.0
    assert error(name, moved(other, a_move()), scan) == pytest.approx(plain, rel=2e-2)


@pytest.mark.parametrize(("name", "expected_mm"), [("mvf", 0.3), ("genova", 0.3), ("deep3d", np.sqrt(0.1))])
def test_error_is_the_bumps_of_the_scan(name: str, expected_mm: float, scan: FaceMesh) -> None:
    """Scan vertices 0.2 and 0.4 mm off the face: mean 0.3 mm, root mean square sqrt(0.1) mm."""
    found = error(name, moved(scan, a_move()), bumpy(scan, 0.2, 0.4))
    assert found == pytest.approx(expected_mm, rel=0.05)


def test_ganfit_and_nme_measure_the_bumps(scan: FaceMesh) -> None:
    rough = bumpy(scan, 0.2, 0.4)
    outer = np.linalg.norm(rough.landmarks[36] - rough.landmarks[45])
    for found_mm in (error("ganfit", moved(scan, a_move()), rough), error("nme", scan, rough) * outer / 100):
        assert 0.1 < found_mm < 0.3  # a vertex's closest point on a bumpy surface is nearer than the bump is high


def test_one_scale_for_all_faces_leaves_the_wrong_size(scan: FaceMesh) -> None:
    larger = scan.scaled(1.05)
    assert VARIANTS["genova"].error(larger, scan, CROP_MM) > 0.2
    assert VARIANTS["mvf"].error(larger, scan, CROP_MM) < 1e-6
    assert global_scale([(scan.scaled(2.0), scan), (scan.scaled(0.5), scan)]) == pytest.approx(1.0)


def test_what_lies_outside_the_crop_is_not_measured(scan: FaceMesh) -> None:
    """A cape behind the nose's 95 mm changes nothing; a spike within it does."""
    far = scan.vertices + np.array([0.0, 0.0, -300.0])
    caped = scan._replace(
        vertices=np.concatenate([scan.vertices, far]),
        triangles=np.concatenate([scan.triangles, scan.triangles + len(far)]),
    )
    other = toy_face(4)
    for name in ALL:
        if name != "nme":  # there the face's vertices are measured
            assert error(name, other, caped) == pytest.approx(error(name, other, scan), rel=1e-6)
    assert error("mvf", other, scan, 60.0) != pytest.approx(error("mvf", other, scan))


def test_deep3d_cuts_the_forehead(scan: FaceMesh) -> None:
    above = scan.vertices[:, 1] > scan.landmarks[17:27, 1].max() + 5.0
    grown = scan._replace(vertices=scan.vertices + np.where(above[:, None], [0.0, 0.0, 8.0], 0.0))
    assert error("deep3d", scan, grown) < 1e-6 < error("mvf", scan, grown)


def test_genova_measures_what_the_face_covers(scan: FaceMesh) -> None:
    """The upper half of a face has no error below its border."""
    upper = (scan.vertices[scan.triangles, 1] > -20.0).all(1)
    half = scan._replace(triangles=scan.triangles[upper])
    assert error("genova", half, scan) < 1e-6


def test_a_prediction_without_a_face_and_a_crop_without_points_are_named(scan: FaceMesh) -> None:
    with pytest.raises(ValueError, match="neutral_mm"):
        face_of(Prediction())
    with pytest.raises(ValueError, match="share unit"):
        error("mvf", scan, scan._replace(landmarks=scan.landmarks + 1000.0))


def test_pooled_face_is_the_mean(scan: FaceMesh) -> None:
    other = toy_face(4)
    np.testing.assert_allclose(mean_face_of([scan, other]).vertices, (scan.vertices + other.vertices) / 2)
    with pytest.raises(ValueError, match="different triangles"):
        mean_face_of([scan, moved(scan, a_move())])
    loose = np.concatenate([scan.vertices, scan.vertices[:1]])  # in no triangle
    with pytest.raises(ValueError, match="vertices: they have no mean"):
        mean_face_of([scan, scan._replace(vertices=loose)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_florence(tmp_path / "florence", {1: toy_face(1, 14), 2: toy_face(2, 14)})


@pytest.mark.parametrize("variant", ALL)
def test_a_method_that_knows_the_faces(folder: Path, variant: str) -> None:
    method = Knows({subject: moved(toy_face(subject, 14), a_move()) for subject in (1, 2)})
    run = run_florence(Florence(folder), method, variant, frames=2)
    assert len(run.records) == 6 and all(record.scores["frames"] == 2 for record in run.records)
    unit = VARIANTS[variant].unit
    for setting in SETTINGS:
        for kind in ("single", "pooled"):
            figure = run.summary[f"{setting}/{variant}/{kind}_{unit}"]
            assert figure["count"] == 2 and figure["mean"] < 1e-6


def test_faces_of_different_sizes_err_only_where_the_scale_is_shared(folder: Path) -> None:
    method = Knows({1: moved(toy_face(1, 14), a_move(1.0)), 2: moved(toy_face(2, 14), a_move(1.1))})
    data = Florence(folder, SETTINGS[:1])
    means = {
        name: run_florence(data, method, name, frames=1).summary[f"{SETTINGS[0]}/{name}/single_mm"]["mean"]
        for name in ("mvf", "genova")
    }
    assert means["mvf"] < 1e-6 and means["genova"] > 0.2


def test_ganfit_takes_the_better_scan(folder: Path) -> None:
    method = Knows({1: toy_face(2, 14), 2: toy_face(2, 14)})
    first = run_florence(Florence(folder, SETTINGS[:1]), method, "ganfit", frames=1).records[0].scores
    write_scan(folder, 1, "frontal2", toy_face(2, 14))
    second = run_florence(Florence(folder, SETTINGS[:1]), method, "ganfit", frames=1).records[0].scores
    assert first["ganfit/single_mm"] > 0.5 > 1e-6 > second["ganfit/single_mm"]
    mvf = run_florence(Florence(folder, SETTINGS[:1]), method, "mvf", frames=1).records[0].scores
    assert mvf["mvf/single_mm"] > 0.5  # one scan, always the first


def test_a_video_without_a_face_is_left_out_and_counted(folder: Path) -> None:
    write_video(folder / "subject_02" / "Video" / "PTZ-Outdoor.mjpeg", [0, 0])
    method = Knows({subject: toy_face(subject, 14) for subject in (1, 2)})
    run = run_florence(Florence(folder), method, "mvf", frames=1)
    assert [record.name for record in run.records if record.problem] == ["subject_02 PTZ-Outdoor"]
    assert run.summary["PTZ-Outdoor/mvf/single_mm"]["count"] == 1


def test_frames_are_random_and_reproducible(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mjpeg", [20 * k for k in range(12)])
    drawn = [[number for number, _ in random_frames(tmp_path / "a.mjpeg", 5, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5
    assert all(round(frame.mean() / 20) == number for number, frame in random_frames(tmp_path / "a.mjpeg", 5, 0))
    assert len(list(random_frames(tmp_path / "a.mjpeg", 50, 0))) == 12
    (tmp_path / "b.mjpeg").write_bytes(b"not a video")
    with pytest.raises(ValueError, match="not a video"):
        list(random_frames(tmp_path / "b.mjpeg", 1, 0))


def test_mean_face_is_the_floor(folder: Path) -> None:
    run = run_florence(Florence(folder), MeanFace(MorphableModel.random(0)), "mvf", frames=1)
    errors = {record.scores["mvf/single_mm"] for record in run.records if record.name.startswith("subject_01")}
    assert len(errors) == 1 and errors.pop() > 0.2


@pytest.mark.parametrize(
    ("missing", "named"),
    [("Model", "frontal1"), ("../MICC_landmarks", "GANFit"), ("Video", "Indoor-Cooperative.mjpg")],
)
def test_a_missing_part_of_the_layout_is_named(folder: Path, missing: str, named: str) -> None:
    for subject in ("subject_01", "subject_02"):
        shutil.rmtree(folder / subject / missing, ignore_errors=True)
    with pytest.raises(FileNotFoundError, match=named):
        Florence(folder)


def test_other_layouts_are_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="licence"):
        Florence(folder / "subject_01")
    (folder / "subject_7").mkdir()
    with pytest.raises(ValueError, match="not named subject_01"):
        Florence(folder)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"groups": {}}, "expected groups"),
        ({"groups": {"LJSON": {"landmarks": {"points": [[0, 0, 0]] * 5}}}}, "68 points"),
        ({"groups": {"LJSON": {"landmarks": {"points": [[None] * 3] * 68}}}}, "not all there"),
    ],
)
def test_broken_landmarks_are_named(tmp_path: Path, content: dict, named: str) -> None:
    (tmp_path / "a.ljson").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=named):
        read_ljson(tmp_path / "a.ljson")


class KnowsModel(Knows):
    model = MorphableModel.random(0)


def test_florence_command(folder: Path, tmp_path: Path, monkeypatch) -> None:
    method = KnowsModel({subject: moved(toy_face(subject, 14), a_move()) for subject in (1, 2)})
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)
    arguments = ["florence", "--data", str(folder.parent), "--variant", "deep3d", "--setting", "PTZ-Indoor"]
    result = CliRunner().invoke(commands.app, [*arguments, "--json", str(tmp_path / "f.json")], catch_exceptions=False)
    assert result.exit_code == 0 and "0.000" in result.output
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["variant"] == "deep3d" and content["crop"] == "largest"
    assert content["weights"] == {"file": "embedded"}
    assert content["summary"]["PTZ-Indoor/deep3d/pooled_mm"]["count"] == 2
    assert content["floor"]["summary"]["PTZ-Indoor/deep3d/pooled_mm"]["mean"] > 0.1


@pytest.mark.parametrize("arguments", [["florence", "--variant", "mvf"], ["facewarehouse"]])
def test_missing_data_is_said_with_the_licence(arguments: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *arguments, "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    said = capsys.readouterr().err.replace("\n", " ")
    assert stopped.value.code == 1 and "licence" in said and "/" in said and ".obj" in said
