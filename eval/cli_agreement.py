"""`python -m eval agreement`: whether several real frames of one unseen person agree with one another."""

from typing import Annotated

import typer

from eval import tables
from eval.command import Data, Device, Json, Model, Weights, face3d_method, write_run


def agreement(
    data: Data,
    people: Annotated[int, typer.Option(min=2, help="Most people of videos, and with photos.")] = 60,
    frames: Annotated[int, typer.Option(min=2, help="Most frames of a person.")] = 4,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Unseen people in real frames: census distance of frames redrawn with each other's skin, identity, jitter.

    DATA is a folder of shards by `python -m train.prepare people`; only people who are held out count.
    """
    from eval.agreement import score_agreement
    from eval.people_tracks import held_out_tracks

    method = face3d_method(weights, model, device)
    result = score_agreement(held_out_tracks(data, people, frames), method.predict, method.model, tables.progress)
    for kind, summary in result["summary"].items():
        tables.show_figures(f"people of {kind} who are held out", summary)
    for name, reason in result["left_out"].items():
        tables.say(f"left out: {name}: {reason}")
    write_run(json, weights, result)
