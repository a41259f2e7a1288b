"""face3d's flow networks as a method of flow and of stereo, with any weights."""

import numpy as np
from jaxtyping import Float

from eval.flow_methods import FlowPrediction, Frame
from face3d.optical_flow import FlowEstimator


class Face3dFlow:
    """The public interface as users call it: "face3d", or "face3d-network" where the estimator does not refine."""

    def __init__(self, estimator: FlowEstimator) -> None:
        self.estimator = estimator
        self.name = "face3d" if estimator.refine else "face3d-network"

    def flow(self, previous: Frame | None, first: Frame, second: Frame) -> FlowPrediction:
        """Forward flow and what it calls occluded; a network of two frames does not look at `previous`."""
        found = self.estimator(first, second, previous)
        return FlowPrediction(found.forward_px, found.occluded)

    def disparity(self, left: Frame, right: Frame) -> Float[np.ndarray, "H W"]:
        """How far the flow from the left picture goes to the left, at least zero; a value at every pixel."""
        return np.maximum(-self.estimator(left, right).forward_px[..., 0], 0)
