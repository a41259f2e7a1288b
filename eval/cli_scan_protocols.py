"""`python -m eval scan-protocols`: face3d and the mean face by every 3D protocol, on the Lee Perry-Smith scan."""

from typing import Annotated, Any

import typer

from eval import tables
from eval.command import Data, Device, Json, Model, Weights, data_folder, face3d_method, write_run
from eval.scan import OUTER_EYE_DISTANCE_MM


def scan_protocols(
    data: Data,
    edge_mm: Annotated[
        float, typer.Option(min=0.0, help="Split the scan's edges until none is longer; 0 leaves its own vertices.")
    ] = 4.0,
    eyes_mm: Annotated[
        float, typer.Option(min=60.0, max=130.0, help="Outer eye corners of the scan, whose unit is not known.")
    ] = OUTER_EYE_DISTANCE_MM,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Every 3D protocol on the Lee Perry-Smith scan: face3d from pictures at five yaws, beside the mean face."""
    from eval.scan_protocols_run import run_scan_protocols
    from eval.scan_shape import ScanShape

    method = face3d_method(weights, model, device)
    shape = ScanShape(data_folder(data, "scans/lee_perry_smith"), method.model, eyes_mm)
    rows = run_scan_protocols(shape, method, method.model, edge_mm or None)
    tables.show_scan_protocols(rows)
    summary: dict[str, dict[str, Any]] = {row.protocol: {} for row in rows}
    for row in rows:
        summary[row.protocol][row.figure] = row.as_dict()
    settings = {"edge_mm": edge_mm, "eyes_mm": eyes_mm}
    write_run(json, weights, {"benchmark": "scan-protocols", **settings, "summary": summary})
