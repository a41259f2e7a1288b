"""Tracks of people as webdataset shards, made by several processes and resumed after a kill.

`people-000000.tar`, ...: a sample is a track, `KEY.json` and `KEY.f000.jpg`, `KEY.f001.jpg`, ...; `people.json` tells
the format and the settings. `journal.jsonl` has one line a shard with the sources in it. It is written when the shard
is complete beside its final name, and before it gets it: whatever the moment of a kill, a source is either in the
journal and its samples are there, or it is done again and they are not.
"""

import io
import json
import logging
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from face3d.io import replace_files
from train.folders import begun_folder
from train.people_folders import FoundPeople, Source
from train.people_tracks import OpenFinder, Track, TrackConfig
from train.people_workers import results_of

FORMAT, VERSION = "face3d-people", 1
SHARD = re.compile(r"people-(\d{6})\.tar")
JOURNAL, HEADER = "journal.jsonl", "people.json"
log = logging.getLogger(__name__)


class Done(NamedTuple):
    """A source that was gone through: how many tracks and frames it gave, or why it cannot be read."""

    source: Source
    tracks: int
    frames: int
    error: str | None = None


@dataclass
class Totals:
    """What is in the shards of a folder."""

    people: set[str] = field(default_factory=set)
    sources: int = 0
    tracks: int = 0
    frames: int = 0


def make_shards(
    sources: Iterable[Source],
    out: Path,
    open_finder: Callable[[], Callable[[Source], list[Track]]],
    config: TrackConfig,
    workers: int = 1,
    tracks_per_shard: int = 256,
) -> Iterator[Done]:
    """Find the tracks of the sources that the folder does not have yet, and write them; tells of each when it is done.

    `open_finder` is hashable and picklable: it is called in each of `workers` processes (0: in this one). A source that
    cannot be read, or at which its process dies, is passed over; the next run tries it again.
    ValueError: the folder was made with other settings, or is not one of this kind; OSError: it cannot be written.
    """
    finished = _start_folder(out, config)
    waiting = (source for source in sources if source.key not in finished)
    with _ShardWriter(out, config, tracks_per_shard) as writer:
        for source, tracks in results_of(waiting, open_finder, workers):
            if isinstance(tracks, str):
                log.debug("%s: %s", source.path, tracks)
                yield Done(source, 0, 0, tracks)
            else:
                writer.add(source, tracks)
                yield Done(source, len(tracks), sum(len(track.frames) for track in tracks))


def totals(out: Path) -> Totals:
    """What the journal of a folder names; nothing where there is none."""
    result = Totals()
    for line in _journal(out):
        for source in line["sources"]:
            result.sources += 1
            result.tracks += source["tracks"]
            result.frames += source["frames"]
            result.people |= {source["person"]} if source["tracks"] else set()
    return result


def finished_keys(out: Path) -> set[str]:
    """Keys of the sources that are done: those of the journal whose shard is there."""
    return {source["key"] for line in _journal(out) for source in line["sources"]}


def _lines(out: Path) -> list[dict[str, Any]]:
    """The journal; what a kill left of a last line is passed over."""
    path = out / JOURNAL
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def _journal(out: Path) -> list[dict[str, Any]]:
    """Lines whose shard is there."""
    return [line for line in _lines(out) if line["shard"] is None or (out / line["shard"]).exists()]


def _start_folder(out: Path, config: TrackConfig) -> set[str]:
    """Bring a folder that a run left into order; returns the keys that are done."""
    header = {"format": FORMAT, "version": VERSION, "settings": asdict(config)}
    if begun_folder(out, HEADER, header) is None:
        replace_files({out / HEADER: json.dumps(header, indent=1).encode()})
    journal = out / JOURNAL
    if journal.exists():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
        for line in _lines(out):
            if line["shard"] and (part := out / f"{line['shard']}.part").exists():
                os.replace(part, out / line["shard"])
    for part in out.glob("*.part"):
        part.unlink()
    return finished_keys(out)


