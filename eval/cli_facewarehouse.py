"""`python -m eval facewarehouse`: any method's meshes with expression against FaceWarehouse's."""

from typing import Annotated

import typer

from eval import tables
from eval.command import BoxChoice, Data, Device, Json, Model, Weights, data_folder
from eval.method_options import Export, MethodName, Predictions, Samples, require_scored, write_method_run


def facewarehouse(
    data: Data,
    method: MethodName = "face3d",
    crop: Annotated[BoxChoice, typer.Option(help="Box of the photo's landmarks.")] = "gt",
    mm_per_unit: Annotated[float, typer.Option(help="Millimetres in a unit of the .obj files.")] = 100.0,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    predictions: Predictions = None,
    export: Export = None,
    samples: Samples = None,
    json: Json = None,
) -> None:
    """FaceWarehouse (licensed data): 9 people by 20 expressions, per-vertex and closest-point error in mm."""
    from eval.facewarehouse import FaceWarehouse
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.methods import Choice
    from eval.protocol import run
    from eval.report import run_as_dict

    benchmark = FaceWarehouse(data_folder(data, "facewarehouse"), mm_per_unit)
    if samples is not None:
        return write_samples(benchmark.samples(), samples, crop)
    choice = Choice(method, weights, model, device, predictions=predictions, export=export)
    ours = run(benchmark, choice.source(benchmark, crop), crop)
    require_scored(ours)
    floor = run(benchmark, MeanFace(choice.morphable_model()))
    tables.show_meshes(ours, floor)
    content = {"mm_per_unit": mm_per_unit, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_method_run(json, choice, {"protocol": "after similarity, per-vertex and closest-point", **content})
    return None
