"""Batches of several frames of one person, from the shards of `python -m train.prepare people`."""

import json
import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.utils import pytorch_worker_info

from face3d.image import crop_transform, square_around, transform_points, warp
from face3d.reconstruct import CROP_FACTOR
from train.people_pool import HeldTrack, PseudoLabels, TrackPool
from train.people_shards import FORMAT, SHARD, VERSION
from train.task import Batch

log = logging.getLogger(__name__)
PHOTO_SHARE = 0.5
SHARDS_LOOKED_AT = 16  # for held-out people of both kinds, where there are enough of one


class Jitter(NamedTuple):
    """How crops vary: the side's logarithm, the centre in sides and the roll, of each frame; the logarithms of gain
    and gamma, of all frames of a sample alike. Each is drawn uniformly from minus to plus."""

    scale: float = 0.12
    shift: float = 0.05
    roll_deg: float = 12.0
    gain: float = 0.15
    gamma: float = 0.15


STILL = Jitter(0, 0, 0, 0, 0)


class Shown(NamedTuple):
    """K frames of one track: JPEGs, landmarks in their pixels, confidences; pseudo-labels, where asked for."""

    jpegs: list[bytes]
    landmarks_px: Float[np.ndarray, "K 68 3"]
    confidence: Float[np.ndarray, "K 68"]
    labels: PseudoLabels | None = None


