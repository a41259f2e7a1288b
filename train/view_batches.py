"""Batches of augmented views with their coefficients and the pose in the crop."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from face3d.morphable_file import MorphableArrays
from train.augment import PLAIN, AugmentConfig, augment
from train.profiling import project
from train.task import Batch
from train.views import View, Views, load_views

HELD_OUT = 50  # every 50th person is kept for validation


def split_rows(views: Views, held_out: bool) -> np.ndarray:
    """Rows of the people that are trained on, or of those held out."""
    return np.flatnonzero((views.person % HELD_OUT == 0) == held_out)


class LandmarkBasis:
    """The 68 landmarks as a linear function of the coefficients, in numpy."""

    def __init__(self, model: MorphableArrays) -> None:
        corners = model.triangles[model.landmark_triangles]
        weights = model.landmark_barycentric[..., None]
        self.mean = (model.mean[corners] * weights).sum(1)
        self.identity = (model.identity_basis[:, corners] * weights).sum(2)
        self.expression = (model.expression_basis[:, corners] * weights).sum(2)

    def __call__(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """(68,3) mm."""
        return self.mean + np.tensordot(identity, self.identity, 1) + np.tensordot(expression, self.expression, 1)


@dataclass(frozen=True)
class ViewBatches:
    """Seed -> endless random batches from several folders of views, each picked with its share."""

    model: Path
    folders: tuple[Path, ...]
    crop_size: int
    batch_size: int
    augment: AugmentConfig = AugmentConfig()

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        cv2.setNumThreads(0)
        rng = np.random.default_rng(seed)
        landmarks = LandmarkBasis(MorphableArrays.load(self.model))
        views = [load_views(folder) for folder in self.folders]
        rows = [split_rows(v, held_out=False) for v in views]
        share = np.array([len(r) for r in rows]) / sum(len(r) for r in rows)
        while True:
            picks = rng.choice(len(views), self.batch_size, p=share)
            samples = [
                sample(views[p].view(int(rng.choice(rows[p]))), landmarks, self.crop_size, self.augment, rng)
                for p in picks
            ]
            yield collate(samples)


def sample(
    view: View, landmarks: LandmarkBasis, size: int, config: AugmentConfig, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One augmented view as arrays."""
    pose = view.pose
    points = project(landmarks(view.identity, view.expression), pose)[:, :2]
    box = np.concatenate([points.min(0), points.max(0)])
    crop, matrix, flipped = augment(view.image, box, size, config, rng)
    zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
    turn = np.eye(3)
    turn[:2, :2] = matrix[:, :2] / zoom
    return {
        "crop": crop.transpose(2, 0, 1),
        "identity": view.identity,
        "expression": view.expression,
        "rotation": (turn @ pose.rotation).astype(np.float32),
        "scale": np.float32(pose.scale * zoom),
        "translation_px": (matrix[:, :2] @ pose.translation_px + matrix[:, 2]).astype(np.float32),
        "flipped": np.array(flipped),
        "flat": np.array(view.flat),
    }


def collate(samples: list[dict[str, np.ndarray]]) -> Batch:
    """Stack samples."""
    return {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}


def held_out_batch(model: Path, folders: tuple[Path, ...], crop_size: int, count: int) -> Batch:
    """The same plain views of held-out people each time."""
    rng = np.random.default_rng(12345)
    landmarks = LandmarkBasis(MorphableArrays.load(model))
    samples = []
    for folder in folders:
        views = load_views(folder)
        rows = split_rows(views, held_out=True)
        for row in rng.choice(rows, min(count // len(folders), len(rows)), replace=False):
            samples.append(sample(views.view(int(row)), landmarks, crop_size, PLAIN, rng))
    return collate(samples)
