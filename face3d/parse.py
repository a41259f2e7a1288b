"""Parse face crops: how likely each pixel shows skin, brows, eyes, nose, lips, or what lies over the face."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.checkpoint import asset_path, load_weights
from face3d.networks.backbone import fuse_norms
from face3d.networks.parser import STRIDE, ParserConfig, ParserNetwork

CROP_FACTOR = 1.4
"""Side of a crop over the longer side of the landmarks' box: what the parser sees of a photo."""


class FaceParser:
    """The face parser, ready to be called with crops; its weights stay as they are.

    weights: a file that `python -m train parser` wrote; None takes the embedded one. Raises FileNotFoundError and
    ValueError for a missing, damaged or foreign file. `crop_size` is the side in pixels of the crops it was trained on.
    """

    def __init__(self, weights: str | Path | None = None, device: str | torch.device = "cpu") -> None:
        weights = asset_path("parser.safetensors") if weights is None else weights
        state, meta = load_weights(weights)
        if meta.get("stage") != "parser":
            raise ValueError(f"expected weights of stage 'parser', got {meta.get('stage')!r} in {weights}.")
        network = ParserNetwork(parser_config(meta["network"]["config"]))
        network.load_state_dict(state)
        fuse_norms(network).requires_grad_(False)
        self.device = torch.device(device)
        self.crop_size = network.config.crop_size
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 9 S S"]:
        """Probabilities of face3d.networks.parser.CLASSES at each pixel of RGB crops in [0,1], on the parser's device.

        Differentiable with respect to the crops. Raises ValueError where S is not a multiple of 16.
        """
        if crops.shape[-1] % STRIDE:
            raise ValueError(f"crops are {crops.shape[-1]} px wide: expected a multiple of {STRIDE}.")
        return self.network.probabilities(crops.to(self.device))


@cache
def embedded_parser() -> FaceParser:
    """The embedded parser on the CPU, loaded at the first call."""
    return FaceParser()


def parser_config(settings: Mapping[str, Any]) -> ParserConfig:
    """The network's configuration from the description stored with its weights."""
    return ParserConfig(tuple(settings["channels"]), settings["crop_size"])
