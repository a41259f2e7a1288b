"""Crops, warps and sampling, with pixel centres at integers everywhere.

A crop is a square of the photo: centre c, side a, turned by an angle, drawn with ``size`` pixels a side,
``p_crop = (p - c) (size / a) + (size - 1) / 2`` where nothing is turned.
"""

import math
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Border = Literal["black", "replicate", "reflect"]

_BORDER_MODES: dict[Border, int] = {
    "black": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}
_PREFILTER_ABOVE = 2.0


def square_around(points_px: Float[np.ndarray, "N C"], factor: float) -> tuple[Float[np.ndarray, " 2"], float]:
    """Centre (x, y) and side (px) of the square about the points' bounding box, side = factor * max(width, height).

    Raises ValueError for no points, for values that are not finite, and where all points coincide.
    """
    xy = np.asarray(points_px, np.float64)[:, :2]
    if len(xy) == 0 or not np.isfinite(xy).all():
        raise ValueError(f"a square needs at least one point and finite coordinates, got {len(xy)} points")
    low, high = xy.min(axis=0), xy.max(axis=0)
    side = float(factor * (high - low).max())
    if side <= 0:
        raise ValueError(f"a square needs an extent: all {len(xy)} points lie at {low.tolist()} (factor {factor})")
    return (low + high) / 2, side


def crop_transform(
    centre_px: Float[np.ndarray, " 2"], side_px: float, size: int, angle_deg: float = 0.0
) -> Float[np.ndarray, "3 3"]:
    """``T_crop_from_image`` (float64) of a square of the photo.

    The square is turned clockwise, as the picture is seen, by ``angle_deg``: with a face's roll it stands upright.
    Raises ValueError for a side or a size that is not positive and for a centre that is not finite.
    """
    if not (side_px > 0 and math.isfinite(side_px) and size > 0 and np.isfinite(centre_px).all()):
        raise ValueError(f"a crop needs a finite centre, side > 0, size > 0; got {centre_px}, {side_px} px, {size}")
    factor, angle = size / side_px, math.radians(angle_deg)
    linear = factor * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    transform = np.eye(3)
    transform[:2, :2] = linear
    transform[:2, 2] = (size - 1) / 2 - linear @ np.asarray(centre_px, np.float64)
    return transform


def transform_points(
    T_b_from_a: Float[np.ndarray, "3 3"], points_a: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, "N C"]:
    """Points (N, 2), or (N, 3) with depth in pixels, moved to frame b; depth is scaled as the plane is.

    Raises ValueError for any other number of columns.
    """
    columns = points_a.shape[1]
    if columns not in (2, 3):
        raise ValueError(f"points must be (N, 2) or (N, 3), got {points_a.shape}")
    linear = T_b_from_a[:2, :2]
    moved = np.empty(points_a.shape, np.result_type(points_a, np.float32))
    moved[:, :2] = points_a[:, :2] @ linear.T + T_b_from_a[:2, 2]
    if columns == 3:
        moved[:, 2] = points_a[:, 2] * math.sqrt(abs(np.linalg.det(linear)))
    return moved


def warp(
    image: UInt8[np.ndarray, "H W 3"],
    T_out_from_in: Float[np.ndarray, "3 3"],
    size_hw: tuple[int, int],
    border: Border = "black",
) -> UInt8[np.ndarray, "Hout Wout 3"]:
    """The image seen through an affine map, ``size_hw`` = (rows, columns), bilinear; outside it ``border``.

    Where the map shrinks more than twice, the source is averaged over whole blocks of pixels first, so nothing aliases.
    Only the part of the source that is looked at is touched: photos of any size are fine.
    """
    linear = T_out_from_in[:2, :2]
    shrink = 1 / math.sqrt(max(abs(np.linalg.det(linear)), 1e-12))
    block = int(shrink) if shrink > _PREFILTER_ABOVE else 1
    source, T_in_from_source = _source_region(image, np.linalg.inv(T_out_from_in), size_hw, block, border)
    matrix = (T_out_from_in @ T_in_from_source)[:2]
    out = cv2.warpAffine(source, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=_BORDER_MODES[border])
    return np.asarray(out, np.uint8)


def sample_bilinear(images: Float[Tensor, "B C H W"], points_px: Float[Tensor, "B N 2"]) -> Float[Tensor, "B C N"]:
    """Values at (x, y) positions, differentiable in both; the border pixel continues outside the image."""
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], dtype=points_px.dtype, device=points_px.device)
    grid = (2 * points_px + 1) / size - 1
    sampled = torch.nn.functional.grid_sample(
        images, grid[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0]


def _source_region(
    image: UInt8[np.ndarray, "H W 3"],
    T_in_from_out: Float[np.ndarray, "3 3"],
    size_hw: tuple[int, int],
    block: int,
    border: Border,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "3 3"]]:
    """The part of the image that the output looks at, averaged over block x block pixels, and its map to the image."""
    limit = np.array(image.shape[1::-1])
    corners = np.array([[0, 0], [size_hw[1], 0], [0, size_hw[0]], [size_hw[1], size_hw[0]]], np.float64) - 0.5
    seen = transform_points(T_in_from_out, corners)
    first, last = np.clip([seen.min(axis=0), seen.max(axis=0)], -1e9, 1e9)
    if border == "reflect":  # what is mirrored must be there as well
        first, last = np.minimum(first, 2 * limit - last), np.maximum(last, -first)
    margin = 2 * block
    low = np.clip(np.floor(first).astype(np.int64) - margin, 0, limit - 1)
    high = np.clip(np.ceil(last).astype(np.int64) + margin, low + 1, limit)
    region = image[low[1] : high[1], low[0] : high[0]]
    T_in_from_source = np.array([[block, 0, low[0]], [0, block, low[1]], [0, 0, 1]], np.float64)
    if block > 1:
        region = _average_blocks(region, block, border)
        T_in_from_source[:2, 2] += (block - 1) / 2
    return np.ascontiguousarray(region), T_in_from_source


def _average_blocks(region: UInt8[np.ndarray, "H W 3"], block: int, border: Border) -> UInt8[np.ndarray, "h w 3"]:
    height, width = region.shape[:2]
    rows, columns = -(-height // block), -(-width // block)
    padding = (0, rows * block - height, 0, columns * block - width)
    if any(padding):
        region = np.asarray(cv2.copyMakeBorder(region, *padding, borderType=_BORDER_MODES[border]), np.uint8)
    return np.asarray(cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
