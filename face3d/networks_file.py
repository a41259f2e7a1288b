"""Weights files of faces hold networks of one of two kinds: with pose guidance, or with a regressed pose."""

import os

import torch

from face3d.checkpoint import load_weights
from face3d.morphable import MorphableModel
from face3d.reconstruct import FaceNetworks
from face3d.unguided import UnguidedNetworks


def load_networks(
    path: str | os.PathLike[str], model: MorphableModel, device: torch.device | str = "cpu"
) -> FaceNetworks | UnguidedNetworks:
    """The networks of a weights file of stage `single` or `multi`, ready for use. Raises as `StoredNetworks.read`."""
    kind = UnguidedNetworks if is_unguided(path) else FaceNetworks
    return kind.load(path, model, device)


def is_unguided(path: str | os.PathLike[str]) -> bool:
    """Whether the pose of these weights is regressed. Raises as `face3d.checkpoint.load_weights`."""
    return UnguidedNetworks.pose_part in load_weights(str(path))[1].get("network", {})
