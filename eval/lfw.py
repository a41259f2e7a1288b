"""LFW portraits in tar files: `Name_Surname_0001.jpg`, one to four a person."""

import io
import re
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from face3d.io import read_image

_NAME = re.compile(r"(.+)_(\d{4})\.jpg$")


class Member(NamedTuple):
    """Where one photo lies: its bytes in the tar."""

    tar: Path
    name: str
    offset: int
    size: int


class Lfw:
    """Photos by person, persons in alphabetical order."""

    def __init__(self, folder: Path) -> None:
        tars = sorted(folder.glob("lfw-*.tar"))
        if not tars:
            raise FileNotFoundError(f"no lfw-*.tar in {folder}: expected LFW's photos in tar files")
        people: dict[str, list[Member]] = defaultdict(list)
        for tar in tars:
            with tarfile.open(tar) as archive:
                for entry in archive:
                    if entry.isfile() and (found := _NAME.search(Path(entry.name).name)):
                        people[found.group(1)].append(Member(tar, entry.name, entry.offset_data, entry.size))
        self.people = {person: sorted(people[person], key=lambda m: m.name) for person in sorted(people)}

    def pairs(self, count: int, seed: int = 0) -> list[tuple[str, Member, Member]]:
        """First and second photo of `count` people who have two, the same people for the same seed."""
        with_two = [(person, photos[0], photos[1]) for person, photos in self.people.items() if len(photos) > 1]
        if len(with_two) < count:
            raise ValueError(f"{count} people with two photos are needed, the tars hold {len(with_two)}")
        chosen = np.random.default_rng(seed).permutation(len(with_two))[:count]
        return [with_two[index] for index in sorted(chosen)]

    def read(self, member: Member) -> UInt8[np.ndarray, "H W 3"]:
        """One photo, grey repeated to RGB."""
        with member.tar.open("rb") as stream:
            stream.seek(member.offset)
            return read_image(Image.open(io.BytesIO(stream.read(member.size))))
