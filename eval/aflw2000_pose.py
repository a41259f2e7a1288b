"""Where a photo of AFLW2000-3D puts its model: Pose_Para by 3DDFA's equation, and the 68 true points with depth.

    p = f R(pitch, yaw, roll) S + t,    y up, 1-based        (Zhu et al., CVPR 2016, equation 2; S a model's points)

Here in 0-based pixels with y down, and with depth in pixels that is larger where it is farther: pt3d_68 counts it
towards the camera.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.aflw2000_arrays import MATLAB_ORIGIN

HEIGHT_PX = 450
_MM_PER_UNIT = 1e-3  # the Basel Face Model counts in micrometres
_Y_UP = np.array([1.0, -1.0, -1.0])


class LabelledPose(NamedTuple):
    """Pose_Para: angles, pixels per millimetre, and the pixel of the model's origin."""

    euler_deg: Float[np.ndarray, " 3"]
    scale: float
    translation_px: Float[np.ndarray, " 2"]

    @classmethod
    def read(cls, pose_para: Float[np.ndarray, "1 7"]) -> "LabelledPose":
        """From pitch, yaw, roll (radians), x, y, z (pixels), and pixels per micrometre."""
        pitch, yaw, roll, x, y, _, factor = pose_para[0].astype(np.float64)
        origin_px = np.array([x - MATLAB_ORIGIN, HEIGHT_PX - y])
        return cls(np.rad2deg([pitch, yaw, roll]), float(factor) / _MM_PER_UNIT, origin_px)

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """From the model's axes to the photo's: x right, y down, depth away from the camera."""
        return np.diag(_Y_UP) @ rotation_3ddfa(np.deg2rad(self.euler_deg))

    def place(self, points_mm: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the model in the photo, pixels with depth; the depth of the model's origin is 0."""
        return self.scale * points_mm @ self.rotation.T + [*self.translation_px, 0.0]


def rotation_3ddfa(euler_rad: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """RotationMatrix.m of 300W-LP: Rx(pitch) Ry(yaw) Rz(roll) in an image whose y points up.

    Written from the source, on its own: `face3d.geometry` is checked against it.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler_rad), np.sin(euler_rad)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def true_landmarks_px(label: Mapping[str, np.ndarray]) -> Float[np.ndarray, "68 3"]:
    """pt3d_68 of a .mat file in 0-based pixels with depth, larger is farther."""
    return label["pt3d_68"].T.astype(np.float64) * [1.0, 1.0, -1.0] - [MATLAB_ORIGIN, MATLAB_ORIGIN, 0.0]
