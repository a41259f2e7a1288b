"""Frame sequences without labels: videos, tars of images and folders of images, found anywhere below given folders.

A clip is a video, a folder of images, or a folder of images inside a tar, its images in order of their names. A fifth
of the clips, chosen by their names, is kept unseen. What cannot be read is skipped, counted and named.
"""

import logging
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from train.flow_textures import LONGEST_SIDE_PX, at_most
from train.task import Batch

HELD_OUT = 5  # one clip in so many
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}
RUN = 12  # frames that are decoded at once
log = logging.getLogger(__name__)


class Clip(NamedTuple):
    """`path` is a video, a tar or a folder; `members` names the images in the last two, in order.

    `name` decides whether the clip is kept unseen: what it is called below the folder that was given."""

    name: str
    path: Path
    members: tuple[str, ...] = ()

    @property
    def held_out(self) -> bool:
        """Whether it is one of the clips that are not trained on."""
        return zlib.crc32(self.name.encode()) % HELD_OUT == 0


class Found(NamedTuple):
    """Clips, and the names of the files that could not be opened."""

    clips: list[Clip]
    broken: list[str]


def find_clips(folders: Sequence[Path]) -> Found:
    """Every clip below the folders (a path to one video or tar will do). FileNotFoundError: no such folder."""
    clips: list[Clip] = []
    broken: list[str] = []
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"{folder}: no such folder of videos, tars or images")
        root = folder.parent if folder.is_file() else folder
        images: dict[Path, list[str]] = defaultdict(list)
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            suffix = path.suffix.lower()
            if suffix in VIDEOS:
                clips.append(Clip(str(path.relative_to(root)), path))
            elif suffix == ".tar":
                try:
                    clips += _clips_of_tar(path, str(path.relative_to(root)))
                except (tarfile.TarError, OSError) as error:
                    log.warning("%s: skipped (%s)", path, error)
                    broken.append(str(path))
            elif suffix in IMAGES:
                images[path.parent].append(path.name)
        for parent, names in images.items():
            clips.append(Clip(f"{root.name}/{parent.relative_to(root)}", parent, tuple(names)))
    return Found(clips, broken)


def _clips_of_tar(path: Path, name: str) -> list[Clip]:
    members: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and Path(member.name).suffix.lower() in IMAGES:
                members[str(Path(member.name).parent)].append(member.name)
    return [Clip(f"{name}/{parent}", path, tuple(sorted(names))) for parent, names in sorted(members.items())]


def read_run(clip: Clip, rng: np.random.Generator, least: int, most: int) -> list[np.ndarray]:
    """`least` to `most` consecutive frames (H,W,3) RGB uint8 from a random place.

    ValueError: the clip is damaged, has fewer than `least` frames, or frames of different size."""
    frames = _video_run(clip, rng, least, most) if not clip.members else _image_run(clip, rng, most)
    if len(frames) < least:
        raise ValueError(f"{clip.name}: {len(frames)} frames in a row can be read; {least} are needed")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{clip.name}: its frames differ in size")
    return frames


def _video_run(clip: Clip, rng: np.random.Generator, least: int, most: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(clip.path))
    try:
        last = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - least
        first = int(rng.integers(last + 1)) if last > 0 else 0
        if first:
            capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        frames: list[np.ndarray] = []
        while len(frames) < most:
            ok, image = capture.read()
            if not ok:
                break
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return frames
    finally:
        capture.release()


def _image_run(clip: Clip, rng: np.random.Generator, most: int) -> list[np.ndarray]:
    first = int(rng.integers(max(1, len(clip.members) - most + 1)))
    names = clip.members[first : first + most]
    if clip.path.is_dir():
        return [_decoded((clip.path / name).read_bytes(), f"{clip.name}/{name}") for name in names]
    with tarfile.open(clip.path) as archive:
        files = [(name, archive.extractfile(name)) for name in names]
        return [_decoded(file.read() if file else b"", f"{clip.path.name}/{name}") for name, file in files]


def _decoded(content: bytes, name: str) -> np.ndarray:
    data = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    if image is None:
        raise ValueError(f"{name}: not an image that can be read")
    return np.asarray(image)


def one_frame_each(folders: Sequence[Path], most: int = 400) -> list[np.ndarray]:
    """One frame (H,W,3) uint8 of each of up to `most` clips, evenly chosen, for textures; broken clips are left out."""
    clips = find_clips(folders).clips if folders else []
    rng = np.random.default_rng(0)
    images = []
    for index in np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)):
        try:
            images.append(at_most(read_run(clips[index], rng, 1, 1)[0], LONGEST_SIDE_PX))
        except (ValueError, OSError, tarfile.TarError, KeyError) as error:
            log.warning("no texture from %s", error)
    return images


