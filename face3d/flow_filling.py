"""Flow where the other frame shows nothing to match: what is hidden moves as what looks like it nearby.

A weighted mean over pixels that are seen, near in place and in colour, as in the non-local term of Sun, Roth & Black
(Secrets of optical flow estimation and their principles, CVPR 2010), with weights that need no exponentials.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from face3d.compiled import compiled

ROUNDS = 2  # what is hidden is better told from flow that was filled once
MARGIN_PX = 2  # around what is hidden, where a match still sees half of what hides it
RADIUS_PX, STEP_PX = 24, 4  # every fourth pixel each way is asked
NEAR_PX, ALIKE = 8.0, 10.0  # distance, and difference of colour in grey levels, at which the weight is a quarter

_SIGNATURE = "void(float32[:,:,::1], float32[:,:,::1], boolean[:,::1], float32[:,:,::1], int64[::1], float32[::1])"


def filled_flow(
    frame: UInt8[np.ndarray, "H W 3"], flow_px: Float32[np.ndarray, "H W 2"], hidden: Bool[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 2"]:
    """The flow of `frame` with that of its hidden pixels, and of a margin around them, taken from others within
    RADIUS_PX: w = (1 + (distance / NEAR_PX)^2)^-2 (1 + (colours' distance / ALIKE)^2)^-2. Where none of those is seen
    it stays as it is.

    Constants were chosen on generated scenes and faces.
    """
    square = np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)
    unsure = np.ascontiguousarray(cv2.dilate(hidden.astype(np.uint8), square).astype(bool))
    filled = np.array(flow_px, np.float32, order="C")
    window = np.array([RADIUS_PX // STEP_PX, STEP_PX])
    scales = np.array([1 / NEAR_PX**2, 1 / ALIKE**2], np.float32)
    colours = np.ascontiguousarray(frame, np.float32)
    compiled(_fill, _SIGNATURE)(colours, np.ascontiguousarray(flow_px), unsure, filled, window, scales)
    return filled


def _fill(colours: Any, flow: Any, unsure: Any, filled: Any, window: Any, scales: Any) -> None:
    """Weighted means for the pixels that are unsure (compiled)."""
    height, width = unsure.shape
    reach, step = window[0], window[1]
    for y in range(height):
        for x in range(width):
            if not unsure[y, x]:
                continue
            across, down, total = 0.0, 0.0, 0.0
            for i in range(-reach, reach + 1):
                row = y + i * step
                if row < 0 or row >= height:
                    continue
                for j in range(-reach, reach + 1):
                    column = x + j * step
                    if column < 0 or column >= width or unsure[row, column]:
                        continue
                    red = colours[row, column, 0] - colours[y, x, 0]
                    green = colours[row, column, 1] - colours[y, x, 1]
                    blue = colours[row, column, 2] - colours[y, x, 2]
                    near = 1 + (i * i + j * j) * step * step * scales[0]
                    alike = 1 + (red * red + green * green + blue * blue) * scales[1]
                    weight = 1 / (near * near * alike * alike)
                    across += weight * flow[row, column, 0]
                    down += weight * flow[row, column, 1]
                    total += weight
            if total > 0:
                filled[y, x, 0], filled[y, x, 1] = across / total, down / total