@dataclass(frozen=True)
class PeopleBatches:
    """Seed -> endless batches {"frames": (B,K,3,S,S) uint8, "landmarks_px": (B,K,68,3), "confidence": (B,K,68)}.

    A sample is K frames of one track, or photos of one person. Two of them are `least_yaw_gap_deg` apart or more where
    the track has such, else as far as it has. Landmarks are in the crops' pixels, the third column depth in pixels.
    Of the samples `photo_share` are people with photos, the others videos, where both are there. Shards are shared out
    to the processes and their workers; where there are fewer of them, each reads all. With `pseudo_labels` there are
    "identity" (B,I) in standard deviations and "expression" (B,K,E) too, of shards of `train.prepare refined`."""

    folders: tuple[Path, ...]
    frames: int = 2
    crop_size: int = 128
    batch_size: int = 16
    least_yaw_gap_deg: float = 10.0
    held_out: bool = False
    jitter: Jitter = Jitter()
    pool: int = 256  # tracks of each kind among which the next one is drawn
    photo_share: float = PHOTO_SHARE
    pseudo_labels: bool = False

    def __call__(self, seed: int) -> Iterator[Batch]:
        """FileNotFoundError: no shards; ValueError: no track of these people has so many frames, `photo_share` is no
        share, or there are no pseudo-labels."""
        rng = np.random.default_rng(seed)
        pool = TrackPool(self._passes(rng), self.pool, self.photo_share)
        while True:
            yield _stacked([self._sample(pool.draw(rng), rng) for _ in range(self.batch_size)])

    def _sample(self, track: HeldTrack, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shown = shown_frames(track, self.frames, self.least_yaw_gap_deg, rng)
        return crops_of(shown, self.crop_size, self.jitter, rng)

    def _passes(self, rng: np.random.Generator) -> Iterator[HeldTrack | None]:
        """All tracks that fit, again and again in other orders of the shards; None after each pass."""
        shards = shards_in(self.folders)
        rank, ranks, worker, workers = pytorch_worker_info()
        part, parts = rank * workers + worker, ranks * workers
        mine = shards[part::parts] if len(shards) >= parts else shards
        while True:
            some = False
            for index in rng.permutation(len(mine)):
                for description, jpegs in read_samples(mine[index]):
                    if description["held_out"] == self.held_out and len(jpegs) >= self.frames:
                        some = True
                        yield held_track(description, jpegs, self.pseudo_labels)
            if not some:
                kind = "held-out people" if self.held_out else "people to train on"
                raise ValueError(
                    f"no track of {kind} with {self.frames} frames or more in {[str(s) for s in mine[:4]]}"
                )
            yield None


class NobodyHeldOut(ValueError):
    """The shards hold nobody who is kept unseen: a fifth of the people is, chosen by name, so none of a few may be."""


def held_out_people(
    folders: Sequence[Path],
    frames: int,
    crop_size: int,
    count: int,
    least_yaw_gap_deg: float = 10.0,
    photo_share: float = PHOTO_SHARE,
    pseudo_labels: bool = False,
) -> Batch:
    """A batch as of `PeopleBatches`, always the same one, not jittered: up to `count` held-out people, one track each,
    people with photos after those of videos.

    FileNotFoundError: no shards; ValueError: no pseudo-labels though asked for; NobodyHeldOut: none of the people is
    held out and has so many frames."""
    photos, videos = _held_out_tracks(shards_in(folders), frames, count, photo_share, pseudo_labels)
    if not photos and not videos:
        raise NobodyHeldOut(f"no held-out person with {frames} frames or more in {[str(f) for f in folders]}")
    taken = min(len(photos), max(round(count * photo_share), count - len(videos)))
    rng = np.random.default_rng(0)
    chosen = [*videos[: count - taken], *photos[:taken]]
    shown = [shown_frames(track, frames, least_yaw_gap_deg, rng) for track in chosen]
    return _stacked([crops_of(one, crop_size, STILL, rng) for one in shown])


def _held_out_tracks(
    shards: Sequence[Path], frames: int, count: int, photo_share: float, pseudo_labels: bool
) -> tuple[list[HeldTrack], list[HeldTrack]]:
    """Up to `count` people with photos, and as many of videos, each person once; not all shards are read where there
    are enough."""
    people: dict[bool, dict[str, HeldTrack]] = {True: {}, False: {}}
    wanted = {True: round(count * photo_share), False: count - round(count * photo_share)}
    for number, shard in enumerate(shards, 1):
        for description, jpegs in read_samples(shard):
            known, person = people[of_photos(description)], description["person"]
            if description["held_out"] and len(jpegs) >= frames and person not in known and len(known) < count:
                known[person] = held_track(description, jpegs, pseudo_labels)
        enough = all(len(people[kind]) >= wanted[kind] for kind in people)
        if enough or (number >= SHARDS_LOOKED_AT and sum(map(len, people.values())) >= count):
            break
    return list(people[True].values()), list(people[False].values())


def shards_in(folders: Sequence[Path]) -> list[Path]:
    """The shards in the folders, in order. FileNotFoundError: a folder has none."""
    found = []
    for folder in folders:
        shards = sorted(path for path in folder.glob("people-*.tar") if SHARD.fullmatch(path.name))
        if not shards:
            raise FileNotFoundError(f"{folder}: no people-NNNNNN.tar; make them with `python -m train.prepare people`")
        found += shards
    return found


def read_samples(shard: Path) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """(description, JPEGs) of each track. What is damaged is passed over with a warning.

    ValueError: samples of another format or version."""
    with shard.open("rb") as stream:
        samples = group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))
        while True:
            try:
                sample = next(samples, None)
            except (tarfile.TarError, OSError) as error:
                log.warning("%s: the rest is passed over (%s)", shard, error)
                return
            if sample is None:
                return
            description = json.loads(sample.get("json", b"{}"))
            if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
                raise ValueError(
                    f"{shard}: {sample['__key__']} is not of format {FORMAT} version {VERSION}: make the shards again"
                )
            jpegs = [sample[name] for name in sorted(sample) if name.endswith(".jpg")]
            if len(jpegs) == len(description["frames"]):
                yield description, jpegs
            else:
                log.warning("%s: %s lacks frames and is passed over", shard, sample["__key__"])


def of_photos(description: dict[str, Any]) -> bool:
    """Whether a track is photos of a person, rather than of a video."""
    return str(description.get("source", "")).startswith("photos:")


