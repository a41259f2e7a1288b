"""`python -m eval flow|stereo --method face3d` with a tiny network on miniature data."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from eval import __main__ as commands
from eval.method_flow import Face3dFlow
from face3d.flow_files import write_flo
from face3d.optical_flow import FlowEstimator
from tests.fake_networks import noise_photo
from tests.flow_weights import THREE, TINY, write_flow_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_flow_weights(tmp_path / "three.safetensors", THREE)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands.app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(("refine", "name"), [(True, "face3d"), (False, "face3d-network")])
def test_the_method_says_what_the_estimator_finds(weights: Path, refine: bool, name: str) -> None:
    estimator = FlowEstimator(weights, "cpu", refine=refine)
    before, first, second = (noise_photo(16, 24, seed=seed) for seed in range(3))
    method = Face3dFlow(estimator)
    for previous in (None, before):
        flow_px, occluded = method.flow(previous, first, second)
        expected = estimator(first, second, previous)
        np.testing.assert_array_equal(flow_px, expected.forward_px)
        assert occluded is not None and (occluded == expected.occluded).all()
    assert method.name == name
    first, second = (noise_photo(64, 96, seed=seed) for seed in range(2))
    disparity = method.disparity(first, second)
    x = estimator(first, second).forward_px[..., 0]
    assert x.min() < 0 < x.max()
    np.testing.assert_array_equal(disparity, np.where(x < 0, -x, 0))


def test_flow_command(tmp_path: Path, weights: Path) -> None:
    scene = tmp_path / "clean" / "easy"
    (scene / "gt" / "occlusions").mkdir(parents=True)
    for number in (1, 2, 3):
        Image.fromarray(noise_photo(16, 24, seed=number)).save(scene / f"frame_{number:04d}.png")
    write_flo(scene / "gt" / "frame_0002.flo", np.ones((16, 24, 2), np.float32))
    Image.fromarray(np.eye(16, 24, dtype=np.uint8) * 255).save(scene / "gt" / "occlusions" / "frame_0002.png")
    options = ("--method", "face3d", "--weights", weights, "--device", "cpu", "--json", tmp_path / "f.json")
    result = run("flow", "--data", tmp_path, "--layout", "sintel", *options)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["method"] == "face3d" and content["layout"] == "sintel"
    assert content["weights"] == {"file": weights.name, "sha256": sha256(weights.read_bytes()).hexdigest()}
    frames = [scene / f"frame_{number:04d}.png" for number in (2, 3, 1)]
    error = np.linalg.norm(FlowEstimator(weights, "cpu")(*frames).forward_px - 1, axis=2).mean()
    (scores,) = content["pairs"].values()
    assert scores["epe_px"] == pytest.approx(error, rel=1e-4) and "occlusion_f" in scores


def test_the_network_alone_is_a_method_of_its_own(tmp_path: Path, weights: Path) -> None:
    for number in (0, 1):
        Image.fromarray(noise_photo(16, 24, seed=number)).save(tmp_path / f"00000-img{number}.png")
    write_flo(tmp_path / "00000-gt.flo", np.ones((16, 24, 2), np.float32))
    options = ("--data", tmp_path, "--layout", "chairs", "--weights", weights, "--device", "cpu")
    found = {}
    for method in ("face3d", "face3d-network"):
        result = run("flow", *options, "--method", method, "--json", tmp_path / "f.json")
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / "f.json").read_text())
        assert content["method"] == method and content["weights"]["file"] == weights.name
        found[method] = content["pairs"]["00000"]["epe_px"]
    assert abs(found["face3d"] - found["face3d-network"]) > 1e-3


def test_stereo_command(tmp_path: Path) -> None:
    folder, weights = tmp_path / "cones", write_flow_weights(tmp_path / "two.safetensors", TINY)
    folder.mkdir()
    for name in ("im2", "im6"):
        Image.fromarray(noise_photo(16, 24)).save(folder / f"{name}.png")
    Image.fromarray(np.full((16, 24), 4, np.uint8)).save(folder / "disp2.png")
    options = ("--method", "face3d", "--weights", weights, "--device", "cpu", "--json", tmp_path / "s.json")
    result = run("stereo", "--data", folder, "--layout", "cones", *options)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["method"] == "face3d" and content["weights"]["file"] == weights.name
    assert content["pairs"]["cones"]["density_percent"] == 100


@pytest.mark.parametrize(("command", "layout", "other"), [("flow", "chairs", "dis"), ("stereo", "cones", "sgbm")])
def test_weights_go_with_face3d_alone(tmp_path: Path, weights: Path, command: str, layout: str, other: str) -> None:
    data = (command, "--data", tmp_path, "--layout", layout, "--method")
    result = run(*data, other, "--weights", weights)
    assert result.exit_code == 2 and "--weights" in result.output, result.output
    missing = run(*data, "face3d", "--weights", tmp_path / "missing.safetensors")
    assert isinstance(missing.exception, FileNotFoundError)
