"""Flow on real frames, where the true flow is not known: does the way there lead back, and do the pictures fit?

Neither figure alone says anything: no motion at all leads back perfectly, and noise can make pictures fit.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval.flow_benchmark import PairRecord, PairRun, scored_each
from eval.flow_methods import FlowMethod
from eval.flow_scores import Ratio
from face3d.io import read_image
from face3d.losses_flow import CENSUS_RADIUS, census_distance
from face3d.warping import occluded_by_consistency, warp_by_flow


class FramePair(NamedTuple):
    """Where two frames lie; `previous` is the one before, where there is one."""

    name: str
    first: Path
    second: Path
    previous: Path | None = None


def frame_pairs(folder: Path) -> list[FramePair]:
    """Folders of `first.png`, `second.png`, perhaps `previous.png`, anywhere below one, as
    `python -m train.prepare flow --kind clips` writes them. FileNotFoundError: there are none."""
    pairs = []
    for first in sorted(folder.rglob("first.png")):
        at, previous = first.parent, first.parent / "previous.png"
        name = str(at.relative_to(folder))
        pairs.append(FramePair(name, first, at / "second.png", previous if previous.is_file() else None))
    if not pairs:
        raise FileNotFoundError(f"{folder}: no pairs of frames, PAIR/first.png and PAIR/second.png")
    return pairs


def run_unlabelled(folder: Path, method: FlowMethod) -> PairRun:
    """Score `method` on every pair of frames below the folder, both ways; broken pairs are left out and named."""

    def measure(pair: FramePair) -> PairRecord:
        previous = None if pair.previous is None else read_image(pair.previous)
        first, second = read_image(pair.first), read_image(pair.second)
        start = time.perf_counter()
        forward = method.flow(previous, first, second).flow_px
        backward = method.flow(None, second, first).flow_px
        seconds = time.perf_counter() - start
        return PairRecord(pair.name, score_unlabelled(first, second, forward, backward), seconds)

    return PairRun("clips", method.name, scored_each(frame_pairs(folder), measure))


def score_unlabelled(
    first: UInt8[np.ndarray, "H W 3"],
    second: UInt8[np.ndarray, "H W 3"],
    forward_px: Float[np.ndarray, "H W 2"],
    backward_px: Float[np.ndarray, "H W 2"],
) -> dict[str, Ratio]:
    """Share of pixels whose forward and backward flow agree (%), and the census distance (0-48) to the second frame
    brought back by the forward flow, of the pixels that land in it and whose patch does; of no motion too.

    ValueError where the frames differ in size or the flow has another.
    """
    if not first.shape[:2] == second.shape[:2] == forward_px.shape[:2] == backward_px.shape[:2]:
        raise ValueError(f"frames {first.shape}, {second.shape} and flows {forward_px.shape}, {backward_px.shape}")
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in (first, second)]
    flows = [
        torch.from_numpy(np.asarray(flow, np.float32)).permute(2, 0, 1)[None] for flow in (forward_px, backward_px)
    ]
    consistent = ~occluded_by_consistency(flows[0], flows[1])
    warped, inside = warp_by_flow(images[1], flows[0])
    inner = torch.zeros_like(inside)
    middle = slice(CENSUS_RADIUS, -CENSUS_RADIUS)
    inner[:, middle, middle] = True
    patch = 2 * CENSUS_RADIUS + 1
    lands = -torch.nn.functional.max_pool2d(-inside[None].float(), patch, 1, CENSUS_RADIUS)[0] > 0.5
    counted = lands & inner
    pixels = float(counted.sum())
    found, still = (census_distance(images[0], picture)[counted] for picture in (warped, images[1]))
    return {
        "consistent_percent": Ratio(100 * float(consistent.sum()), consistent.numel()),
        "census_distance": Ratio(float(found.sum()), pixels),
        "census_distance_without_flow": Ratio(float(still.sum()), pixels),
    }
