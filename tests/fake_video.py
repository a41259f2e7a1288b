"""Small films of bright discs on a dull ground, and stand-ins that see a face in each disc."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from face3d.morphable import MorphableModel
from face3d.pipeline import Reconstructor
from tests.fake_networks import FakeDetections, FakeEstimate, FakeNetworks

RADIUS_PX = 14.0
DULL = (40, 60, 50)
Place = tuple[float, float]


def film(paths: Sequence[Sequence[Place | None]], size_hw: tuple[int, int] = (120, 160)) -> list[np.ndarray]:
    """One disc for each path of centres (x, y) px, None where it is hidden; discs differ in their blue."""
    frames = []
    for places in zip(*paths, strict=True):
        frame = np.full((*size_hw, 3), DULL, np.uint8)
        for number, place in enumerate(places):
            if place is not None:
                centre = (round(place[0] * 16), round(place[1] * 16))
                colour = (220, 200, 120 + 80 * number)
                cv2.circle(frame, centre, round(RADIUS_PX * 16), colour, -1, cv2.LINE_AA, shift=4)
        frames.append(frame)
    return frames


class Disc(NamedTuple):
    """Centre (x, y), radius, mean colour in [0, 1]."""

    centre_px: np.ndarray
    radius_px: float
    colour: np.ndarray


def discs(picture: np.ndarray) -> list[Disc]:
    """The bright discs of an (H, W, 3) uint8 picture."""
    bright = (picture[:, :, 0] > 130).astype(np.uint8)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(bright)
    return [
        Disc(centres[i], float(stats[i, cv2.CC_STAT_AREA] / np.pi) ** 0.5, picture[labels == i].mean(axis=0) / 255)
        for i in range(1, count)
        if stats[i, cv2.CC_STAT_AREA] > 30
    ]


class SeeingNetworks(FakeNetworks):
    """A face on the disc nearest to the middle of the crop, jittered; none where there is no disc.

    The identity is the disc's colour plus noise, the expression grows with the disc's height in the crop.
    """

    def __init__(self, model: MorphableModel, jitter_px: float = 0.0) -> None:
        super().__init__(model, passes=2)
        self.jitter_px, self.noise = jitter_px, torch.Generator().manual_seed(3)

    def __call__(self, crops: Tensor) -> FakeEstimate:
        estimate = super().__call__(crops)
        shift, scale, confidence = torch.zeros(len(crops), 2), torch.ones(len(crops)), torch.zeros(len(crops))
        identity = torch.zeros_like(estimate.identity)
        middle = (self.crop_size - 1) / 2
        for i, crop in enumerate(crops):
            seen = discs((crop.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
            if seen:
                disc = min(seen, key=lambda disc: float(np.linalg.norm(disc.centre_px - middle)))
                shift[i] = torch.from_numpy(disc.centre_px - middle)
                scale[i] = disc.radius_px / (self.crop_size / 4)
                confidence[i] = 0.5 + 0.3 * float(torch.rand((), generator=self.noise))
                identity[i, :3] = torch.from_numpy(disc.colour).float()
        shift += self.jitter_px * torch.randn(shift.shape, generator=self.noise)
        identity += 0.1 * torch.randn(identity.shape, generator=self.noise)

        def moved(points: Tensor) -> Tensor:
            xy = (points[:, :, :2] - middle) * scale[:, None, None] + middle + shift[:, None]
            return torch.cat([xy, points[:, :, 2:] * scale[:, None, None]], dim=2)

        return estimate._replace(
            landmarks_px=moved(estimate.landmarks_px),
            vertices_px=moved(estimate.vertices_px),
            landmarks_confidence=confidence[:, None].repeat(1, 68),
            identity=identity,
        )


class SeeingDetector:
    """A box about every disc; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: np.ndarray) -> FakeDetections:
        self.calls += 1
        boxes = [[*(d.centre_px - 0.8 * d.radius_px), *(d.centre_px + 0.8 * d.radius_px)] for d in discs(image)]
        return FakeDetections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


def seeing_reconstructor(jitter_px: float = 0.0) -> Reconstructor:
    """A Reconstructor that sees a face in every disc of a `film`."""
    model = MorphableModel.random(0)
    return Reconstructor.from_parts(SeeingNetworks(model, jitter_px), SeeingDetector(), model)


def write_film(path: str, frames: Sequence[np.ndarray], rate_hz: float = 10.0) -> None:
    """An AVI of Motion JPEG pictures: no codec is missing anywhere."""
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[:, :, ::-1].copy())
    writer.release()
