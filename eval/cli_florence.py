"""`python -m eval florence`: any method's neutral faces of videos against scans, by one of the papers' protocols."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eval import tables
from eval.command import Data, Json, data_folder
from eval.method_options import Samples, of_any_method, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice


@of_any_method
def florence(
    data: Data,
    variant: Annotated[
        Literal["mvf", "deep3d", "genova", "ganfit", "nme"], typer.Option(help="Whose protocol (docs/evaluation.md).")
    ],
    choice: "Choice",
    setting: Annotated[
        Literal["all", "Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor"], typer.Option(help="Which videos.")
    ] = "all",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a video, drawn at random.")] = 5,
    samples: Samples = None,
    json: Json = None,
) -> None:
    """MICC Florence (licensed data): neutral faces of videos against scans, by one of the papers' protocols.

    Predictions, exports and samples are of all frames drawn, four times --frames a video: where no face is found, the
    next one counts.
    """
    from eval.florence import SETTINGS, Florence
    from eval.florence_frames import VideoFrames
    from eval.florence_run import run_florence
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.report import run_as_dict

    benchmark = Florence(data_folder(data, "florence"), SETTINGS if setting == "all" else (setting,))
    pictures = VideoFrames(benchmark, frames)
    if samples is not None:
        return write_samples(pictures.samples(), samples, "largest")
    ours = run_florence(benchmark, choice.source(pictures, "largest"), variant, frames)
    floor = run_florence(benchmark, MeanFace(choice.morphable_model()), variant, frames=1)
    tables.show_meshes(ours, floor)
    tables.say(f"{ours.summary['videos_left_out']} of {ours.summary['videos']} videos left out")
    tables.say(f"{ours.summary['frames_passed_over']['count']} frames passed over for the next one drawn")
    content = {"variant": variant, "frames": frames, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_method_run(json, choice, {"protocol": f"Florence, {variant}", **content})
    return None
