"""Labels of what each pixel shows: from a mesh, compared with one another, and as a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor

from face3d.networks.parser import CLASSES, UNKNOWN
from face3d.rasterise_numba import rasterise_numpy

BACKGROUND = CLASSES.index("background")
REGION_CLASS = {"ears": "skin", "neck": "background"}
"""Classes of a morphable model's regions; others are named as their class."""

CLASS_COLOURS = np.array(
    [(0, 0, 0), (224, 172, 140), (120, 72, 24), (64, 160, 255), (255, 208, 64),
     (220, 40, 60), (96, 0, 32), (255, 112, 144), (120, 200, 96)], np.uint8
)  # fmt: skip
"""Of face3d.networks.parser.CLASSES, in their order."""


def region_classes(region_names: Sequence[str]) -> UInt8[np.ndarray, " R"]:
    """The class of each region of a morphable model. ValueError for a region that is none."""
    named = [REGION_CLASS.get(name, name) for name in region_names]
    if foreign := sorted(set(named) - set(CLASSES)):
        raise ValueError(f"the morphable model has regions {foreign}, which are no classes of the parser: {CLASSES}")
    return np.array([CLASSES.index(name) for name in named], np.uint8)


def rasterised_classes(
    vertices_px: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    vertex_classes: UInt8[np.ndarray, " V"],
    size_px: int,
) -> tuple[UInt8[np.ndarray, "S S"], Bool[np.ndarray, "S S"]]:
    """What a mesh shows at each pixel of a square picture, by the nearest corner of what is seen, and where it is seen;
    elsewhere background."""
    fragments = rasterise_numpy(np.asarray(vertices_px, np.float32), triangles, (size_px, size_px))
    seen = fragments.triangle >= 0
    corners = triangles[fragments.triangle[seen]]
    nearest = fragments.barycentric[seen].argmax(1)
    labels = np.full((size_px, size_px), BACKGROUND, np.uint8)
    labels[seen] = vertex_classes[corners[np.arange(len(corners)), nearest]]
    return labels, seen


def confusion(found: UInt8[Tensor, "B H W"], labels: UInt8[Tensor, "B H W"]) -> Int64[np.ndarray, "C C"]:
    """How many pixels of each class (row) were taken for which (column); those labelled UNKNOWN are left out."""
    known = labels != UNKNOWN
    pairs = labels[known].long() * len(CLASSES) + found[known].long()
    return torch.bincount(pairs, minlength=len(CLASSES) ** 2).view(len(CLASSES), -1).cpu().numpy()


def intersection_over_union(counts: Int64[np.ndarray, "C C"]) -> dict[str, float]:
    """IoU of each class that occurs in the labels (rows), and `mean_iou`, their mean; 0 where none occurs."""
    common, true, found = counts.diagonal(), counts.sum(1), counts.sum(0)
    figures = {
        f"iou_{name}": float(common[c] / (true[c] + found[c] - common[c])) for c, name in enumerate(CLASSES) if true[c]
    }
    return {"mean_iou": float(np.mean(list(figures.values()))) if figures else 0.0, **figures}


def coloured(crops: UInt8[Tensor, "B 3 H W"], labels: UInt8[Tensor, "B H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Crops with each class's colour half over them; background and unknown stay as they are."""
    pictures = crops.cpu().permute(0, 2, 3, 1).numpy().astype(np.float32)
    classes = labels.cpu().numpy()
    shown = (classes > 0) & (classes != UNKNOWN)
    pictures[shown] = 0.5 * pictures[shown] + 0.5 * CLASS_COLOURS[classes[shown]]
    return pictures.astype(np.uint8)
