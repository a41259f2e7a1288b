"""Pseudo-labelled photos: 478 landmarks an image (an npz made by a labelling tool) beside the images themselves."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class Labels(NamedTuple):
    """`names` (N,) "<source>/<member or frame>", `landmarks` (N,478,3) px, pixel centres at integers, NaN if no
    face."""

    names: np.ndarray
    landmarks: np.ndarray


def read_labels(paths: list[Path]) -> Labels:
    """Read and join label files (`names`, `landmarks` with pixel edges at 0 and W)."""
    names, landmarks = [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            missing = {"names", "landmarks"} - set(file.files)
            if missing:
                raise ValueError(f"{path}: lacks {sorted(missing)}; expected `names` (N,) and `landmarks` (N,478,3)")
            names.append(file["names"])
            landmarks.append(file["landmarks"] - np.array([0.5, 0.5, 0.0], np.float32))
    return Labels(np.concatenate(names), np.concatenate(landmarks))


def _members(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, BGR image) of a tar of images or of a video."""
    if path.suffix == ".tar":
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR) if file else None
                if image is not None:
                    yield f"{path.name}/{member.name}", image
        return
    capture, index = cv2.VideoCapture(str(path)), 0
    while True:
        ok, image = capture.read()
        if not ok:
            return
        yield f"{path.name}/{index:06d}", image
        index += 1


def labelled_images(data: Path, labels: Labels, every: int) -> Iterator[tuple[int, np.ndarray]]:
    """(row in labels, RGB image) of each labelled image below `data`; of videos only each `every`-th frame."""
    row_of = {str(name): row for row, name in enumerate(labels.names)}
    wanted = sorted({name.split("/")[0] for name in row_of})
    for path in sorted(p for p in data.rglob("*") if p.name in wanted):
        for count, (name, image) in enumerate(_members(path)):
            row = row_of.get(name)
            skipped = path.suffix != ".tar" and count % every
            if row is not None and not skipped and np.isfinite(labels.landmarks[row, 0, 0]):
                yield row, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def person_of(name: str) -> str:
    """Who is in an image: LFW files are `Name_Surname_0001.jpg`; a video or another photo stands for one person."""
    source, member = name.split("/", 1)
    if source.startswith("lfw"):
        return Path(member).stem.rsplit("_", 1)[0]
    return source if not source.endswith(".tar") else name
