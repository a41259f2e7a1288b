"""Which cell answers for which face, and the losses of the detector: pure, one value a sample."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from face3d.networks.detector import STRIDES, CellPredictions, cell_centres_px
from train.detector_data import FACE, IGNORED

# sqrt(area) of the faces a stride answers for, px; the ranges overlap so that a face between two is found twice
_SIZES_PX = ((0.0, 52.0), (40.0, 110.0), (84.0, 1e9))
_CENTRE_RADIUS = 1.3  # strides


class Cells(NamedTuple):
    """Centres, strides and answered sizes (low, high) of all cells, in the network's order."""

    centre_px: Float[Tensor, "N 2"]
    stride: Float[Tensor, " N"]
    size_px: Float[Tensor, "N 2"]


class DetectorLosses(NamedTuple):
    """Sums over the cells of each sample, and how many cells answer for a face in it."""

    score: Float[Tensor, " B"]
    box: Float[Tensor, " B"]
    roll: Float[Tensor, " B"]
    answering: Float[Tensor, " B"]
    overlap: Float[Tensor, " B"]


def cells_of(height: int, width: int, like: Tensor) -> Cells:
    """All cells of an input of height x width pixels."""
    centres = [cell_centres_px(height // s, width // s, s, like) for s in STRIDES]
    strides = [like.new_full((len(c),), float(s)) for c, s in zip(centres, STRIDES, strict=True)]
    sizes = [like.new_tensor(r).expand(len(c), 2) for c, r in zip(centres, _SIZES_PX, strict=True)]
    return Cells(torch.cat(centres), torch.cat(strides), torch.cat(sizes))


def assign(
    cells: Cells, boxes_px: Float[Tensor, "B M 4"], kind: Int[Tensor, "B M"]
) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B N"]]:
    """For every cell: the index of the face it answers for, and its state (1 answers, 0 empty, 2 ignored).

    A cell answers for a face of its stride's size whose box holds its centre near the middle; for the smallest of them.
    """
    centre = cells.centre_px[None, :, None]
    low, high = boxes_px[:, None, :, :2], boxes_px[:, None, :, 2:]
    inside = ((centre > low) & (centre < high)).all(-1)
    offset = (centre - (low + high) / 2).abs().amax(-1)
    size = (boxes_px[..., 2:] - boxes_px[..., :2]).clamp(min=0).prod(-1).sqrt()[:, None]
    fits = (size >= cells.size_px[None, :, :1]) & (size < cells.size_px[None, :, 1:])
    answers = inside & fits & (offset < _CENTRE_RADIUS * cells.stride[None, :, None]) & (kind == FACE)[:, None]
    smallest, index = torch.where(answers, size, torch.inf).min(-1)
    ignored = (inside & (kind == IGNORED)[:, None]).any(-1)
    state = torch.where(torch.isfinite(smallest), 1, torch.where(ignored, 2, 0))
    return index, state


def overlap_and_giou(
    a: Float[Tensor, "*B 4"], b: Float[Tensor, "*B 4"]
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
    """Intersection over union of boxes, and its generalised form (Rezatofighi et al., 2019, algorithm 1)."""
    area_a, area_b = (a[..., 2:] - a[..., :2]).prod(-1), (b[..., 2:] - b[..., :2]).prod(-1)
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = area_a + area_b - common
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def detector_losses(
    predictions: CellPredictions,
    cells: Cells,
    boxes_px: Float[Tensor, "B M 4"],
    roll_deg: Float[Tensor, "B M"],
    kind: Int[Tensor, "B M"],
) -> DetectorLosses:
    """Quality focal loss of the score (Li et al., 2020, equation 4, beta 2), 1 - GIoU, squared error of (cos, sin)."""
    index, state = assign(cells, boxes_px, kind)
    answering = (state == 1).float()
    target = torch.gather(boxes_px, 1, index[..., None].expand(-1, -1, 4))
    iou, giou = overlap_and_giou(predictions.box_px, torch.where(answering[..., None] > 0, target, predictions.box_px))
    quality = iou.detach().clamp(0, 1) * answering
    score = torch.sigmoid(predictions.logit)
    focal = (quality - score).square() * functional.binary_cross_entropy_with_logits(
        predictions.logit, quality, reduction="none"
    )
    angle = torch.deg2rad(torch.gather(roll_deg, 1, index))
    roll = (predictions.roll - torch.stack([angle.cos(), angle.sin()], -1)).square().sum(-1)
    return DetectorLosses(
        (focal * (state != 2)).sum(1),
        ((1 - giou) * answering).sum(1),
        (roll * answering).sum(1),
        answering.sum(1),
        quality.sum(1).detach(),
    )
