"""`python -m train.prepare synthetic`: people who do not exist, with exact labels: identity, expression, colour,
light, pose.

Expressions are those seen in real photos, mixed and exaggerated, and one in four shuts its eyes, as few do in photos;
identities, colours and lights are drawn. Hair covers more or less of the head (train.hair), the back of it and the
collar are rings around the mesh in random colours, the background is cut from photos.
"""

import logging
from pathlib import Path

import cv2
import numpy as np

from face3d.morphable_file import MorphableArrays
from face3d.rasterise_numba import interpolate_numpy, rasterise_numpy
from train.hair import hair_colour, hair_cover, stand_off_mm
from train.photos import Photos, load_photos
from train.profiling import (
    RINGS,
    border_loop,
    landmarks_of,
    project,
    ring_triangles,
    turn,
    vertices_of,
    view_of,
    with_rings,
)
from train.views import PLAIN_BACKGROUND, SIZE, View, labels_of, plain_background, save_views

FRONTAL = np.diag([1.0, -1.0, -1.0])
LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
SHUT_SHARE, WINK_SHARE, SHUT_BY = 0.25, 0.15, (0.4, 1.05)  # of all; of those that shut, with one eye only
SYNTHETIC_PERSON = 1_000_000  # their numbers start here: nobody in the photos
log = logging.getLogger(__name__)


def lids_of(model: MorphableArrays) -> list[int]:
    """The expressions that shut the eyes; none of a model whose expressions have no such names."""
    return [at for at, name in enumerate(model.meta.expression_names or ()) if name in LIDS]


class Generator:
    """Draws synthetic faces of one morphable model."""

    def __init__(self, model: MorphableArrays, photos: Photos) -> None:
        if model.albedo_mean is None or model.albedo_basis is None or model.grid is None:
            raise ValueError("the morphable model needs an albedo and a UV grid: `python -m bfm build --albedo FILE`")
        self.model, self.photos = model, photos
        self.lids = lids_of(model)
        self.loop = border_loop(model.grid)
        rings = ring_triangles(self.loop, len(model.mean), len(RINGS))
        self.triangles = np.concatenate([model.triangles, rings]).astype(np.int32)

    def coefficients(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Identity from the prior; expression of two photos mixed, sometimes one blendshape or the lids at strength."""
        identity = rng.standard_normal(len(self.model.identity_basis)).clip(-2.8, 2.8)
        one, two = self.photos.expression[rng.integers(len(self.photos.expression), size=2)]
        expression = rng.uniform(0, 1.3) * one + rng.uniform(0, 0.6) * two
        if rng.random() < 0.4:
            expression[rng.integers(len(expression))] += rng.uniform(0, 0.8)
        if self.lids and rng.random() < SHUT_SHARE:
            which = [rng.choice(self.lids)] if rng.random() < WINK_SHARE else self.lids
            expression[which] = rng.uniform(*SHUT_BY)
        return identity.astype(np.float32), expression.clip(-0.5, 1.2).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> View:
        """One picture of one person."""
        identity, expression = self.coefficients(rng)
        shape = vertices_of(self.model, identity, expression)
        rotation = turn(FRONTAL, _yaw_deg(rng), float(rng.normal(0, 15)))
        pose = view_of(landmarks_of(self.model, shape), rotation, SIZE)
        placed = with_rings(project(shape, pose), self.loop, pose.scale).astype(np.float32)
        image, cover = self._render(placed, pose.scale, rng)
        return View(image, identity, expression, pose, cover=cover.astype(np.float16))

    def _render(self, placed: np.ndarray, px_per_mm: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The head with its hair, and how much of it covers each vertex (V,); in four of five pictures with rings for
        what is behind the head."""
        count = len(self.triangles) if rng.random() < 0.8 else len(self.model.triangles)
        triangles = self.triangles[:count]
        cover = hair_cover(self.model.mean, rng)
        colours = random_colours(self.model, self.loop, cover, rng)
        if cover.any():
            off = stand_off_mm(cover, rng) * px_per_mm
            placed[: len(cover)] += (off[:, None] * vertex_normals(placed, triangles)[: len(cover)]).astype(np.float32)
        lit = colours * shading(vertex_normals(placed, triangles), rng)
        fragments = rasterise_numpy(placed, triangles, (SIZE, SIZE))
        seen = 255 * interpolate_numpy(lit.astype(np.float32), triangles, fragments)
        seen += (
            rng.normal(0, rng.uniform(0, 8)) * cv2.GaussianBlur(_grain(rng), (0, 0), rng.uniform(0.6, 2.5))[..., None]
        )
        mask = cv2.GaussianBlur((fragments.triangle >= 0).astype(np.float32), (0, 0), 0.7)[..., None]
        background = self._background(rng).astype(np.float32)
        return np.clip(seen * mask + background * (1 - mask), 0, 255).astype(np.uint8), cover

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < PLAIN_BACKGROUND:
            return plain_background(rng, SIZE)
        photo = np.asarray(self.photos.images[rng.integers(len(self.photos.images))])
        top = photo[:90] if rng.random() < 0.8 else photo[:, :60]
        image = cv2.resize(top, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 7)))


