"""`python -m eval realy`: REALY's four regions, from frontal photos or side views."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from eval import tables
from eval.command import Data, Device, Json, Model, Weights, data_folder, face3d_method, write_run


def realy(
    data: Data,
    view: Annotated[Literal["front", "side"], typer.Option(help="Which of the published photos.")] = "front",
    images: Annotated[Path | None, typer.Option(help="Photos N.jpg or N_K.jpg, not the view's folder.")] = None,
    keypoints: Annotated[
        Path | None, typer.Option(help="85 keypoints on the model's mesh, as published; else placed here.")
    ] = None,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """REALY (data on request): nose, mouth, forehead and cheek, each aligned by itself, NMSE in mm."""
    from eval.florence import WholeFrame
    from eval.mean_face import MeanFace
    from eval.realy import Realy
    from eval.realy_keypoints import keypoints_of
    from eval.realy_run import run_realy
    from eval.report import run_as_dict

    benchmark, method = Realy(data_folder(data, "realy"), view, images), face3d_method(weights, model, device)
    points = keypoints_of(method.model, keypoints, benchmark)
    ours = run_realy(benchmark, method, points)
    floor = run_realy(benchmark, WholeFrame(MeanFace(method.model)), points)
    tables.show_meshes(ours, floor)
    tables.say(f"{ours.summary['photos_left_out']} of {ours.summary['photos']} photos left out")
    source = keypoints.name if keypoints is not None else "placed by eval.realy_keypoints"
    content: dict[str, Any] = {"view": view, "keypoints": source, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_run(json, weights, {"protocol": f"REALY, {view}", **content})
