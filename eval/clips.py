"""Clips with exact geometry: a face that talks and turns before a camera of the evaluation's own.

`GeneratedClips` shows unseen people of the model's prior, in correspondence with the predictions; `ScanClip` shows the
Lee Perry-Smith scan, whose shape no model made. Light, skin, backdrop and camera are not the training generator's.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from eval.alignment import align_points
from eval.clip_camera import Camera
from eval.clip_motion import Motion, blended, clip_times, eased, random_motion, sway
from eval.clip_scores import error_of_scan, errors_of_meshes
from eval.florence_metrics import FaceMesh
from eval.now_region import LANDMARKS, face_region
from eval.protocol import Prediction
from eval.scan import HeadScan
from eval.scene import Light, Textured, View, backdrop, draw, turned_view
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel

SIZE_PX = 320
SCAN_YAW_DEG = 50.0
_KEYS = 4  # expressions that a clip goes through
_EXPRESSION_STRENGTH = 0.5  # of the prior's, as in eval.people
_SKIN = (0.78, 0.61, 0.53)
_WAVES = 24
_LAMP_TURN_DEG = 20.0


class Truth(NamedTuple):
    """Exact geometry of a clip of T frames; `vertices_mm` (with expression) is None where the shape never changes."""

    neutral: FaceMesh
    vertices_mm: Float[np.ndarray, "T V 3"] | None
    landmarks_px: Float[np.ndarray, "T 68 3"]
    euler_deg: Float[np.ndarray, "T 3"]


class Clip(NamedTuple):
    """Frames of one face with the tight boxes of its 68 landmarks."""

    name: str
    images: list[UInt8[np.ndarray, "H W 3"]]
    boxes_px: Float[np.ndarray, "T 4"]
    truth: Truth


class Clips(Protocol):
    """A benchmark of clips, each drawn when it is asked for."""

    name: str
    count: int

    def clip(self, index: int) -> Clip:
        """One clip, always the same."""
        ...

    def score(self, clip: Clip, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Errors of the meshes by name. ValueError for predictions without what they are measured by."""
        ...


