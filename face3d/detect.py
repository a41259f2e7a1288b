"""Find faces in a photo: boxes around the 68 landmarks, scores, and how far each face is turned in the plane."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from face3d.checkpoint import asset_path, load_weights
from face3d.networks.backbone import fuse_norms
from face3d.networks.detector import CellPredictions, DetectorConfig, DetectorNetwork
from face3d.onnx_session import Session, graph_of

ASSET = "detector.safetensors"


class Detections(NamedTuple):
    """Faces of one photo, largest first: boxes [x0, y0, x1, y1] px of the photo, scores in (0,1), roll in degrees.

    A box bounds the 68 landmarks and may reach beyond the photo. The roll is clockwise as the picture is seen.
    """

    boxes_px: Float[np.ndarray, "N 4"]
    scores: Float[np.ndarray, " N"]
    roll_deg: Float[np.ndarray, " N"]


class Detector:
    """The face detector, ready to be called with photos.

    weights: a file that `python -m train detector` wrote; the embedded one where None. Raises FileNotFoundError and
    ValueError for a missing, damaged or foreign file.
    """

    def __init__(self, weights: str | Path | None = None, device: str | torch.device = "cpu") -> None:
        state, meta = load_weights(weights if weights is not None else asset_path(ASSET))
        if meta.get("stage") != "detector":
            raise ValueError(f"expected weights of stage 'detector', got {meta.get('stage')!r} in {weights}.")
        settings = meta["network"]
        network = DetectorNetwork(detector_config(settings["config"]))
        network.load_state_dict(state)
        fuse_norms(network)
        self.device = torch.device(device)
        self.threshold: float = settings["threshold"]
        self._cells: Callable[[Tensor], CellPredictions] = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        graph = graph_of("detector", settings["config"]) if self.device.type == "cpu" else None
        if graph is not None:
            self._cells = _in_onnx_runtime(Session(graph, network.state_dict()))

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], threshold: float | None = None, max_side: int = 384
    ) -> Detections:
        """Detect faces in an RGB photo; those below about 12 px, once it is shrunk to `max_side`, are not found."""
        tensor, scale = network_input(image, max_side)
        with torch.inference_mode():
            cells = self._cells(tensor.to(self.device, non_blocking=True))
        scores = torch.sigmoid(cells.logit[0]).cpu().numpy()
        chosen = np.flatnonzero(scores >= (self.threshold if threshold is None else threshold))
        boxes, roll = cells.box_px[0].cpu().numpy()[chosen], cells.roll[0].cpu().numpy()[chosen]
        boxes = (boxes + 0.5) / scale[[0, 1, 0, 1]] - 0.5
        return _largest_first(
            suppress(Detections(boxes, scores[chosen], np.degrees(np.arctan2(roll[:, 1], roll[:, 0]))))
        )


def detector_config(settings: Mapping[str, Any]) -> DetectorConfig:
    """The network's configuration from the description stored with its weights."""
    return DetectorConfig(settings["stem"], tuple(settings["channels"]), tuple(settings["blocks"]), settings["head"])


def _in_onnx_runtime(session: Session) -> Callable[[Tensor], CellPredictions]:
    return lambda images: CellPredictions(*session(images))


def network_input(
    image: UInt8[np.ndarray, "H W 3"], max_side: int
) -> tuple[Float[Tensor, "1 3 h w"], Float[np.ndarray, " 2"]]:
    """The photo shrunk to at most `max_side`, padded with grey to multiples of 32, and its scale in x and y."""
    height, width = image.shape[:2]
    factor = min(1.0, max_side / max(height, width))
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    if (rows, columns) != (height, width):
        how = cv2.INTER_LINEAR if factor > 0.5 else cv2.INTER_AREA  # linear skips no pixel down to a half
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=how), np.uint8)
    padded = np.full((-(-rows // 32) * 32, -(-columns // 32) * 32, 3), 115, np.uint8)
    padded[:rows, :columns] = image
    tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div_(255)
    return tensor, np.array([columns / width, rows / height], np.float32)


def suppress(found: Detections, most_overlap: float = 0.4) -> Detections:
    """Greedy non-maximum suppression: of boxes that overlap, or lie one in another, the best score stays.

    The kept box is the mean of those it overlaps, weighted with their squared scores (BlazeFace: Bazarevsky et al.,
    2019, section 3.4).
    """
    order = np.argsort(-found.scores, kind="stable")
    boxes, kept, rows = found.boxes_px[order], [], []
    free = np.ones(len(order), bool)
    for i in range(len(order)):
        if free[i]:
            same = free & (overlaps(boxes[i : i + 1], boxes)[0] > most_overlap)
            same[i] = True
            weight = found.scores[order][same] ** 2
            rows.append((boxes[same] * weight[:, None]).sum(0) / weight.sum())
            kept.append(order[i])
            free &= ~same & ~_within(boxes, rows[-1])
    merged = np.array(rows, found.boxes_px.dtype).reshape(-1, 4)
    index = np.array(kept, np.int64)
    return Detections(merged, found.scores[index], found.roll_deg[index])


def overlaps(a: Float[np.ndarray, "N 4"], b: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """Intersection over union of every pair of boxes."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9)


def _within(boxes: Float[np.ndarray, "N 4"], box: Float[np.ndarray, " 4"]) -> np.ndarray:
    """Which boxes have 70 % of the smaller one's area in common with `box`."""
    common = np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None).prod(-1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 1e-6, None).prod(-1)
    return common > 0.7 * np.minimum(areas, np.prod(box[2:] - box[:2]))


def _largest_first(found: Detections) -> Detections:
    areas = (found.boxes_px[:, 2:] - found.boxes_px[:, :2]).prod(-1)
    order: Int[np.ndarray, " N"] = np.argsort(-areas, kind="stable")
    return Detections(found.boxes_px[order], found.scores[order], found.roll_deg[order])
