"""Mosaics for the detector: labelled faces of all sizes, turned in the plane, on pictures that hold none.

Faces are pasted with their heads, shoulders and some of their own background, as rectangles or with soft round edges;
faceless pictures are pasted in the same ways, so that an edge tells nothing. A part of the mosaics holds no face.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch

from face3d.detect import Detector
from train.config import Inputs
from train.detector_backgrounds import Backgrounds, load_things
from train.detector_sources import LabelledFace, load_faces
from train.task import Batch

MOST_FACES = 16
SMALLEST_PX = 11.0  # longer side of the smallest face to be found, in the network's input
FACE, IGNORED = 1, 2
_SIDES = (192, 256, 256, 384)
_BYSTANDER = 0.42  # score


class Mosaic(NamedTuple):
    """An image (S,S,3) uint8, boxes (M,4) px of the visible landmarks' extent, roll (M,) degrees, kind (M,) of each."""

    image: np.ndarray
    boxes_px: np.ndarray
    roll_deg: np.ndarray
    kind: np.ndarray


@dataclass
class _Canvas:
    image: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)
    rolls: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class MosaicSource:
    """Picklable source of endless batches: image (B,3,S,S) uint8, boxes (B,16,4), roll (B,16) degrees, kind (B,16)."""

    inputs: Inputs
    batch_size: int
    held_out: bool = False

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Load everything, then make batches; those of larger mosaics have fewer."""
        faces = [face for face in load_faces(self.inputs) if face.held_out == self.held_out]
        earlier = Detector(self.inputs.weights[0]) if self.inputs.weights else None
        backgrounds = Backgrounds(load_things(self.inputs.data_dir), alone(faces, earlier))
        return batches(np.random.default_rng(seed), faces, backgrounds, self.batch_size)


def alone(faces: Sequence[LabelledFace], detector: Detector | None) -> list[LabelledFace]:
    """Photos that show nobody but the labelled face: the coloured ones, and the grey ones (LFW, often with bystanders)
    in which a detector of an earlier round, where there is one, finds no other face."""
    found = [face for face in faces if not face.grey]
    if detector is not None:
        for face in faces:
            if face.grey:
                box = np.concatenate([face.points_px.min(0), face.points_px.max(0)])
                boxes = detector(face.image(), threshold=_BYSTANDER).boxes_px
                if all(_covered(other, box) > 0.4 or _covered(box, other) > 0.4 for other in boxes):
                    found.append(face)
    return found or list(faces)


def batches(
    rng: np.random.Generator, faces: Sequence[LabelledFace], backgrounds: Backgrounds, batch_size: int
) -> Iterator[Batch]:
    """Endless batches with about `batch_size` 256 px mosaics' pixels each; in the long run half are new."""
    recent: deque[Batch] = deque(maxlen=40)
    while True:
        side = _SIDES[rng.integers(len(_SIDES))]
        count = max(2, round(batch_size * (256 / side) ** 2))
        recent.append(collate([make_mosaic(rng, faces, backgrounds, side) for _ in range(count)]))
        yield recent[-1]
        if len(recent) == recent.maxlen:
            yield mirrored(recent[int(rng.integers(len(recent)))])


def mirrored(batch: Batch) -> Batch:
    """The batch seen in a mirror: half the cost of a new one."""
    width = batch["image"].shape[-1]
    x0, y0, x1, y1 = batch["boxes"].unbind(-1)
    boxes = torch.stack([width - 1 - x1, y0, width - 1 - x0, y1], -1)
    return {"image": batch["image"].flip(-1), "boxes": boxes, "roll": -batch["roll"], "kind": batch["kind"]}


