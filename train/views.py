"""`python -m train.prepare turned`: a folder of ready pictures, each with the coefficients and the pose that made it.

Drawing a face costs more than training on it, so pictures are drawn once and used many times; what changes between uses
(crop, roll, flip, light, blur, noise, occluders) is added by `train.augment`. A folder holds `images.npy`
(N,S,S,3) uint8 and `labels.npz`: identity, expression, rotation, scale, translation_px, person.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from face3d.morphable_file import MorphableArrays
from train.folders import load_folder
from train.photos import Photos, load_photos
from train.profiling import (
    RINGS,
    Pose,
    apparent_yaw_deg,
    border_loop,
    project,
    render_turned,
    ring_triangles,
    to_model_mm,
    turn,
    view_of,
    with_rings,
)

SIZE = 160
log = logging.getLogger(__name__)


class Views(NamedTuple):
    """Pictures (memory map) and what made them; `person` (N,) numbers the people.

    `flat` (N,) is true where only the 68 landmarks in the picture are known, not depth and surface: pseudo-labels in
    2D, whose coefficients merely carry the points."""

    images: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    translation_px: np.ndarray
    person: np.ndarray
    flat: np.ndarray


def load_views(folder: Path) -> Views:
    """Open a folder of views."""
    fields = load_folder(folder, "labels.npz", "turned")
    return Views(**{"flat": np.zeros(len(fields["person"]), bool), **fields})


def save_views(folder: Path, images: np.ndarray, labels: dict[str, np.ndarray]) -> None:
    """Write a folder of views, labels last: a folder without them is not whole."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    np.savez(folder / "labels.npz", allow_pickle=False, **labels)


class Turner:
    """Draws turned views of fitted photos."""

    def __init__(self, model: MorphableArrays, photos: Photos) -> None:
        if model.grid is None:
            raise ValueError("the morphable model has no UV grid; build the embedded model with `python -m bfm build`")
        self.model, self.photos = model, photos
        self.loop = border_loop(model.grid)
        rings = ring_triangles(self.loop, len(model.mean), len(RINGS))
        self.triangles = np.concatenate([model.triangles, rings]).astype(np.int32)

    def vertices_mm(self, row: int) -> np.ndarray:
        """The fitted mesh of a photo."""
        identity = np.tensordot(self.photos.identity[row], self.model.identity_basis, 1)
        return self.model.mean + identity + np.tensordot(self.photos.expression[row], self.model.expression_basis, 1)

    def landmarks_mm(self, vertices_mm: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68,3) of a mesh."""
        corners = vertices_mm[self.model.triangles[self.model.landmark_triangles]]
        return (corners * self.model.landmark_barycentric[..., None]).sum(1)

    def draw(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, Pose]:
        """One view: a third near the photo's own pose, the others turned up to 95 degrees, to the side that is seen."""
        photo = np.asarray(self.photos.images[row])
        own = Pose(self.photos.rotation[row], float(self.photos.scale[row]), self.photos.translation_px[row])
        vertices_mm = self.vertices_mm(row)
        yaw = apparent_yaw_deg(own.rotation)
        if rng.random() < 0.33:
            rotation = turn(own.rotation, yaw + rng.normal(0, 6), rng.normal(0, 4))
        else:
            side = np.sign(yaw) if rng.random() < min(1.0, abs(yaw) / 15) else rng.choice([-1.0, 1.0])
            rotation = turn(own.rotation, float(side * rng.uniform(0, 95)), rng.normal(0, 9))
        pose = view_of(self.landmarks_mm(vertices_mm), rotation, SIZE)
        ringed = with_rings(project(vertices_mm, own), self.loop, own.scale)
        shape_mm = to_model_mm(ringed, own)
        return render_turned(photo, shape_mm, self.triangles, (own, pose), self._background(rng)), pose

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        other = np.asarray(self.photos.images[rng.integers(len(self.photos.images))])
        corner = other[: 96 if rng.random() < 0.7 else 192]
        image = cv2.resize(corner[:, :: rng.choice([-1, 1])], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 6.0)))


def draw_turned(model_path: Path, photos_dir: Path, out: Path, count: int, seed: int) -> None:
    """Draw `count` turned views, each person equally often (a clip's many frames count as a few photos)."""
    photos = load_photos(photos_dir)
    turner = Turner(MorphableArrays.load(model_path), photos)
    rng = np.random.default_rng(seed)
    names, person = np.unique(photos.persons, return_inverse=True)
    frames = np.bincount(person)
    weight = 1 / np.sqrt(frames[person])
    rows = rng.choice(len(person), count, p=weight / weight.sum())
    images, poses = np.empty((count, SIZE, SIZE, 3), np.uint8), []
    for at, row in enumerate(rows):
        images[at], pose = turner.draw(int(row), rng)
        poses.append(pose)
        if at % 5000 == 4999:
            log.info("%d of %d views", at + 1, count)
    labels = {
        "identity": photos.identity[rows],
        "expression": photos.expression[rows],
        "rotation": np.stack([p.rotation for p in poses]).astype(np.float32),
        "scale": np.array([p.scale for p in poses], np.float32),
        "translation_px": np.stack([p.translation_px for p in poses]).astype(np.float32),
        "person": person[rows],
    }
    save_views(out, images, labels)
    log.info("%d views of %d people in %s", count, len(names), out)
