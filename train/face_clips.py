"""Clips of a talking, turning face with exact optical flow: the same surface point, one frame later.

The face is the morphable model's, its skin drawn (as in `train.synthetic`, with a grain that sticks to the skin) or
taken from a fitted photo (as in `train.views`); behind it moves a background of `train.flow_scenes`. A point is hidden
where the z-buffer of the other frame sees something nearer, where its surface has turned away, or outside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numba
import numpy as np

from face3d.morphable_file import MorphableArrays
from face3d.rasterise_numba import NumpyFragments, interpolate_numpy, rasterise_numpy
from train.flow_scenes import HELD_OUT_SEED, Scene, SceneConfig, as_batch, develop, draw_layers, patches_of
from train.flow_textures import Patches
from train.hair import hair_cover
from train.layer_motion import random_velocity
from train.layer_warp import draw
from train.photos import Photos, load_photos
from train.profiling import (
    RINGS,
    Pose,
    apparent_yaw_deg,
    border_loop,
    landmarks_of,
    project,
    ring_triangles,
    turn,
    vertices_of,
    view_of,
    with_rings,
)
from train.synthetic import FRONTAL, Generator, random_colours, shading, vertex_normals
from train.task import Batch
from train.view_batches import HELD_OUT
from train.views import Turner, other_identity

BEHIND = SceneConfig(layers=(0, 2), blur=0.0)
GRAIN_PX = 512  # side of the grain's texture; the UV square of the face takes half of it
DEPTH_TOLERANCE_PX = 1.0  # two surfaces closer than this are one


@dataclass(frozen=True)
class HeadMotion:
    """How a head turns from frame to frame, and whose it is; the defaults are videos', for flow between neighbours."""

    rates_deg: tuple[float, float, float] = (2.0, 1.2, 1.2)  # deviations of yaw, pitch, roll a frame
    pace: float = 0.7  # deviation of the logarithm by which some clips are faster
    bend: float = 0.2  # by how much of the rates they change each frame
    most_yaw_deg: float = 180.0
    other_face: bool = False  # a photo's skin comes on another head than the fitted one


class FaceClip(NamedTuple):
    """A scene whose layer 0 is the face (with hair and collar), and the 68 landmarks (T,68,2) px in its frames."""

    scene: Scene
    landmarks_px: np.ndarray


class Skin(NamedTuple):
    """What the mesh looks like: a texture (h,w,3) float32 or uint8 read at `at_px` (V,2) of the vertices. Of a drawn
    face, it is a grain by which colours (V,3) vary with a strength (V,1); of a photo, the colours themselves."""

    texture: np.ndarray
    at_px: np.ndarray
    colours: np.ndarray | None = None
    strength: np.ndarray | None = None
    light_seed: int = 0


@cache
def _grain() -> np.ndarray:
    """Noise of several sizes about 0 (GRAIN_PX, GRAIN_PX, 3) float32 that repeats at its borders."""
    rng, total = np.random.default_rng(0), np.zeros((GRAIN_PX, GRAIN_PX, 3), np.float32)
    for sigma, weight in ((0.8, 1.0), (2.0, 0.9), (5.0, 0.8), (14.0, 0.7)):
        white = rng.standard_normal((GRAIN_PX, GRAIN_PX, 1), np.float32) + 0.3 * rng.standard_normal(
            (GRAIN_PX, GRAIN_PX, 3), np.float32
        )
        pad = 64
        smooth = cv2.GaussianBlur(np.pad(white, ((pad, pad), (pad, pad), (0, 0)), "wrap"), (0, 0), sigma)
        total += weight * smooth[pad:-pad, pad:-pad] / smooth.std()
    return np.asarray(total / total.std())


