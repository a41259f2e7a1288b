"""`python -m eval eyes`: whether eyes that are shut in photos are shut in the meshes."""

from pathlib import Path
from typing import Annotated

import typer

from eval import tables
from eval.command import Device, Json, Model, Weights, face3d_method, write_run


def eyes(
    data: Annotated[Path | None, typer.Option(help="Folder of photos by `python -m train.prepare photos`.")] = None,
    people: Annotated[int, typer.Option(min=10, help="Generated people.")] = 200,
    faces: Annotated[int, typer.Option(min=2, help="Most faces of a person.")] = 8,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """The opening of lids, of generated people and, with photos, of people in them who are held out.

    The truth of photos are fits to pseudo-landmarks.
    """
    from eval.eyes import BlinkingPeople, held_out_faces, score_eyes

    method = face3d_method(weights, model, device)
    kinds = {"generated people": BlinkingPeople(method.model, people).faces()}
    if data is not None:
        kinds["photos"] = held_out_faces(data, method.model, faces)
    result = {kind: score_eyes(found, method, tables.progress) for kind, found in kinds.items()}
    for kind, scores in result.items():
        for name, summary in scores["summary"].items():
            tables.show_figures(f"eyes of {kind}, by the landmarks of {name}", summary)
    parts = {part: {kind: scores[part] for kind, scores in result.items()} for part in ("summary", "samples")}
    write_run(json, weights, {"benchmark": "eyes", **parts})
