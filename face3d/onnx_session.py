"""Embedded networks on the CPU, run by ONNX Runtime: a photo takes three fifths of the time that PyTorch needs.

A graph (`assets/NAME.onnx`) holds what is computed and the names of the weights, not the weights: they are taken from
the PyTorch network, so that one file of weights serves both. `assets/graphs.json` tells of each graph the configuration
of its network and those names. `python -m train.graphs` writes both.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from face3d.checkpoint import asset_path

LIST = "graphs.json"


class Session:
    """A graph with its weights, on as many threads as PyTorch has when it is made.

    `graph` is one that `graph_of` named; `state` is the PyTorch network's, batch normalisations folded. Raises as
    `asset_path`; ValueError where `state` lacks weights that the graph names."""

    def __init__(self, graph: str, state: Mapping[str, Tensor]) -> None:
        names: list[str] = _graphs()[graph]["weights"]
        if missing := sorted(set(names) - state.keys()):
            raise ValueError(f"{graph} is of another network: these weights lack {', '.join(missing[:3])}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only, which are raised as well
        # threads that wait for the next call in a loop would take the cores from PyTorch's, which come in between
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        arrays = [state[name].detach().float().contiguous().numpy() for name in names]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays]
        options.add_external_initializers(names, values)
        content = asset_path(graph).read_bytes()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The graph's outputs, without gradients, for float32 tensors on the CPU."""
        arrays = [np.ascontiguousarray(tensor.detach().numpy()) for tensor in inputs]
        outputs = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return [torch.from_numpy(array) for array in outputs]


def graph_of(part: str, network: Mapping[str, Any]) -> str | None:
    """The embedded graph of a part ("pgn", "regressor", "detector") with this configuration, or None.

    `network` is the configuration as JSON values. Raises as `asset_path`."""
    name = f"{part}.onnx"
    return name if _graphs().get(name, {}).get("network") == json.loads(json.dumps(network)) else None


@functools.cache
def _graphs() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(asset_path(LIST).read_text(encoding="utf-8"))
    return content
