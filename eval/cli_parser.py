"""`python -m eval parser`: the face parser on generated people, and pictures of what it finds in real photos."""

from pathlib import Path
from typing import Annotated

import typer

from eval import tables
from eval.command import Device, Json, Model, Weights, write_run


def parser(
    people: Annotated[int, typer.Option(help="How many generated people.", min=1)] = 100,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the real data, for --pictures.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Write sheets of parsed real photos here.")] = None,
) -> None:
    """The face parser: IoU of each class on generated people."""
    from eval.face_parser import parser_sheets, score_parser
    from face3d import Reconstructor
    from face3d.parse import FaceParser

    if (data is None) != (pictures is None):
        raise typer.BadParameter("give both --data and --pictures, or none", param_hint="--pictures")
    reconstructor = Reconstructor(morphable_model=model, device=device)
    found = FaceParser(weights, reconstructor.device)
    result = score_parser(found, reconstructor.model, people)
    tables.show_figures(f"face parser on {people} generated people, IoU", result["summary"])
    write_run(json, weights, {"benchmark": "face parser", **result})
    if data is not None and pictures is not None:
        tables.show_figures(f"bytes in {pictures}", parser_sheets(data, pictures, found, reconstructor))
