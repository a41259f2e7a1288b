"""`python -m eval aflw2000` and `aflw2000-labels`: the benchmark for any method, and its labels without one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from eval import tables
from eval.command import BoxChoice, Data, Json, data_folder, save
from eval.method_options import Samples, of_any_method, require_scored, write_method_run

if TYPE_CHECKING:
    from eval.methods import Choice

Dense = Annotated[bool, typer.Option("--dense", help="Score meshes, too: dense NME and reconstruction error.")]
Bfm = Annotated[
    Path | None,
    typer.Option("--bfm", help="With --dense: the labels' model, by `python -m bfm convert Model_Shape.mat`."),
]
DensePoints = Annotated[
    Path | None, typer.Option(help="With --dense: vertex numbers that count, .txt or .npy; else those of the face.")
]
Overlays = Annotated[Path | None, typer.Option("--pictures", help="Write an overlay of each sample here, as JPEG.")]


@of_any_method
def aflw2000(
    data: Data,
    choice: "Choice",
    crop: Annotated[BoxChoice, typer.Option(help="gt: the true box; detector: the detected one.")] = "gt",
    split: Annotated[
        Literal["current", "paper"], typer.Option(help="Yaws of the bins: Pose_Para's, or those of the papers.")
    ] = "current",
    dense: Dense = False,
    bfm: Bfm = None,
    dense_points: DensePoints = None,
    samples: Samples = None,
    json: Json = None,
    pictures: Overlays = None,
) -> None:
    """AFLW2000-3D: 68 points by yaw, original and re-annotated labels, pose, and with --dense whole meshes."""
    from eval.aflw2000 import Aflw2000
    from eval.dense_truth import dense_truths
    from eval.kept import Keeping
    from eval.mean_face import MeanFace
    from eval.method_other_python import write_samples
    from eval.protocol import run
    from eval.report import run_as_dict

    if not dense and (bfm or dense_points):
        raise ValueError("--bfm and --dense-points are for the dense scores: give --dense as well")
    truths = dense_truths(bfm, dense_points, choice.morphable_model()) if dense else None
    benchmark = Aflw2000(data_folder(data, "aflw2000"), split, truths)
    if samples is not None:
        return write_samples(benchmark.samples(), samples, crop)
    source = choice.source(benchmark, crop)
    kept = Keeping(benchmark, pictures, truth_px=lambda sample: sample.truth.original_px)
    ours = run(kept, source, crop)
    require_scored(ours)
    floor = run(benchmark, MeanFace(choice.morphable_model()))
    tables.show_aflw2000(ours, floor)
    content = {**run_as_dict(ours), **kept.references(json), "floor": run_as_dict(floor)}
    if truths is not None:
        tables.say(f"meshes are measured against {truths}")
        content["dense"] = truths.describe()
    write_method_run(json, choice, {"protocol": "sparse 68, 2D", "split": split, **content})
    return None


def aflw2000_labels(
    data: Data,
    bfm68: Annotated[
        Path | None, typer.Option("--bfm68", help="3DDFA's 68-point basis; else bfm68 in the folder of the data.")
    ] = None,
    json: Json = None,
) -> None:
    """AFLW2000-3D's labels: re-annotated against original, parameters against points, poses against our angles."""
    from eval.aflw2000_labels import score_labels

    folder = data_folder(data, "aflw2000")
    basis = bfm68 or next((near / "bfm68" for near in (data, folder.parent) if (near / "bfm68").is_dir()), data)
    result = score_labels(folder / "labels", folder, basis)
    tables.show_bins("re-annotated labels against the original ones, NME %", result["reannotated_as_prediction"])
    nme = np.array(list(result["parameters_nme_percent"].values()))
    turn = np.array(list(result["pose_difference_deg"].values()))
    figures = {"mean": float(nme.mean()), "largest": float(nme.max()), "photos": len(nme)}
    tables.show_figures("parameters with the 68-point basis against pt3d_68, NME %", figures)
    tables.show_figures("Pose_Para against face3d's angles", {"largest difference, degrees": f"{turn.max():.1e}"})
    save(json, {"benchmark": "AFLW2000-3D labels", **result})
