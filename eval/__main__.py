"""`python -m eval BENCHMARK --data FOLDER [--json FILE]`: measure face3d with the embedded or any other weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eval import tables
from eval.cli_aflw2000 import aflw2000, aflw2000_labels
from eval.cli_agreement import agreement
from eval.cli_clips_shape import clips_shape
from eval.cli_eyes import eyes
from eval.cli_facewarehouse import facewarehouse
from eval.cli_florence import florence
from eval.cli_now import now
from eval.cli_parser import parser
from eval.cli_realy import realy
from eval.cli_report import report
from eval.cli_results import results
from eval.cli_scan_protocols import scan_protocols
from eval.cli_shape import shape
from eval.cli_signal import signal
from eval.command import Data, Device, Json, Model, Weights, data_folder, face3d_method, save, source_of, write_run

if TYPE_CHECKING:
    from eval.method_flow import Face3dFlow

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Protocols of the field, measured.")

FlowWeights = Annotated[
    Path | None, typer.Option(help="Flow network by `python -m train`, for face3d's methods; else the embedded one.")
]
FlowName = Annotated[
    Literal["dis", "farneback", "face3d", "face3d-network"],
    typer.Option(help="Which optical flow; face3d-network: as the network says, not refined."),
]
Pictures = Annotated[Path | None, typer.Option(help="Write colour-wheel pictures and error maps of each pair here.")]


@app.command("model")
def model_command(data: Data, model: Model = None, json: Json = None) -> None:
    """The morphable model itself: its identity fitted to the Lee Perry-Smith scan."""
    from eval.model_fit import fit_identity
    from eval.scan import HeadScan
    from face3d.checkpoint import asset_path
    from face3d.morphable_file import MorphableArrays

    arrays = MorphableArrays.load(model or asset_path("face3d_model.npz"))
    fit = fit_identity(arrays, HeadScan(data_folder(data, "scans/lee_perry_smith")))
    typer.echo(f"mean face   median {fit.mean_face_mm[0]:.2f} mm, mean {fit.mean_face_mm[1]:.2f} mm")
    typer.echo(f"identity    median {fit.fitted_mm[0]:.2f} mm, mean {fit.fitted_mm[1]:.2f} mm")
    content = {"mean_face_mm": fit.mean_face_mm, "fitted_mm": fit.fitted_mm, "identity": fit.identity.tolist()}
    write_run(json, None, {"benchmark": "model", **content})


@app.command()
def dlib(data: Data, weights: Weights = None, model: Model = None, device: Device = None, json: Json = None) -> None:
    """Detection on dlib's example photos, and on dogs."""
    from eval.dlib_faces import score_detector
    from eval.protocol import boxes_of

    method = face3d_method(weights, model, device)
    result = score_detector(data_folder(data, "dlib_faces"), lambda image: boxes_of(method.find(image)))
    alone = score_detector(data_folder(data, "dlib_faces"), method.detect)
    tables.show_figures("dlib faces, as a user gets them", result["summary"])
    tables.show_figures("dlib faces, the detector alone", alone["summary"])
    write_run(json, weights, {**result, "detector_alone": alone["summary"]})


