"""Flow on real frames: what a perfect flow, no flow and a broken pair get; the pairs that are written for it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from eval.__main__ import app
from eval.flow_unlabelled import frame_pairs, score_unlabelled
from face3d.io import read_image
from tests.fake_networks import noise_photo
from train.flow_export import write_scenes
from train.flow_folders import Clip

SHIFT = 3


def moved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two frames, everything moves to the right; the flow."""
    wide = noise_photo(40, 60, seed=0)
    flow = np.zeros((40, 50, 2), np.float32)
    flow[..., 0] = SHIFT
    return wide[:, 5:55], wide[:, 5 - SHIFT : 55 - SHIFT], flow


def test_the_true_flow_fits_and_leads_back() -> None:
    first, second, flow = moved()
    scores = {name: ratio.value for name, ratio in score_unlabelled(first, second, flow, -flow).items()}
    assert scores["consistent_percent"] == pytest.approx(100 * (50 - SHIFT) / 50)
    assert scores["census_distance"] < 1e-4 and scores["census_distance_without_flow"] > 5
    pixels = score_unlabelled(first, second, flow, -flow)["census_distance"].weight
    assert pixels == (40 - 6) * (50 - 6 - SHIFT)  # patches that stay inside of both frames


def test_no_flow_leads_back_and_does_not_fit() -> None:
    first, second, flow = moved()
    scores = {name: ratio.value for name, ratio in score_unlabelled(first, second, 0 * flow, 0 * flow).items()}
    assert scores["consistent_percent"] == 100
    assert scores["census_distance"] == scores["census_distance_without_flow"] > 5


def test_flow_of_another_size_is_refused() -> None:
    first, second, flow = moved()
    with pytest.raises(ValueError, match=r"\(40, 50, 3\)"):
        score_unlabelled(first, second, flow[1:], -flow)


def write_video(path: Path, frames: int = 6) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    ramp = np.arange(64, dtype=np.uint8) * 3
    for at in range(frames):
        writer.write(np.repeat(np.roll(ramp, at)[None, :, None], 48, 0).repeat(3, 2))
    writer.release()


def test_unseen_clips_are_written_and_scored(tmp_path: Path) -> None:
    name = next(f"{at}.avi" for at in range(99) if Clip(f"{at}.avi", Path()).held_out)
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / name)
    write_scenes("clips", tmp_path / "pairs", 2, 40, (tmp_path / "videos",))
    pairs = frame_pairs(tmp_path / "pairs")
    assert [pair.name for pair in pairs] == ["0000", "0001"] and pairs[0].previous is not None
    assert read_image(pairs[0].first).shape == (30, 40, 3)
    (tmp_path / "pairs/0001/second.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app, ["clips", "--data", str(tmp_path / "pairs"), "--json", str(tmp_path / "c.json")])
    assert result.exit_code == 0 and "left out: 0001" in result.output, result.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["method"] == "dis" and list(content["pairs"]) == ["0000"]
    assert content["summary"]["consistent_percent"]["of_pairs"] > 50


def test_folders_without_clips_or_pairs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pairs of frames"):
        frame_pairs(tmp_path)
    write_video(tmp_path / next(f"{at}.avi" for at in range(99) if not Clip(f"{at}.avi", Path()).held_out))
    with pytest.raises(ValueError, match="no held-out clips"):
        write_scenes("clips", tmp_path / "out", 1, 40, (tmp_path,))
