"""`python -m eval facewarehouse`: any method's meshes with expression against FaceWarehouse's."""

from typing import TYPE_CHECKING, Annotated

import typer

from eval import tables
from eval.command import BoxChoice, Data, Json, data_folder
from eval.method_options import Samples, of_any_method, require_scored, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice


@of_any_method
def facewarehouse(
    data: Data,
    choice: "Choice",
    crop: Annotated[BoxChoice, typer.Option(help="Box of the photo's landmarks.")] = "gt",
    mm_per_unit: Annotated[float, typer.Option(help="Millimetres in a unit of the .obj files.")] = 100.0,
    samples: Samples = None,
    json: Json = None,
) -> None:
    """FaceWarehouse (licensed data): 9 people by 20 expressions, per-vertex and closest-point error in mm."""
    from eval.facewarehouse import FaceWarehouse
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.protocol import run
    from eval.report import run_as_dict

    benchmark = FaceWarehouse(data_folder(data, "facewarehouse"), mm_per_unit)
    if samples is not None:
        return write_samples(benchmark.samples(), samples, crop)
    ours = run(benchmark, choice.source(benchmark, crop), crop)
    require_scored(ours)
    floor = run(benchmark, MeanFace(choice.morphable_model()))
    tables.show_meshes(ours, floor)
    content = {"mm_per_unit": mm_per_unit, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_method_run(json, choice, {"protocol": "after similarity, per-vertex and closest-point", **content})
    return None
