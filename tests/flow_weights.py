"""Tiny flow networks, and files of their weights, for the tests of what loads them."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from face3d.checkpoint import save_weights
from face3d.networks.flow import FlowConfig, FlowNetwork

TINY = FlowConfig(frames=2, pyramid=(8, 12, 16), decoder=(16, 12), context=(12, 8), dilations=(1, 2), radius=2)
THREE = replace(TINY, frames=3)


def lively_network(config: FlowConfig) -> FlowNetwork:
    """A network whose flow is of a few pixels, as a trained one's is."""
    torch.manual_seed(0)
    network = FlowNetwork(config)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 2:
                layer.weight.mul_(100)
    return network


def write_flow_weights(path: Path, config: FlowConfig) -> Path:
    """Weights of that network as training writes them."""
    meta = {"stage": "flow", "network": {"config": asdict(config)}}
    save_weights(path, lively_network(config).state_dict(), meta)
    return path
