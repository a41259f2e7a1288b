"""Stage `detector`: the face detector, from mosaics of labelled photos.

`python -m train detector --data DIR --labels FACES.npz [--extra MODEL.npz --extra VIEWS]... [--weights EARLIER]`
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from face3d.checkpoint import load_weights
from face3d.detect import Detections, overlaps, suppress
from face3d.networks.detector import DetectorConfig, DetectorNetwork
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.detector_data import FACE, MosaicSource
from train.detector_loss import cells_of, detector_losses
from train.task import Batch, BatchSource

_VALIDATION_SEED, _VALIDATION_BATCHES = 77, 6
_FOUND = 0.5  # overlap
_LOWEST = 0.1  # score that is looked at
_PRECISION = 0.95  # asked of the threshold; the landmarks' confidence judges again what is found


@dataclass(frozen=True)
class DetectorTrainConfig(TrainConfig):
    """`batch_size` counts mosaics of 256 px."""

    detector: DetectorConfig = field(default_factory=DetectorConfig)
    box_weight: float = 2.0
    roll_weight: float = 0.25


CONFIGS = {
    "fast": DetectorTrainConfig(
        batch_size=24, optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.02, ema_decay=0.998), steps=8000
    ),
}
CONFIGS["paper"] = replace(CONFIGS["fast"], name="paper", batch_size=64, steps=60_000)


def task(config: TrainConfig, inputs: Inputs, device: torch.device) -> "DetectorTask":
    """The stage, for `python -m train`."""
    if not isinstance(config, DetectorTrainConfig):
        raise ValueError(f"the detector needs a DetectorTrainConfig, got {type(config).__name__}.")
    return DetectorTask(config, inputs, device)


class DetectorTask:
    """What the loop asks for (train.task.Task)."""

    def __init__(self, config: DetectorTrainConfig, inputs: Inputs, device: torch.device) -> None:
        self.config, self.inputs, self.device = config, inputs, device
        self.model: nn.Module = DetectorNetwork(config.detector)
        for path in inputs.weights:  # go on from an earlier run
            self.model.load_state_dict(load_weights(path)[0])
        self.threshold = 0.5
        self._held_out: list[Batch] = []

    def train_data(self) -> BatchSource:
        """Mosaics of the faces that are trained on."""
        return MosaicSource(self.inputs, self.config.batch_size)

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Losses a answering cell; `overlap` is their mean IoU."""
        image = as_float(batch["image"])
        losses = detector_losses(
            model(image), cells_of(image.shape[2], image.shape[3], image), batch["boxes"], batch["roll"], batch["kind"]
        )
        count = losses.answering.sum().clamp(min=1)
        score, box, roll = losses.score.sum() / count, losses.box.sum() / count, losses.roll.sum() / count
        loss = score + self.config.box_weight * box + self.config.roll_weight * roll
        return {"loss": loss, "score": score, "box": box, "roll": roll, "overlap": losses.overlap.sum() / count}

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Precision and recall on held-out faces' mosaics at the chosen threshold, which is kept."""
        scores, correct, faces, errors = [], [], 0, []
        for batch in self._validation():
            for found, boxes, roll, kind in self._detect(model, batch):
                truth = boxes[kind == FACE]
                matched, hit = match(found, boxes)
                ignored = hit & (kind[matched] != FACE)
                scores.append(found.scores[~ignored])
                correct.append(hit[~ignored])
                faces += len(truth)
                errors.append(np.abs((found.roll_deg - roll[matched] + 180) % 360 - 180)[hit & ~ignored])
        return self._choose_threshold(np.concatenate(scores), np.concatenate(correct), faces) | {
            "roll_error_deg": float(np.median(np.concatenate(errors))) if sum(map(len, errors)) else 180.0
        }

    def pictures(self, model: nn.Module) -> Mapping[str, np.ndarray]:
        """Held-out mosaics with what is found (green), and what is there (white)."""
        tiles = []
        for batch in self._validation()[:2]:
            for image, (found, boxes, _, kind) in zip(batch["image"], self._detect(model, batch), strict=True):
                tile = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
                _draw(tile, boxes[kind > 0], (255, 255, 255))
                _draw(tile, found.boxes_px[found.scores > self.threshold], (0, 255, 0))
                tiles.append(cv2.resize(tile, (256, 256)))
        rows = [np.concatenate(tiles[i : i + 6], 1) for i in range(0, min(len(tiles), 18) - 5, 6)]
        return {"held_out": np.concatenate(rows)}

    def describe(self) -> dict[str, Any]:
        """The network and the threshold, as face3d.detect reads them."""
        return {"config": asdict(self.config.detector), "threshold": self.threshold}

    def _validation(self) -> list[Batch]:
        if not self._held_out:
            source = MosaicSource(self.inputs, 24, held_out=True)
            self._held_out = list(islice(source(_VALIDATION_SEED), _VALIDATION_BATCHES))
        return self._held_out

    def _detect(self, model: nn.Module, batch: Batch) -> list[tuple[Detections, np.ndarray, np.ndarray, np.ndarray]]:
        with torch.inference_mode():
            cells = model(as_float(batch["image"].to(self.device)))
        results = []
        for i in range(len(batch["image"])):
            scores = torch.sigmoid(cells.logit[i]).cpu().numpy()
            keep = np.flatnonzero(scores > _LOWEST)
            roll = cells.roll[i].cpu().numpy()[keep]
            angle = np.degrees(np.arctan2(roll[:, 1], roll[:, 0]))
            found = suppress(Detections(cells.box_px[i].cpu().numpy()[keep], scores[keep], angle))
            results.append((found, batch["boxes"][i].numpy(), batch["roll"][i].numpy(), batch["kind"][i].numpy()))
        return results

    def _choose_threshold(self, scores: np.ndarray, correct: np.ndarray, faces: int) -> dict[str, float]:
        threshold, precision, recall = choose_threshold(scores, correct, faces)
        self.threshold = round(threshold, 3)
        return {"recall": recall, "precision": precision, "threshold": self.threshold}


