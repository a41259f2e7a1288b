"""Videos of a moving green square, and a detector and networks that take it for a face."""

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from face3d.geometry import rotation_from_euler_deg
from face3d.types import ScaledOrthography
from tests.fake_networks import FakeDetections
from train.people_folders import Source
from train.people_tracks import Track, TrackConfig, TrackFinder

CONFIG = TrackConfig(size=96, least_face_px=20.0, least_sharpness=0.0, every=2, least_frames=3)
FACE_PX = 40
DOT = 30  # the landmark that is marked with a white dot
GRID = np.array([(x, y) for y in np.linspace(0, 1, 4) for x in np.linspace(0, 1, 17)])  # 68 points, in parts of the box
DOT_AT = GRID[DOT]


class Look(NamedTuple):
    landmarks_px: Tensor
    landmarks_confidence: Tensor
    pose: ScaledOrthography


def frame(x: int, y: int, yaw_deg: float = 0.0, size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    """RGB: a green square whose top left is at (x, y), its blue telling the yaw, a white dot at landmark DOT."""
    image = np.full((*size_hw, 3), (90, 20, 60), np.uint8)
    image[y : y + FACE_PX, x : x + FACE_PX] = (0, 200, round(128 + 2 * yaw_deg))
    dot = np.array([x, y]) + DOT_AT * (FACE_PX - 1)
    cv2.circle(image, (round(dot[0]), round(dot[1])), 3, (255, 255, 255), -1)
    return image


def frames(count: int, yaw_span_deg: float = 40.0) -> list[np.ndarray]:
    """The square moves to the right while it turns."""
    yaws = np.linspace(-yaw_span_deg / 2, yaw_span_deg / 2, count)
    return [frame(30 + 2 * number, 40, yaw) for number, yaw in enumerate(yaws)]


def write_video(path: Path, images: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, images[0].shape[1::-1])
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()


def write_frames(folder: Path, images: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


class SquareDetector:
    """Boxes of the green squares."""

    def __call__(self, image: np.ndarray) -> FakeDetections:
        green = ((image[..., 1] > 120) & (image[..., 0] < 250)).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(green)
        boxes = [(x, y, x + w - 1, y + h - 1) for x, y, w, h, area in stats[1:count] if area > 100]
        return FakeDetections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32))


class SquareNetworks:
    """A grid of landmarks that fills 1 / crop_factor of the crop's middle; the yaw is read from the blue there."""

    crop_size, crop_factor, passes, least_confidence = 64, 1.6, 2, 0.2

    def look(self, crops: Tensor) -> Look:
        return self(crops)

    def __call__(self, crops: Tensor) -> Look:
        count, extent = len(crops), self.crop_size / self.crop_factor
        points = np.c_[(GRID - 0.5) * extent + (self.crop_size - 1) / 2, np.linspace(-5, 5, 68)]
        landmarks = torch.from_numpy(points).float().expand(count, -1, -1)
        inner = crops[:, :, 20:44, 20:44]
        green = (inner[:, :1] < 0.3).float()
        blue = (inner[:, 2:] * green).sum((1, 2, 3)) / green.sum((1, 2, 3)).clamp(min=1)
        yaw = (blue * 255 - 128) / 2
        rotation = rotation_from_euler_deg(torch.stack([torch.zeros(count), yaw, torch.zeros(count)], 1))
        pose = ScaledOrthography(rotation, torch.ones(count), torch.zeros(count, 2))
        return Look(landmarks, torch.full((count, 68), 0.9), pose)


def open_fake() -> TrackFinder:
    """What `OpenFinder` opens, without anything learned."""
    return TrackFinder(SquareDetector(), SquareNetworks(), CONFIG)


class Deadly:
    """A finder whose process dies at some videos, as a decoder may at a damaged file."""

    def __init__(self) -> None:
        self.finder = open_fake()

    def __call__(self, source: Source) -> list[Track]:
        if "deadly" in source.person:
            os._exit(3)
        return self.finder(source)


def open_deadly() -> Deadly:
    return Deadly()
