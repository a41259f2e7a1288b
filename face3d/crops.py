"""Faces on their way to the networks and back: square crops as one batch, points of the crops in the photo again."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from face3d.image import crop_transform, square_around, transform_points, warp


def crop_around(points_px: Float[np.ndarray, "N C"], factor: float, size: int) -> Float[np.ndarray, "3 3"]:
    """``T_crop_from_photo`` of the square about the points (photo px), ``factor`` times their longer side."""
    centre_px, side_px = square_around(points_px, factor)
    return crop_transform(centre_px, side_px, size)


def network_crops(
    photos: Sequence[np.ndarray], T_crop_from_photo: Float[np.ndarray, "B 3 3"], size: int, device: torch.device
) -> Float[Tensor, "B 3 S S"]:
    """The crop of each (H, W, 3) uint8 photo in [0, 1], ``size`` pixels a side, on the device."""
    crops = np.stack([warp(photo, T, (size, size)) for photo, T in zip(photos, T_crop_from_photo, strict=True)])
    return torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float() / 255


def transform_batch(
    T_b_from_a: Float[np.ndarray, "B 3 3"], points_px: Float[Tensor, "B N 3"]
) -> list[Float32[np.ndarray, "N 3"]]:
    """Each face's points in the other image."""
    points = as_array(points_px)
    return [transform_points(T, face).astype(np.float32) for T, face in zip(T_b_from_a, points, strict=True)]


def as_array(tensor: Float[Tensor, "..."]) -> Float32[np.ndarray, "..."]:
    """The tensor as a float32 array."""
    return tensor.float().cpu().numpy()
