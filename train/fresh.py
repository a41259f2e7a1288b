"""Views drawn while training, so that no picture is seen more than a few times: photos as they are, photos turned in
depth, some of them on other heads, and synthetic people.

`--extra PHOTOS`, a folder of `python -m train.prepare photos`, asks for them; folders of ready views are read instead
where those are given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from face3d.morphable_file import MorphableArrays
from train.augment import HEAVY, PLAIN, AugmentConfig
from train.photos import load_photos
from train.profiling import apparent_yaw_deg
from train.synthetic import Generator, lids_of
from train.task import Batch, BatchSource
from train.view_batches import HELD_OUT, LandmarkBasis, ViewBatches, collate, held_out_batch, sample
from train.views import Turner, View, fair_share

HELD_OUT_SEED = 12345
SHUT_FROM, SHUT_AT, MOST_SHUT = 0.4, 0.7, 13.0
ASIDE_DEG, ASIDE_GROWTH_DEG, MOST_ASIDE = 18.0, 9.0, 35.0


@dataclass(frozen=True)
class Mix:
    """Shares of what is drawn; the rest of 1 are synthetic people. A drawn view serves `uses` times on average."""

    photo: float = 0.27
    turned: float = 0.38
    other_face: float = 0.55  # of the turned photos
    uses: float = 2.0
    pool: int = 1024  # views that wait for their next use


def aside_weight(yaw_deg: np.ndarray) -> np.ndarray:
    """How much more often (N,) photos of people who look aside are drawn.

    Few photos do (6 of 1,000 by more than 45 degrees), and they alone show a cheek and an ear as they are: in turned
    photos skin is the more stretched the farther they were turned, and what learns from those alone takes skin that is
    not stretched for a small turn."""
    return np.exp((np.abs(yaw_deg) - ASIDE_DEG) / ASIDE_GROWTH_DEG).clip(1.0, MOST_ASIDE)


def shut_weight(model: MorphableArrays, expression: np.ndarray) -> np.ndarray:
    """How much more often (N,) photos of people whose eyes are shut are drawn: 1 in 40 is, videos show more."""
    lids = lids_of(model)
    if not lids:
        return np.ones(len(expression))
    shut = ((expression[:, lids].mean(1) - SHUT_FROM) / (SHUT_AT - SHUT_FROM)).clip(0, 1)
    return 1.0 + (MOST_SHUT - 1.0) * shut


class Drawer:
    """Draws views of the people that are trained on, or of those held out."""

    def __init__(self, model: MorphableArrays, photos_dir: Path, held_out: bool, mix: Mix) -> None:
        photos = load_photos(photos_dir)
        person = np.unique(photos.persons, return_inverse=True)[1]
        self.rows = np.flatnonzero((person % HELD_OUT == 0) == held_out)
        yaw_deg = np.array([apparent_yaw_deg(photos.rotation[row]) for row in self.rows])
        share = fair_share(person[self.rows]) * aside_weight(yaw_deg)
        share *= shut_weight(model, photos.expression[self.rows])
        self.cumulative = np.cumsum(share / share.sum())
        self.turner, self.generator, self.mix = Turner(model, photos), Generator(model, photos), mix

    def row(self, rng: np.random.Generator) -> int:
        """A photo; each person about equally often."""
        at = int(np.searchsorted(self.cumulative, rng.random()))
        return int(self.rows[min(at, len(self.rows) - 1)])

    def photo(self, rng: np.random.Generator) -> View:
        """A photo as it is."""
        return self.turner.photo(self.row(rng), rng)

    def draw(self, rng: np.random.Generator) -> View:
        """A photo turned in depth, or a synthetic person."""
        if rng.random() * (1 - self.mix.photo) < self.mix.turned:
            return self.turner.draw(self.row(rng), rng, self.mix.other_face)
        return self.generator.draw(rng)


@dataclass(frozen=True)
class FreshBatches:
    """Seed -> endless batches of views drawn as they are needed."""

    model: Path
    photos_dir: Path
    crop_size: int
    batch_size: int
    augment: AugmentConfig = HEAVY
    mix: Mix = Mix()

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        cv2.setNumThreads(0)
        rng = np.random.default_rng(seed)
        model = MorphableArrays.load(self.model)
        landmarks = LandmarkBasis(model)
        drawer = Drawer(model, self.photos_dir, held_out=False, mix=self.mix)
        pool: list[View] = []
        while True:
            views = [self._view(drawer, pool, rng) for _ in range(self.batch_size)]
            yield collate([sample(view, landmarks, self.crop_size, self.augment, rng) for view in views])

    def _view(self, drawer: Drawer, pool: list[View], rng: np.random.Generator) -> View:
        if rng.random() < self.mix.photo:
            return drawer.photo(rng)
        if len(pool) < self.mix.pool:
            pool.append(drawer.draw(rng))
            return pool[-1]
        slot = int(rng.integers(len(pool)))
        if rng.random() < 1 / self.mix.uses:
            pool[slot] = drawer.draw(rng)
        return pool[slot]


def fresh_held_out(model_path: Path, photos_dir: Path, crop_size: int, count: int) -> Batch:
    """The same plain views of held-out people each time: photos, turned photos and synthetic people."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    model = MorphableArrays.load(model_path)
    landmarks = LandmarkBasis(model)
    drawer = Drawer(model, photos_dir, held_out=True, mix=Mix())
    views = [drawer.photo(rng) if at % 3 == 0 else drawer.draw(rng) for at in range(count)]
    return collate([sample(view, landmarks, crop_size, PLAIN, rng) for view in views])


def _photos_among(folders: tuple[Path, ...]) -> Path | None:
    photos = [folder for folder in folders if (folder / "fits.npz").is_file()]
    if photos and len(folders) > 1:
        raise ValueError(f"--extra names the photos {photos[0]} and other folders: give one of photos, or only views")
    return photos[0] if photos else None


def choose_batches(
    model: Path,
    folders: tuple[Path, ...],
    crop_size: int,
    batch_size: int,
    augment: AugmentConfig = HEAVY,
    mix: Mix = Mix(),
) -> BatchSource:
    """Views drawn afresh from a folder of photos in the shares of `mix`, or ready ones from folders of views.
    ValueError for a mixture of both."""
    photos = _photos_among(folders)
    if photos:
        return FreshBatches(model, photos, crop_size, batch_size, augment, mix)
    return ViewBatches(model, folders, crop_size, batch_size, augment)


def choose_held_out(model: Path, folders: tuple[Path, ...], crop_size: int, count: int) -> Batch:
    """The same views of held-out people each time, of the kind that `choose_batches` chooses."""
    photos = _photos_among(folders)
    if photos:
        return fresh_held_out(model, photos, crop_size, count)
    return held_out_batch(model, folders, crop_size, count)
