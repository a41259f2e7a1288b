"""Any system's results on REALY: where the 85 keypoints of another topology come from, and what is scored."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.florence_metrics import FaceMesh
from eval.obj_mesh import read_obj
from eval.prediction_file import prediction_bytes
from eval.protocol import Prediction
from eval.realy import Realy
from eval.realy_errors import REGIONS, region_errors
from eval.realy_keypoints import Keypoints, place_keypoints
from eval.realy_topologies import KeypointsOfFiles
from tests.mini_florence import a_move, moved, toy_face, write_obj
from tests.mini_realy import (
    MM_PER_UNIT,
    KnowsPosed,
    compact,
    keyed,
    knows,
    prediction_of,
    published_rows,
    there,
    toy_keypoints,
    toy_regions,
    toy_scan,
    write_realy,
)

OTHER_ROWS = 48
COUNTED = [70, 71, 76, 77]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_realy(tmp_path_factory.mktemp("data") / "realy", {1: toy_scan(1), 2: toy_scan(2)}, toy_keypoints())


@pytest.fixture
def command(folder: Path, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: knows())
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: KnowsPosed.model)

    def invoke(*options: str | Path) -> str:
        arguments = ["realy", "--data", folder.parent, *options]
        result = CliRunner().invoke(commands.app, [str(each) for each in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return invoke


def other_face(number: int) -> FaceMesh:
    """The person in another topology, in mm, in a frame and an order of its own."""
    return moved(toy_scan(number, OTHER_ROWS), a_move(MM_PER_UNIT))


def write_predictions(folder: Path, change=lambda prediction: prediction) -> Path:
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number}.npz").write_bytes(prediction_bytes(change(prediction_of(other_face(number)))))
    return folder


def of_files(data: Realy, path: Path | None = None) -> KeypointsOfFiles:
    truth = data.mean_keypoints()
    mean = toy_face(3, 40)
    return KeypointsOfFiles(place_keypoints(mean, truth), truth, path)


def test_exported_predictions_are_scored_the_same(command, tmp_path: Path) -> None:
    directly = command("--export", tmp_path / "e")
    assert {file.name for file in (tmp_path / "e").iterdir()} == {"1.npz", "2.npz", "method.json"}
    assert command("--method", "files", "--predictions", tmp_path / "e") == directly
    with pytest.raises(ValueError, match="benchmark: REALY, front, asked REALY, side"):
        command("--predictions", tmp_path / "e", "--view", "side")


def test_photos_are_written_without_boxes(command, tmp_path: Path) -> None:
    command("--view", "side", "--samples", tmp_path / "s")
    listed = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert [sample["name"] for sample in listed] == ["1_0", "1_1", "2_0", "2_1"]
    assert all(sample["box_px"] is None for sample in listed)


def test_meshes_of_another_topology_have_keypoints_by_a_file_or_are_given_them(command, tmp_path: Path) -> None:
    meshes = write_predictions(tmp_path / "p")
    keypoints = place_keypoints(other_face(1), toy_keypoints().of(there(toy_scan(1), a_move(MM_PER_UNIT)).vertices))
    (tmp_path / "other.txt").write_text(json.dumps(published_rows(keypoints)))
    means = {}
    for name, options in (("placed", ()), ("file", ("--keypoints", tmp_path / "other.txt"))):
        command("--method", "files", "--predictions", meshes, *options, "--json", tmp_path / f"{name}.json")
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content["summary"]["photos_left_out"] == 0 and content["method"] == "p"
        assert content["floor"]["summary"]["all"]["mean"] > 0.1
        means[name] = content["summary"]["all"]["mean"]
    assert json.loads((tmp_path / "file.json").read_text())["keypoints"] == "other.txt"
    assert json.loads((tmp_path / "placed.json").read_text())["keypoints"] == "placed by eval.realy_topologies"
    assert means["file"] < 0.5  # vertices of 40 rows against a surface of 48
    assert means["placed"] == pytest.approx(means["file"], rel=0.02)


@pytest.mark.parametrize(("prediction", "other"), [(4, 5), (5, 6)])
def test_placing_on_the_own_neutral_mesh_hardly_changes_the_errors(folder: Path, prediction: int, other: int) -> None:
    """Beside keypoints that move with the topology from the mean face: within 2 % of the mean of the regions."""
    source = of_files(Realy(folder))
    face = there(toy_scan(prediction), a_move(MM_PER_UNIT))
    fixed = place_keypoints(toy_face(3, 40), Realy(folder).mean_keypoints())
    own = place_keypoints(face, Realy(folder).mean_keypoints())
    assert np.linalg.norm((own.of(face.vertices) - fixed.of(face.vertices))[COUNTED], axis=1).max() > 0.5
    scan = toy_scan(other)
    regions = {name: compact(region) for name, region in toy_regions(scan).items()}
    truth = fixed.of(scan.vertices)
    errors = [region_errors(keyed(face, points), regions, truth) for points in (fixed, own)]
    means = [np.mean([found[name] for name in REGIONS]) for found in errors]
    assert means[1] == pytest.approx(means[0], rel=0.02)
    assert source.of_prediction(prediction_of(face)).triangle.tolist() == fixed.triangle.tolist()  # the model's own


def test_placed_keypoints_move_with_the_expression(folder: Path) -> None:
    """They are placed on the neutral mesh, and lie at the same places of the mesh that is measured."""
    face = other_face(1)
    lifted = face.vertices + [0.0, 5.0, 0.0]
    prediction = Prediction(
        vertices_mm=lifted,
        neutral_mm=face.vertices,
        triangles=face.triangles,
        model_landmarks_mm=face.landmarks,
    )
    keypoints = of_files(Realy(folder)).of_prediction(prediction)
    np.testing.assert_allclose(keypoints.of(face.vertices)[:68], face.landmarks, atol=1e-4)
    np.testing.assert_allclose(keypoints.of(lifted), keypoints.of(face.vertices) + [0.0, 5.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_landmarks_mm": None}, "no keypoints for a mesh of 4418 triangles: give --keypoints FILE"),
        ({"neutral_mm": None}, "give --keypoints FILE"),
        ({"triangles": None}, "needs vertices_mm and triangles"),
        ({"model_landmarks_mm": other_face(1).landmarks + 30.0}, "landmarks on the mesh: .* another mesh"),
    ],
)
def test_predictions_without_keypoints_are_named(folder: Path, change: dict, words: str) -> None:
    face = other_face(1)
    fields = {
        "vertices_mm": face.vertices,
        "neutral_mm": face.vertices,
        "triangles": face.triangles,
        "model_landmarks_mm": face.landmarks,
    }
    with pytest.raises(ValueError, match=words):
        of_files(Realy(folder)).of_prediction(Prediction(**fields | change))


def test_triangles_of_quads_count_as_in_published_files(tmp_path: Path) -> None:
    """REALY's reader puts both halves of a quad after each other, so that keypoints of HIFI3D lie in the right ones."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]])
    lines = ["v {} {} {}".format(*corner) for corner in corners] + ["f 1 2 3 4", "f 2 5 6", "f 2 6 3 1"]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    found = read_obj(tmp_path / "a.obj")
    assert found.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2], [1, 2, 0]]
    assert found.polygons.tolist() == [[0, 1, 2, 3], [1, 4, 5, -1], [1, 5, 2, 0]]


