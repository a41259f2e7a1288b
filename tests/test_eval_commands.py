"""`python -m eval ...` with fake networks on miniature data: tables, JSON, pictures, messages."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.contact_sheet import overlay_tiles, turning_tiles
from eval.mean_face import MeanFace
from eval.method_face3d import Face3d
from eval.pictures import save_png, sheet, square_tile
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel
from tests.fake_networks import fake_reconstructor, noise_photo

BOX = [40.0, 30.0, 110.0, 100.0]


@pytest.fixture
def method() -> Face3d:
    return Face3d(fake_reconstructor([BOX]))


@pytest.fixture
def run(method: Face3d, monkeypatch):
    monkeypatch.setattr(commands, "face3d_method", lambda *_: method)
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)

    def invoke(*arguments: str | Path) -> str:
        result = CliRunner().invoke(commands.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


@pytest.fixture
def aflw2000(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "aflw2000"
    folder.mkdir(parents=True)
    x, y = np.random.default_rng(0).uniform((BOX[:2]), (BOX[2:]), (68, 2)).T
    for index, yaw in enumerate((3.0, -70.0)):
        Image.fromarray(noise_photo(seed=index)).save(folder / f"image{index + 2:05d}.jpg")
        pose = np.deg2rad([[1.0, yaw, 2.0, 0, 0, 0, 0]]).astype(np.float32)
        savemat(folder / f"image{index + 2:05d}.mat", {"pt3d_68": np.stack([x, y, 0 * x]) + 1, "Pose_Para": pose})
    return folder


def test_predictions_of_face3d_agree_with_each_other(method: Face3d) -> None:
    prediction = method.predict(noise_photo(), np.array(BOX))
    assert set(prediction.landmarks_px) == {"pgn", "3dmm"}
    np.testing.assert_allclose(prediction.landmarks_px["pgn"], prediction.landmarks_px["3dmm"], atol=1e-2)
    assert prediction.euler_deg == pytest.approx(np.zeros(3), abs=1e-3)
    assert prediction.neutral_mm is not None and prediction.vertices_mm is not None
    assert np.abs(prediction.neutral_mm - prediction.vertices_mm).max() > 0  # without the expression
    assert method.detect(noise_photo()).tolist() == [BOX]
    assert method.detect(np.zeros((50, 50, 3), np.uint8)).shape == (0, 4)


def test_faces_are_found_as_users_find_them(method: Face3d) -> None:
    (found,) = method.find(noise_photo())
    assert found.box_px.tolist() == BOX and found.prediction.vertices_mm is not None
    assert method.find(np.zeros((50, 50, 3), np.uint8)) == []


def test_mean_face_fills_the_box() -> None:
    prediction = MeanFace(MorphableModel.random(0)).predict(noise_photo(), np.array(BOX))
    own = landmark_box_px(prediction.landmarks_px["3dmm"])
    np.testing.assert_allclose((own[:2] + own[2:]) / 2, [75.0, 65.0], atol=1e-3)
    assert np.prod(own[2:] - own[:2]) == pytest.approx(70 * 70, rel=1e-3)


@pytest.mark.parametrize("crop", ["gt", "detector"])
def test_aflw2000_command(run, aflw2000: Path, tmp_path: Path, crop: str) -> None:
    output = run("aflw2000", "--data", aflw2000.parent, "--crop", crop, "--json", tmp_path / "a.json")
    assert "2 of 2 photos" in output
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["crop"] == crop
    assert set(result["summary"]) >= {"pgn/original", "3dmm/original", "pose/mean"}
    assert result["summary"]["pgn/original"]["counts"] == [1, 0, 1]
    assert result["summary"]["pgn/original"]["upto_60"] is None
    assert result["weights"] == {"file": "embedded"}


def test_shape_command(run, data_dir: Path, tmp_path: Path) -> None:
    output = run("shape", "--data", data_dir, "--people", 2, "--json", tmp_path / "s.json")
    assert "yaw +60" in output
    result = json.loads((tmp_path / "s.json").read_text())
    assert len(result["scan"]["samples"]) == 5
    assert result["people"]["summary"]["all"]["count"] == 2


def test_shape_of_exported_predictions_is_the_same(run, data_dir: Path, tmp_path: Path) -> None:
    directly = run("shape", "--data", data_dir, "--people", 1, "--export", tmp_path / "e")
    assert {folder.name for folder in (tmp_path / "e").iterdir()} == {"scan", "people"}
    again = run("shape", "--data", data_dir, "--people", 1, "--method", "files", "--predictions", tmp_path / "e")
    assert again == directly
    for file in (tmp_path / "e" / "people").iterdir():
        file.unlink()
    (tmp_path / "e" / "people").rmdir()
    scan_only = run("shape", "--data", data_dir, "--method", "files", "--predictions", tmp_path / "e")
    assert directly.startswith(scan_only)


def test_samples_are_written_for_other_systems(run, aflw2000: Path, tmp_path: Path) -> None:
    run("aflw2000", "--data", aflw2000.parent, "--samples", tmp_path / "s")
    (first, _) = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert first["name"] == "image00002" and len(first["box_px"]) == 4
    with Image.open(tmp_path / "s" / first["image"]) as image:
        assert image.size == (160, 120)


def test_a_run_without_a_single_score_is_an_error(run, aflw2000: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "another.txt").write_text("1 2")
    with pytest.raises(ValueError, match="none of 2 samples could be scored; image00002.jpg: no file image00002"):
        run("aflw2000", "--data", aflw2000.parent, "--method", "files", "--predictions", tmp_path / "p")


def test_contact_sheets(run, aflw2000: Path, tmp_path: Path) -> None:
    run("contact-sheet", "--data", aflw2000.parent, "-o", tmp_path / "pictures")
    written = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in written] == ["aflw2000_overlay.png", "aflw2000_turning.png"]
    assert all(file.stat().st_size <= 400_000 for file in written)


def test_tiles_of_a_face(method: Face3d) -> None:
    photo = noise_photo()
    face = method.reconstructor(photo)[0]
    assert {tile.shape for tile in overlay_tiles(photo, face) + turning_tiles(face)} == {(180, 180, 3)}


def test_sheet_and_tile() -> None:
    tiles = [np.full((10, 10, 3), value, np.uint8) for value in (0, 100, 200)]
    assert sheet(tiles, 2).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="at least one"):
        sheet([], 2)
    tile = square_tile(noise_photo(), np.array([10.0, 10, 20, 20]), 50)
    assert tile.shape == (50, 50, 3)


def test_pictures_stay_below_their_limit(tmp_path: Path) -> None:
    noise = noise_photo(300, 300)
    assert save_png(tmp_path / "a.png", noise) > 100_000
    assert save_png(tmp_path / "b.png", noise, 60_000) <= 60_000
    with Image.open(tmp_path / "b.png") as small:
        assert small.width < 300


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "aflw2000", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1
    assert "no image*.jpg" in capsys.readouterr().err.replace("\n", " ")


def test_help_is_quick_and_lists_the_benchmarks() -> None:
    root = Path(commands.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "eval", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    for command in ("aflw2000", "shape", "dlib", "identity", "contact-sheet"):
        assert command in done.stdout
