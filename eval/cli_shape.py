"""`python -m eval shape`: any method's neutral meshes against a real scan and against generated people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eval import tables
from eval.command import BoxChoice, Data, Json, data_folder
from eval.method_options import Samples, of_any_method, require_scored, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice

Overlays = Annotated[Path | None, typer.Option("--pictures", help="Write an overlay of each sample here, as JPEG.")]
Meshes = Annotated[Path | None, typer.Option(help="Write each predicted mesh with its error a vertex here, as .npz.")]


@of_any_method
def shape(
    data: Data,
    choice: "Choice",
    people: Annotated[int, typer.Option(help="How many generated people.")] = 100,
    crop: Annotated[BoxChoice, typer.Option(help="Box of the face in the scan's pictures.")] = "gt",
    samples: Samples = None,
    json: Json = None,
    pictures: Overlays = None,
    meshes: Meshes = None,
) -> None:
    """Shape: the Lee Perry-Smith scan at five yaws, and generated people, against the mean face.

    Predictions, exports and samples lie in the folders `scan` and `people`; results of another topology have no
    `people`, whose errors are of corresponding vertices.
    """
    from eval.kept import Keeping
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.people import GeneratedPeople
    from eval.protocol import run
    from eval.report import run_as_dict
    from eval.scan_shape import ScanShape

    morphable = choice.morphable_model()
    scan, drawn = ScanShape(data_folder(data, "scans/lee_perry_smith"), morphable), GeneratedPeople(morphable, people)
    if samples is not None:
        write_samples(scan.samples(), samples / "scan", crop)
        return write_samples(drawn.samples(), samples / "people", "gt")
    kept = Keeping(scan, pictures and pictures / "scan", meshes and meshes / "scan")
    ours = run(kept, choice.part("scan").source(scan, crop), crop)
    require_scored(ours)
    floor = run(scan, MeanFace(morphable))
    content = {"scan": run_as_dict(ours) | kept.references(json), "scan_floor": run_as_dict(floor)}
    unseen = None
    if choice.predictions is None or (choice.predictions / "people").is_dir():
        kept = Keeping(drawn, pictures and pictures / "people", meshes and meshes / "people")
        unseen = run(kept, choice.part("people").source(drawn, "gt"))
        content["people"] = run_as_dict(unseen) | kept.references(json)
    tables.show_shape(ours, floor, unseen)
    write_method_run(json, choice, {"benchmark": "shape", **content})
    return None
