"""Flow, forward and backward with occlusion, beside OpenCV's DIS both ways; and what a training step spends most on."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import Timing, measure
from face3d.losses_flow import census_distance, census_distance_reference
from face3d.networks.cost_volume import cost_volume, cost_volume_reference
from face3d.networks.flow import DDFLOW, SELFLOW, SMALL, FlowNetwork
from face3d.optical_flow import FlowEstimator

SIZES_HW = ((224, 224), (436, 1024))


def run(quick: bool = False) -> list[Timing]:
    """Time the networks (their weights do not matter to that) on two frames; `quick`: the small one at 224 x 224."""
    networks = {"small": SMALL} if quick else {"small": SMALL, "DDFlow's": DDFLOW, "SelFlow's": SELFLOW}
    cases: list[tuple[str, Callable[[], object]]] = []
    for height, width in SIZES_HW[: 1 if quick else 2]:
        frames = [_texture(height, width + 8)[:, at : at + width] for at in (0, 8)]
        for name, config in networks.items():
            for refine in (True, False):
                case = _estimate(FlowNetwork(config), frames, refine)
                cases.append((f"{name}{' refined' * refine}, {height} x {width}, both ways", case))
        cases.append((f"OpenCV DIS medium, {height} x {width}, both ways", _dis_both_ways(frames)))
    return [measure(name, case, seconds=2.0) for name, case in cases + _parts()]


def _estimate(network: FlowNetwork, frames: list[np.ndarray], refine: bool) -> Callable[[], object]:
    estimator = FlowEstimator.from_network(network, refine=refine)
    return lambda: estimator(*frames)


def _dis_both_ways(frames: list[np.ndarray]) -> Callable[[], object]:
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    return lambda: (matcher.calc(first, second, None), matcher.calc(second, first, None))  # type: ignore[call-overload]


def _parts() -> list[tuple[str, Callable[[], object]]]:
    """Forward and backward of the compiled parts and of their references, four pairs of 224 x 224."""
    first, second = (torch.rand(4, 3, *SIZES_HW[0], requires_grad=True) for _ in range(2))
    own, other = (torch.randn(8, 32, 56, 56, requires_grad=True) for _ in range(2))
    return [
        ("census distance and gradient, 4 x 224 x 224", lambda: _backward(census_distance(first, second))),
        ("the same by torch's operations", lambda: _backward(census_distance_reference(first, second))),
        ("cost volume and gradient, 8 x 32 x 56 x 56", lambda: _backward(cost_volume(own, other, 4, False))),
        ("the same by torch's operations", lambda: _backward(cost_volume_reference(own, other, 4))),
    ]


def _backward(values: Tensor) -> None:
    values.sum().backward()


def _texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)
