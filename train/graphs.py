"""`python -m train.graphs`: the embedded networks as ONNX graphs without weights, for ONNX Runtime on the CPU.

A graph is of a network's configuration, not of its weights: it must be written again where code or configuration
change, not after a training. Needs the extra `[onnx]`.
"""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import onnx
import torch
import typer
from torch import Tensor, nn

from face3d.checkpoint import load_weights, write_manifest
from face3d.detect import detector_config
from face3d.morphable import MorphableModel
from face3d.networks.backbone import fuse_norms
from face3d.networks.detector import DetectorNetwork
from face3d.networks.pgn import Pgn
from face3d.networks.regressor import Regressor
from face3d.networks.upright import Upright
from face3d.onnx_session import LIST
from face3d.reconstruct import FaceNetworks

ASSETS = Path("face3d/assets")
OPSET = 17


class Part(NamedTuple):
    """A network to export: its module, whose weights are named as in the file of weights, its configuration, inputs of
    the right shape by name, and which of their axes may have any size."""

    module: nn.Module
    network: Mapping[str, Any]
    inputs: Mapping[str, Tensor]
    any_size: Mapping[str, tuple[int, ...]]


class _Pgn(nn.Module):
    def __init__(self, pgn: Pgn) -> None:
        super().__init__()
        self.pgn = pgn

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        maps, _ = self.pgn(crops)
        return maps.position_px, maps.log_variance


class _Regressor(nn.Module):
    def __init__(self, regressor: Regressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, crops: Tensor, rotation: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        identity, expression = self.regressor(Upright(crops, rotation), points)
        return identity, expression


class _Detector(DetectorNetwork):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        logit, box_px, roll = super().forward(image)
        return logit, box_px, roll


def face_parts(weights: Path, model: MorphableModel) -> dict[str, Part]:
    """PGN and regressors of a file of weights. Raises as `FaceNetworks.read`."""
    networks = FaceNetworks.read(weights, model)
    fuse_norms(networks)
    described = networks.describe()
    crops = torch.rand(2, 3, networks.crop_size, networks.crop_size)
    side = networks.regressor.config.crop_size
    with torch.no_grad():
        maps, _ = networks.pgn(crops)
        upright, points = networks.seen(crops, maps, *networks.pgn.landmarks(maps))
    assert upright.crops.shape[-1] == side
    seen = {"crops": upright.crops, "rotation": upright.rotation, "points": points}
    return {
        "pgn": Part(_Pgn(networks.pgn), described["pgn"], {"crops": crops}, {"crops": (0,)}),
        "regressor": Part(_Regressor(networks.regressor), described["regressor"], seen, dict.fromkeys(seen, (0,))),
    }


def detector_part(weights: Path) -> Part:
    """The detector of a file of weights. Raises as `load_weights`."""
    state, meta = load_weights(weights)
    network = _Detector(detector_config(meta["network"]["config"]))
    network.load_state_dict(state)
    image = {"image": torch.rand(1, 3, 96, 160)}
    return Part(fuse_norms(network), meta["network"]["config"], image, {"image": (2, 3)})


def export(part: Part) -> tuple[bytes, list[str]]:
    """The graph without weights, and the weights' names in the order of the graph.

    Nothing that follows from weights may be folded into the graph: other weights would be read with these ones' part.
    ValueError where something is."""
    axes = {name: {axis: f"{name}_{axis}" for axis in sizes} for name, sizes in part.any_size.items()}
    module, inputs = part.module.eval(), tuple(part.inputs.values())
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # shapes that never change are traced as constants; the older exporter
        file = Path(folder) / "whole.onnx"
        torch.onnx.export(
            module, inputs, str(file), dynamo=False, opset_version=OPSET,
            input_names=list(part.inputs), dynamic_axes=axes, do_constant_folding=False,
        )  # fmt: skip
        graph = onnx.load(file)
    weights, names = module.state_dict().keys(), []
    held = [tensor.name for tensor in graph.graph.initializer if tensor.name not in weights]
    if held:
        raise ValueError(f"the graph would hold what follows from weights: {', '.join(held)}")
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            names.append(tensor.name)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")
    return graph.SerializeToString(), names


def write(assets: Path = ASSETS) -> dict[str, dict[str, Any]]:
    """Write every graph and their list among the embedded files. Returns the list."""
    model = MorphableModel.load(assets / "face3d_model.npz")
    parts = face_parts(assets / "reconstruct.safetensors", model)
    parts["detector"] = detector_part(assets / "detector.safetensors")
    told: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        content, names = export(part)
        _replace(assets / f"{name}.onnx", content)
        told[f"{name}.onnx"] = {"network": part.network, "weights": names}
    _replace(assets / LIST, (json.dumps(told, indent=1) + "\n").encode())
    write_manifest(assets)
    return told


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    os.replace(aside, path)


def main(assets: Annotated[Path, typer.Option(help="the embedded files", exists=True)] = ASSETS) -> None:
    """Write the graphs of the embedded networks."""
    for name, told in write(assets).items():
        typer.echo(f"{name}: {(assets / name).stat().st_size / 1e3:.0f} kB, {len(told['weights'])} weights beside it")


if __name__ == "__main__":
    typer.run(main)
