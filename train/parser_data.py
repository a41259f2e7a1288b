"""Crops of faces with the class of each pixel, drawn while training.

Views are drawn as train.fresh draws them, and their own mesh says what each pixel shows. A photo's mesh does not know
where its hair begins: the upper forehead, the ears and what lies just outside of the mesh are unknown there. The hair
of synthetic people is known. Occluders are painted over the crops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from face3d.morphable_file import MorphableArrays
from face3d.networks.parser import CLASSES, UNKNOWN
from face3d.parse_labels import BACKGROUND, rasterised_classes, region_classes
from train.augment import PLAIN, AugmentConfig, augment
from train.fresh import HELD_OUT_SEED, Drawer, FreshBatches, Mix
from train.profiling import project, vertices_of
from train.task import Batch
from train.view_batches import LandmarkBasis, collate
from train.views import View

SKIN, OCCLUDER = (CLASSES.index(name) for name in ("skin", "occluder"))
FOREHEAD_MM = 45.0  # above the eyes; higher there may be hair
BAND = 0.06  # of the picture's side: how far hair may stand off from the mesh
HIDDEN_BY_HAIR = 0.5  # cover of a vertex from which on it is hair that is seen
OCCLUDED = 0.4  # of the crops


class Labeller:
    """The class of each pixel of a view, from its mesh."""

    def __init__(self, model: MorphableArrays) -> None:
        names = model.meta.region_names
        self.model = model
        self.classes = region_classes(names)[model.vertex_region]
        high = (self.classes == SKIN) & (model.mean[:, 1] > FOREHEAD_MM)
        ears = np.array([name == "ears" for name in names])[model.vertex_region]
        self.photo_classes = np.where(high | ears, np.uint8(UNKNOWN), self.classes)

    def __call__(self, view: View) -> np.ndarray:
        """Labels (S,S) uint8 of a view (S,S,3): class numbers, or UNKNOWN."""
        size = view.image.shape[0]
        placed = project(vertices_of(self.model, view.identity, view.expression), view.pose)
        labels, seen = rasterised_classes(placed, self.model.triangles, self._vertex_classes(view), size)
        if view.cover is None:
            labels[_around(seen, BAND * size)] = UNKNOWN
        return labels

    def _vertex_classes(self, view: View) -> np.ndarray:
        if view.cover is None:
            return self.photo_classes
        return np.where(view.cover > HIDDEN_BY_HAIR, np.uint8(BACKGROUND), self.classes)


def _around(seen: np.ndarray, width_px: float) -> np.ndarray:
    """Pixels outside of what is seen (S,S), at most so far from it."""
    if not seen.any():
        return np.zeros_like(seen)
    distance = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ~seen & (distance <= width_px)


class LabelledCrops:
    """Augmented crops of views with their labels; `images` (N,P,P,3) uint8 are what some occluders are cut from."""

    def __init__(self, model: MorphableArrays, images: np.ndarray, size: int) -> None:
        self.labeller, self.landmarks = Labeller(model), LandmarkBasis(model)
        self.images, self.size = images, size

    def __call__(
        self, view: View, config: AugmentConfig, occluded: float, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """crop (3,S,S) and labels (S,S), uint8; with probability `occluded`, one to three things lie over it.

        The occluders of `config` are not used: they leave no labels."""
        points = project(self.landmarks(view.identity, view.expression), view.pose)[:, :2]
        box = np.concatenate([points.min(0), points.max(0)])
        crop, matrix, flipped = augment(view.image, box, self.size, config._replace(occlude=0.0), rng)
        size = (self.size, self.size)
        labels = cv2.warpAffine(self.labeller(view), matrix, size, flags=cv2.INTER_NEAREST, borderValue=BACKGROUND)
        labels = np.asarray(labels[:, ::-1] if flipped else labels, np.uint8)
        if rng.random() < occluded:
            for _ in range(rng.integers(1, 4)):
                crop, labels = occlude(crop, labels, self.images, rng)
        return {"crop": crop.transpose(2, 0, 1), "labels": np.ascontiguousarray(labels)}


def occlude(
    crop: np.ndarray, labels: np.ndarray, images: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Crop (S,S,3) and labels (S,S) with one more thing over them: of one colour, or a piece of a photo of `images`."""
    size = crop.shape[0]
    mask = _blob(size, rng)
    fill = _piece(images, size, rng) if rng.random() < 0.5 else np.float32(rng.uniform(0, 255, 3))
    part = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.3, 1.2))).astype(np.float32)[..., None] / 255
    painted = crop + part * (fill - crop.astype(np.float32))
    return np.rint(painted).clip(0, 255).astype(np.uint8), np.where(mask > 0, np.uint8(OCCLUDER), labels)


def _blob(size: int, rng: np.random.Generator) -> np.ndarray:
    """A mask (size,size) uint8, 255 in a turned ellipse, a turned box or a ragged polygon."""
    mask = np.zeros((size, size), np.uint8)
    centre, axes = rng.uniform(0, size, 2), rng.uniform(0.05, 0.3, 2) * size
    box = (tuple(centre.tolist()), tuple((2 * axes).tolist()), float(rng.uniform(0, 180)))
    kind = rng.integers(3)
    if kind == 0:
        cv2.ellipse(mask, box, 255, -1)
    elif kind == 1:
        cv2.fillPoly(mask, [cv2.boxPoints(box).astype(np.int32)], 255)
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
        radius = rng.uniform(0.5, 1.3, len(angle))[:, None] * axes
        corners = centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
    return mask


def _piece(images: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square out of one of the images (N,P,P,3), enlarged to (size,size,3) float32, as bright as it happens."""
    image = images[rng.integers(len(images))]
    side = int(image.shape[0] * rng.uniform(0.15, 0.5))
    row, column = rng.integers(0, image.shape[0] - side, 2)
    piece = np.ascontiguousarray(image[row : row + side, column : column + side])
    enlarged = cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return np.asarray(enlarged * np.exp(rng.normal(0, 0.3)), np.float32).clip(0, 255)


@dataclass(frozen=True)
class ParserBatches(FreshBatches):
    """Seed -> endless batches of crop (B,3,S,S) and labels (B,S,S), uint8; the views are those of FreshBatches."""

    occluded: float = OCCLUDED

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        cv2.setNumThreads(0)
        rng = np.random.default_rng(seed)
        model = MorphableArrays.load(self.model)
        drawer = Drawer(model, self.photos_dir, held_out=False, mix=self.mix)
        crops = LabelledCrops(model, drawer.turner.photos.images, self.crop_size)
        pool: list[View] = []
        while True:
            views = [self._view(drawer, pool, rng) for _ in range(self.batch_size)]
            yield collate([crops(view, self.augment, self.occluded, rng) for view in views])


def parser_held_out(model_path: Path, photos_dir: Path, crop_size: int, count: int) -> Batch:
    """The same crops of held-out people each time, with labels: photos, turned photos and synthetic people, plain but
    for the occluders."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    model = MorphableArrays.load(model_path)
    drawer = Drawer(model, photos_dir, held_out=True, mix=Mix())
    crops = LabelledCrops(model, drawer.turner.photos.images, crop_size)
    views = [drawer.photo(rng) if at % 3 == 0 else drawer.draw(rng) for at in range(count)]
    return collate([crops(view, PLAIN, OCCLUDED, rng) for view in views])
