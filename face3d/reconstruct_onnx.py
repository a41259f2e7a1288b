"""The tensor door on the CPU where no gradient is asked for: its networks run in ONNX Runtime."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.morphable import MorphableModel
from face3d.networks.pgn import PositionMap
from face3d.networks.regressor import RegressedCoefficients
from face3d.networks.upright import Upright
from face3d.onnx_session import Session, graph_of
from face3d.reconstruct import FaceNetworks

PARTS = ("pgn", "regressor")


class OnnxFaceNetworks(FaceNetworks):
    """FaceNetworks whose PGN and regressors run in ONNX Runtime under `torch.no_grad` or `torch.inference_mode`, and
    in PyTorch otherwise. Only `load` makes ready ones, for the CPU; the weights must not change afterwards."""

    _pgn_session: Session
    _regressor_session: Session

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model: MorphableModel, device: torch.device | str = "cpu"
    ) -> "OnnxFaceNetworks":
        """As of any kind. ValueError for another device than the CPU, and for networks of which there is no graph."""
        if torch.device(device).type != "cpu":
            raise ValueError(f"ONNX Runtime serves the CPU here, not {device}: load FaceNetworks")
        networks = super().load(path, model, device)
        if (graphs := embedded_graphs(networks.describe())) is None:
            raise ValueError(f"no embedded graph is of the networks in {path}: load FaceNetworks")
        state = networks.state_dict()
        networks._pgn_session, networks._regressor_session = (Session(graph, state) for graph in graphs)
        return networks

    def position_map(self, crops: Float[Tensor, "B 3 S S"]) -> PositionMap:
        """As in PyTorch, to its rounding."""
        return super().position_map(crops) if torch.is_grad_enabled() else PositionMap(*self._pgn_session(crops))

    def coefficients(self, upright: Upright, points: Float[Tensor, "B N 3"]) -> RegressedCoefficients:
        """As in PyTorch, to its rounding."""
        if torch.is_grad_enabled():
            return super().coefficients(upright, points)
        return RegressedCoefficients(*self._regressor_session(*upright, points))


def embedded_graphs(network: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The graphs of PARTS for networks of a configuration as `describe` gives it; None where there are none."""
    found = [graph_of(part, network[part]) for part in PARTS if part in network]
    graphs = tuple(graph for graph in found if graph is not None)
    return graphs if len(graphs) == len(PARTS) else None
