"""Where frame sequences for flow come from: generated scenes, videos, drawn faces, stereo scenes; and superpixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from train.flow_scenes import StereoScenes
from train.flow_views import noisy_frame
from train.task import Batch, BatchSource

SUPERPIXELS = 200


@dataclass(frozen=True)
class Mixture:
    """Seed -> endless batches, each from one of several sources, with their shares; `frames` alone of each."""

    sources: tuple[BatchSource, ...]
    shares: tuple[float, ...]

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches."""
        rng = np.random.default_rng(seed)
        share = np.array(self.shares) / sum(self.shares)
        streams = [source(seed + at) for at, source in enumerate(self.sources)]
        while True:
            yield {"frames": next(streams[rng.choice(len(streams), p=share)])["frames"]}


@dataclass(frozen=True)
class StereoPairs:
    """Seed -> endless batches of `frames` (B,2,3,H,W), left and right of stereo scenes: two of each, a moment apart.

    As one kind of a mixture; Flow2Stereo's constraints between all four frames need `StereoScenes` alone."""

    scenes: StereoScenes
    batch_size: int

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches."""
        scenes = replace(self.scenes, batch_size=(self.batch_size + 1) // 2)
        for batch in scenes(seed):
            yield {"frames": batch["frames"].unflatten(1, (2, 2)).flatten(0, 1)[: self.batch_size]}


@dataclass(frozen=True)
class WithSegments:
    """Batches of a source with `segments` (B,H,W) int16, the superpixels of the frame that will get noise."""

    source: BatchSource

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches."""
        for batch in self.source(seed):
            frames = batch["frames"]
            noisy = frames[:, noisy_frame(frames.shape[1])].permute(0, 2, 3, 1).numpy()
            yield {**batch, "segments": torch.from_numpy(np.stack([superpixels_of(image) for image in noisy]))}


def superpixels_of(image: np.ndarray) -> np.ndarray:
    """About SUPERPIXELS segments (H,W) int16, numbered from 0, of a picture (H,W,3) uint8: SLIC (Achanta et al., PAMI
    2012) of scikit-image at half the resolution, which takes a quarter of the time."""
    from skimage.segmentation import slic

    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    segments = slic(small, SUPERPIXELS, compactness=10.0, max_num_iter=5, start_label=0)
    return cv2.resize(segments.astype(np.int16), (width, height), interpolation=cv2.INTER_NEAREST)