@app.command()
def identity(
    data: Data,
    people: Annotated[int, typer.Option(help="How many people with two photos.")] = 200,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """LFW: spread of the identity coefficients, and whether they tell people apart."""
    from eval.identity import score_identity
    from eval.lfw import Lfw

    result = score_identity(Lfw(data_folder(data, "lfw")), face3d_method(weights, model, device), people)
    figures = {key: value for key, value in result["summary"].items() if isinstance(value, float)}
    tables.show_figures(f"identity on LFW, {people - len(result['left_out'])} of {people} people", figures)
    write_run(json, weights, result)


@app.command("flow")
def flow_command(
    data: Data,
    layout: Annotated[
        Literal["sintel", "kitti", "chairs", "middlebury", "generated"], typer.Option(help="How the files lie.")
    ],
    method: FlowName = "dis",
    weights: FlowWeights = None,
    device: Device = None,
    json: Json = None,
    pictures: Pictures = None,
) -> None:
    """Optical flow: EPE, all, occluded or not, by speed; Fl; occlusion F-score; seconds a pair."""
    from eval.flow_benchmark import run_flow
    from eval.flow_methods import FLOW_METHODS

    ours = _face3d_flow(method, weights, device)
    folder = data_folder(data, f"flow/{'rubberwhale' if layout == 'middlebury' else layout}")
    run = run_flow(layout, folder, ours or FLOW_METHODS[method](), pictures)
    tables.show_pairs(run, ("epe_px", "epe_non_occluded_px", "epe_occluded_px", "fl_percent"))
    save(json, {"benchmark": "flow", **_source(method, weights), **run.as_dict()})


@app.command("clips")
def clips_command(
    data: Data,
    method: FlowName = "dis",
    weights: FlowWeights = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Optical flow of real frames: share of pixels whose flow leads back, census distance after warping."""
    from eval.flow_methods import FLOW_METHODS
    from eval.flow_unlabelled import run_unlabelled

    ours = _face3d_flow(method, weights, device)
    run = run_unlabelled(data, ours or FLOW_METHODS[method]())
    tables.show_pairs(run, ("consistent_percent", "census_distance", "census_distance_without_flow"))
    save(json, {"benchmark": "clips", **_source(method, weights), **run.as_dict()})


@app.command("stereo")
def stereo_command(
    data: Data,
    layout: Annotated[Literal["cones", "kitti", "generated"], typer.Option(help="How the files lie.")],
    method: Annotated[
        Literal["sgbm", "face3d", "face3d-network"],
        typer.Option(help="Which matcher; face3d-network: as the network says, not refined."),
    ] = "sgbm",
    weights: FlowWeights = None,
    device: Device = None,
    json: Json = None,
    pictures: Pictures = None,
) -> None:
    """Stereo: EPE, D1 and bad-3 of the disparity, all, occluded or not; seconds a pair."""
    from eval.flow_benchmark import run_stereo
    from eval.flow_methods import STEREO_METHODS

    ours = _face3d_flow(method, weights, device)
    run = run_stereo(layout, data_folder(data, f"stereo/{layout}"), ours or STEREO_METHODS[method](), pictures)
    tables.show_pairs(run, ("epe_px", "d1_percent", "bad_3_percent", "bad_3_non_occluded_percent"))
    save(json, {"benchmark": "stereo", **_source(method, weights), **run.as_dict()})


@app.command("contact-sheet")
def contact_sheet(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("out/pictures"),
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Overlays and turning views on the 15 photos, LFW faces and clip frames, each PNG at most 400 kB."""
    from eval.contact_sheet import write_sheets

    written = write_sheets(data, output, face3d_method(weights, model, device).reconstructor)
    tables.show_figures(f"bytes in {output}", written)


app.command()(aflw2000)
app.command("aflw2000-labels")(aflw2000_labels)
app.command()(agreement)
app.command()(shape)
app.command("clips-shape")(clips_shape)
app.command()(eyes)
app.command()(facewarehouse)
app.command()(florence)
app.command()(now)
app.command()(parser)
app.command()(report)
app.command()(realy)
app.command("scan-protocols")(scan_protocols)
app.command()(results)
app.command()(signal)


def _face3d_flow(method: str, weights: Path | None, device: str | None) -> "Face3dFlow | None":
    """face3d's networks where they are the method; weights go with nothing else."""
    if method not in ("face3d", "face3d-network"):
        if weights is not None:
            raise typer.BadParameter("give it with --method face3d or face3d-network only", param_hint="--weights")
        return None
    from eval.method_flow import Face3dFlow
    from face3d.optical_flow import FlowEstimator

    return Face3dFlow(FlowEstimator(weights, device, refine=method == "face3d"))


def _source(method: str, weights: Path | None) -> dict[str, Any]:
    """What the JSON says of the weights, where the method has any."""
    return {"weights": source_of(weights)} if method.startswith("face3d") else {}


def main() -> None:
    """Run the command; what the user can mend is said in one line."""
    try:
        app()
    except (FileNotFoundError, ImportError, ValueError) as error:
        tables.complain(str(error))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
