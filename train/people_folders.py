"""Where people are shown: VoxCeleb 1 and 2 as published, any other folder of videos, several photos of one person.

`idNNNNN/VIDEO/UTT.mp4` and `idNNNNN/VIDEO/UTT/0000.jpg` (at any depth) are the person idNNNNN; any other video or
folder of frames is a person of its own, called as it is. Photos are `Name_Surname_0001.jpg` as in LFW, in folders or
tars, or lie in a folder called as the person. A fifth of the people, chosen by their names, is kept unseen.
"""

import io
import logging
import os
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from face3d.io import read_image
from train.flow_folders import HELD_OUT, IMAGES, VIDEOS

FOLDER_FPS = 25.0  # of folders of frames, which do not tell: VoxCeleb's videos
SAMPLED_FPS = 5.0
VOXCELEB = re.compile(r"id\d{5}")
NUMBERED = re.compile(r"(.*[^\W\d_].*)_\d{3,5}")  # a name, not only digits
log = logging.getLogger(__name__)


class Photo(NamedTuple):
    """An image file, or the part of a tar that begins at byte `offset` and has `size` bytes (-1: the whole file)."""

    path: Path
    name: str
    offset: int = 0
    size: int = -1


class Source(NamedTuple):
    """One video of one person, or all photos of one. `video` tells it from the person's others, `key` from all others;
    `path` is the video or the folder of frames, and the first place where a person's photos are."""

    person: str
    video: str
    kind: Literal["video", "frames", "photos"]
    path: Path
    key: str
    photos: tuple[Photo, ...] = ()

    @property
    def held_out(self) -> bool:
        """Whether the person is one of those that are not trained on."""
        return held_out(self.person)


class FoundPeople(NamedTuple):
    """Sources, names of files that could not be opened, and how many people are left out because of a single photo."""

    sources: list[Source]
    broken: list[str]
    single_photos: int


def held_out(person: str) -> bool:
    """Whether a person of this name is one of the fifth that are not trained on."""
    return zlib.crc32(person.encode()) % HELD_OUT == 0


def find_people(videos: Sequence[Path], photos: Sequence[Path] = ()) -> FoundPeople:
    """Every source below the folders (a path to one video or tar will do), each key once, in an order without order:
    neighbours are different people. FileNotFoundError: no such folder."""
    for path in (*videos, *photos):
        if not path.exists():
            raise FileNotFoundError(f"{path}: not there; expected folders of videos, and folders or tars of photos")
    found = [source for folder in videos for source in _videos_below(folder)]
    by_person, broken = _photos_of(photos)
    for person, images in by_person.items():
        if len(images) > 1:
            found.append(Source(person, "photos", "photos", images[0].path, "", tuple(images)))
    return FoundPeople(_with_keys(found), broken, sum(len(images) == 1 for images in by_person.values()))


def _videos_below(folder: Path) -> Iterator[Source]:
    if folder.is_file():
        yield _video(folder, folder.parent, "video")
        return
    for parent, folders, names in os.walk(folder):
        folders.sort()
        suffixes = {os.path.splitext(name)[1].lower() for name in names}
        if suffixes & IMAGES:
            yield _video(Path(parent), folder, "frames")
        if suffixes & VIDEOS:
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in VIDEOS:
                    yield _video(Path(parent, name), folder, "video")


def _video(path: Path, root: Path, kind: Literal["video", "frames"]) -> Source:
    full = path.absolute() if kind == "frames" else path.absolute().with_suffix("")
    people = [index for index, part in enumerate(full.parts[:-1]) if VOXCELEB.fullmatch(part)]
    if people:
        return Source(full.parts[people[-1]], "/".join(full.parts[people[-1] + 1 :]), kind, path, "")
    below = path.relative_to(root) if kind == "frames" else path.relative_to(root).with_suffix("")
    return Source(full.name, below.as_posix() if below.parts else full.name, kind, path, "")


def _photos_of(places: Sequence[Path]) -> tuple[dict[str, list[Photo]], list[str]]:
    people: dict[str, list[Photo]] = defaultdict(list)
    broken = []
    for place in (place for given in places for place in [given, *sorted(given.rglob("*.tar"))]):
        try:
            images = _images_of(place)
        except (tarfile.TarError, OSError) as error:
            log.warning("%s: skipped (%s)", place, error)
            broken.append(str(place))
            continue
        for photo in images:
            name = PurePosixPath(photo.name)
            numbered = NUMBERED.fullmatch(name.stem)
            people[numbered.group(1) if numbered else name.parent.name or name.stem].append(photo)
    return people, broken


def _images_of(place: Path) -> list[Photo]:
    if place.is_dir():
        paths = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGES)
        return [Photo(path, path.relative_to(place).as_posix()) for path in paths]
    with tarfile.open(place, "r:") as archive:  # not compressed: photos are read from where they lie
        members = [member for member in archive if member.isfile()]
    photos = [Photo(place, member.name, member.offset_data, member.size) for member in members]
    return sorted(photo for photo in photos if PurePosixPath(photo.name).suffix.lower() in IMAGES)


def _with_keys(found: list[Source]) -> list[Source]:
    """Each with its key; where two would have the same, the later one's has its path in it."""
    named: dict[str, Source] = {}
    for source in {(source.kind, source.person, source.path.absolute()): source for source in found}.values():
        key = f"{_plain(source.person)}__{_plain(source.video)}"
        if key in named:
            key += f"-{zlib.crc32(str(source.path.absolute()).encode()):08x}"
        named[key] = source._replace(key=key)
    return sorted(named.values(), key=lambda source: (zlib.crc32(source.key.encode()), source.key))


def _plain(name: str) -> str:
    """Without dots, slashes and double underscores, which end a key's parts."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^\w-]+", "-", name)).strip("_") or "-"


def read_frames(source: Source, every: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(index, (H,W,3) uint8 RGB) of each `every`-th frame, or of five a second; of every photo. Images of a folder or
    tar that cannot be read are passed over. ValueError: nothing can be read."""
    frames = {"video": _of_video, "frames": _of_folder, "photos": _of_photos}[source.kind](source, every)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{source.path}: no frame of {source.video} can be read")
    yield first
    yield from frames


def _stride(every: int | None, fps: float) -> int:
    return every or max(1, round((fps if 1 <= fps <= 1000 else FOLDER_FPS) / SAMPLED_FPS))


def _of_video(source: Source, every: int | None) -> Iterator[tuple[int, np.ndarray]]:
    capture = cv2.VideoCapture(str(source.path))
    try:
        stride, index = _stride(every, capture.get(cv2.CAP_PROP_FPS)), 0
        while capture.grab():
            if index % stride == 0:
                ok, image = capture.retrieve()
                if ok:
                    yield index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            index += 1
    finally:
        capture.release()


def _of_folder(source: Source, every: int | None) -> Iterator[tuple[int, np.ndarray]]:
    names = sorted(name for name in os.listdir(source.path) if os.path.splitext(name)[1].lower() in IMAGES)
    stride = _stride(every, FOLDER_FPS)
    for index in range(0, len(names), stride):
        image = _decoded((source.path / names[index]).read_bytes())
        if image is not None:
            yield index, image


def _of_photos(source: Source, every: int | None) -> Iterator[tuple[int, np.ndarray]]:
    for index, photo in enumerate(source.photos):
        with photo.path.open("rb") as file:
            file.seek(photo.offset)
            image = _decoded(file.read(photo.size))
        if image is not None:
            yield index, image


def _decoded(content: bytes) -> np.ndarray | None:
    try:
        return read_image(Image.open(io.BytesIO(content)))
    except (ValueError, OSError):
        return None