def choose_threshold(scores: np.ndarray, correct: np.ndarray, faces: int) -> tuple[float, float, float]:
    """The lowest score above which at least 95 of 100 detections are faces, the precision and the recall there.

    Scores (N,) and correctness (N,) of all detections. Where no score is so precise: 0.5, and the figures there.
    """
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(correct[order]), scores[order]
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / max(1, faces)
    precise = np.flatnonzero(precision >= _PRECISION)
    if len(precise) and precise[-1] > 0:
        last = int(precise[-1])
        return float(ranked[last]), float(precision[last]), float(recall[last])
    above = int((ranked >= 0.5).sum())
    return (0.5, float(precision[above - 1]), float(recall[above - 1])) if above else (0.5, 0.0, 0.0)


def as_float(image: Tensor) -> Tensor:
    """uint8 images to [0,1], channels last."""
    return image.contiguous(memory_format=torch.channels_last).float().div_(255)


def match(found: Detections, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the box it overlaps most, and whether it is the first, by score, to overlap it by half."""
    table = overlaps(found.boxes_px, boxes.astype(found.boxes_px.dtype))
    matched = table.argmax(1) if len(table) else np.zeros(0, np.int64)
    hit = np.zeros(len(matched), bool)
    taken: set[int] = set()
    for i in np.argsort(-found.scores, kind="stable"):
        if table[i, matched[i]] > _FOUND and int(matched[i]) not in taken:
            taken.add(int(matched[i]))
            hit[i] = True
    return matched, hit


def _draw(image: np.ndarray, boxes: np.ndarray, colour: tuple[int, int, int]) -> None:
    for box in boxes:
        x0, y0, x1, y1 = (int(round(float(v))) for v in box)
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, 1)
