"""`python -m eval now`: the NoW benchmark's validation set, non-metrical or metrical."""

from typing import Annotated, Literal

import typer

from eval import tables
from eval.command import BoxChoice, Data, Device, Json, Model, Weights, data_folder, face3d_method, write_run


def now(
    data: Data,
    metrical: Annotated[bool, typer.Option("--metrical", help="Sizes count: aligned without scale.")] = False,
    crop: Annotated[BoxChoice, typer.Option(help="gt: the published box; detector: found by the method.")] = "gt",
    region: Annotated[
        Literal["now", "stirling"], typer.Option(help="The ball measured; stirling's is smaller.")
    ] = "now",
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """NoW (data behind an account): neutral faces against scans, median, mean and deviation in mm, pooled."""
    from eval.mean_face import MeanFace
    from eval.now import Now
    from eval.now_region import NOW_RADIUS, STIRLING_RADIUS
    from eval.now_run import run_now
    from eval.report import run_as_dict

    benchmark = Now(data_folder(data, "now"), STIRLING_RADIUS if region == "stirling" else NOW_RADIUS)
    method = face3d_method(weights, model, device)
    ours = run_now(benchmark, method, crop, metrical)
    floor = run_now(benchmark, MeanFace(method.model), "gt", metrical)
    tables.show_pooled(ours, floor)
    kind = "metrical" if metrical else "non-metrical"
    content = {"region": region, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_run(json, weights, {"protocol": f"NoW, {kind}", **content})
