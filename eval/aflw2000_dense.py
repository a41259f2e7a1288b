"""AFLW2000-3D's dense protocols on corresponding points, as published: alignment in the photo, and shape alone.

Written from the evaluation code of DSFNet and SADRNet (src/model/loss.py: NME, cp and RecLoss), which take PRN's
43,867 points of a UV map; here any points will do. The first in x and y alone (NME2D) is `face3d.metrics.nme_percent`.
"""

import numpy as np
from jaxtyping import Float

from face3d.metrics import box_size_px, landmark_box_px


def dense_nme_percent(predicted_px: Float[np.ndarray, "N 3"], truth_px: Float[np.ndarray, "N 3"]) -> float:
    """Mean 3D distance in % of sqrt(w h), the size of the true points' box in x and y.

    Pixels with depth in pixels; the mean depth of either side counts for nothing. No alignment beyond it.
    Raises ValueError where the true box is empty.
    """
    size = float(box_size_px(landmark_box_px(truth_px)))
    if not size > 0:
        raise ValueError("the true points span no area: got a box of size 0; expected points of a face")
    difference = predicted_px - truth_px
    difference = difference - difference.mean(0) * [0.0, 0.0, 1.0]
    return float(100.0 * np.linalg.norm(difference, axis=1).mean() / size)


def reconstruction_percent(
    predicted: Float[np.ndarray, "N 3"], truth: Float[np.ndarray, "N 3"], true_outer_eyes: Float[np.ndarray, "2 3"]
) -> float:
    """Mean distance after a similarity of the prediction onto the truth, in % of the true outer eye corners' distance.

    The similarity is SADRNet's `cp`, not the least-squares one: its scale is the ratio of the summed distances from the
    first point, its rotation and translation are the best ones for that scale. The rotation is proper, where `cp` may
    mirror. Any units. Raises ValueError where all points of a side, or the eye corners, coincide.
    """
    reach = [float(np.linalg.norm(points - points[0], axis=1).sum()) for points in (predicted, truth)]
    eyes = float(np.linalg.norm(true_outer_eyes[0] - true_outer_eyes[1]))
    if not min(*reach, eyes) > 0:
        raise ValueError("the points of the prediction, those of the truth, or its outer eye corners all coincide")
    moved, target = (predicted - predicted.mean(0)) * (reach[1] / reach[0]), truth - truth.mean(0)
    left, _, right = np.linalg.svd(moved.T @ target)
    proper = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    return float(100.0 * np.linalg.norm(moved @ (left * proper) @ right - target, axis=1).mean() / eyes)
