"""The landmarks and the face region of the NoW benchmark, for any mesh in any unit.

Seven points: both corners of both eyes, the base of the nose, both corners of the mouth. Region: a ball about
nose_base + 0.3 (bridge - nose_base) with radius 1.4 (outer eye distance + nose length) / 2, the bridge being midway
between the inner eye corners (github.com/soubhiksanyal/now_evaluation, face region of the scans).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

LANDMARKS = (36, 39, 42, 45, 33, 48, 54)
"""Indices of the seven among the 68."""

NOW_RADIUS, STIRLING_RADIUS = 1.4, 1.2
"""Factors of the region's radius: NoW's, and that of the Stirling challenge (Feng et al., FG 2018) NoW widened."""


class Region(NamedTuple):
    """A ball: centre and radius in the unit of the landmarks."""

    centre: Float[np.ndarray, " 3"]
    radius: float

    def inside(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """Which points lie in the ball."""
        return np.linalg.norm(points - self.centre, axis=1) <= self.radius


def face_region(seven: Float[np.ndarray, "7 3"], radius_factor: float = NOW_RADIUS) -> Region:
    """NoW's region from its seven landmarks, in the order of `LANDMARKS`; Stirling's with `STIRLING_RADIUS`."""
    bridge, base = (seven[1] + seven[2]) / 2, seven[4]
    outer, length = np.linalg.norm(seven[0] - seven[3]), np.linalg.norm(bridge - base)
    return Region(base + 0.3 * (bridge - base), float(radius_factor * (outer + length) / 2))
