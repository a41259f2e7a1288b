"""`python -m eval now`: any method on the NoW benchmark's validation set, non-metrical or metrical."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eval import tables
from eval.command import BoxChoice, Data, Json, data_folder
from eval.method_options import Samples, of_any_method, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice


@of_any_method
def now(
    data: Data,
    choice: "Choice",
    metrical: Annotated[bool, typer.Option("--metrical", help="Sizes count: aligned without scale.")] = False,
    crop: Annotated[BoxChoice, typer.Option(help="gt: the published box; detector: found by the method.")] = "gt",
    region: Annotated[
        Literal["now", "stirling"], typer.Option(help="The ball measured; stirling's is smaller.")
    ] = "now",
    samples: Samples = None,
    json: Json = None,
) -> None:
    """NoW (data behind an account): neutral faces against scans, median, mean and deviation in mm, pooled."""
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.now import Now
    from eval.now_region import NOW_RADIUS, STIRLING_RADIUS
    from eval.now_run import run_now
    from eval.report import run_as_dict

    benchmark = Now(data_folder(data, "now"), STIRLING_RADIUS if region == "stirling" else NOW_RADIUS)
    if samples is not None:
        return write_samples(benchmark.samples(), samples, crop)
    ours = run_now(benchmark, choice.source(benchmark, crop), crop, metrical)
    floor = run_now(benchmark, MeanFace(choice.morphable_model()), "gt", metrical)
    tables.show_pooled(ours, floor)
    kind = "metrical" if metrical else "non-metrical"
    content = {"region": region, **run_as_dict(ours), "floor": run_as_dict(floor)}
    write_method_run(json, choice, {"protocol": f"NoW, {kind}", **content})
    return None