def test_a_file_is_for_one_topology(folder: Path, tmp_path: Path) -> None:
    keypoints: Keypoints = place_keypoints(other_face(1), other_face(1).landmarks[np.arange(85) % 68])
    path = tmp_path / "other.txt"
    path.write_text(json.dumps(published_rows(keypoints)))
    source = of_files(Realy(folder), path)
    source.of_prediction(prediction_of(other_face(2)))
    with pytest.raises(ValueError, match="other triangles"):
        source.of_prediction(prediction_of(toy_scan(1, 24)))
    turned = [[len(keypoints.triangles) - 1 - row[0], *row[1:]] for row in published_rows(keypoints)]
    path.write_text(json.dumps(turned))
    with pytest.raises(ValueError, match="other.txt: a keypoint lies .* another mesh"):
        of_files(Realy(folder), path).of_prediction(prediction_of(other_face(1)))
    with pytest.raises(FileNotFoundError, match="no such keypoints"):
        of_files(Realy(folder), tmp_path / "nothing.txt")


def test_plain_meshes_without_landmarks_are_left_out_with_what_to_do(command, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    face = other_face(1)
    write_obj(tmp_path / "p" / "1.obj", face.vertices, face.triangles)
    with pytest.raises(ValueError, match=r"none of 2 photos can be measured; 1.jpg: no keypoints .*--keypoints FILE"):
        command("--method", "files", "--predictions", tmp_path / "p")
