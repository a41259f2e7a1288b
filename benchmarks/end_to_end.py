"""From a 450 x 450 photo to a face, with the model loaded: the whole call, and each of its steps.

On the CPU the networks run in ONNX Runtime; PyTorch's own time for them stands beside it. In this photo the detector
takes two places more for faces, which the first look at the landmarks refuses, at its cost for each.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.timing import Timing, measure
from face3d.checkpoint import asset_path
from face3d.image import warp
from face3d.io import read_image
from face3d.parse import embedded_parser
from face3d.parse_shown import shown_share
from face3d.pipeline import Reconstructor
from face3d.reconstruct import FaceNetworks
from face3d.texture import extract_texture

SIDE = 450


def run(quick: bool) -> list[Timing]:
    """Time the embedded photo, cut to SIDE x SIDE around the face."""
    model = Reconstructor(device="cpu")
    photo = read_image(asset_path("astronaut.jpg"))
    scale = SIDE / photo.shape[0]
    photo = warp(photo, np.diag([scale, scale, 1.0]), (SIDE, SIDE))
    (face, *_) = model(photo)
    size = model.networks.crop_size
    crop = torch.rand(1, 3, size, size)
    reference = FaceNetworks.load(asset_path("reconstruct.safetensors"), model.model)
    steps = {
        "photo to face, no texture": partial(model, photo, texture=False),
        "  detect": partial(model.detector, photo),
        "  landmarks (to crop again)": partial(_inference, model.networks.look, crop),
        "  networks, shape and pose": partial(_inference, model.networks, crop),
        "  the same in PyTorch": partial(_inference, reference, crop),
        "texture 512 x 512": partial(extract_texture, photo, face.vertices_px, model.model),
        "what covers the face (before it)": partial(
            shown_share, photo, face.landmarks_px, face.vertices_px, model.model, embedded_parser()
        ),
        "overlay": partial(face.overlay, photo),
    }
    return [measure(name, step, seconds=0.5 if quick else 2.0) for name, step in steps.items()]


@torch.inference_mode()
def _inference(function: Callable[[torch.Tensor], object], crop: torch.Tensor) -> object:
    return function(crop)
