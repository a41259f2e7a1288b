"""One step of learning from several frames of a person: steps and images a second, and the time of each part.

The library's functions in the order in which stage `multi` calls them, without its batches and its optimiser. Pictures
are noise; flow network and parser have random weights; the mesh lies where a face would, turned by a few degrees.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from benchmarks.timing import Timing
from face3d.camera import project
from face3d.checkpoint import asset_path
from face3d.consistency import SwappedPairs, counted_triangles
from face3d.geometry import rotation_from_euler_deg
from face3d.losses import flow_consistency, semantic_consistency
from face3d.losses_flow import census_loss
from face3d.morphable import MorphableModel
from face3d.networks.flow import SMALL, FlowNetwork
from face3d.networks.parser import ParserNetwork
from face3d.reconstruct import FaceNetworks
from face3d.texture_swap import View, look, ordered_pairs, swap_texture
from face3d.types import ScaledOrthography

PEOPLE, FRAMES, SIDE_PX = 8, 2, 224
TINY_SIDE_PX = 64
YAW_DEG = 12.0
CALM = 0.3  # of the coefficients: what is found in noise may be a face that leaves the picture
FACE_SHARE = 0.7  # of the picture's side, from the lowest to the highest landmark


class Watch:
    """Seconds of the parts of each step; on a GPU a part ends when its kernels do."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = self._now()
        yield
        self.seconds[name].append(self._now() - start)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class MultiStep:
    """`people` people in FRAMES frames each, in square pictures."""

    def __init__(self, people: int, side_px: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.people, self.side_px, self.watch = people, side_px, Watch(device)
        morphable = MorphableModel.load(asset_path("face3d_model.npz"))
        self.pose = _pose(morphable, people, side_px, device)
        self.networks = FaceNetworks.read(asset_path("reconstruct.safetensors"), morphable).to(device).eval()
        self.networks.pgn.requires_grad_(False)
        self.flow = FlowNetwork(SMALL).to(device).eval().requires_grad_(False)
        self.parser = ParserNetwork().to(device).eval().requires_grad_(False)
        self.triangles, self.counted = self.networks.model.triangles, counted_triangles(self.networks.model)
        self.frames = torch.rand(people, FRAMES, 3, side_px, side_px, device=device)

    def __call__(self) -> None:
        """One step: losses and gradients of the regressors."""
        part = self.watch.part
        with part("whole step"):
            with part("networks"):
                vertices_px = self._vertices_px()
            with part("rasterise"):
                size_hw = (self.side_px, self.side_px)
                views = [look(vertices_px[:, k], self.triangles, size_hw) for k in range(FRAMES)]
            with part("swap"):
                pairs = self._swapped(views)
            loss = self._losses(pairs).mean()
            with part("backward"):
                loss.backward()
        self.networks.zero_grad()

    def _vertices_px(self) -> Float[Tensor, "B K V 3"]:
        networks = self.networks
        crops = functional.interpolate(self.frames.flatten(0, 1), (networks.crop_size,) * 2, mode="bilinear")
        with torch.no_grad():
            maps, _ = networks.pgn(crops)
            seen = networks.seen(crops, maps, *networks.pgn.landmarks(maps))
        identity, expression = networks.regressor(*seen)
        shared = identity.unflatten(0, (self.people, FRAMES)).mean(1).repeat_interleave(FRAMES, 0)
        vertices_mm = networks.model.vertices(CALM * shared, CALM * expression)
        return project(vertices_mm, self.pose).unflatten(0, (self.people, FRAMES))

    def _swapped(self, views: list[View]) -> SwappedPairs:
        frames, triangles = self.frames, self.triangles
        found = [
            (
                frames[:, i],
                *swap_texture(frames[:, j], views[i], views[j], triangles, self.counted),
                views[i].fragments.depth,
            )
            for i, j in ordered_pairs(FRAMES)
        ]
        return SwappedPairs(*(torch.cat(values) for values in zip(*found, strict=True)))

    def _losses(self, pairs: SwappedPairs) -> Float[Tensor, " N"]:
        shown = torch.where(pairs.mask[:, None], pairs.swapped, pairs.frame)
        with self.watch.part("census"):
            census = census_loss(pairs.frame, pairs.swapped, pairs.mask)
        with self.watch.part("flow"):
            flow_px = self.flow(torch.stack([pairs.frame, shown], 1)).forward_px
            motion = flow_consistency(flow_px, pairs.mask)
        with self.watch.part("parser"):
            with torch.no_grad():
                target = self.parser.probabilities(pairs.frame)
            semantic = semantic_consistency(self.parser.probabilities(shown), target, pairs.mask)
        return census + 0.1 * motion + semantic


def _pose(model: MorphableModel, people: int, side_px: int, device: torch.device) -> ScaledOrthography:
    """Faces in the middle of the picture, turned to one side and the other."""
    landmarks_mm = model.landmarks_of(model.mean[None])[0]
    height_mm = float(np.ptp(landmarks_mm[:, 1].numpy()))
    yaws_deg = torch.linspace(-YAW_DEG, YAW_DEG, FRAMES).repeat(people)
    angles_deg = torch.stack([torch.zeros_like(yaws_deg), yaws_deg, torch.zeros_like(yaws_deg)], 1)
    rotation = rotation_from_euler_deg(angles_deg)
    scale = torch.full((len(rotation),), FACE_SHARE * side_px / height_mm)
    middle = landmarks_mm.mean(0).expand(len(rotation), -1)
    centre = scale[:, None] * (rotation @ middle[..., None])[:, :2, 0]
    pose = ScaledOrthography(rotation, scale, (side_px - 1) / 2 - centre)
    return ScaledOrthography(*(values.to(device) for values in pose))


def run(quick: bool = False) -> list[Timing]:
    """PEOPLE people on each device that is there; `quick`: one person, in small pictures, on the CPU."""
    if quick:
        return _timings(1, TINY_SIDE_PX, torch.device("cpu"), steps=1)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    return [row for device in devices for row in _timings(PEOPLE, SIDE_PX, device, 3 if device.type == "cpu" else 20)]


def _timings(people: int, side_px: int, device: torch.device, steps: int) -> list[Timing]:
    """Medians over steps, after one to warm up."""
    step = MultiStep(people, side_px, device)
    step()
    step.watch.seconds.clear()
    for _ in range(steps):
        step()
    seconds = step.watch.seconds
    whole = float(np.median(seconds["whole step"]))
    speed = f"{1 / whole:.2f} steps/s, {people * FRAMES / whole:.1f} images/s"
    names = {name: f"  {name}" for name in seconds}
    names["whole step"] = f"{device.type}, {people} people x {FRAMES} frames, {side_px} px: {speed}"
    order = sorted(seconds, key=lambda name: name != "whole step")
    rows = {name: (1e3 * float(np.median(seconds[name])), 1e3 * min(seconds[name])) for name in order}
    return [Timing(names[name], *times, len(seconds[name])) for name, times in rows.items()]
