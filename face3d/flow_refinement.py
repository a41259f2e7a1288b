"""A flow made to fit the pictures better: variational refinement on top of what a network found.

A network decides at a quarter of the resolution what moves where; what is left are fractions of a pixel and borders of
things, which the pictures themselves tell. The energy of Brox et al. (ECCV 2004, equations 1 to 4: brightness and
gradient constancy, smoothness, all robust) is minimised from the network's flow by OpenCV's solver. Gradients weigh
most, for light changes from frame to frame.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

ROUNDS, STEPS = 2, 3  # at each resolution; a round brings the second frame back anew, steps are the solver's
SMOOTHNESS, BRIGHTNESS, GRADIENT = 110.0, 5.0, 80.0  # alpha, delta and gamma of OpenCV's energy
OVERRELAXATION = 1.9  # of its linear equations: what 1.6, its default, does in four times as many steps


def refined_flow(
    first: UInt8[np.ndarray, "H W 3"], second: UInt8[np.ndarray, "H W 3"], flow_px: Float32[np.ndarray, "H W 2"]
) -> Float32[np.ndarray, "H W 2"]:
    """The flow from `first` to `second` near `flow_px` that makes the frames fit: first at half the resolution, whose
    change is added, then at the full one. Frames of a few pixels are refined at the full one alone.

    Weights and rounds were chosen on generated scenes and faces: a third level (a quarter of the resolution) wipes out
    what is thin, more rounds gain 1 %.
    """
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    height, width = flow_px.shape[:2]
    if min(height, width) >= 2:
        flow_px = flow_px + _coarse_change(greys, flow_px)
    return _solved(greys, flow_px)


def _coarse_change(greys: list[np.ndarray], flow_px: np.ndarray) -> np.ndarray:
    """What the refinement at half the resolution changes, in pixels of the full one."""
    height, width = flow_px.shape[:2]
    size = (width // 2, height // 2)
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    start = cv2.resize(flow_px, size, interpolation=cv2.INTER_AREA) * scale
    halved = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys]
    change = (_solved(halved, start) - start) / scale
    return cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)


def _solved(greys: list[np.ndarray], flow_px: np.ndarray) -> np.ndarray:
    across, down = (np.ascontiguousarray(flow_px[..., axis]) for axis in (0, 1))
    solver = cv2.VariationalRefinement.create()
    solver.setFixedPointIterations(STEPS)
    solver.setAlpha(SMOOTHNESS)
    solver.setDelta(BRIGHTNESS)
    solver.setGamma(GRADIENT)
    solver.setOmega(OVERRELAXATION)
    for _ in range(ROUNDS):
        solver.calcUV(greys[0], greys[1], across, down)  # in place
    return np.stack([across, down], axis=-1)
