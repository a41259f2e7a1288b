"""What `python -m train multi --data VIDEOS` is not given: embedded weights, and shards of the videos."""

import logging
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from face3d.checkpoint import asset_path
from train.config import Inputs, RunOptions
from train.people_folders import VOXCELEB, FoundPeople, find_people
from train.people_shards import make_people
from train.people_tracks import OpenFinder, TrackConfig
from train.weights_files import by_stage

EMBEDDED = {"single": "reconstruct.safetensors", "flow": "flow.safetensors", "parser": "parser.safetensors"}
SHARDS = "people"
log = logging.getLogger(__name__)


def with_embedded_weights(inputs: Inputs) -> Inputs:
    """The inputs with the embedded weights of each stage of which none are given; those of stage multi stand for those
    of stage single."""
    given = by_stage(inputs.weights)
    started = "single" in given or "multi" in given
    absent = [name for stage, name in EMBEDDED.items() if stage not in given and not (stage == "single" and started)]
    return replace(inputs, weights=(*inputs.weights, *(asset_path(name) for name in absent)))


def complete_inputs(inputs: Inputs, options: RunOptions, fabric: Fabric) -> Inputs:
    """Inputs of stage multi with all that it needs.

    Without shards among `extra`, people are found in the videos of `data_dir` and their shards written to
    `<out>/people` by the first process, while others wait (for as much as VoxCeleb, rather run
    `python -m train.prepare people` before, with many workers). A run that goes on finds its shards there.
    ValueError: there are no videos."""
    inputs = with_embedded_weights(inputs)
    if any(any(path.glob("people-*.tar")) for path in inputs.extra):
        return inputs
    shards = options.out / SHARDS
    if fabric.is_global_zero:
        told = make_people(people_in_videos(inputs.data_dir), shards, OpenFinder(TrackConfig()), options.workers)
        log.info("%s", told)
    fabric.barrier()
    return replace(inputs, extra=(*inputs.extra, shards))


def people_in_videos(folder: Path) -> FoundPeople:
    """Of `find_people`, videos and the folders of frames of VoxCeleb's people: other pictures may be those of a
    benchmark. ValueError: there are none."""
    found = find_people([folder])
    sources = [source for source in found.sources if source.kind == "video" or VOXCELEB.fullmatch(source.person)]
    if not sources:
        raise ValueError(
            f"no videos in {folder}: give a folder of them by --data (VoxCeleb's layout or any other), or shards of "
            "`python -m train.prepare people` by --extra"
        )
    return found._replace(sources=sources)
