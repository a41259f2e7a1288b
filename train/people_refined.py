"""`python -m train.prepare refined`: tracks of people with the shapes that the flow between their frames tells.

What the networks say of a track is refined on its keyframes (`face3d.keyframes`, `face3d.refine`): one identity and the
expression of each, which networks can then learn from single frames, far cheaper than by losses between them. Tracks on
which the refinement does not hold are left out. A shard in, a shard out, written aside and renamed: what an earlier run
made stays.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from face3d.checkpoint import asset_path
from face3d.crops import as_array, crop_around, network_crops, transform_batch
from face3d.face_track import Sighting, shared_identity
from face3d.flow_adjustment import Flow
from face3d.keyframes import MOST, KeyframePool
from face3d.morphable import MorphableModel
from face3d.optical_flow import flow_of_pairs
from face3d.pipeline import pick_device
from face3d.reconstruct import FaceNetworks
from face3d.refine import Refined, refine_face
from train.people_batches import decoded, held_track, read_samples, shards_in
from train.people_shards import add_files

Sample = tuple[dict[str, Any], list[bytes]]
"""A track's description and the JPEGs of its frames."""


def read_networks(
    weights: Path | None, flow: Path | None, model: Path, device: str | None
) -> tuple[FaceNetworks, Flow]:
    """The networks that are refined, and the flow between frames; the embedded ones where None.

    Errors as of their files."""
    where = pick_device(device)
    morphable = MorphableModel.load(model)
    networks = FaceNetworks.read(weights or asset_path("reconstruct.safetensors"), morphable).to(where).eval()
    return networks, flow_of_pairs(where, flow)


def write_refined(
    folders: Sequence[Path], out: Path, networks: FaceNetworks, flow: Flow, most_frames: int = MOST
) -> str:
    """Refine the tracks of all shards in the folders; returns what to tell at the end.

    FileNotFoundError: a folder without shards. ValueError: less than two frames, or samples of another format."""
    if most_frames < 2:
        raise ValueError(f"got {most_frames} frame of a track: a refinement takes two or more")
    out.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(shards_in(folders)):
        target = out / f"people-{number:06d}.tar"
        if not target.exists():
            _write_shard(shard, target, networks, flow, most_frames)
    there = [description for shard in shards_in([out]) for description, _ in read_samples(shard)]
    frames = sum(len(description["frames"]) for description in there)
    return f"{len(there)} tracks, {frames} frames refined in {out}"


def _write_shard(shard: Path, target: Path, networks: FaceNetworks, flow: Flow, most_frames: int) -> None:
    part = target.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for number, (description, jpegs) in enumerate(refined_tracks(shard, networks, flow, most_frames)):
            key = f"{target.stem}-{number:05d}"
            files = {f"{key}.json": json.dumps(description, ensure_ascii=False).encode()}
            files |= {f"{key}.f{row:03d}.jpg": jpeg for row, jpeg in enumerate(jpegs)}
            add_files(archive, files)
    os.replace(part, target)


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