class _ShardWriter:
    """Writes whole tracks; a shard gets its name when it is complete and in the journal. A context manager: an error
    drops what is not complete."""

    def __init__(self, out: Path, config: TrackConfig, tracks_per_shard: int) -> None:
        self.out, self.config, self.limit = out, config, tracks_per_shard
        names = [path.name for path in out.iterdir()] + [str(line["shard"]) for line in _lines(out)]
        numbers = [int(match.group(1)) for name in names if (match := SHARD.fullmatch(name))]
        self._next = max(numbers, default=-1) + 1
        self._archive: tarfile.TarFile | None = None
        self._tracks, self._sources = 0, list[dict[str, Any]]()

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._finish()
        elif self._archive is not None:
            self._archive.close()
            self._part.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        return f"people-{self._next:06d}.tar"

    @property
    def _part(self) -> Path:
        return self.out / f"{self._name}.part"

    def add(self, source: Source, tracks: list[Track]) -> None:
        """Write all tracks of a source."""
        for track in tracks:
            if self._archive is None:
                self._archive = tarfile.open(self._part, "w", format=tarfile.PAX_FORMAT)
            add_files(self._archive, sample_files(track, self.config))
        frames = sum(len(track.frames) for track in tracks)
        self._tracks += len(tracks)
        self._sources.append({"key": source.key, "person": source.person, "tracks": len(tracks), "frames": frames})
        if self._tracks >= self.limit or len(self._sources) >= 4 * self.limit:
            self._finish()

    def _finish(self) -> None:
        if not self._sources:
            return
        shard = self._name if self._archive is not None else None
        if self._archive is not None:
            self._archive.close()
            with self._part.open("rb+") as file:
                os.fsync(file.fileno())
        with (self.out / JOURNAL).open("ab") as journal:
            journal.write(json.dumps({"shard": shard, "sources": self._sources}).encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        if shard is not None:
            os.replace(self._part, self.out / shard)
            self._next += 1
        self._archive, self._tracks, self._sources = None, 0, []


def add_files(archive: tarfile.TarFile, files: dict[str, bytes]) -> None:
    """Write members in their order."""
    for name, content in files.items():
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def sample_files(track: Track, config: TrackConfig) -> dict[str, bytes]:
    """The members of a track's sample; the description comes first, so that a reader knows what to keep."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "person": track.source.person,
        "source": f"{track.source.kind}:{track.source.video}",
        "held_out": track.source.held_out,
        "size": config.size,
        "crop_factor": config.crop_factor,
        "frames": [
            {
                "frame": frame.number,
                "landmarks_px": np.round(frame.landmarks_px.astype(float), 2).tolist(),
                "confidence": np.round(frame.confidence.astype(float), 3).tolist(),
                **{f"{angle}_deg": round(getattr(frame, f"{angle}_deg"), 2) for angle in ("pitch", "yaw", "roll")},
                "sharpness": round(frame.sharpness, 4),
                "face_px": round(frame.face_px, 1),
                "T_crop_from_frame": np.round(frame.T_crop_from_frame, 6).tolist(),
            }
            for frame in track.frames
        ],
    }
    files = {f"{track.key}.json": json.dumps(description, ensure_ascii=False).encode()}
    return files | {f"{track.key}.f{number:03d}.jpg": frame.jpeg for number, frame in enumerate(track.frames)}


def make_people(found: FoundPeople, out: Path, open_finder: OpenFinder, workers: int) -> str:
    """`make_shards` of all that was found, with a progress bar; returns what to tell at the end.

    ValueError: nothing was found, or as of `make_shards`."""
    if not found.sources:
        raise ValueError(f"no videos and nobody with two photos there; {found.single_photos} people with one")
    skipped = list(found.broken)
    left = len(found.sources) - len(finished_keys(out) & {source.key for source in found.sources})
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("people", total=left)
        for done in make_shards(found.sources, out, open_finder, open_finder.config, workers):
            progress.advance(bar)
            if done.error is not None:
                skipped.append(str(done.source.path))
                progress.console.print(f"skipped: {done.error}", markup=False, highlight=False, soft_wrap=True)
    all_in = totals(out)
    lines = [
        f"{len(all_in.people)} people, {all_in.tracks} tracks, {all_in.frames} frames "
        f"of {all_in.sources} videos and people with photos in {out}",
        f"{found.single_photos} people with a single photo left out" if found.single_photos else "",
        f"{len(skipped)} skipped: {', '.join(skipped)}" if skipped else "",
    ]
    return "\n".join(line for line in lines if line)