class GeneratedClips:
    """`people` clips, one a person; a clip is the same for the same seed, model and frames, however many there are."""

    name = "clips: generated people"

    def __init__(self, model: MorphableModel, people: int = 100, frames: int = 8, seed: int = 31_007) -> None:
        self.model, self.count, self.seed = deepcopy(model).to("cpu"), people, seed
        self.times = clip_times(frames)
        self.mean_mm = self.model.mean.numpy()
        landmarks = self.model.landmarks_of(self.model.mean[None])[0].numpy()
        self.face = face_region(landmarks[list(LANDMARKS)]).inside(self.mean_mm)
        self.triangles: Int[np.ndarray, "F 3"] = self.model.triangles.numpy()

    def clip(self, index: int) -> Clip:
        """The clip of one person."""
        rng = np.random.default_rng([self.seed, index])
        identity = self.model.sample(int(rng.integers(2**31)), 1).identity
        keys = _EXPRESSION_STRENGTH * self.model.sample(int(rng.integers(2**31)), _KEYS).expression
        expression = torch.from_numpy(blended(keys.numpy(), self.times).astype(np.float32))
        identities = identity.expand(len(self.times), -1)
        vertices_mm = self.model.vertices(identities, expression).numpy()
        landmarks_mm = self.model.landmarks(identities, expression).numpy()
        motion = random_motion(self.times, (0.0034 * SIZE_PX, 0.0041 * SIZE_PX), rng)
        neutral_mm = self.model.vertices(identity)[0].numpy().astype(np.float64)
        views = _views(motion, neutral_mm.mean(0))
        colours = self._colours(rng)
        placed = [view.project(mesh) for view, mesh in zip(views, vertices_mm, strict=True)]
        landmarks_px = np.stack([view.project(points) for view, points in zip(views, landmarks_mm, strict=True)])
        images = _pictures(placed, self.triangles, colours, landmarks_px, rng)
        neutral = FaceMesh(neutral_mm, self.triangles, self.model.landmarks(identity)[0].numpy().astype(np.float64))
        truth = Truth(neutral, vertices_mm, landmarks_px, motion.euler_deg)
        return Clip(f"person {index:03d}", images, landmark_box_px(landmarks_px), truth)

    def score(self, clip: Clip, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Per-vertex errors with expression, neutral and pooled, and the pooled face's point-to-plane distance."""
        assert clip.truth.vertices_mm is not None
        return errors_of_meshes(predictions, clip.truth.neutral, clip.truth.vertices_mm, self.face)

    def _colours(self, rng: np.random.Generator) -> Float[np.ndarray, "V 3"]:
        """Skin of the model's albedo prior, in [0, 1], with marks that the model has none of."""
        albedo = np.tile(_SKIN, (self.model.vertex_count, 1))
        if self.model.albedo_mean is not None:
            drawn = torch.from_numpy(rng.normal(0.0, 0.8, (1, self.model.albedo_count)).astype(np.float32))
            albedo = self.model.albedo(drawn)[0].numpy().astype(np.float64)
        return np.clip(albedo * skin_marks(self.mean_mm, rng), 0, 1)


class ScanClip:
    """The Lee Perry-Smith scan turning from yaw -50 to 50 degrees. FileNotFoundError names a missing file.

    The 68 landmarks are those of the model's mean, put on the scan by the seven: they give the boxes, and their jitter.
    """

    name = "clips: Lee Perry-Smith scan"
    count = 1

    def __init__(self, folder: Path, model: MorphableModel, frames: int = 8, seed: int = 31_007) -> None:
        self.scan, self.seed, self.times = HeadScan(folder), seed, clip_times(frames)
        mean = model.landmarks_of(model.mean[None])[0].cpu().numpy().astype(np.float64)
        self.landmarks_mm = align_points(mean[list(LANDMARKS)], self.scan.landmarks_mm).apply(mean)

    def clip(self, index: int = 0) -> Clip:
        """The one clip."""
        rng = np.random.default_rng([self.seed, index])
        yaw = SCAN_YAW_DEG * (2 * eased(self.times) - 1)
        euler_deg = np.stack([sway(self.times, 10.0, rng), yaw, sway(self.times, 6.0, rng)], 1)
        offset = np.stack([sway(self.times, 5.0, rng) for _ in range(2)], 1)
        motion = Motion(euler_deg, 0.0031 * SIZE_PX * np.exp(0.08 * (2 * self.times - 1)), offset)
        views = _views(motion, self.scan.region.centre)
        placed = [view.project(self.scan.vertices_mm) for view in views]
        landmarks_px = np.stack([view.project(self.landmarks_mm) for view in views])
        images = _pictures(placed, self.scan.triangles, self.scan.texture, landmarks_px, rng)
        neutral = FaceMesh(self.scan.vertices_mm, self.scan.seen_triangles, self.landmarks_mm)
        truth = Truth(neutral, None, landmarks_px, euler_deg)
        return Clip("Lee Perry-Smith", images, landmark_box_px(landmarks_px), truth)

    def score(self, clip: Clip, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Scan-to-mesh distances of single frames and of the pooled face, and its point-to-plane distance."""
        return error_of_scan(predictions, self.scan, clip.truth.neutral)


def skin_marks(points_mm: Float[np.ndarray, "V 3"], rng: np.random.Generator) -> Float[np.ndarray, "V 3"]:
    """Factors of the colour about 1: blotches of 8 to 80 mm, redder where they are darker."""
    direction = rng.standard_normal((_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length_mm = np.exp(rng.uniform(np.log(8.0), np.log(80.0), _WAVES))
    phase = points_mm @ (2 * np.pi * direction / length_mm[:, None]).T + rng.uniform(0, 2 * np.pi, _WAVES)
    blotches = np.cos(phase).sum(1) * np.sqrt(2.0 / _WAVES)  # of variance 1
    return np.exp(rng.uniform(0.02, 0.06) * blotches[:, None] * np.array([0.5, 1.0, 0.9]))


def _views(motion: Motion, centre_mm: Float[np.ndarray, " 3"]) -> list[View]:
    """Cameras that see the head turn about `centre_mm`."""
    views = []
    for euler_deg, scale, offset_px in zip(*motion, strict=True):
        view = turned_view(tuple(euler_deg.tolist()), centre_mm, float(scale), SIZE_PX)
        views.append(view._replace(translation_px=view.translation_px + offset_px))
    return views


def _pictures(
    placed: list[Float[np.ndarray, "V 3"]],
    triangles: Int[np.ndarray, "F 3"],
    colours: Float[np.ndarray, "V 3"] | Textured,
    landmarks_px: Float[np.ndarray, "T 68 3"],
    rng: np.random.Generator,
) -> list[UInt8[np.ndarray, "S S 3"]]:
    """The meshes before one backdrop, under one light whose lamp moves slowly, taken by one camera."""
    background = backdrop(int(rng.integers(2**31)), SIZE_PX)
    camera, lights = Camera.random(rng), _lights(clip_times(len(placed)), rng)
    motion_px = np.gradient(landmarks_px[..., :2].mean(1), axis=0)
    noise = int(rng.integers(2**31))
    images = []
    for frame, (points, light) in enumerate(zip(placed, lights, strict=True)):
        scene = draw(points, triangles, colours, background, light)
        images.append(camera.take(scene, motion_px[frame], np.random.default_rng([noise, frame])))
    return images


def _lights(times: Float[np.ndarray, " T"], rng: np.random.Generator) -> list[Light]:
    """One light; its lamp moves by at most 20 degrees around the upright axis."""
    ambient, sky, lamp = rng.uniform(0.25, 0.45), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.6)
    azimuth = rng.uniform(-75, 75) + rng.uniform(-0.5, 0.5) * _LAMP_TURN_DEG * (2 * times - 1)
    height = rng.uniform(-0.1, 0.9)
    return [
        Light(ambient, sky, lamp, (float(np.sin(angle)), -height, -float(np.cos(angle))))
        for angle in np.radians(azimuth)
    ]
