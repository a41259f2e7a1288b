"""How the layers of a scene move: affine, perspective and non-rigid, smooth in time, each layer on its own."""

from typing import NamedTuple

import cv2
import numpy as np

from train.layer_warp import LATTICE, MAX_SLOPE

FASTEST_PX = 40.0  # per frame, of a layer's middle, in a picture of REFERENCE_PX
REFERENCE_PX = 256.0
STILL_CAMERA, STILL_LAYER, RIGID = 0.2, 0.25, 0.4  # shares


class Motions(NamedTuple):
    """Motions of N layers over time in frames, which is 0 in the middle of the scene; rates are per frame.

    The layer point `anchor` (N,2) lies at `centre` (N,2) px at time 0 and has `velocity`, `acceleration` (N,2) px;
    `turn` (N,3) rad and `zoom` (N,3) logarithm: value, rate, acceleration; `shear` (N,2): value, rate;
    `tilt` (N,2,2) 1/px: value and rate of the perspective's (x, y); `bend` (N,2,L,L,2) layer px: two displacement
    lattices that alternate at `rhythm` (N,2): phase, rate in rad; `camera` (2,): rates of turn and zoom of the whole
    about `middle` (2,) px."""

    anchor: np.ndarray
    centre: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    turn: np.ndarray
    zoom: np.ndarray
    shear: np.ndarray
    tilt: np.ndarray
    bend: np.ndarray
    rhythm: np.ndarray
    camera: np.ndarray
    middle: np.ndarray

    def homographies(self, time: float) -> np.ndarray:
        """Layer px -> picture px (N,3,3)."""
        powers = np.array([1.0, time, time * time / 2])
        local = np.zeros((len(self.anchor), 3, 3))
        local[:, :2, :2] = _turned_and_zoomed(self.turn @ powers, self.zoom @ powers)
        shear = np.tile(np.eye(2), (len(self.anchor), 1, 1))
        shear[:, 0, 1] = self.shear @ powers[:2]
        local[:, :2, :2] = local[:, :2, :2] @ shear
        local[:, 2, :2] = self.tilt[:, 0] + time * self.tilt[:, 1]
        local[:, 2, 2] = 1
        where = self.centre + time * self.velocity + time * time / 2 * self.acceleration
        camera = np.eye(3)
        camera[:2, :2] = _turned_and_zoomed(time * self.camera[:1], time * self.camera[1:])[0]
        camera = _shift(self.middle)[0] @ camera @ _shift(-self.middle)[0]
        return camera @ _shift(where) @ local @ _shift(-self.anchor)

    def bends(self, time: float) -> np.ndarray:
        """Displacements (N,L,L,2) in layer px."""
        angle = (self.rhythm[:, 0] + time * self.rhythm[:, 1])[:, None, None, None]
        return self.bend[:, 0] * np.cos(angle) + self.bend[:, 1] * np.sin(angle)


def _turned_and_zoomed(turn: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """Matrices (N,2,2) of angles (N,) and logarithms of scales (N,)."""
    c, s = np.cos(turn), np.sin(turn)
    return np.exp(zoom)[:, None, None] * np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)


def _shift(by: np.ndarray) -> np.ndarray:
    """Homographies (N,3,3) that move by (N,2) or (2,)."""
    by = np.atleast_2d(by)
    matrix = np.tile(np.eye(3), (len(by), 1, 1))
    matrix[:, :2, 2] = by
    return matrix


def random_velocity(rng: np.random.Generator, count: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Velocities (count,2) px per frame with a heavy tail: half below 2.7 px, one in ten above 10, at most 40 (of a
    picture of 256 px)."""
    speed = np.minimum(np.exp(rng.normal(1.0, 1.0, count)), FASTEST_PX) * min(size_hw) / REFERENCE_PX
    angle = rng.uniform(0, 2 * np.pi, count)
    return speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def random_motions(rng: np.random.Generator, layers_hw: np.ndarray, size_hw: tuple[int, int]) -> Motions:
    """Motions of layers of these sizes (N,2), nearest first, in pictures of a size; the last one is the background."""
    count = len(layers_hw)
    extent = np.asarray(layers_hw, float).max(1)
    picture = np.array(size_hw[::-1], float)
    camera_px = random_velocity(rng, 1, size_hw) * (rng.random() > STILL_CAMERA)
    parallax = 1 + np.sort(rng.uniform(0, 0.8, count))[::-1, None]
    parallax[-1] = 1
    own = random_velocity(rng, count, size_hw) * (rng.random((count, 1)) > STILL_LAYER)
    own[-1] = 0
    velocity = parallax * camera_px + own
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    velocity *= np.minimum(1, FASTEST_PX * min(size_hw) / REFERENCE_PX / np.maximum(speed, 1e-9))
    centre = rng.uniform(0.05, 0.95, (count, 2)) * (picture - 1)
    centre[-1] = (picture - 1) / 2
    turn = rng.normal(0, (0.15, 0.025, 0.005), (count, 3))
    turn[-1] *= 0.3
    zoom = rng.normal(0, (0.08, 0.015, 0.003), (count, 3)).clip(-0.2, 0.2)
    tilt = rng.normal(0, 1, (count, 2, 2)) * np.array([0.08, 0.025])[:, None]
    limit = np.array([0.16, 0.05])[:, None]
    return Motions(
        anchor=(np.asarray(layers_hw, float)[:, ::-1] - 1) / 2,
        centre=centre,
        velocity=velocity,
        acceleration=rng.normal(0, 1, (count, 2)) * (0.1 * np.linalg.norm(velocity, axis=1, keepdims=True)),
        turn=turn,
        zoom=zoom,
        shear=rng.normal(0, (0.08, 0.01), (count, 2)),
        tilt=tilt.clip(-limit, limit) / extent[:, None, None],
        bend=np.stack([_random_bends(rng, layer) for layer in layers_hw]),
        rhythm=np.stack([rng.uniform(0, 2 * np.pi, count), rng.normal(0, 0.4, count)], 1),
        camera=rng.normal(0, (0.006, 0.006)),
        middle=(picture - 1) / 2,
    )


def _random_bends(rng: np.random.Generator, layer_hw: np.ndarray) -> np.ndarray:
    """Two smooth displacement lattices (2,L,L,2) px of a layer; of a rigid one, zero."""
    if rng.random() < RIGID:
        return np.zeros((2, LATTICE, LATTICE, 2), np.float32)
    coarse = rng.standard_normal((2, *rng.integers(3, 7, 2), 2), np.float32)
    fields = np.stack([cv2.resize(field, (LATTICE, LATTICE), interpolation=cv2.INTER_CUBIC) for field in coarse])
    fields *= np.float32(min(layer_hw) * np.exp(rng.normal(-4.0, 0.6)))
    cell_y, cell_x = (np.asarray(layer_hw, float) - 1) / (LATTICE - 1)
    along_x = np.abs(np.diff(fields, axis=2)).sum(-1).max() / cell_x
    along_y = np.abs(np.diff(fields, axis=1)).sum(-1).max() / cell_y
    return np.asarray(fields * np.float32(min(1.0, MAX_SLOPE / np.sqrt(2) / max(along_x + along_y, 1e-9))))
