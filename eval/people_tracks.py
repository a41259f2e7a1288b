"""Unseen people in several real frames: the held-out tracks of shards by `python -m train.prepare people`."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from face3d.io import read_image

FORMAT, VERSION = "face3d-people", 1
Kind = Literal["videos", "photos"]


class Track(NamedTuple):
    """Crops (S,S) of one person with the 68 landmarks that the shards come with, in their pixels."""

    name: str
    kind: Kind
    frames: list[UInt8[np.ndarray, "S S 3"]]
    landmarks_px: Float[np.ndarray, "T 68 2"]


def held_out_tracks(folder: Path, most_people: int, most_frames: int) -> list[Track]:
    """A track of each held-out person (the first), of `most_people` with photos and as many of videos, the first by
    name; of its frames `most_frames`, evenly apart in yaw.

    FileNotFoundError: no shards. ValueError: damaged ones, another format, or nobody who is held out."""
    shards = sorted(folder.glob("people-*.tar"))
    if not shards:
        raise FileNotFoundError(f"{folder}: no people-NNNNNN.tar; make them with `python -m train.prepare people`")
    found: dict[tuple[str, str], Track] = {}  # by kind and person
    for shard in shards:
        for name, about, jpegs in _samples(shard):
            kind: Kind = "photos" if str(about["source"]).startswith("photos:") else "videos"
            if about["held_out"] and len(jpegs) > 1 and (kind, about["person"]) not in found:
                found[kind, about["person"]] = _track(name, kind, about, jpegs, most_frames)
    if not found:
        raise ValueError(f"{folder}: nobody is held out and has two frames, of all people in {len(shards)} shards")
    names = sorted(found)
    chosen = [name for kind in ("photos", "videos") for name in [n for n in names if n[0] == kind][:most_people]]
    return [found[name] for name in chosen]


def _track(name: str, kind: Kind, about: dict[str, Any], jpegs: list[bytes], most: int) -> Track:
    yaw_deg = np.array([frame["yaw_deg"] for frame in about["frames"]], np.float64)
    order = np.argsort(yaw_deg, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]
    landmarks_px = np.array([about["frames"][row]["landmarks_px"] for row in rows], np.float64)[..., :2]
    frames = [read_image(Image.open(io.BytesIO(jpegs[row]))) for row in rows]
    return Track(name, kind, frames, landmarks_px)


def _samples(shard: Path) -> Iterator[tuple[str, dict[str, Any], list[bytes]]]:
    """Name, description and JPEGs of each track of a shard."""
    members: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                name, _, suffix = member.name.partition(".")
                stream = archive.extractfile(member)
                members.setdefault(name, {})[suffix] = stream.read() if stream else b""
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: {error}; make it again with `python -m train.prepare people`") from error
    for name, parts in members.items():
        about = json.loads(parts.get("json", b"{}"))
        if (about.get("format"), about.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{shard}: {name} is not of format {FORMAT} version {VERSION}: make the shards again")
        jpegs = [parts[suffix] for suffix in sorted(parts) if suffix.endswith(".jpg")]
        if len(jpegs) != len(about["frames"]):
            raise ValueError(f"{shard}: {name} has {len(jpegs)} pictures for {len(about['frames'])} frames")
        yield name, about, jpegs
