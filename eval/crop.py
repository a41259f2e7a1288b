"""Which points of a scan a protocol measures: those about the nose tip, with or without the forehead.

The landmarks are the 68 in their usual order, in the frame and unit of the points; no axis is taken for "up".
"""

import numpy as np
from jaxtyping import Bool, Float

NOSE_TIP = 30
BROWS = tuple(range(17, 27))
EYE_CORNERS = (36, 39, 42, 45)
MOUTH_CORNERS = (48, 54)


def near_nose_tip(
    points: Float[np.ndarray, "N 3"], landmarks: Float[np.ndarray, "68 3"], radius: float
) -> Bool[np.ndarray, " N"]:
    """Points within `radius` of the nose tip, in a straight line (Euclidean, as every Florence protocol)."""
    return np.linalg.norm(points - landmarks[NOSE_TIP], axis=1) <= radius


def below_brows(points: Float[np.ndarray, "N 3"], landmarks: Float[np.ndarray, "68 3"]) -> Bool[np.ndarray, " N"]:
    """Points not above the highest brow landmark: the forehead is cut.

    Up is the direction from the middle of the mouth corners to that of the eye corners. Deng et al. 2019 cut the
    forehead too, and do not say where; the brows are our reading.
    """
    up = landmarks[list(EYE_CORNERS)].mean(0) - landmarks[list(MOUTH_CORNERS)].mean(0)
    return points @ up <= (landmarks[list(BROWS)] @ up).max()