@dataclass
class Reader:
    """Draws runs of frames from clips; those that fail are not tried again."""

    clips: list[Clip]
    least: int
    most: int
    broken: list[str] = field(default_factory=list)

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """A run of a random clip, long clips no more often than short ones. ValueError: no clip is left."""
        while self.clips:
            at = int(rng.integers(len(self.clips)))
            try:
                return read_run(self.clips[at], rng, self.least, self.most)
            except (ValueError, OSError, tarfile.TarError, KeyError, cv2.error) as error:
                log.warning("skipped from now on: %s", error)
                self.broken.append(self.clips.pop(at).name)
        raise ValueError(f"no clip can be read; broken or too short: {self.broken[:5] or 'none, there were none'}")


@dataclass(frozen=True)
class FrameSequences:
    """Seed -> endless batches {"frames": (B,T,3,H,W) uint8} of T frames a few apart, cropped and resized at random.

    A run of frames stays in a pool and serves `uses` sequences on average. The crop's side is a random part of the
    largest that fits, never below `least_zoom` of it; `held_out` reads the clips that are otherwise kept unseen."""

    folders: tuple[Path, ...]
    size_hw: tuple[int, int]
    frames: int
    batch_size: int
    strides: tuple[int, ...] = (1, 2)
    held_out: bool = False
    least_zoom: float = 0.55
    uses: float = 6.0
    pool: int = 24

    def clips(self) -> Found:
        """The clips that are read. ValueError: there are none."""
        found = find_clips(self.folders)
        clips = [clip for clip in found.clips if clip.held_out == self.held_out]
        if not clips:
            kind = "held-out " if self.held_out else ""
            raise ValueError(f"no {kind}clips in {[str(f) for f in self.folders]} ({len(found.clips)} in all)")
        return Found(clips, found.broken)

    def broken(self) -> list[str]:
        """Names of the clips and files that cannot be used; tries a frame run of every one, and logs their number."""
        found = self.clips()
        broken, rng = list(found.broken), np.random.default_rng(0)
        for clip in found.clips:
            try:
                read_run(clip, rng, self.frames, self.frames)
            except (ValueError, OSError, tarfile.TarError, KeyError, cv2.error) as error:
                log.warning("cannot be used: %s", error)
                broken.append(clip.name)
        log.info("%d of %d clips can be used; broken: %s", len(found.clips) - len(broken), len(found.clips), broken)
        return broken

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Batches of `batch_size`."""
        rng = np.random.default_rng(seed)
        found = self.clips()
        span = 1 + (self.frames - 1) * min(self.strides)
        return self._batches(Reader(found.clips, span, max(RUN, span), found.broken), rng)

    def _batches(self, reader: Reader, rng: np.random.Generator) -> Iterator[Batch]:
        pool: list[list[np.ndarray]] = []
        while True:
            sequences = [self._sequence(self._run(reader, pool, rng), rng) for _ in range(self.batch_size)]
            yield {"frames": torch.from_numpy(np.stack(sequences))}

    def _run(self, reader: Reader, pool: list[list[np.ndarray]], rng: np.random.Generator) -> list[np.ndarray]:
        if len(pool) < self.pool:
            pool.append(self._small(reader.draw(rng)))
            return pool[-1]
        slot = int(rng.integers(len(pool)))
        if rng.random() < 1 / self.uses:
            pool[slot] = self._small(reader.draw(rng))
        return pool[slot]

    def _small(self, run: list[np.ndarray]) -> list[np.ndarray]:
        """Frames no larger than crops can use."""
        height, width = run[0].shape[:2]
        scale = max(self.size_hw[0] / height, self.size_hw[1] / width) / self.least_zoom
        if scale >= 1:
            return run
        size = (round(width * scale), round(height * scale))
        return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in run]

    def _sequence(self, run: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """(T,3,H,W): the same crop of T frames."""
        fitting = [stride for stride in self.strides if 1 + (self.frames - 1) * stride <= len(run)]
        stride = int(rng.choice(fitting))
        first = int(rng.integers(len(run) - (self.frames - 1) * stride))
        rows, columns = run[0].shape[:2]
        height, width = self.size_hw
        zoom = rng.uniform(self.least_zoom, 1.0) * min(rows / height, columns / width)
        crop_h, crop_w = min(rows, round(zoom * height)), min(columns, round(zoom * width))
        top, left = int(rng.integers(rows - crop_h + 1)), int(rng.integers(columns - crop_w + 1))
        frames = run[first : first + (self.frames - 1) * stride + 1 : stride]
        crops = [frame[top : top + crop_h, left : left + crop_w] for frame in frames]
        how = cv2.INTER_AREA if crop_h > height else cv2.INTER_LINEAR
        return np.stack([cv2.resize(c, (width, height), interpolation=how).transpose(2, 0, 1) for c in crops])
