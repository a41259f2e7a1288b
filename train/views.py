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
    landmarks_of,
    project,
    render_turned,
    ring_triangles,
    to_model_mm,
    turn,
    vertices_of,
    view_of,
    with_rings,
)

SIZE = 160
LARGEST_YAW_DEG = 110.0
PLAIN_BACKGROUND = 0.3
OTHER_FACE_DEVIATION = 0.8  # of each identity coefficient, in standard deviations of the prior
log = logging.getLogger(__name__)


class View(NamedTuple):
    """One picture (S,S,3) uint8 and what made it: coefficients (K,), (E,) and the pose in the picture.

    `flat`: only the 68 landmarks in the picture are known (see `Views`). `cover` (V,): how much hair covers each
    vertex, in 0..1 (train.hair); None where that is not known."""

    image: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    pose: Pose
    flat: bool = False
    cover: np.ndarray | None = None


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

    def view(self, row: int) -> View:
        """One of them."""
        pose = Pose(self.rotation[row], float(self.scale[row]), self.translation_px[row])
        image = np.asarray(self.images[row])
        return View(image, self.identity[row], self.expression[row], pose, bool(self.flat[row]))


def load_views(folder: Path) -> Views:
    """Open a folder of views."""
    fields = load_folder(folder, "labels.npz", "turned")
    return Views(**{"flat": np.zeros(len(fields["person"]), bool), **fields})


def save_views(folder: Path, images: np.ndarray, labels: dict[str, np.ndarray]) -> None:
    """Write a folder of views, labels last: a folder without them is not whole."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    np.savez(folder / "labels.npz", allow_pickle=False, **labels)


def labels_of(views: list[View]) -> dict[str, np.ndarray]:
    """The arrays beside the pictures of a folder, but `person`."""
    return {
        "identity": np.stack([view.identity for view in views]),
        "expression": np.stack([view.expression for view in views]),
        "rotation": np.stack([view.pose.rotation for view in views]).astype(np.float32),
        "scale": np.array([view.pose.scale for view in views], np.float32),
        "translation_px": np.stack([view.pose.translation_px for view in views]).astype(np.float32),
    }


class Turner:
    """Draws turned views of fitted photos."""

    def __init__(self, model: MorphableArrays, photos: Photos) -> None:
        if model.grid is None:
            raise ValueError("the morphable model has no UV grid; build the embedded model with `python -m bfm build`")
        self.model, self.photos = model, photos
        self.loop = border_loop(model.grid)
        rings = ring_triangles(self.loop, len(model.mean), len(RINGS))
        self.triangles = np.concatenate([model.triangles, rings]).astype(np.int32)

    def photo(self, row: int, rng: np.random.Generator) -> View:
        """A photo as it is, with its fit; beyond its edge a blurred continuation or another background."""
        photos = self.photos
        pose = Pose(photos.rotation[row], float(photos.scale[row]), photos.translation_px[row])
        image, inside_px = np.asarray(photos.images[row]), photos.inside_px[row]
        low, high = np.ceil(inside_px[:2] + 0.5).astype(int), np.floor(inside_px[2:] + 0.5).astype(int)
        if (low > 0).any() or (high < image.shape[1]).any():
            backdrop = self._background(rng) if rng.random() < 0.5 else None
            image = beyond_edge(image, low.clip(0), high.clip(low.clip(0) + 1, image.shape[1]), backdrop)
        return View(image, photos.identity[row], photos.expression[row], pose)

    def draw(self, row: int, rng: np.random.Generator, other_face: float = 0.0) -> View:
        """One view: a third near the photo's own pose, the others turned in depth, to the side that is seen; a few of
        those who look aside are turned back, so that stretched skin does not mean a large turn.

        With probability `other_face` the photo's skin is drawn on another head than its own: known shapes as varied as
        the prior's under real texture."""
        photo = self.photo(row, rng)
        own = photo.pose
        yaw = apparent_yaw_deg(own.rotation)
        kind = rng.random()
        if kind < 0.33:
            rotation = turn(own.rotation, yaw + rng.normal(0, 6), rng.normal(0, 4))
        elif kind < 0.45 and abs(yaw) > 20:
            rotation = turn(own.rotation, rng.uniform(-0.3, 1.0) * yaw, rng.normal(0, 6))
        else:
            side = np.sign(yaw) if rng.random() < min(1.0, abs(yaw) / 15) else rng.choice([-1.0, 1.0])
            least = max(0.0, 1.5 * (abs(yaw) - 20))  # what a photo hides, it cannot show
            rotation = turn(own.rotation, float(side * rng.uniform(least, LARGEST_YAW_DEG)), rng.normal(0, 9))
        fitted = vertices_of(self.model, photo.identity, photo.expression)
        identity, vertices_mm = photo.identity, fitted
        if rng.random() < other_face:
            identity = other_identity(identity, rng)
            vertices_mm = vertices_of(self.model, identity, photo.expression)
        pose = view_of(landmarks_of(self.model, vertices_mm), rotation, SIZE)
        source_px = with_rings(project(fitted, own), self.loop, own.scale)[:, :2]
        shape_mm = to_model_mm(with_rings(project(vertices_mm, own), self.loop, own.scale), own)
        placed = project(shape_mm, pose)
        image = render_turned(photo.image, source_px, placed, self.triangles, self._background(rng))
        return View(image, identity, photo.expression, pose)

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < PLAIN_BACKGROUND:
            return plain_background(rng, SIZE)
        other = np.asarray(self.photos.images[rng.integers(len(self.photos.images))])
        corner = other[: 96 if rng.random() < 0.7 else 192]
        image = cv2.resize(corner[:, :: rng.choice([-1, 1])], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 6.0)))


