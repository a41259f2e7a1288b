"""Stand-ins for what is learned: networks that put a random morphable model into the middle of every crop."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from face3d.camera import project
from face3d.morphable import MorphableModel
from face3d.pipeline import Reconstructor
from face3d.types import ScaledOrthography


class FakeEstimate(NamedTuple):
    landmarks_px: Tensor
    landmarks_confidence: Tensor
    identity: Tensor
    expression: Tensor
    vertices_mm: Tensor
    pose: ScaledOrthography
    vertices_px: Tensor


class FakeNetworks:
    """A frontal face that fills half of the crop, its identity taken from the crop's mean colour."""

    crop_size = 64
    crop_factor = 1.5
    least_confidence = 0.2

    def __init__(self, model: MorphableModel, passes: int = 1) -> None:
        self.model, self.passes = model, passes
        self.batch_sizes: list[int] = []
        self.crops: list[Tensor] = []

    def look(self, crops: Tensor) -> FakeEstimate:
        return self(crops)

    def __call__(self, crops: Tensor) -> FakeEstimate:
        count = len(crops)
        self.batch_sizes.append(count)
        self.crops.append(crops)
        identity = crops.mean(dim=(2, 3)) - 0.5
        expression = torch.full((count, self.model.expression_count), 0.1)
        vertices_mm = self.model.vertices(identity, expression)
        extent = vertices_mm[..., :2].amax(1) - vertices_mm[..., :2].amin(1)
        scale = 0.5 * self.crop_size / extent.amax(dim=1)
        middle = (vertices_mm[..., :2].amax(1) + vertices_mm[..., :2].amin(1)) / 2
        rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(count, 1, 1)
        translation = (self.crop_size - 1) / 2 - scale[:, None] * middle * torch.tensor([1.0, -1.0])
        pose = ScaledOrthography(rotation, scale, translation)
        vertices_px = project(vertices_mm, pose)
        landmarks_px = self.model.landmarks_of(vertices_px)
        full_identity = torch.nn.functional.pad(identity, (0, self.model.identity_count - 3))
        confidence = torch.full((count, 68), 0.9)
        return FakeEstimate(landmarks_px, confidence, full_identity, expression, vertices_mm, pose, vertices_px)


class FakeDetections(NamedTuple):
    boxes_px: np.ndarray
    scores: np.ndarray


class FakeDetector:
    """Finds the same boxes in every photo that is not black."""

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def __call__(self, image: np.ndarray) -> FakeDetections:
        boxes = self.boxes if image.any() else self.boxes[:0]
        return FakeDetections(boxes, np.linspace(0.9, 0.5, len(boxes), dtype=np.float32))


def fake_reconstructor(boxes: list[list[float]], passes: int = 1) -> Reconstructor:
    """A Reconstructor that finds these boxes, with `MorphableModel.random(0)`."""
    model = MorphableModel.random(0)
    return Reconstructor.from_parts(FakeNetworks(model, passes), FakeDetector(boxes), model)


def noise_photo(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """A photo of coloured noise."""
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)
