"""Weights files of faces hold networks of one of two kinds: with pose guidance, or with a regressed pose."""

import os

import torch

from face3d.checkpoint import load_weights
from face3d.morphable import MorphableModel
from face3d.reconstruct import FaceNetworks
from face3d.reconstruct_onnx import OnnxFaceNetworks, embedded_graphs
from face3d.unguided import UnguidedNetworks


def load_networks(
    path: str | os.PathLike[str], model: MorphableModel, device: torch.device | str = "cpu"
) -> FaceNetworks | UnguidedNetworks:
    """The networks of a weights file of stage `single` or `multi`, ready for use; on the CPU in ONNX Runtime, where
    graphs of them are embedded. Raises as `StoredNetworks.read`."""
    network = load_weights(str(path))[1].get("network", {})
    if UnguidedNetworks.pose_part in network:
        return UnguidedNetworks.load(path, model, device)
    if torch.device(device).type == "cpu" and embedded_graphs(network):
        return OnnxFaceNetworks.load(path, model, device)
    return FaceNetworks.load(path, model, device)


def is_unguided(path: str | os.PathLike[str]) -> bool:
    """Whether the pose of these weights is regressed. Raises as `face3d.checkpoint.load_weights`."""
    return UnguidedNetworks.pose_part in load_weights(str(path))[1].get("network", {})
