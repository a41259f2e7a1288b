"""From two frames to the optical flow between them, both ways, and what each of them does not show of the other."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from face3d.checkpoint import asset_path, load_weights
from face3d.flow_adjustment import Flow
from face3d.flow_filling import ROUNDS, filled_flow
from face3d.flow_refinement import refined_flow
from face3d.io import ImageLike, read_image
from face3d.networks.flow import FlowConfig, FlowNetwork
from face3d.pipeline import pick_device
from face3d.warping import occluded_by_consistency

FLOW_PAIRS = 6
"""Pairs whose flow `flow_of_pairs` computes at once."""

STAGE = "flow"
EMBEDDED = "flow.safetensors"


class OpticalFlow(NamedTuple):
    """Flow between two frames in their pixels, x right and y down: ``p_2 = p_1 + forward(p_1)``.

    Attributes:
        forward_px: frame 1 -> frame 2, on the pixels of frame 1.
        backward_px: frame 2 -> frame 1, on the pixels of frame 2.
        occluded: pixels of frame 1 that frame 2 does not show: the two flows disagree, or they leave the picture.
        occluded_backward: pixels of frame 2 that frame 1 does not show.
    """

    forward_px: Float32[np.ndarray, "H W 2"]
    backward_px: Float32[np.ndarray, "H W 2"]
    occluded: Bool[np.ndarray, "H W"]
    occluded_backward: Bool[np.ndarray, "H W"]


class FlowEstimator:
    """Optical flow, loaded once: ``flow = FlowEstimator(); forward_px = flow(a, b).forward_px``.

    Args:
        weights: a network of two or three frames that `python -m train flow` wrote; None takes the embedded one, of
            two frames.
        device: "cpu", "cuda", "cuda:1", ...; None takes CUDA where there is a device, else the CPU.
        refine: fit the network's flow to the frames (`face3d.flow_refinement`), and where something is hidden take it
            from what is seen nearby (`face3d.flow_filling`), both on the CPU; False: as the network says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: weights that are damaged or of another stage, or a device that is not there.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        refine: bool = True,
    ) -> None:
        self.device = pick_device(device)
        self._take(load_flow_network(asset_path(EMBEDDED) if weights is None else weights), refine)

    @classmethod
    def from_network(
        cls, network: FlowNetwork, device: str | torch.device = "cpu", refine: bool = True
    ) -> "FlowEstimator":
        """An estimator of a given network, which is moved to the device."""
        self = cls.__new__(cls)
        self.device = pick_device(device)
        self._take(network, refine)
        return self

    def _take(self, network: FlowNetwork, refine: bool) -> None:
        self.refine = refine
        self.network = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, frame1: ImageLike, frame2: ImageLike, previous: ImageLike | None = None) -> OpticalFlow:
        """The flow between two frames of one size, which may be any; exactly none between equal ones.

        Args:
            frame1: path, PIL image, or (H, W, 3) uint8 RGB array.
            frame2: the next frame.
            previous: the frame before `frame1`. A network of two frames does not need it and does not read it; one of
                three takes `frame1` in its place where there is none.

        Raises:
            FileNotFoundError, ValueError: a frame that is missing or cannot be read.
            ValueError: frames of different sizes.
        """
        images = {"frame1": read_image(frame1), "frame2": read_image(frame2)}
        if previous is not None and self.network.config.frames == 3:
            images["previous"] = read_image(previous)
        _check_sizes(images)
        frames = images["frame1"], images["frame2"]
        if np.array_equal(*frames):
            return _no_motion(frames[0].shape[:2])
        with torch.inference_mode():
            both = self._both_ways(_tensors(list(images.values()), self.device))
            both_px = both.permute(0, 2, 3, 1).float().contiguous().cpu().numpy()
        if self.refine:
            both_px = _for_both(refined_flow, frames, frames[::-1], both_px)
            for _ in range(ROUNDS):
                both_px = _for_both(filled_flow, frames, both_px, _occluded(both_px))
        occluded = _occluded(both_px)
        return OpticalFlow(*both_px, *occluded)

    def _both_ways(self, frames: Float[Tensor, "T 3 H W"]) -> Float[Tensor, "2 2 H W"]:
        """Forward and backward flow of (first, second[, previous]).

        Three frames: a network's own backward flow leads to the previous frame, so the pair is also run reversed. The
        frame on the other side of the second is not known then, and the second stands in for it.
        """
        if self.network.config.frames == 2:
            flows = self.network(frames[None, :2])
            return torch.cat([flows.forward_px, flows.backward_px])
        first, second, previous = frames[0], frames[1], frames[2 if len(frames) == 3 else 0]
        triples = torch.stack([torch.stack([previous, first, second]), torch.stack([second, second, first])])
        return self.network(triples).forward_px


