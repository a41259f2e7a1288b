"""`python -m eval eyes`: whether eyes that are shut in photos are shut in the meshes."""

from typing import Annotated

import typer

from eval import tables
from eval.command import Data, Device, Json, Model, Weights, face3d_method, write_run


def eyes(
    data: Data,
    faces: Annotated[int, typer.Option(min=2, help="Most faces of a person.")] = 8,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Held-out people with open and with shut eyes: the opening of the lids beside that of fits to pseudo-landmarks.

    DATA is a folder of photos by `python -m train.prepare photos`; only people who are held out count.
    """
    from eval.eyes import held_out_faces, score_eyes

    method = face3d_method(weights, model, device)
    result = score_eyes(held_out_faces(data, method.model, faces), method, tables.progress)
    for name, summary in result["summary"].items():
        tables.show_figures(f"eyes by the landmarks of {name}", summary)
    write_run(json, weights, result)
