"""Methods of optical flow and stereo behind one small interface each; OpenCV's, to compare with."""

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

Frame = UInt8[np.ndarray, "H W 3"]


class FlowPrediction(NamedTuple):
    """Flow from the first frame to the second, and what of the first the second does not show; None: not known."""

    flow_px: Float[np.ndarray, "H W 2"]
    occluded: Bool[np.ndarray, "H W"] | None = None


class FlowMethod(Protocol):
    """Any optical flow."""

    name: str

    def flow(self, previous: Frame | None, first: Frame, second: Frame) -> FlowPrediction:
        """Forward flow; `previous` is the frame before, where the data has it, for methods of three frames."""
        ...


class StereoMethod(Protocol):
    """Any matcher of rectified pairs."""

    name: str

    def disparity(self, left: Frame, right: Frame) -> Float[np.ndarray, "H W"]:
        """Disparity of the left picture in pixels, NaN where the method gives none."""
        ...


class Dis:
    """OpenCV's dense inverse search, preset medium (Kroeger et al., ECCV 2016)."""

    name = "dis"

    def __init__(self) -> None:
        self._matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(self, previous: Frame | None, first: Frame, second: Frame) -> FlowPrediction:
        """Flow of the grey frames; nothing is known of occlusion."""
        no_guess: Any = None  # a flow given here, even zeros, would be taken for a guess of the answer
        return FlowPrediction(np.asarray(self._matcher.calc(_grey(first), _grey(second), no_guess)))


class Farneback:
    """OpenCV's polynomial expansion (Farneback, SCIA 2003), five levels, with the parameters of its example."""

    name = "farneback"

    def flow(self, previous: Frame | None, first: Frame, second: Frame) -> FlowPrediction:
        """Flow of the grey frames; nothing is known of occlusion."""
        start = np.zeros((*first.shape[:2], 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(
            _grey(first), _grey(second), start,
            pyr_scale=0.5, levels=5, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0,
        )  # fmt: skip
        return FlowPrediction(np.asarray(flow))


class Sgbm:
    """OpenCV's semi-global matching of 5 x 5 blocks, left-right checked (Hirschmueller, PAMI 2008).

    It searches an eighth of the picture's width, in steps of 16: 64 px on Middlebury's, 160 px on KITTI's.
    """

    name = "sgbm"
    block = 5

    def disparity(self, left: Frame, right: Frame) -> Float[np.ndarray, "H W"]:
        """Disparity of the colour pair; NaN where the check fails, and at the left end of the search."""
        searched = 16 * -(-left.shape[1] // 128)
        matcher = cv2.StereoSGBM.create(
            minDisparity=0, numDisparities=searched, blockSize=self.block,
            P1=8 * 3 * self.block**2, P2=32 * 3 * self.block**2, disp12MaxDiff=1, uniquenessRatio=10,
            speckleWindowSize=100, speckleRange=2,
        )  # fmt: skip
        stored = np.asarray(matcher.compute(left, right))  # 16 levels a pixel; below zero where there is none
        return np.where(stored >= 0, stored / 16, np.nan)


FLOW_METHODS: dict[str, type[FlowMethod]] = {"dis": Dis, "farneback": Farneback}
STEREO_METHODS: dict[str, type[StereoMethod]] = {"sgbm": Sgbm}


def _grey(frame: Frame) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