def collate(mosaics: Sequence[Mosaic]) -> Batch:
    """Stack mosaics of one size; rows beyond a mosaic's faces have kind 0."""
    boxes = np.zeros((len(mosaics), MOST_FACES, 4), np.float32)
    roll = np.zeros((len(mosaics), MOST_FACES), np.float32)
    kind = np.zeros((len(mosaics), MOST_FACES), np.int64)
    for i, mosaic in enumerate(mosaics):
        n = len(mosaic.kind)
        boxes[i, :n], roll[i, :n], kind[i, :n] = mosaic.boxes_px, mosaic.roll_deg, mosaic.kind
    image = np.stack([m.image for m in mosaics]).transpose(0, 3, 1, 2)
    arrays = {"image": np.ascontiguousarray(image), "boxes": boxes, "roll": roll, "kind": kind}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def make_mosaic(rng: np.random.Generator, faces: Sequence[LabelledFace], backgrounds: Backgrounds, side: int) -> Mosaic:
    """One mosaic of side x side pixels: empty, one large face, or many of any size."""
    canvas = _Canvas(backgrounds(rng, side, side))
    for _ in range(rng.integers(0, 4)):
        _paste_faceless(rng, canvas, backgrounds)
    kind = rng.random()
    if kind > 0.12:
        sizes = _sizes(rng, side, alone=kind < 0.37)
        alike = rng.random() < 0.3
        for size in sizes:
            for _ in range(4):
                if _paste_face(rng, canvas, faces[int(rng.integers(len(faces)))], sizes[0] if alike else size):
                    break
    image = _camera(rng, canvas.image)
    boxes = np.array(canvas.boxes, np.float32).reshape(-1, 4)[:MOST_FACES]
    return Mosaic(image, boxes, np.array(canvas.rolls, np.float32)[:MOST_FACES], np.array(canvas.kinds)[:MOST_FACES])


def _sizes(rng: np.random.Generator, side: int, alone: bool) -> list[float]:
    if alone:
        return [side * rng.uniform(0.3, 1.05)]
    count = int(rng.integers(1, 13))
    largest = side * 0.9 / np.sqrt(count)
    return sorted(np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(largest), count)).tolist(), reverse=True)


def _paste_face(rng: np.random.Generator, canvas: _Canvas, face: LabelledFace, size: float) -> bool:
    side = canvas.image.shape[0]
    own = float(np.ptp(face.points_px, axis=0).max())
    shrink = 4 if size < own / 5 else 2 if size < own / 2.5 else 1
    image, points = face.image(shrink), (face.points_px + 0.5) / shrink - 0.5
    matrix = _random_affine(rng, points, size, side)
    placed = points @ matrix[:, :2].T + matrix[:, 2]
    box = np.concatenate([placed.min(0), placed.max(0)])
    region = _region(rng, points, image.shape, whole=0.6 if size > 0.28 * side else 0.15)
    mask = _mask(rng, image.shape, region)
    reach = _extent(region, matrix)
    for other, kind in zip(canvas.boxes, canvas.kinds, strict=True):
        if _covered(other, reach) > 0.1 and kind == FACE or _covered(box, other) > 0.1:
            return False
    seen = _covered(box, np.array([0, 0, side - 1, side - 1], np.float32))
    if seen < 0.2:
        return False
    if rng.random() < 0.85:
        image = _photometric(rng, image, face.grey)
    if rng.random() < 0.15:
        image = _side_light(rng, image, points)
    _blend(canvas.image, image, mask, matrix)
    if rng.random() < 0.2:
        _occlude(rng, canvas.image, box)
    good = seen > 0.6 and (box[2:] - box[:2]).max() >= SMALLEST_PX - 0.5
    left, right = (placed[1], placed[0]) if np.linalg.det(matrix[:, :2]) < 0 else (placed[0], placed[1])
    canvas.boxes.append(box)
    canvas.rolls.append(float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0]))))
    canvas.kinds.append(FACE if good else IGNORED)
    return True


