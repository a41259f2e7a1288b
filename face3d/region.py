"""The part of a photo that one face covers, kept so that texture and visibility can be computed when asked for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from face3d.image import warp

_MARGIN_PX = 2
_AROUND = 0.1  # of the mesh's extent, kept around it: what lies beside a face tells what covers it
_LARGEST_SIDE_PX = 1024  # a face that covers more of the photo is kept smaller: a texture has no use for more


class FaceRegion(NamedTuple):
    """A rectangle of the photo: where it lies, its size, and its pixels (None where no texture is wanted)."""

    T_region_from_photo: Float[np.ndarray, "3 3"]
    size_hw: tuple[int, int]
    pixels: UInt8[np.ndarray, "H W 3"] | None


def cut_region(
    photo: UInt8[np.ndarray, "H W 3"], vertices_px: Float[np.ndarray, "V 3"], keep_pixels: bool = True
) -> FaceRegion:
    """The rectangle of the photo under the vertices (photo pixels) and a little around, copied, at most 1024 px a side.

    Of a face wholly outside the photo one border pixel is kept.
    """
    limit = np.array(photo.shape[1::-1])
    first, last = vertices_px[:, :2].min(axis=0), vertices_px[:, :2].max(axis=0)
    margin = _MARGIN_PX + _AROUND * (last - first)
    low = np.floor(first - margin).astype(np.int64)
    high = np.ceil(last + margin).astype(np.int64) + 1
    low = np.clip(low, 0, limit - 1)
    extent = np.clip(high, low + 1, limit) - low
    factor = min(_LARGEST_SIDE_PX / float(extent.max()), 1.0)
    width, height = (int(n) for n in np.maximum(np.round(extent * factor), 1))
    transform = np.diag([factor, factor, 1.0])
    transform[:2, 2] = -factor * low + (factor - 1) / 2
    pixels = warp(photo, transform, (height, width), border="replicate") if keep_pixels else None
    return FaceRegion(transform, (height, width), pixels)