def other_identity(identity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Coefficients (K,) of another head, around those of a fit: fits are cautious, so they vary less than people do."""
    moved = identity + rng.normal(0, OTHER_FACE_DEVIATION, len(identity))
    return moved.clip(-2.8, 2.8).astype(np.float32)


def beyond_edge(image: np.ndarray, low: np.ndarray, high: np.ndarray, backdrop: np.ndarray | None) -> np.ndarray:
    """The image (S,S,3) with all but [low, high) (x, y) replaced: by a backdrop, or the blurred edge carried on."""
    size = image.shape[0]
    inner = image[low[1] : high[1], low[0] : high[0]]
    if backdrop is None:
        around = (low[1], size - high[1], low[0], size - high[0])
        filled = cv2.GaussianBlur(cv2.copyMakeBorder(inner, *around, cv2.BORDER_REPLICATE), (0, 0), 5.0)
    else:
        filled = cv2.resize(backdrop, (size, size), interpolation=cv2.INTER_LINEAR)
    filled[low[1] : high[1], low[0] : high[0]] = inner
    return filled


def plain_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall or a sky (size,size,3): one colour, pale more often than dark, hardly tinted, with a slight slope."""
    tint = 255 * rng.random() ** 0.4 * np.exp(rng.normal(0, 0.05, 3))
    ramp = np.linspace(-1, 1, size)
    slope = rng.normal(0, 12) * ramp[:, None] + rng.normal(0, 12) * ramp[None]
    return np.clip(tint + slope[..., None], 0, 255).astype(np.uint8)


def fair_share(person: np.ndarray) -> np.ndarray:
    """Probability (N,) of each photo: a clip's many frames count as a few photos."""
    weight = 1 / np.sqrt(np.bincount(person)[person])
    return weight / weight.sum()


def draw_turned(model_path: Path, photos_dir: Path, out: Path, count: int, seed: int) -> None:
    """Draw `count` turned views."""
    photos = load_photos(photos_dir)
    turner = Turner(MorphableArrays.load(model_path), photos)
    rng = np.random.default_rng(seed)
    names, person = np.unique(photos.persons, return_inverse=True)
    rows = rng.choice(len(person), count, p=fair_share(person))
    images, views = np.empty((count, SIZE, SIZE, 3), np.uint8), []
    for at, row in enumerate(rows):
        view = turner.draw(int(row), rng)
        images[at] = view.image
        views.append(view._replace(image=images[at]))
        if at % 5000 == 4999:
            log.info("%d of %d views", at + 1, count)
    save_views(out, images, {**labels_of(views), "person": person[rows]})
    log.info("%d views of %d people in %s", count, len(names), out)
