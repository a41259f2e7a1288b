"""eval.scan_protocols_run, its command, and eval.split_edges."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import cli_scan_protocols, scan_shape
from eval.distance import Surface
from eval.mean_face import MeanFace
from eval.method_face3d import Face3d
from eval.point_to_plane import border_edges
from eval.protocol import Found, Prediction
from eval.scan_protocols import PROTOCOLS
from eval.scan_protocols_run import Row, run_scan_protocols, truth_of
from eval.scan_shape import ScanShape
from eval.split_edges import split_long_edges
from face3d.morphable import MorphableModel
from tests.fake_networks import fake_reconstructor
from tests.mini_florence import toy_face
from tests.scan_against_itself import model


def edge_lengths(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vertices[triangles] - vertices[np.roll(triangles, 1, axis=1)], axis=2)


@pytest.mark.parametrize("longest", [2.0, 5.0, 9.0])
def test_split_edges_leave_the_surface(longest: float) -> None:
    """Short edges, the old vertices, the surface, its area, its sides and its border."""
    face = toy_face(3)
    vertices, triangles = split_long_edges(face.vertices, face.triangles, longest)
    assert edge_lengths(vertices, triangles).max() <= longest < edge_lengths(*face[:2]).max()
    np.testing.assert_array_equal(vertices[: len(face.vertices)], face.vertices)
    old, new = Surface(*face[:2]), Surface(vertices, triangles)
    found = old.closest(vertices[triangles].mean(1))
    assert found.distance.max() < 1e-9
    np.testing.assert_allclose((old.normals[found.triangle] * new.normals).sum(1), 1.0, atol=1e-9)
    sides = [np.diff(corners[mesh], axis=1) for corners, mesh in (face[:2], (vertices, triangles))]
    areas = [np.linalg.norm(np.cross(side[:, 0], side[:, 1]), axis=1).sum() for side in sides]
    assert areas[1] == pytest.approx(areas[0])
    borders = [
        np.linalg.norm(np.diff(corners[border_edges(mesh)], axis=1), axis=2).sum()
        for corners, mesh in (face[:2], (vertices, triangles))
    ]
    assert borders[1] == pytest.approx(borders[0])


def test_short_edges_are_left_and_no_length_is_refused() -> None:
    face = toy_face(3)
    vertices, triangles = split_long_edges(face.vertices, face.triangles, 100.0)
    np.testing.assert_array_equal(vertices, face.vertices)
    np.testing.assert_array_equal(triangles, face.triangles)
    with pytest.raises(ValueError, match="positive length"):
        split_long_edges(face.vertices, face.triangles, 0.0)


def test_a_row_tells_how_far_it_is_below_the_mean_face() -> None:
    row = Row("NoW", "median", "mm", 2.0, {"yaw +0": 1.0, "yaw +60": 2.5})
    assert row.below_mean_face_percent == pytest.approx({"yaw +0": 50.0, "yaw +60": -25.0})
    assert row.as_dict()["least_below_mean_face_percent"] == pytest.approx(-25.0)


@pytest.fixture(scope="module")
def morphable() -> MorphableModel:
    return model()


@pytest.fixture(scope="module")
def shape(request, morphable: MorphableModel) -> ScanShape:
    return ScanShape(request.getfixturevalue("data_dir") / "scans" / "lee_perry_smith", morphable)


class Enlarged(MeanFace):
    """The mean face, larger at every picture: only its size is wrong."""

    def __init__(self, model: MorphableModel) -> None:
        super().__init__(model)
        self.count = 0

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        self.count += 1
        scale = 1.0 + 0.05 * self.count
        prediction = super().predict(image, box_px)
        assert prediction.vertices_mm is not None and prediction.model_landmarks_mm is not None
        return Prediction(
            vertices_mm=scale * prediction.vertices_mm,
            neutral_mm=scale * prediction.vertices_mm,
            model_landmarks_mm=scale * prediction.model_landmarks_mm,
            triangles=prediction.triangles,
        )

    def find(self, image: np.ndarray) -> list[Found]:
        return []


def test_the_size_of_a_face_counts_where_the_protocol_says_so(
    shape: ScanShape, morphable: MorphableModel, monkeypatch
) -> None:
    monkeypatch.setattr(scan_shape, "YAWS_DEG", (-30.0, 0.0))
    rows = run_scan_protocols(shape, Enlarged(morphable), morphable, edge_mm=None)
    assert {row.protocol for row in rows} == set(PROTOCOLS) - {"FaceWarehouse per-vertex"}
    for row in rows:
        errors = np.array(list(row.errors.values()))
        if PROTOCOLS[row.protocol].scale == "own":
            np.testing.assert_allclose(errors, row.mean_face, rtol=2e-2, err_msg=f"{row.protocol}, {row.figure}")
        else:
            assert np.ptp(errors) > 0.1 * row.mean_face, row.protocol


def test_the_scan_measured_is_seen_and_even(shape: ScanShape, morphable: MorphableModel) -> None:
    own, even = truth_of(shape, morphable, None), truth_of(shape, morphable, 4.0)
    lengths = [edge_lengths(*truth.face[:2]) for truth in (own, even)]
    assert lengths[1].max() <= 4.0 < lengths[0].max()
    within = own.now().points_mm, even.now().points_mm
    assert len(within[1]) > 1.5 * len(within[0])
    assert Surface(shape.scan.vertices_mm, shape.scan.triangles).closest(even.face.vertices).distance.max() < 1e-6
    np.testing.assert_array_equal(even.seven_mm, shape.scan.landmarks_mm)


def test_scan_protocols_command(data_dir: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cli_scan_protocols, "face3d_method", lambda *_: Face3d(fake_reconstructor([[0.0, 0, 9, 9]])))
    monkeypatch.setattr(scan_shape, "YAWS_DEG", (-30.0,))
    arguments = ["scan-protocols", "--data", str(data_dir), "--edge-mm", "0", "--json", str(tmp_path / "s.json")]
    result = CliRunner().invoke(commands.app, [*arguments, "--eyes-mm", "94"], catch_exceptions=False)
    assert result.exit_code == 0 and "FaceWarehouse" in result.output
    content = json.loads((tmp_path / "s.json").read_text())
    assert (content["edge_mm"], content["eyes_mm"]) == (0.0, 94.0)
    assert content["benchmark"] == "scan-protocols" and content["weights"] == {"file": "embedded"}
    assert set(content["summary"]["REALY"]) == {"nose", "mouth", "forehead", "cheek", "all"}
    median = content["summary"]["NoW"]["median"]
    assert list(median["errors"]) == ["yaw -30"]
    assert median["unit"] == "mm" and median["mean_face"] > 0.5


def test_a_missing_scan_is_said_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli_scan_protocols, "face3d_method", lambda *_: Face3d(fake_reconstructor([[0.0, 0, 9, 9]])))
    monkeypatch.setattr(sys, "argv", ["eval", "scan-protocols", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1 and "scan.npz" in capsys.readouterr().err.replace("\n", " ")