@lru_cache(maxsize=1)
def _default() -> FlowEstimator:
    return FlowEstimator()


def flow(frame1: ImageLike, frame2: ImageLike, previous: ImageLike | None = None) -> OpticalFlow:
    """The flow between two frames with the embedded network, loaded at the first call: see `FlowEstimator.__call__`.

    The embedded network is one of two frames: `previous` is not read.
    """
    return _default()(frame1, frame2, previous)


def load_flow_network(weights: str | os.PathLike[str]) -> FlowNetwork:
    """The network of a weights file of stage "flow", on the CPU. Errors as `FlowEstimator`."""
    path = os.fspath(weights)
    state, meta = load_weights(path)
    if meta.get("stage") != STAGE:
        raise ValueError(f"{path} holds weights of stage {meta.get('stage')!r}: expected stage {STAGE!r}")
    try:
        network = FlowNetwork(flow_config(meta["network"]["config"]))
        network.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not describe the flow network that it holds: train or fetch it again") from error
    return network


def forward_flow(network: FlowNetwork, at_once: int | None = None) -> Flow:
    """A network of two frames as what gives the flow of pairs (N,2,3,H,W), so many at once; all where None.

    ValueError for a network of three frames."""
    if network.config.frames != 2:
        raise ValueError(f"got a flow network of {network.config.frames} frames: pairs need one of two")

    def flow(pairs: Float[Tensor, "N 2 3 H W"]) -> Float[Tensor, "N 2 H W"]:
        return torch.cat([network(some).forward_px for some in pairs.split(at_once or len(pairs))])

    return flow


def flow_of_pairs(device: str | torch.device, weights: str | os.PathLike[str] | None = None) -> Flow:
    """The flow of pairs by a network of two frames, the embedded one where None. Errors as of its file."""
    network = load_flow_network(asset_path(EMBEDDED) if weights is None else weights)
    return forward_flow(network.to(device), FLOW_PAIRS)


def flow_config(values: Mapping[str, Any]) -> FlowConfig:
    """A flow network's configuration from its JSON form, where tuples are lists.

    Raises TypeError for an unknown name, ValueError for values that no network has.
    """
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return FlowConfig(**settings)


def _for_both(
    step: Callable[..., Float32[np.ndarray, "H W 2"]], *arguments: Iterable[np.ndarray]
) -> Float32[np.ndarray, "2 H W 2"]:
    """Both directions side by side: OpenCV's solver and compiled code let go of Python meanwhile."""
    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(step, *arguments)))


def _occluded(both_px: Float32[np.ndarray, "2 H W 2"]) -> Bool[np.ndarray, "2 H W"]:
    """What the other frame does not show, of both."""
    flows = torch.from_numpy(both_px).permute(0, 3, 1, 2).contiguous()
    return occluded_by_consistency(flows, flows.flip(0)).numpy()


def _no_motion(size_hw: tuple[int, ...]) -> OpticalFlow:
    forward_px, backward_px = np.zeros((2, *size_hw, 2), np.float32)
    return OpticalFlow(forward_px, backward_px, *np.zeros((2, *size_hw), bool))


def _check_sizes(images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
    if len({image.shape for image in images.values()}) > 1:
        sizes = ", ".join(f"{name} {image.shape[1]} x {image.shape[0]} px" for name, image in images.items())
        raise ValueError(f"the frames differ in size ({sizes}): cut or scale them to one size first")


def _tensors(images: list[np.ndarray], device: torch.device) -> Float[Tensor, "T 3 H W"]:
    """The frames in [0, 1]."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
