"""`python -m eval clips-shape`: any method's meshes, codes and landmarks on clips with exact geometry."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval import tables
from eval.command import Data, Json, data_folder
from eval.method_options import Samples, of_any_method, require_scored, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice


@of_any_method
def clips_shape(
    data: Data,
    choice: "Choice",
    people: Annotated[int, typer.Option(min=1, help="How many generated people, a clip each.")] = 100,
    frames: Annotated[int, typer.Option(min=2, help="Frames of a clip.")] = 8,
    samples: Samples = None,
    json: Json = None,
) -> None:
    """Shape from clips with exact geometry: generated people, and the Lee Perry-Smith scan where it is there.

    Predictions, exports and samples lie in the folders `people` and `scan`, a file a frame.
    """
    from eval.clip_frames import ClipFrames
    from eval.clip_run import run_clips
    from eval.clips import Clips, GeneratedClips, ScanClip
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.report import run_as_dict

    morphable = choice.morphable_model()
    parts: dict[str, Clips] = {"people": GeneratedClips(morphable, people, frames)}
    try:
        parts["scan"] = ScanClip(data_folder(data, "scans/lee_perry_smith"), morphable, frames)
    except FileNotFoundError as error:
        tables.say(f"{error}; only generated people are measured")
    if choice.predictions is not None:
        parts = {name: clips for name, clips in parts.items() if (choice.predictions / name).is_dir()}
        if not parts:
            raise FileNotFoundError(
                f"no folder people or scan in {choice.predictions}: expected predictions of frames there"
            )
    content: dict[str, Any] = {"frames": frames}
    for name, clips in parts.items():
        pictures = ClipFrames(clips, frames)
        if samples is not None:
            write_samples(pictures.samples(), samples / name, "gt")
            continue
        source = choice.part(name).source(pictures, "gt")
        ours, floor = run_clips(clips, (source, MeanFace(morphable)), tables.progress)
        require_scored(ours)
        tables.show_meshes(ours, floor)
        content |= {name: run_as_dict(ours), f"{name}_floor": run_as_dict(floor)}
    if samples is None:
        write_method_run(json, choice, {"benchmark": "clips-shape", **content})