def _yaw_deg(rng: np.random.Generator) -> float:
    """Three of four faces show both eyes."""
    return float(rng.uniform(-65, 65) if rng.random() < 0.75 else rng.uniform(-110, 110))


def random_colours(model: MorphableArrays, loop: np.ndarray, cover: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Albedo (V + rings, 3) in 0..1: skin of the model in any tone, hair where it covers the skin (V,) and on the rings
    above the ears, cloth below the chin."""
    assert model.albedo_mean is not None and model.albedo_basis is not None
    mix = rng.standard_normal(len(model.albedo_basis)) * 1.1
    skin = model.albedo_mean + np.tensordot(mix, model.albedo_basis, 1)
    skin = skin * np.exp(rng.normal(-0.15, 0.35)) * np.exp(rng.normal(0, 0.06, 3))
    hair = rng.uniform(0.02, 0.75) * np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.45, 1.0)])
    if cover.any():
        skin = skin + cover[:, None] * (hair_colour(model.mean, hair, rng) - skin)
    cloth = rng.uniform(0, 1, 3)
    low = model.mean[loop, 1] < -85
    ring = np.where(low[:, None], cloth, hair)
    return np.concatenate([skin, *([ring] * len(RINGS))]).clip(0, 1)


def _grain(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((SIZE, SIZE)).astype(np.float32)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit vertex normals towards the outside, in camera axes."""
    face = np.cross(
        points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    )
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(face[:, axis], 3), len(points)) for axis in range(3)], axis=1
    )
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def shading(normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shading (V,3): an ambient part, one or two distant lights of slightly different tint, a weak gloss."""
    shading = rng.uniform(0.25, 0.75) * np.ones((len(normals), 3))
    for _ in range(rng.integers(1, 3)):
        direction = np.array([rng.normal(0, 1), rng.normal(-0.4, 0.7), -abs(rng.normal(0.9, 0.5))])
        direction /= np.linalg.norm(direction)
        lambert = np.clip(normals @ direction, 0, None)
        half = direction + [0, 0, -1]
        gloss = np.clip(normals @ (half / np.linalg.norm(half)), 0, None) ** 24
        tint = np.exp(rng.normal(0, 0.07, 3))
        shading += (rng.uniform(0.2, 0.75) * lambert + rng.uniform(0, 0.15) * gloss)[:, None] * tint
    return shading


def draw_synthetic(model_path: Path, photos_dir: Path, out: Path, count: int, seed: int) -> None:
    """Draw `count` synthetic views into a folder of views."""
    generator = Generator(MorphableArrays.load(model_path), load_photos(photos_dir))
    rng = np.random.default_rng(seed)
    images, views = np.empty((count, SIZE, SIZE, 3), np.uint8), []
    for at in range(count):
        view = generator.draw(rng)
        images[at] = view.image
        views.append(view._replace(image=images[at], cover=None))
        if at % 5000 == 4999:
            log.info("%d of %d views", at + 1, count)
    save_views(out, images, {**labels_of(views), "person": SYNTHETIC_PERSON + seed * count + np.arange(count)})
