"""Boxes [x0, y0, x1, y1] in pixels: overlap, matching, and the square box that dlib's face data use."""

import numpy as np
from jaxtyping import Float, UInt8

MATCH_IOU = 0.4
"""A detection counts as the annotated face from this overlap on."""


def overlap(boxes_px: Float[np.ndarray, "N 4"], other_px: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """Intersection over union of every pair."""
    low = np.maximum(boxes_px[:, None, :2], other_px[None, :, :2])
    high = np.minimum(boxes_px[:, None, 2:], other_px[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    area, other_area = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (boxes_px, other_px))
    return shared / np.maximum(area[:, None] + other_area[None] - shared, 1e-12)


def match_box(
    boxes_px: Float[np.ndarray, "N 4"], truth_px: Float[np.ndarray, " 4"], least: float = MATCH_IOU
) -> int | None:
    """Index of the box that overlaps the true one most, None where none does by `least`."""
    if not len(boxes_px):
        return None
    shared = overlap(boxes_px, truth_px[None])[:, 0]
    best = int(shared.argmax())
    return best if shared[best] >= least else None


def largest_box(boxes_px: Float[np.ndarray, "N 4"]) -> int | None:
    """Index of the box with the largest area, the first of equal ones; None where there is none."""
    return int(np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1).argmax()) if len(boxes_px) else None


def whole_photo(image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, " 4"]:
    """The box from the centre of the first pixel to that of the last."""
    return np.array([0.0, 0.0, image.shape[1] - 1.0, image.shape[0] - 1.0])


def match_all(
    boxes_px: Float[np.ndarray, "N 4"], truth_px: Float[np.ndarray, "M 4"], least: float = MATCH_IOU
) -> list[tuple[int, int, float]]:
    """One-to-one pairs (detection, truth, overlap), largest overlap first, none below or at `least`."""
    shared = overlap(boxes_px, truth_px)
    pairs: list[tuple[int, int, float]] = []
    while shared.size and shared.max() > least:
        found, true = (int(k) for k in np.unravel_index(shared.argmax(), shared.shape))
        pairs.append((found, true, float(shared[found, true])))
        shared[found], shared[:, true] = 0.0, 0.0
    return pairs
