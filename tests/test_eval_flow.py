"""Scores of flow and disparity by hand, the commands on miniature data, OpenCV's methods on the real data."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.flow_benchmark import run_flow, run_stereo
from eval.flow_methods import FLOW_METHODS, STEREO_METHODS, Dis, FlowPrediction, Frame, Sgbm
from eval.flow_scores import Ratio, f_score, filled, score_disparity, score_flow, summarise
from face3d.flow_files import write_flo
from face3d.flow_layouts import FlowSample, StereoSample

NAN = float("nan")
BLANK = np.zeros((2, 3, 3), np.uint8)


def flow_sample(lengths: list[list[float]], occluded: np.ndarray | None = None) -> FlowSample:
    """True flow to the right; what is NaN is not valid."""
    x = np.array(lengths, np.float32)
    flow = np.dstack([np.nan_to_num(x), 0 * np.nan_to_num(x)])
    return FlowSample("s", None, BLANK, BLANK, flow, ~np.isnan(x), occluded)


def values(scores: dict[str, Ratio]) -> dict[str, float]:
    return {name: ratio.value for name, ratio in scores.items()}


def test_known_errors_give_known_scores() -> None:
    occluded = np.array([[False, False, True], [False, True, True]])
    sample = flow_sample([[1, 20, 100], [5, 9, NAN]], occluded)
    error = np.array([[1, 2, 4], [8, 5, 1000]])
    found = np.array([[False, True, True], [False, False, True]])
    scores = values(score_flow(sample, sample.flow_px + np.dstack([0 * error, error]), found))
    assert scores == pytest.approx(
        {
            "epe_px": 20 / 5,
            "epe_non_occluded_px": 11 / 3,
            "epe_occluded_px": 9 / 2,
            "fl_percent": 40.0,  # 4 px of 100 is within 5 %
            "epe_0_10_px": 14 / 3,
            "epe_10_40_px": 2.0,
            "epe_above_40_px": 4.0,
            "occlusion_f": 0.5,  # one of two true ones found, and one of two found is true; the unknown pixel is out
        }
    )


def test_the_true_flow_is_without_error() -> None:
    sample = flow_sample([[1, 20, 100], [5, 9, NAN]], np.zeros((2, 3), bool))
    scores = values(score_flow(sample, sample.flow_px, sample.occluded))
    assert scores["epe_px"] == scores["fl_percent"] == 0
    assert np.isnan(scores["epe_occluded_px"]) and np.isnan(scores["occlusion_f"])  # nothing to count
    assert "occlusion_f" not in score_flow(sample, sample.flow_px, None)
    assert "epe_occluded_px" not in score_flow(sample._replace(occluded=None), sample.flow_px, None)


def test_flow_that_cannot_be_scored_is_refused() -> None:
    sample = flow_sample([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match="shape"):
        score_flow(sample, np.zeros((3, 2, 2)), None)
    with pytest.raises(ValueError, match="not finite at 1 pixels"):
        score_flow(sample, np.where(sample.flow_px == 3, NAN, sample.flow_px), None)


def test_f_score_by_hand() -> None:
    found, true = np.array([[True, True, False, False]]), np.array([[True, False, True, True]])
    assert f_score(found, true) == Ratio(2, 5)


def test_known_disparities_give_known_scores() -> None:
    true = np.array([[10, 100, 0], [10, 10, 20]], np.float32)
    occluded = np.array([[False, False, False], [False, True, False]])
    sample = StereoSample("s", BLANK, BLANK, true, true > 0, occluded)
    scores = values(score_disparity(sample, np.array([[11, 104, 50], [10, NAN, 20]], np.float32)))
    assert scores["epe_px"] == 1.0  # the hole takes the smaller neighbour, 10, and is right
    assert scores["bad_3_percent"] == 20 and scores["d1_percent"] == 0  # 4 px of 100 is within 5 %
    assert scores["epe_non_occluded_px"] == 1.25 and scores["epe_occluded_px"] == 0
    assert scores["density_percent"] == pytest.approx(100 * 5 / 6)
    with pytest.raises(ValueError, match="shape"):
        score_disparity(sample, np.zeros((3, 3)))


def test_holes_are_filled_with_the_background() -> None:
    disparity = np.array([[NAN, 5, NAN, NAN, 2, NAN], [NAN] * 6, [1, NAN, NAN, NAN, NAN, 3]])
    expected = [[5, 5, 2, 2, 2, 2], [5, 5, 2, 2, 2, 2], [1, 1, 1, 1, 1, 3]]
    assert filled(disparity).tolist() == expected
    assert filled(disparity[1:]).tolist() == [expected[2]] * 2
    assert filled(np.full((2, 2), NAN)).tolist() == [[0, 0], [0, 0]]


def test_pairs_and_pixels_are_averaged_apart() -> None:
    summary = summarise([{"a": Ratio(1, 1)}, {"a": Ratio(0, 3), "b": Ratio(0, 0)}])
    assert summary["a"] == {"of_pairs": 0.5, "of_pixels": 0.25}
    assert np.isnan(summary["b"]["of_pairs"]) and np.isnan(summary["b"]["of_pixels"])


def moving_texture(height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and the same moved by (3, -2) px."""
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    first = cv2.GaussianBlur(noise, (0, 0), 2.0)
    first = (255 * (first - first.min()) / np.ptp(first)).astype(np.uint8)
    return first, np.roll(first, (-2, 3), axis=(0, 1))


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    """Two pairs in the published layout, and one that is damaged."""
    folder = tmp_path / "data" / "flow" / "chairs"
    folder.mkdir(parents=True)
    first, second = moving_texture()
    for index in (1, 2, 3):
        Image.fromarray(first).save(folder / f"{index:05d}_img1.ppm")
        Image.fromarray(second).save(folder / f"{index:05d}_img2.ppm")
        write_flo(folder / f"{index:05d}_flow.flo", np.full((64, 96, 2), (3, -2), np.float32))
    flow = folder / "00002_flow.flo"
    flow.write_bytes(flow.read_bytes()[:1000])
    return folder


