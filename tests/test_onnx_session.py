"""Networks in ONNX Runtime say what they say in PyTorch; the embedded graphs are those of the code."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from face3d.checkpoint import asset_path, load_weights, save_weights
from face3d.detect import Detector, detector_config
from face3d.morphable import MorphableModel
from face3d.networks.backbone import fuse_norms
from face3d.networks.detector import CellPredictions, DetectorNetwork
from face3d.networks_file import load_networks
from face3d.onnx_session import Session, graph_of
from face3d.reconstruct import FaceNetworks
from face3d.reconstruct_onnx import OnnxFaceNetworks

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "reconstruct.safetensors"


@pytest.fixture(scope="module")
def model():
    return MorphableModel.load(asset_path("face3d_model.npz"))


@pytest.fixture(scope="module")
def networks(model):
    return OnnxFaceNetworks.load(asset_path(WEIGHTS), model)


@pytest.fixture(scope="module")
def detector():
    state, meta = load_weights(asset_path("detector.safetensors"))
    network = DetectorNetwork(detector_config(meta["network"]["config"]))
    network.load_state_dict(state)
    return fuse_norms(network)


@pytest.mark.parametrize("count", [1, 3])
def test_faces_are_those_of_pytorch(networks, model, count):
    crops = torch.rand(count, 3, networks.crop_size, networks.crop_size)
    reference = FaceNetworks.load(asset_path(WEIGHTS), model)
    with torch.inference_mode():
        got, expected = networks(crops), reference(crops)
        look, expected_look = networks.look(crops), reference.look(crops)
    for name in ("position_map_px", "position_log_variance", "landmarks_px", "vertices_px", "identity", "expression"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-3, rtol=0, msg=name)
    torch.testing.assert_close(look.landmarks_px, expected_look.landmarks_px, atol=1e-3, rtol=0)


def test_other_weights_are_read_whole(model, tmp_path):
    """Graphs hold nothing that follows from the weights they were written with: all of these are others."""
    state, meta = load_weights(asset_path(WEIGHTS))
    torch.manual_seed(0)
    others = {
        name: value * (1 + 0.05 * torch.rand_like(value.float())).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }
    path = tmp_path / WEIGHTS
    save_weights(path, others, meta)
    crops = torch.rand(2, 3, 128, 128)
    with torch.inference_mode():
        got, expected = OnnxFaceNetworks.load(path, model)(crops), FaceNetworks.load(path, model)(crops)
    for name in ("position_map_px", "identity"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=2e-3, rtol=0, msg=name)


def test_gradients_flow_where_they_are_asked_for(networks):
    crops = torch.rand(1, 3, networks.crop_size, networks.crop_size, requires_grad=True)
    estimate = networks(crops)
    estimate.vertices_px.square().sum().backward()
    assert crops.grad is not None and bool(crops.grad.abs().sum() > 0)


@pytest.mark.parametrize(("height", "width"), [(384, 384), (96, 160), (384, 32)])
def test_detections_are_those_of_pytorch(detector, height, width):
    image = torch.rand(1, 3, height, width)
    session = Session("detector.onnx", detector.state_dict())
    with torch.inference_mode():
        for got, expected in zip(CellPredictions(*session(image)), detector(image), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)


def test_the_cpu_takes_the_graphs_and_other_weights_do_without(model):
    assert isinstance(load_networks(asset_path(WEIGHTS), model), OnnxFaceNetworks)
    assert Detector()._cells.__qualname__.startswith("_in_onnx_runtime")
    assert graph_of("pgn", {"crop_size": 96}) is None
    assert graph_of("nothing", {}) is None


def test_only_the_cpu(model):
    with pytest.raises(ValueError, match="serves the CPU"):
        OnnxFaceNetworks.load(asset_path(WEIGHTS), model, "cuda")


def test_weights_of_another_network_are_named(detector):
    state = {name.replace("stem", "root"): value for name, value in detector.state_dict().items()}
    with pytest.raises(ValueError, match=r"another network.*stem"):
        Session("detector.onnx", state)


def test_the_embedded_graphs_are_those_of_the_code(tmp_path):
    """Where this fails, code or configuration changed: `python -m train.graphs` writes them again."""
    for file in ("face3d_model.npz", WEIGHTS, "detector.safetensors"):
        (tmp_path / file).write_bytes(asset_path(file).read_bytes())
    # in a process of its own: shapes that are checked while an export is traced are no numbers
    subprocess.run([sys.executable, "-m", "train.graphs", "--assets", str(tmp_path)], check=True, cwd=ROOT)
    told = json.loads(asset_path("graphs.json", tmp_path).read_text())
    assert told == json.loads(asset_path("graphs.json").read_text())
    assert set(told) == {"pgn.onnx", "regressor.onnx", "detector.onnx"}
    for name in told:
        fresh, stored = (
            onnx.load(asset_path(name, folder), load_external_data=False).graph for folder in (tmp_path, None)
        )
        assert [node.op_type for node in stored.node] == [node.op_type for node in fresh.node]
        assert asset_path(name).stat().st_size < 100_000  # no weights
