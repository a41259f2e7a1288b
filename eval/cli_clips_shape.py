"""`python -m eval clips-shape`: any method's meshes, codes and landmarks on clips with exact geometry."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eval import tables
from eval.command import Data, Json, data_folder
from eval.method_options import Samples, of_any_method, require_scored, write_method_run

if TYPE_CHECKING:
    from eval.clip_run import ClipMethod
    from eval.methods import Choice

Together = Annotated[
    Literal["frames", "shared", "refined"],
    typer.Option(
        help="face3d on each frame, with one identity for the frames of a clip, or that refined by their flow."
    ),
]


@of_any_method
def clips_shape(
    data: Data,
    choice: "Choice",
    people: Annotated[int, typer.Option(min=1, help="How many generated people, a clip each.")] = 100,
    frames: Annotated[int, typer.Option(min=2, help="Frames of a clip.")] = 8,
    together: Together = "frames",
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

    clip_method = _clip_method(choice, together)
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
    content: dict[str, Any] = {"frames": frames, "together": together}
    for name, clips in parts.items():
        pictures = ClipFrames(clips, frames)
        if samples is not None:
            write_samples(pictures.samples(), samples / name, "gt")
            continue
        source = clip_method or choice.part(name).source(pictures, "gt")
        ours, floor = run_clips(clips, (source, MeanFace(morphable)), tables.progress)
        require_scored(ours)
        tables.show_meshes(ours, floor)
        content |= {name: run_as_dict(ours), f"{name}_floor": run_as_dict(floor)}
    if samples is None:
        write_method_run(json, choice, {"benchmark": "clips-shape", **content})


def _clip_method(choice: "Choice", together: str) -> "ClipMethod | None":
    """face3d on the frames of a clip together; None where it sees each alone. ValueError: options that do not go with
    that."""
    if together == "frames":
        return None
    if choice.method != "face3d" or choice.predictions is not None or choice.export is not None:
        raise ValueError(
            f"--together {together} goes with --method face3d alone, and without --predictions and --export"
        )
    from eval.command import face3d_method
    from eval.method_face3d_clip import Face3dClip
    from face3d.optical_flow import flow_of_pairs

    reconstructor = face3d_method(choice.weights, choice.model, choice.device).reconstructor
    return Face3dClip(reconstructor, flow_of_pairs(reconstructor.device) if together == "refined" else None)