@pytest.mark.parametrize("name", FLOW_METHODS)
def test_methods_follow_a_moving_texture(name: str) -> None:
    first, second = moving_texture()
    flow_px, occluded = FLOW_METHODS[name]().flow(None, first, second)
    assert flow_px.shape == (64, 96, 2) and occluded is None
    np.testing.assert_allclose(np.median(flow_px[10:-10, 10:-10], axis=(0, 1)), [3, -2], atol=0.1)


def test_sgbm_finds_a_shift() -> None:
    texture, _ = moving_texture(64, 200)
    disparity = STEREO_METHODS["sgbm"]().disparity(texture, np.roll(texture, -7, axis=1))
    assert np.isnan(disparity[:, 0]).all()
    assert np.nanmedian(disparity) == pytest.approx(7, abs=0.1)


def test_flow_command(chairs: Path, tmp_path: Path) -> None:
    arguments = ["flow", "--data", str(chairs.parents[1]), "--layout", "chairs", "--method", "dis"]
    arguments += ["--json", str(tmp_path / "f.json"), "--pictures", str(tmp_path / "pictures")]
    result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 of 3 pairs" in result.output and "left out: 00002" in result.output
    content = json.loads((tmp_path / "f.json").read_text())
    assert (content["benchmark"], content["layout"], content["method"]) == ("flow", "chairs", "dis")
    assert content["pairs_in_all"] == 3 and "cut short" in content["left_out"]["00002"]
    assert set(content["pairs"]) == {"00001", "00003"} and content["pairs"]["00001"]["seconds"] > 0
    assert content["summary"]["epe_px"]["of_pairs"] < 1 and content["summary"]["epe_10_40_px"]["of_pairs"] is None
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert written == {f"{name}_{kind}.png" for name in ("00001", "00003") for kind in ("flow", "true", "error")}


def test_stereo_command(tmp_path: Path) -> None:
    left, _ = moving_texture(64, 160)
    folder = tmp_path / "stereo" / "cones"
    folder.mkdir(parents=True)
    Image.fromarray(left).save(folder / "im2.png")
    Image.fromarray(np.roll(left, -7, axis=1)).save(folder / "im6.png")
    Image.fromarray(np.full((64, 160), 28, np.uint8)).save(folder / "disp2.png")
    arguments = ["stereo", "--data", str(tmp_path), "--layout", "cones", "--json", str(tmp_path / "s.json")]
    result = CliRunner().invoke(
        commands.app, [*arguments, "--pictures", str(tmp_path / "pictures")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["benchmark"] == "stereo" and content["pairs"]["cones"]["bad_3_percent"] < 10
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_a_method_of_three_frames_that_knows_occlusion(tmp_path: Path) -> None:
    """The interface that any other method has to fill."""
    seen = []

    class Still:
        name = "still"

        def flow(self, previous: Frame | None, first: Frame, second: Frame) -> FlowPrediction:
            seen.append(None if previous is None else int(previous[0, 0, 0]))
            return FlowPrediction(np.zeros((*first.shape[:2], 2)), np.ones(first.shape[:2], bool))

    for number in (1, 2, 3):
        scene = tmp_path / "clean" / "easy"
        (scene / "gt" / "occlusions").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(scene / f"frame_{number:04d}.png")
    write_flo(scene / "gt" / "frame_0002.flo", np.full((4, 6, 2), (0, 2), np.float32))
    half = np.repeat(np.array([[0], [255]], np.uint8), 2, axis=0) * np.ones((1, 6), np.uint8)
    Image.fromarray(half).save(scene / "gt" / "occlusions" / "frame_0002.png")
    run = run_flow("sintel", tmp_path, Still())
    assert seen == [1]
    figures = run.summary()
    assert figures["epe_px"]["of_pairs"] == 2 and figures["occlusion_f"]["of_pairs"] == pytest.approx(2 / 3)


def test_a_folder_of_another_layout_is_said_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "flow", "--data", str(tmp_path), "--layout", "kitti"])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1
    assert "looked for [training/]flow_occ" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("layout", "folder", "expected"), [
    ("chairs", "chairs", 3.42), ("middlebury", "rubberwhale", 0.22), ("sintel", "sintel", 1.07)
])  # fmt: skip
def test_dis_scores_what_it_is_known_to(data_dir: Path, layout: str, folder: str, expected: float) -> None:
    """Measured before by others; how colours become grey moves a pair by up to a tenth."""
    if not (data_dir / "flow" / folder).is_dir():
        pytest.skip(f"no {data_dir / 'flow' / folder}")
    summary = run_flow(layout, data_dir / "flow" / folder, Dis()).summary()
    assert summary["epe_px"]["of_pairs"] == pytest.approx(expected, rel=0.05)


def test_sgbm_on_the_real_cones(data_dir: Path) -> None:
    if not (data_dir / "stereo" / "cones").is_dir():
        pytest.skip(f"no {data_dir / 'stereo' / 'cones'}")
    summary = run_stereo("cones", data_dir / "stereo" / "cones", Sgbm()).summary()
    assert summary["bad_3_non_occluded_percent"]["of_pairs"] < 6
