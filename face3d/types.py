"""Values that pass between the stages, and the legend of every shape, unit and frame in face3d.

Shape letters in annotations
    B batch, N points, V vertices, F faces (triangles), L landmarks (68 where not said), H W image rows and columns,
    C channels, K identity components, E expression components, A albedo components, T texels.

Frames and units, carried by the names
    ``_mm``   model space: millimetres, right-handed, x to the image's right when the face looks at the camera, y up,
              z out of the face.
    ``_px``   image: pixel centres at integers, x right, y down, 0-based; a third column is depth in pixels, larger is
              farther. Which image (photo or crop) is said by the docstring or by the name.
    ``_deg``  degrees. Euler angles are (pitch, yaw, roll) with the sign of AFLW2000's Pose_Para (face3d.geometry).
    ``T_b_from_a``  a matrix that takes points of frame a to frame b.

Camera axes are OpenCV's: x right, y down, z forward. All poses are scaled orthography, ``p = s (R X)[:2] + t`` with R a
proper rotation; a face that looks straight at the camera has ``R = diag(1, -1, -1)``.

UV: u right, v down in [0, 1]; the texel centre of an (N, N) UV image is ``x = u (N - 1)``, ``y = v (N - 1)``.
Images are (H, W, 3) uint8 RGB for people, (B, 3, H, W) float in [0, 1] for networks.
The 68 landmarks are in 300W / Multi-PIE order. Boxes are [x0, y0, x1, y1] in pixels.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Similarity(NamedTuple):
    """A batch of similarities ``y = scale * rotation @ x + translation``; rotation is proper, scale positive."""

    rotation: Float[Tensor, "B 3 3"]
    scale: Float[Tensor, " B"]
    translation: Float[Tensor, "B 3"]


class ScaledOrthography(NamedTuple):
    """A batch of poses ``p_px = scale * (rotation @ x_mm)[:2] + translation_px``; scale in pixels per millimetre."""

    rotation: Float[Tensor, "B 3 3"]
    scale: Float[Tensor, " B"]
    translation_px: Float[Tensor, "B 2"]
