"""`python -m train.prepare refined`: tracks of people with the shapes that the flow between their frames tells.

What the networks say of a track is refined on its keyframes (`face3d.keyframes`, `face3d.refine`): one identity and the
expression of each, which networks can then learn from single frames, far cheaper than by losses between them. Tracks on
which the refinement does not hold are left out. A shard in, a shard out, written aside and renamed: what an earlier run
made stays. `refined.json` tells the settings, and the shards that those of the folder are made of, in their order.
"""

import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import track

from face3d.checkpoint import asset_path, sha256_of
from face3d.crops import as_array, crop_around, network_crops, transform_batch
from face3d.face_track import Sighting, shared_identity
from face3d.flow_adjustment import Flow
from face3d.io import replace_files
from face3d.keyframes import MOST, KeyframePool
from face3d.morphable import MorphableModel
from face3d.optical_flow import flow_of_pairs
from face3d.pipeline import pick_device
from face3d.reconstruct import FaceNetworks
from face3d.refine import Refined, refine_face
from train.folders import begun_folder
from train.people_batches import decoded, held_track, read_samples, shards_in
from train.people_shards import add_files
from train.people_workers import results_of

FORMAT, VERSION, HEADER = "face3d-refined", 1, "refined.json"
Sample = tuple[dict[str, Any], list[bytes]]
"""A track's description and the JPEGs of its frames."""


class Job(NamedTuple):
    """A shard of tracks, and that of its refined ones."""

    shard: Path
    target: Path


@dataclass(frozen=True)
class OpenRefiner:
    """Opens a `Refiner` in whichever process calls it; files that are None are the embedded ones."""

    model: Path
    weights: Path | None = None
    flow: Path | None = None
    device: str | None = None
    most_frames: int = MOST

    def __call__(self) -> "Refiner":
        """Errors as of the networks' files."""
        device = pick_device(self.device)
        model = MorphableModel.load(self.model)
        networks = FaceNetworks.read(self._weights, model).to(device).eval()
        return Refiner(networks, flow_of_pairs(device, self.flow), self.most_frames)

    def settings(self) -> dict[str, Any]:
        """What the refined shapes depend on: files by their SHA-256."""
        files = {"model": self.model, "weights": self._weights, "flow": self.flow or asset_path("flow.safetensors")}
        return {"frames": self.most_frames, **{name: sha256_of(path) for name, path in files.items()}}

    @property
    def _weights(self) -> Path:
        return self.weights or asset_path("reconstruct.safetensors")


@dataclass(frozen=True)
class Refiner:
    """Writes the refined tracks of a shard."""

    networks: FaceNetworks
    flow: Flow
    most_frames: int = MOST

    def __call__(self, job: Job) -> int:
        """The number of tracks. ValueError, OSError: the shard cannot be read."""
        part, count = job.target.with_suffix(".part"), 0
        try:
            with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
                for about, jpegs in refined_tracks(job.shard, self.networks, self.flow, self.most_frames):
                    key = f"{job.target.stem}-{count:05d}"
                    files = {f"{key}.json": json.dumps(about, ensure_ascii=False).encode()}
                    add_files(archive, files | {f"{key}.f{row:03d}.jpg": jpeg for row, jpeg in enumerate(jpegs)})
                    count += 1
            os.replace(part, job.target)
        finally:
            part.unlink(missing_ok=True)
        return count


def write_refined(
    folders: Sequence[Path],
    out: Path,
    open_refiner: Callable[[], Callable[[Job], int]],
    settings: Mapping[str, Any],
    workers: int = 0,
) -> str:
    """Refine the tracks of all shards in the folders, in processes; returns what to tell at the end.

    FileNotFoundError: a folder without shards. ValueError: ``out`` was made of other shards, or with other settings."""
    shards = shards_in(folders)
    _start_folder(out, shards, settings)
    jobs = [Job(shard, out / f"people-{number:06d}.tar") for number, shard in enumerate(shards)]
    left = [job for job in jobs if not job.target.exists()]
    console = Console(stderr=True)
    results = results_of(iter(left), open_refiner, workers)
    bar = track(results, "shards", total=len(left), console=console, disable=not console.is_terminal)
    skipped = [f"{job.shard}: {result}" for job, result in bar if isinstance(result, str)]
    there = [description for job in jobs if job.target.exists() for description, _ in read_samples(job.target)]
    frames = sum(len(description["frames"]) for description in there)
    told = [f"{len(there)} tracks, {frames} frames refined in {out}", *(f"skipped: {each}" for each in skipped)]
    return "\n".join(told)


def _start_folder(out: Path, shards: Sequence[Path], settings: Mapping[str, Any]) -> None:
    """Note what the folder is made of; further shards may follow those that it was made of before."""
    header = {"format": FORMAT, "version": VERSION, "settings": dict(settings)}
    names = [f"{shard.parent.name}/{shard.name}" for shard in shards]
    path, there = out / HEADER, begun_folder(out, HEADER, header)
    before = there.get("shards", []) if there else []
    if names[: len(before)] != before:
        raise ValueError(f"{path} names {before}, got {names}: give the same folders first, or another output")
    replace_files({path: json.dumps({**header, "shards": names}, indent=1).encode()})
    for part in out.glob("*.part"):
        part.unlink()


def refined_tracks(shard: Path, networks: FaceNetworks, flow: Flow, most_frames: int) -> Iterator[Sample]:
    """The tracks of a shard whose refinement holds: some frames of each, described with "identity" (standard
    deviations), and "expression" of each frame."""
    for description, jpegs in read_samples(shard):
        sightings, pictures = seen(networks, jpegs, held_track(description, jpegs).landmarks_px)
        pool = KeyframePool(networks.model, most_frames)
        for picture, face in zip(pictures, sightings, strict=True):
            pool.see(picture, face)
        found = refine_face(pool.kept, shared_identity(sightings), networks.model, flow)
        if found.about.kept:
            yield described(description, found), [jpegs[row] for row in found.about.frames]


def described(description: dict[str, Any], found: Refined) -> dict[str, Any]:
    """Of the keyframes alone, with what was found."""
    frames = [
        {**description["frames"][row], "expression": np.round(expression.astype(float), 4).tolist()}
        for row, expression in zip(found.about.frames, found.expression, strict=True)
    ]
    return {**description, "frames": frames, "identity": np.round(found.identity.astype(float), 4).tolist()}


@torch.inference_mode()
def seen(
    networks: FaceNetworks, jpegs: Sequence[bytes], landmarks_px: Float[np.ndarray, "N 68 3"]
) -> tuple[list[Sighting], list[UInt8[np.ndarray, "S S 3"]]]:
    """What networks say of crops with a face about these points, numbered as frames, and the crops."""
    pictures = [decoded(jpeg) for jpeg in jpegs]
    T = np.stack([crop_around(points, networks.crop_factor, networks.crop_size) for points in landmarks_px])
    estimate = networks(network_crops(pictures, T, networks.crop_size, networks.model.mean.device))
    rows = zip(
        transform_batch(np.linalg.inv(T), estimate.landmarks_px),
        as_array(estimate.landmarks_confidence),
        as_array(estimate.identity),
        as_array(estimate.expression),
        strict=True,
    )
    return [Sighting(number, *row) for number, row in enumerate(rows)], pictures
