"""Moving scenes with exact optical flow, occlusion and, from two cameras, disparity.

A scene is a background and some layers in front of it, cut out of real pictures; each moves by itself, as
`train.layer_motion` draws it, and `train.layer_warp` says exactly where each of its points goes. Training without
labels uses the pictures alone; the labels are for measuring and for fine-tuning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from train.augment import NOISE
from train.flow_folders import HELD_OUT, one_frame_each
from train.flow_textures import Patches, cut_out, skimage_pictures
from train.layer_motion import FASTEST_PX, Motions, random_motions
from train.layer_warp import Drawing, Placement, Stack, draw, flow_between, pack, place
from train.task import Batch

HELD_OUT_SEED = 20_000_000


@dataclass(frozen=True)
class SceneConfig:
    """What scenes are made of; the shares are of scenes."""

    layers: tuple[int, int] = (2, 7)  # in front of the background, both included
    thin: float = 0.2  # share of the layers
    blur: float = 0.2  # motion blur
    light: float = 0.5  # another exposure in every frame
    noise: float = 0.6
    widest_disparity: float = 0.12  # of the picture's width, about what the nearest layer has


PLAIN = SceneConfig(blur=0.0, light=0.0, noise=0.0)


class Scene(NamedTuple):
    """T frames (T,H,W,3) uint8 and, for every pair of neighbours, the flow (T-1,H,W,2) px of the surface seen at each
    pixel, forward (from t to t+1) and backward (from t+1 to t), and where (T-1,H,W) its point is hidden in the other
    frame, behind something nearer or outside. `layer` (T,H,W) int8 numbers what is seen, 0 nearest."""

    frames: np.ndarray
    flow_forward_px: np.ndarray
    flow_backward_px: np.ndarray
    occluded_forward: np.ndarray
    occluded_backward: np.ndarray
    layer: np.ndarray


class StereoScene(NamedTuple):
    """Four frames (4,H,W,3) uint8: left and right, then left and right one moment later.

    Flow (2,H,W,2) px and occlusion (2,H,W) in time, of the left and of the right camera. Disparity (2,H,W) px at both
    moments, never negative: the point of left pixel (x, y) lies at (x - disparity_left, y) on the right, that of right
    pixel (x, y) at (x + disparity_right, y) on the left; `hidden_left`: it is hidden in the right picture,
    `hidden_right`: in the left. `layer` (4,H,W) numbers what is seen, 0 nearest."""

    frames: np.ndarray
    flow_forward_px: np.ndarray
    flow_backward_px: np.ndarray
    occluded_forward: np.ndarray
    occluded_backward: np.ndarray
    disparity_left_px: np.ndarray
    disparity_right_px: np.ndarray
    hidden_left: np.ndarray
    hidden_right: np.ndarray
    layer: np.ndarray


class MovingLayers(NamedTuple):
    """Layers, nearest first, and how they move; pictures of them are drawn at any time and from two cameras.

    `disparity` (N,3) and its rate (N,3): a layer's disparity is a + b x + c y px at left pixel (x, y)."""

    stack: Stack
    motions: Motions
    size_hw: tuple[int, int]
    disparity: np.ndarray
    disparity_rate: np.ndarray

    def placement(self, time: float, right: bool = False) -> Placement:
        """Where the layers lie at a time, in the left or the right picture."""
        to_picture = self.motions.homographies(time)
        if right:
            a, b, c = (self.disparity + time * self.disparity_rate).T
            to_right = np.tile(np.eye(3), (len(a), 1, 1))
            to_right[:, 0] -= np.stack([b, c, a], 1)
            to_picture = to_right @ to_picture
        return place(self.stack, to_picture, self.motions.bends(time))

    def flow(self, one: Drawing, other: Drawing, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
        """Flow (H,W,2) px and occlusion (H,W) from a drawing to another, which lies as `placement` says."""
        return flow_between(self.stack, one, other, placement)


def draw_layers(
    rng: np.random.Generator, patches: Patches, size_hw: tuple[int, int], config: SceneConfig
) -> MovingLayers:
    """A random scene: textures, shapes, motions, disparities."""
    shorter = min(size_hw)
    textures = []
    for _ in range(rng.integers(config.layers[0], config.layers[1] + 1)):
        thin = bool(rng.random() < config.thin)
        extent = shorter * float(np.exp(rng.uniform(np.log(0.4 if thin else 0.16), np.log(1.0 if thin else 0.8))))
        stretch = float(np.exp(rng.normal(0, 0.25)))
        height, width = (max(12, round(side)) for side in (extent * stretch, extent / stretch))
        textures.append(cut_out(rng, patches(rng, height, width), thin))
    margin = round(0.15 * shorter)
    background = patches(rng, size_hw[0] + 2 * margin, size_hw[1] + 2 * margin)
    textures.append(cv2.cvtColor(background, cv2.COLOR_RGB2RGBA))
    stack = pack(textures)
    motions = random_motions(rng, stack.size_hw, size_hw)
    disparity, rate = _random_disparity(rng, len(textures), size_hw, config.widest_disparity)
    return MovingLayers(stack, motions, size_hw, disparity, rate)


def _random_disparity(
    rng: np.random.Generator, count: int, size_hw: tuple[int, int], widest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Slanted planes (count,3) and their rates: over the whole picture, a nearer layer's disparity is the larger."""
    height, width = size_hw
    slope = np.array([rng.normal(0, 0.008), abs(rng.normal(0, 0.02))])
    base = rng.uniform(0, 0.03) * width + max(0.0, -slope[0]) * width
    gaps = rng.uniform(0.2, 1, count) * widest * width / max(3, count)
    gaps[-1] = 0
    own = rng.uniform(-0.15, 0.15, (count, 2)) * np.minimum(gaps, np.roll(gaps, 1))[:, None] / [width, height]
    own[-1] = 0
    planes = np.empty((count, 3))
    planes[:, 1:] = slope + own
    nearness = np.cumsum(gaps[::-1])[::-1]
    planes[:, 0] = base + nearness - own @ (np.array([width, height]) / 2)
    closing = np.exp(rng.normal(0, 0.02)) - 1
    return planes, closing * planes


def draw_scene(
    rng: np.random.Generator, patches: Patches, size_hw: tuple[int, int], frames: int, config: SceneConfig
) -> Scene:
    """A random scene of at least two frames."""
    if frames < 2:
        raise ValueError(f"{frames} frames have no flow between them: ask for at least 2")
    layers = draw_layers(rng, patches, size_hw, config)
    times = np.arange(frames) - (frames - 1) / 2
    placements = [layers.placement(time) for time in times]
    drawings = [draw(layers.stack, placement, size_hw) for placement in placements]
    forward = [layers.flow(drawings[i], drawings[i + 1], placements[i + 1]) for i in range(frames - 1)]
    backward = [layers.flow(drawings[i + 1], drawings[i], placements[i]) for i in range(frames - 1)]
    colours = _blurred(rng, layers, drawings, [(float(time), False) for time in times], config)
    return Scene(
        develop(rng, colours, config),
        np.stack([flow for flow, _ in forward]),
        np.stack([flow for flow, _ in backward]),
        np.stack([hidden for _, hidden in forward]),
        np.stack([hidden for _, hidden in backward]),
        np.stack([drawing.layer for drawing in drawings]),
    )


def draw_stereo_scene(
    rng: np.random.Generator, patches: Patches, size_hw: tuple[int, int], config: SceneConfig
) -> StereoScene:
    """A random scene seen by two cameras at two moments."""
    layers = draw_layers(rng, patches, size_hw, config)
    shots = [(-0.5, False), (-0.5, True), (0.5, False), (0.5, True)]
    placements = [layers.placement(*shot) for shot in shots]
    drawings = [draw(layers.stack, placement, size_hw) for placement in placements]

    def pairs(*between: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        both = [layers.flow(drawings[i], drawings[j], placements[j]) for i, j in between]
        return np.stack([flow for flow, _ in both]), np.stack([hidden for _, hidden in both])

    forward, occluded_forward = pairs((0, 2), (1, 3))
    backward, occluded_backward = pairs((2, 0), (3, 1))
    to_right, hidden_left = pairs((0, 1), (2, 3))
    to_left, hidden_right = pairs((1, 0), (3, 2))
    frames = develop(rng, _blurred(rng, layers, drawings, shots, config), config)
    motion = (forward, backward, occluded_forward, occluded_backward)
    disparity = (-to_right[..., 0], to_left[..., 0], hidden_left, hidden_right)
    return StereoScene(frames, *motion, *disparity, np.stack([drawing.layer for drawing in drawings]))


def _blurred(
    rng: np.random.Generator,
    layers: MovingLayers,
    drawings: Sequence[Drawing],
    shots: Sequence[tuple[float, bool]],
    config: SceneConfig,
) -> list[np.ndarray]:
    """Colours of the drawings, in some scenes averaged over the time that the shutter is open around each."""
    if rng.random() >= config.blur:
        return [drawing.colour for drawing in drawings]
    fastest = float(np.linalg.norm(layers.motions.velocity, axis=1).max())
    shutter = rng.uniform(0.3, 1.0) * min(1.0, FASTEST_PX / 3 / max(fastest, 1e-9))
    colours = []
    for drawing, (time, right) in zip(drawings, shots, strict=True):
        total = drawing.colour.copy()
        for offset in (-0.5, -0.25, 0.25, 0.5):
            total += draw(layers.stack, layers.placement(time + offset * shutter, right), layers.size_hw).colour
        colours.append(total / np.float32(5))
    return colours


def develop(rng: np.random.Generator, colours: Sequence[np.ndarray], config: SceneConfig) -> np.ndarray:
    """Frames (T,H,W,3) uint8 from colours 0..255 float32: exposure that changes in time, noise."""
    gain = np.zeros((len(colours), 3))
    if rng.random() < config.light:
        gain = np.cumsum(rng.normal(0, 0.04, (len(colours), 1)) + rng.normal(0, 0.01, (len(colours), 3)), axis=0)
    sd = rng.uniform(0.5, 6) if rng.random() < config.noise else 0.0
    frames = np.empty((len(colours), *colours[0].shape), np.uint8)
    for frame, colour, log_gain in zip(frames, colours, gain, strict=True):
        lit = colour * np.exp(log_gain).astype(np.float32) if log_gain.any() else colour
        noisy = lit + _grain(rng, colour.shape, sd) if sd else lit
        frame[...] = cv2.convertScaleAbs(np.maximum(noisy, 0))
    return frames


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> np.ndarray:
    """Normal noise (H,W,3) float32; up to the size of the stored noise, a random cut of it."""
    height, width = shape[:2]
    if max(height, width) >= min(NOISE.shape[:2]):
        return rng.standard_normal(shape, np.float32) * np.float32(sd)
    row, column = rng.integers(0, NOISE.shape[0] - height), rng.integers(0, NOISE.shape[1] - width)
    return NOISE[row : row + height, column : column + width] * np.float32(sd)


@cache
def patches_of(folders: tuple[Path, ...], with_skimage: bool, held_out: bool) -> Patches:
    """Textures of the pictures that are trained on, or of those held out; loaded once a process."""
    images = [*(skimage_pictures() if with_skimage else []), *one_frame_each(folders)]
    return Patches([image for at, image in enumerate(images) if (at % HELD_OUT == 0) == held_out])


@dataclass(frozen=True)
class FlowScenes:
    """Seed -> endless batches of scenes with their flow.

    A batch: `frames` (B,T,3,H,W) uint8, `flow_forward_px`, `flow_backward_px` (B,T-1,2,H,W) float32,
    `occluded_forward`, `occluded_backward` (B,T-1,H,W) bool. Textures come from scikit-image's pictures and from one
    frame of every clip in `folders` (see `train.flow_folders`); a fifth of them is used only where `held_out`."""

    size_hw: tuple[int, int]
    frames: int
    batch_size: int
    folders: tuple[Path, ...] = ()
    with_skimage: bool = True
    config: SceneConfig = SceneConfig()
    held_out: bool = False

    def scene(self, seed: int) -> Scene:
        """The scene of a seed, always the same."""
        return self._draw(np.random.default_rng(seed))

    def _draw(self, rng: np.random.Generator) -> Scene:
        patches = patches_of(self.folders, self.with_skimage, self.held_out)
        return draw_scene(rng, patches, self.size_hw, self.frames, self.config)

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        rng = np.random.default_rng(seed)
        while True:
            yield as_batch([self._draw(rng) for _ in range(self.batch_size)])


@dataclass(frozen=True)
class StereoScenes:
    """Seed -> endless batches of scenes from two cameras at two moments, as `StereoScene` has them, channels before
    rows and columns: `frames` (B,4,3,H,W) uint8, flow (B,2,2,H,W), disparity and masks (B,2,H,W)."""

    size_hw: tuple[int, int]
    batch_size: int
    folders: tuple[Path, ...] = ()
    with_skimage: bool = True
    config: SceneConfig = SceneConfig()
    held_out: bool = False

    def scene(self, seed: int) -> StereoScene:
        """The scene of a seed, always the same."""
        return self._draw(np.random.default_rng(seed))

    def _draw(self, rng: np.random.Generator) -> StereoScene:
        patches = patches_of(self.folders, self.with_skimage, self.held_out)
        return draw_stereo_scene(rng, patches, self.size_hw, self.config)

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        rng = np.random.default_rng(seed)
        while True:
            yield as_batch([self._draw(rng) for _ in range(self.batch_size)])


def as_batch(scenes: Sequence[Scene] | Sequence[StereoScene]) -> Batch:
    """Scenes as tensors, colours and flow components before rows and columns; without the numbers of the layers."""
    batch = {}
    for name in scenes[0]._fields:
        if name != "layer":
            values = np.stack([getattr(scene, name) for scene in scenes])
            moved = np.moveaxis(values, -1, 2) if values.ndim == 5 else values
            batch[name] = torch.from_numpy(np.ascontiguousarray(moved))
    return batch


def held_out_scenes(source: FlowScenes | StereoScenes, count: int) -> Batch:
    """The same scenes each time, of pictures that are not trained on."""
    unseen = replace(source, held_out=True)
    return as_batch([unseen.scene(HELD_OUT_SEED + index) for index in range(count)])  # type: ignore[arg-type]