class ClipDrawer:
    """Draws clips of one morphable model; with photos (an opened folder of `train.prepare photos`), of their people."""

    def __init__(
        self,
        model: MorphableArrays,
        photos: Photos | None,
        patches: Patches,
        held_out: bool = False,
        motion: HeadMotion = HeadMotion(),
    ) -> None:
        if model.grid is None or model.uv is None or model.albedo_mean is None:
            raise ValueError("the morphable model needs an albedo, UV and a UV grid: `python -m bfm build`")
        self.model, self.patches, self.motion = model, patches, motion
        self.loop = border_loop(model.grid)
        rings = ring_triangles(self.loop, len(model.mean), len(RINGS))
        self.triangles = np.concatenate([model.triangles, rings]).astype(np.int32)
        border = model.uv[self.loop] - 0.5
        uv = np.concatenate([model.uv, *(0.5 + border * (1 + 0.25 * (at + 1)) for at in range(len(RINGS)))])
        self.grain_px = (0.5 * GRAIN_PX * (uv + 0.5)).astype(np.float32)
        self.turner = Turner(model, photos) if photos else None
        self.generator = Generator(model, photos) if photos else None
        person = np.unique(photos.persons, return_inverse=True)[1] if photos else np.zeros(0, int)
        self.rows = np.flatnonzero((person % HELD_OUT == 0) == held_out)

    def draw(
        self, rng: np.random.Generator, frames: int, size: int, config: SceneConfig, photo_share: float = 0.5
    ) -> FaceClip:
        """A clip of at least two frames (size,size)."""
        if frames < 2:
            raise ValueError(f"{frames} frames have no flow between them: ask for at least 2")
        from_photo = self.turner is not None and bool(len(self.rows)) and rng.random() < photo_share
        identity, ends, yaw, skin = self._photographed(rng) if from_photo else self._drawn(rng)
        first, last = (vertices_of(self.model, identity, end) for end in ends)
        share = np.cumsum(rng.uniform(0.4, 1.6, frames - 1))
        share = np.concatenate([[0.0], share / share[-1] * rng.uniform(0.2, 1.0)])
        shapes = [first + part * (last - first) for part in share]
        poses = self._poses(rng, shapes, yaw, size)
        posed = [project(shape, pose) for shape, pose in zip(shapes, poses, strict=True)]
        placed = [with_rings(p, self.loop, pose.scale).astype(np.float32) for p, pose in zip(posed, poses, strict=True)]
        triangles = self.triangles[: len(self.triangles) if rng.random() < 0.85 else len(self.model.triangles)]
        landmarks = np.stack([landmarks_of(self.model, points)[:, :2] for points in posed])
        return FaceClip(self._scene(rng, placed, triangles, skin, size, config), landmarks)

    def _drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], float, Skin]:
        """Identity, two expressions, yaw in degrees and skin of somebody who does not exist."""
        identity = rng.standard_normal(len(self.model.identity_basis)).clip(-2.8, 2.8).astype(np.float32)
        if self.generator:
            ends = [self.generator.coefficients(rng)[1] for _ in range(2)]
        else:
            ends = [self._expression(rng) for _ in range(2)]
        colours = random_colours(self.model, self.loop, hair_cover(self.model.mean, rng), rng).astype(np.float32)
        strength = np.full((len(colours), 1), rng.uniform(0.02, 0.08), np.float32)
        strength[len(self.model.mean) :] = rng.uniform(0.1, 0.3)
        skin = Skin(_grain(), self.grain_px, colours, strength, int(rng.integers(2**31)))
        return identity, ends, float(np.clip(rng.normal(0, 25), -75, 75)), skin

    def _expression(self, rng: np.random.Generator) -> np.ndarray:
        """Coefficients (E,) of the model's prior."""
        drawn = rng.normal(0, 0.8, len(self.model.expression_std)) * self.model.expression_std
        low = 0.0 if self.model.meta.expression_kind == "blendshape" else -np.inf
        return drawn.clip(low, 1.2 if low == 0.0 else np.inf).astype(np.float32)

    def _photographed(self, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], float, Skin]:
        """The same of a photo: its own expression, then another one."""
        assert self.turner is not None and self.generator is not None
        photo = self.turner.photo(int(rng.choice(self.rows)), rng)
        fitted = vertices_of(self.model, photo.identity, photo.expression)
        source = with_rings(project(fitted, photo.pose), self.loop, photo.pose.scale)[:, :2].astype(np.float32)
        change = rng.uniform(0.3, 0.8) * (self.generator.coefficients(rng)[1] - photo.expression)
        yaw = apparent_yaw_deg(photo.pose.rotation) + rng.normal(0, 10)
        ends = [photo.expression, (photo.expression + change).astype(np.float32)]
        identity = other_identity(photo.identity, rng) if self.motion.other_face else photo.identity
        return identity, ends, float(yaw), Skin(photo.image, source)

    def _poses(self, rng: np.random.Generator, shapes: Sequence[np.ndarray], yaw: float, size: int) -> list[Pose]:
        """Smooth motion: turning about the three axes, moving, coming nearer; mostly slow, at times fast."""
        landmarks = landmarks_of(self.model, shapes[len(shapes) // 2])
        pitch, roll = rng.normal(0, 10), rng.normal(0, 8)
        base = view_of(landmarks, turn(FRONTAL, yaw, pitch), size)
        motion = self.motion
        scale, pace = base.scale * float(np.exp(rng.normal(0, 0.15))), float(np.exp(rng.normal(0, motion.pace)))
        rates = rng.normal(0, motion.rates_deg) * pace
        bends = motion.bend * rng.normal(0, motion.rates_deg) * pace
        velocity = 0.5 * random_velocity(rng, 1, (size, size))[0]
        closer, offset = rng.normal(0, 0.008), rng.normal(0, 0.05, 2) * size
        poses = []
        for time in np.arange(len(shapes)) - (len(shapes) - 1) / 2:
            angles = np.array([yaw, pitch, roll]) + time * rates + time * time / 2 * bends
            c, s = np.cos(np.radians(angles[2])), np.sin(np.radians(angles[2]))
            turned = turn(FRONTAL, np.clip(angles[0], -motion.most_yaw_deg, motion.most_yaw_deg), angles[1])
            rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turned
            where = base.translation_px + offset + time * velocity
            poses.append(Pose(rotation, scale * float(np.exp(time * closer)), where))
        return poses

    def _scene(
        self,
        rng: np.random.Generator,
        placed: list[np.ndarray],
        triangles: np.ndarray,
        skin: Skin,
        size: int,
        config: SceneConfig,
    ) -> Scene:
        """Draw the placed meshes over a moving background."""
        layers = draw_layers(rng, self.patches, (size, size), config)
        placements = [layers.placement(time) for time in np.arange(len(placed)) - (len(placed) - 1) / 2]
        behind = [draw(layers.stack, placement, (size, size)) for placement in placements]
        fragments = [rasterise_numpy(points, triangles, (size, size)) for points in placed]

        def flow(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
            still, hidden = layers.flow(behind[i], behind[j], placements[j])
            _behind_face(fragments[i].triangle, fragments[j].triangle, still, hidden)
            there = interpolate_numpy(placed[j], triangles, fragments[i])
            _face_flow(triangles, (placed[i], placed[j]), (fragments[i], fragments[j]), there, still, hidden)
            return still, hidden

        forward = [flow(i, i + 1) for i in range(len(placed) - 1)]
        backward = [flow(i + 1, i) for i in range(len(placed) - 1)]
        colours = [
            _over(shown(skin, points, triangles, seen), seen, back.colour)
            for points, seen, back in zip(placed, fragments, behind, strict=True)
        ]
        layer = [np.where(f.triangle >= 0, 0, b.layer + 1) for f, b in zip(fragments, behind, strict=True)]
        return Scene(
            develop(rng, colours, config),
            np.stack([f for f, _ in forward]),
            np.stack([f for f, _ in backward]),
            np.stack([hidden for _, hidden in forward]),
            np.stack([hidden for _, hidden in backward]),
            np.stack(layer).astype(np.int8),
        )


def shown(skin: Skin, points: np.ndarray, triangles: np.ndarray, fragments: NumpyFragments) -> np.ndarray:
    """Colours (H,W,3) float32 in 0..255 of a placed mesh; anything where there is no face."""
    if skin.colours is None or skin.strength is None:
        at = interpolate_numpy(skin.at_px, triangles, fragments)
        seen = cv2.remap(skin.texture, at, np.zeros(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return seen.astype(np.float32)
    light = shading(vertex_normals(points, triangles), np.random.default_rng(skin.light_seed))
    attributes = np.concatenate([255 * skin.colours * light, skin.at_px, skin.strength], 1).astype(np.float32)
    values = interpolate_numpy(attributes, triangles, fragments)
    at = np.ascontiguousarray(values[..., 3:5])
    grain = cv2.remap(skin.texture, at, np.zeros(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(values[..., :3] * (1 + values[..., 5:] * grain))


def _over(face: np.ndarray, fragments: NumpyFragments, background: np.ndarray) -> np.ndarray:
    """The face over the background, with an edge that is soft on its own side."""
    covered = (fragments.triangle >= 0).astype(np.float32)
    part = (covered * cv2.GaussianBlur(covered, (0, 0), 0.6))[..., None]
    return np.asarray(background + part * (face - background))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _behind_face(here: Any, there: Any, flow: Any, hidden: Any) -> None:
    """Marks what the background loses to the face: `here`, `there` (H,W) are -1 where no face is."""
    height, width = here.shape
    for y in range(height):
        for x in range(width):
            if here[y, x] < 0 and not hidden[y, x]:
                to_x = min(max(int(round(x + flow[y, x, 0])), 0), width - 1)
                to_y = min(max(int(round(y + flow[y, x, 1])), 0), height - 1)
                hidden[y, x] = there[to_y, to_x] >= 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _plane_depth(points: Any, triangles: Any, face: int, x: float, y: float) -> tuple[float, float]:
    """Depth of a face's plane at (x, y), and twice its signed area (0: edge-on, no depth)."""
    a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
    x0, y0, z0 = float(points[a, 0]), float(points[a, 1]), float(points[a, 2])
    x1, y1, z1 = points[b, 0] - x0, points[b, 1] - y0, points[b, 2] - z0
    x2, y2, z2 = points[c, 0] - x0, points[c, 1] - y0, points[c, 2] - z0
    area = x1 * y2 - x2 * y1
    if area == 0.0:
        return np.inf, 0.0
    along_b = ((x - x0) * y2 - x2 * (y - y0)) / area
    along_c = (x1 * (y - y0) - (x - x0) * y1) / area
    return z0 + along_b * z1 + along_c * z2, area


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _face_flow(triangles: Any, points: Any, fragments: Any, there: Any, flow: Any, hidden: Any) -> None:
    """Fills in flow and occlusion where the face is; `there` (H,W,3) says where its points lie in the other frame."""
    here, seen = fragments[0].triangle, fragments[1].triangle
    height, width = here.shape
    for y in range(height):
        for x in range(width):
            face = here[y, x]
            if face < 0:
                continue
            to_x, to_y, depth = float(there[y, x, 0]), float(there[y, x, 1]), there[y, x, 2]
            flow[y, x, 0], flow[y, x, 1] = to_x - x, to_y - y
            hidden[y, x] = not (0.0 <= to_x <= width - 1.0 and 0.0 <= to_y <= height - 1.0)
            if hidden[y, x]:
                continue
            area_here = _plane_depth(points[0], triangles, face, to_x, to_y)[1]
            area_there = _plane_depth(points[1], triangles, face, to_x, to_y)[1]
            if (area_here > 0) != (area_there > 0):
                hidden[y, x] = True  # its surface has turned away
                continue
            i, j = int(to_x), int(to_y)
            i1, j1 = min(i + 1, width - 1), min(j + 1, height - 1)
            if seen[j, i] == face or seen[j, i1] == face or seen[j1, i] == face or seen[j1, i1] == face:
                continue
            other = seen[int(round(to_y)), int(round(to_x))]
            if other >= 0:
                in_front = _plane_depth(points[1], triangles, other, to_x, to_y)[0]
                hidden[y, x] = in_front < depth - DEPTH_TOLERANCE_PX


@cache
def _drawer(
    model: Path,
    photos_dir: Path | None,
    folders: tuple[Path, ...],
    with_skimage: bool,
    held_out: bool,
    motion: HeadMotion,
) -> ClipDrawer:
    """A drawer, made once a process."""
    photos = load_photos(photos_dir) if photos_dir else None
    patches = patches_of(folders, with_skimage, held_out)
    return ClipDrawer(MorphableArrays.load(model), photos, patches, held_out, motion)


@dataclass(frozen=True)
class FaceClips:
    """Seed -> endless batches of clips, tensors as in `FlowScenes`: what it says of `folders` and `held_out` holds here
    for the backgrounds; `held_out` also parts the people of the photos."""

    model: Path
    size: int
    frames: int
    batch_size: int
    photos_dir: Path | None = None
    photo_share: float = 0.5
    folders: tuple[Path, ...] = ()
    with_skimage: bool = True
    config: SceneConfig = BEHIND
    held_out: bool = False
    motion: HeadMotion = HeadMotion()

    def clip(self, seed: int) -> FaceClip:
        """The clip of a seed, always the same."""
        return self._draw(np.random.default_rng(seed))

    def _draw(self, rng: np.random.Generator) -> FaceClip:
        drawer = _drawer(self.model, self.photos_dir, self.folders, self.with_skimage, self.held_out, self.motion)
        return drawer.draw(rng, self.frames, self.size, self.config, self.photo_share)

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        rng = np.random.default_rng(seed)
        while True:
            yield as_batch([self._draw(rng).scene for _ in range(self.batch_size)])


def held_out_clips(source: FaceClips, count: int) -> Batch:
    """The same clips each time, of people and backgrounds that are not trained on."""
    unseen = replace(source, held_out=True)
    return as_batch([unseen.clip(HELD_OUT_SEED + index).scene for index in range(count)])
