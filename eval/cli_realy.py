"""`python -m eval realy`: any method on REALY's four regions, from frontal photos or side views."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eval import tables
from eval.command import Data, Json, data_folder
from eval.method_options import Samples, of_any_method, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice
    from eval.realy import Realy
    from eval.realy_keypoints import Keypoints, KeypointSource


@of_any_method
def realy(
    data: Data,
    choice: "Choice",
    view: Annotated[Literal["front", "side"], typer.Option(help="Which of the published photos.")] = "front",
    images: Annotated[Path | None, typer.Option(help="Photos N.jpg or N_K.jpg, not the view's folder.")] = None,
    keypoints: Annotated[
        Path | None, typer.Option(help="85 keypoints on the method's mesh, as published; else placed here.")
    ] = None,
    samples: Samples = None,
    json: Json = None,
) -> None:
    """REALY (data on request): nose, mouth, forehead and cheek, each aligned by itself, NMSE in mm."""
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.methods import OF_THE_MODEL
    from eval.realy import Realy
    from eval.realy_run import run_realy
    from eval.report import run_as_dict

    benchmark = Realy(data_folder(data, "realy"), view, images)
    if samples is not None:
        return write_samples(benchmark.samples(), samples, "largest")
    points, of_model = _keypoints(choice, keypoints, benchmark)
    ours = run_realy(benchmark, choice.source(benchmark, "largest"), points)
    floor = run_realy(benchmark, MeanFace(choice.morphable_model()), of_model)
    tables.show_meshes(ours, floor)
    tables.say(f"{ours.summary['photos_left_out']} of {ours.summary['photos']} photos left out")
    place = "placed by eval.realy_keypoints" if choice.method in OF_THE_MODEL else "placed by eval.realy_topologies"
    source = place if keypoints is None else keypoints.name
    content: dict[str, Any] = {"view": view, "keypoints": source, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_method_run(json, choice, {"protocol": f"REALY, {view}", **content})
    return None


def _keypoints(choice: "Choice", path: Path | None, data: "Realy") -> tuple["KeypointSource", "Keypoints"]:
    """Keypoints of the method's meshes, and of the mean face; the file is for the method's."""
    from eval.methods import OF_THE_MODEL
    from eval.realy_keypoints import keypoints_of
    from eval.realy_topologies import KeypointsOfFiles

    if choice.method in OF_THE_MODEL:
        of_model = keypoints_of(choice.morphable_model(), path, data)
        return of_model, of_model
    of_model = keypoints_of(choice.morphable_model(), None, data)
    return KeypointsOfFiles(of_model, data.mean_keypoints(), path), of_model