def held_track(description: dict[str, Any], jpegs: list[bytes], pseudo_labels: bool = False) -> HeldTrack:
    """A sample as it waits to be drawn, with its pseudo-labels if asked for. ValueError: it has none."""
    frames = description["frames"]
    landmarks_px, confidence, yaw_deg = (
        np.array([frame[name] for frame in frames], np.float32) for name in ("landmarks_px", "confidence", "yaw_deg")
    )
    held = HeldTrack(description["person"], of_photos(description), jpegs, landmarks_px, confidence, yaw_deg)
    return held._replace(labels=_labels(description)) if pseudo_labels else held


def _labels(description: dict[str, Any]) -> PseudoLabels:
    if "identity" not in description:
        raise ValueError(
            f"{description['person']} has no pseudo-labels: make shards with `python -m train.prepare refined`"
        )
    expression = [frame["expression"] for frame in description["frames"]]
    return PseudoLabels(np.array(description["identity"], np.float32), np.array(expression, np.float32))


def shown_frames(track: HeldTrack, count: int, least_yaw_gap_deg: float, rng: np.random.Generator) -> Shown:
    """`count` frames of a track, two of them turned apart."""
    rows = turned_apart(track.yaw_deg, count, least_yaw_gap_deg, rng)
    labels = track.labels and track.labels._replace(expression=track.labels.expression[rows])
    return Shown([track.jpegs[row] for row in rows], track.landmarks_px[rows], track.confidence[rows], labels)


def turned_apart(
    yaw_deg: Float[np.ndarray, " N"], count: int, least_gap_deg: float, rng: np.random.Generator
) -> Int[np.ndarray, " K"]:
    """`count` different rows in random order, two of them with the gap between their yaws, or the largest there is.

    ValueError: there are fewer rows, or fewer than two are asked for."""
    if not 2 <= count <= len(yaw_deg):
        raise ValueError(f"expected 2 to {len(yaw_deg)} frames (as many as the track has), got {count}")
    gaps = np.triu(np.abs(yaw_deg[:, None] - yaw_deg[None]) + 1, 1) - 1
    pairs = np.argwhere(gaps >= min(least_gap_deg, gaps.max()))
    pair = pairs[rng.integers(len(pairs))]
    others = np.setdiff1d(np.arange(len(yaw_deg)), pair)
    return rng.permutation(np.concatenate([pair, rng.choice(others, count - 2, replace=False)]))


def crops_of(shown: Shown, size: int, jitter: Jitter, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One sample: "frames" (K,3,S,S) uint8, "landmarks_px" (K,68,3), "confidence" (K,68) float32; "identity" (I,) and
    "expression" (K,E) of pseudo-labels."""

    def drawn(limit: float) -> float:
        return float(rng.uniform(-limit, limit))

    gain, gamma = np.exp(drawn(jitter.gain)), np.exp(drawn(jitter.gamma))
    levels = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).round().astype(np.uint8)
    crops, moved = [], []
    for jpeg, landmarks_px in zip(shown.jpegs, shown.landmarks_px, strict=True):
        centre_px, side_px = square_around(landmarks_px, CROP_FACTOR * float(np.exp(drawn(jitter.scale))))
        offset_px = side_px * np.array([drawn(jitter.shift), drawn(jitter.shift)])
        T = crop_transform(centre_px + offset_px, side_px, size, drawn(jitter.roll_deg))
        crops.append(levels[warp(decoded(jpeg), T, (size, size), border="replicate")].transpose(2, 0, 1))
        moved.append(transform_points(T, landmarks_px).astype(np.float32))
    labels = shown.labels._asdict() if shown.labels else {}
    return {"frames": np.stack(crops), "landmarks_px": np.stack(moved), "confidence": shown.confidence, **labels}


def decoded(jpeg: bytes) -> UInt8[np.ndarray, "S S 3"]:
    """The picture, RGB."""
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _stacked(samples: list[dict[str, np.ndarray]]) -> Batch:
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
