"""`python -m eval signal`: which losses between frames see who somebody is."""

from typing import Annotated

import typer

from eval import tables
from eval.command import Device, Json, Model, Weights, face3d_method, write_run


def signal(
    people: Annotated[int, typer.Option(min=2, help="Generated people, a clip each.")] = 40,
    weights: Weights = None,
    model: Model = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Losses between frames: is the true identity liked better than the mean face, a better one than that found?"""
    from eval.clips import GeneratedClips
    from eval.loss_signal import FrozenNetworks, score_signal
    from face3d.checkpoint import asset_path
    from face3d.optical_flow import forward_flow, load_flow_network
    from face3d.parse import FaceParser
    from face3d.reconstruct import FaceNetworks

    reconstructor = face3d_method(weights, model, device).reconstructor
    networks = reconstructor.networks
    if not isinstance(networks, FaceNetworks):
        raise typer.BadParameter("give weights with pose guidance", param_hint="--weights")
    flow = load_flow_network(asset_path("flow.safetensors")).to(reconstructor.device)
    frozen = FrozenNetworks(forward_flow(flow), FaceParser(None, reconstructor.device))
    result = score_signal(GeneratedClips(reconstructor.model, people), networks, frozen, tables.progress)
    for loss, comparisons in result["summary"].items():
        figures = {f"{key}/{name}": value for key, figure in comparisons.items() for name, value in figure.items()}
        tables.show_figures(f"{loss}, {result['clips']} clips", figures)
    write_run(json, weights, result)