def _random_affine(rng: np.random.Generator, points: np.ndarray, size: float, side: int) -> np.ndarray:
    angle = np.radians(rng.normal(0, 12) if rng.random() < 0.6 else rng.uniform(-50, 50))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    aspect = np.exp(rng.normal(0, 0.06))
    stretch = np.array([[aspect, rng.normal(0, 0.04)], [0.0, 1 / aspect]])
    if rng.random() < 0.2:
        stretch[0] *= rng.uniform(0.65, 1.0)
    if rng.random() < 0.5:
        stretch[:, 0] *= -1
    linear = rotation @ stretch
    linear *= size / np.ptp(points @ linear.T, axis=0).max()
    middle = (points.min(0) + points.max(0)) / 2
    reach = 0.5 * side if size > 0.5 * side else 0.5 * side - 0.25 * size
    spread = 0.5 * side - min(0.45 * size, 0.3 * side) if size > 0.3 * side else reach
    goal = side / 2 + rng.uniform(-spread, spread, 2)
    return np.concatenate([linear, (goal - linear @ middle)[:, None]], 1).astype(np.float32)


def _region(rng: np.random.Generator, points: np.ndarray, shape: tuple[int, ...], whole: float) -> np.ndarray:
    """The part of the source that is pasted, x0 y0 x1 y1 px: all of it, or around the face with random margins."""
    low, high = points.min(0), points.max(0)
    size = (high - low).max()
    if rng.random() < whole:
        return np.array([0, 0, shape[1] - 1, shape[0] - 1], np.float32)
    margins = size * np.exp(rng.uniform(np.log(0.1), np.log(1.2), 4))
    margins[1] = max(margins[1], 0.3 * size)  # some of the forehead
    region = np.concatenate([low - margins[:2], high + margins[2:]])
    limit = np.array([shape[1] - 1, shape[0] - 1] * 2)
    return np.clip(np.rint(region), 0, limit).astype(np.float32)


def _mask(rng: np.random.Generator, shape: tuple[int, ...], region: np.ndarray) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    x0, y0, x1, y1 = (int(v) for v in region)
    if rng.random() < 0.25:
        centre, axes = ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
        return cv2.blur(mask, (7, 7))
    mask[y0 : y1 + 1, x0 : x1 + 1] = 255
    return mask


def _extent(region: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    corners = np.array([[region[a], region[b]] for a in (0, 2) for b in (1, 3)]) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([corners.min(0), corners.max(0)])


def _covered(box: np.ndarray, by: np.ndarray) -> float:
    """Part of `box` that lies in `by`."""
    overlap = np.maximum(0, np.minimum(box[2:], by[2:]) - np.maximum(box[:2], by[:2]))
    return float(overlap[0] * overlap[1] / max(1e-6, float(np.prod(box[2:] - box[:2]))))


def _blend(canvas: np.ndarray, image: np.ndarray, mask: np.ndarray, matrix: np.ndarray) -> None:
    """Lay the masked image on the canvas under an affine map, in place."""
    height, width = canvas.shape[:2]
    reach = _extent(np.array([0, 0, image.shape[1] - 1, image.shape[0] - 1]), matrix)
    x0, y0 = np.clip(np.floor(reach[:2]), 0, [width, height]).astype(int)
    x1, y1 = np.clip(np.ceil(reach[2:]) + 1, 0, [width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    shifted = matrix.copy()
    shifted[:, 2] -= (x0, y0)
    shrink = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 0.6:
        image = cv2.blur(image, (2, 2))
    warped = cv2.warpAffine(image, shifted, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(mask, shifted, (x1 - x0, y1 - y0))
    part = canvas[y0:y1, x0:x1]
    soft = cv2.merge([alpha] * 3).astype(np.float32) * np.float32(1 / 255)
    np.copyto(part, (part + soft * (warped.astype(np.float32) - part) + 0.5).astype(np.uint8))


def _paste_faceless(rng: np.random.Generator, canvas: _Canvas, backgrounds: Backgrounds) -> None:
    side = canvas.image.shape[0]
    height, width = (int(v) for v in np.exp(rng.uniform(np.log(12), np.log(0.9 * side), 2)))
    patch = backgrounds(rng, height, width)
    mask = _mask(rng, patch.shape, np.array([0, 0, width - 1, height - 1], np.float32))
    angle = np.radians(rng.normal(0, 15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = rng.uniform(0, side, 2) - turn @ np.array([width / 2, height / 2])
    _blend(canvas.image, patch, mask, np.concatenate([turn, offset[:, None]], 1))


def _occlude(rng: np.random.Generator, image: np.ndarray, box: np.ndarray) -> None:
    """Paint a bar or a disc over at most a third of a face, from one of its sides."""
    size = box[2:] - box[:2]
    centre = box[:2] + size * rng.uniform(-0.1, 1.1, 2)
    axes = size * rng.uniform(0.1, 0.3, 2)
    if rng.random() < 0.5:
        _lay_hair(rng, image, box)
        return
    colour = tuple(float(v) for v in rng.uniform(0, 255, 3))
    a, b = tuple(int(v) for v in centre), tuple(max(1, int(v)) for v in axes)
    if rng.random() < 0.5:
        cv2.ellipse(image, a, b, rng.uniform(0, 180), 0, 360, colour, -1)
    else:
        cv2.rectangle(image, (a[0] - b[0], a[1] - b[1]), (a[0] + b[0], a[1] + b[1]), colour, -1)


def _lay_hair(rng: np.random.Generator, image: np.ndarray, box: np.ndarray) -> None:
    """Strands over one side of a face, downwards from above it."""
    size = box[2:] - box[:2]
    shade = np.array([1.0, 0.8, 0.6]) * rng.uniform(10, 200)
    middle = rng.uniform(0.0, 1.0)
    for _ in range(rng.integers(4, 24)):
        x = box[0] + size[0] * (middle + rng.normal(0, 0.12) + np.array([0, *np.cumsum(rng.normal(0, 0.06, 3))]))
        y = box[1] + size[1] * np.linspace(-0.4, rng.uniform(0.5, 1.2), 4)
        colour = tuple(float(v) for v in np.clip(shade * rng.uniform(0.6, 1.3), 0, 255))
        line = np.rint(np.stack([x, y], 1)).astype(np.int32)
        cv2.polylines(image, [line], False, colour, max(1, int(size.max() * rng.uniform(0.01, 0.03))), cv2.LINE_AA)


def _side_light(rng: np.random.Generator, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One side of the face in deep shade."""
    low, high = points.min(0), points.max(0)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.arange(image.shape[1], dtype=np.float32), np.arange(image.shape[0], dtype=np.float32))
    along = ((x - (low + high)[0] / 2) * np.cos(angle) + (y - (low + high)[1] / 2) * np.sin(angle)) / (high - low).max()
    lit = 1 / (1 + np.exp(-rng.uniform(4, 20) * (along - rng.uniform(-0.3, 0.2))))
    dark = rng.uniform(0.02, 0.4)
    return (image * (dark + (1 - dark) * lit)[..., None]).astype(np.uint8)


def _photometric(rng: np.random.Generator, image: np.ndarray, grey: bool) -> np.ndarray:
    """Gain, gamma and colour of one photo; a grey one mostly gets the tints of skin."""
    gamma = np.exp(rng.normal(0, 0.25))
    gammas, gains = np.full(3, gamma), np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3))
    if grey and rng.random() < 0.75:
        gammas = gamma * (1 + rng.uniform(0.1, 1.0) * np.array([-0.35, 0.05, 0.3]) + rng.normal(0, 0.05, 3))
    levels = np.linspace(0, 1, 256)[:, None] ** gammas * gains * 255 + rng.normal(0, 8)
    table = np.clip(levels, 0, 255).astype(np.uint8)[None]
    return cv2.LUT(image, table)


def _camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What one camera does to the whole picture: exposure, lost colour, blur, noise, compression."""
    if rng.random() < 0.5:
        image = _photometric(rng, image, grey=False)
    if rng.random() < 0.12:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    if rng.random() < 0.25:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 10))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 90))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return image
