"""Units, axes and winding of an official model, told from its own points: nothing is taken on trust."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

MM_PER_UNIT = {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
FACE_SIZE_MM = (100.0, 600.0)  # the largest side of a face mask, a head, a head with shoulders


class Directions(NamedTuple):
    """Three directions in the file's own frame; the person's left is the image's right."""

    right_to_left: Float[np.ndarray, "3"]
    chin_to_eyes: Float[np.ndarray, "3"]
    ears_to_nose: Float[np.ndarray, "3"]


def unit_of(points: Float[np.ndarray, "V 3"], expected: str) -> tuple[str, str | None]:
    """The unit in which a face is face-sized, and a remark where it is not `expected`.

    ValueError where the points are not face-sized in any unit.
    """
    extent = float(np.ptp(points, axis=0).max())
    fitting = [unit for unit, mm in MM_PER_UNIT.items() if FACE_SIZE_MM[0] <= extent * mm <= FACE_SIZE_MM[1]]
    if expected in fitting:
        return expected, None
    if fitting:
        return fitting[0], f"the file is in {fitting[0]}, where {expected} is usual"
    raise ValueError(
        f"the mean face spans {extent:.4g}, which is no face in {', '.join(MM_PER_UNIT)}: "
        f"expected {FACE_SIZE_MM[0]:.0f}..{FACE_SIZE_MM[1]:.0f} mm"
    )


def directions_68(landmarks: Float[np.ndarray, "68 3"]) -> Directions:
    """The directions of a face from its 68 landmarks (300W order)."""
    right_eye, left_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    eyes = (right_eye + left_eye) / 2
    mouth, ears = landmarks[48:60].mean(axis=0), landmarks[[0, 16]].mean(axis=0)
    return Directions(left_eye - right_eye, eyes - mouth, landmarks[30] - ears)


def directions_named(points: dict[str, np.ndarray]) -> Directions | None:
    """The directions from the named landmarks of a Basel Face Model (left.eye.corner_outer ...), None if too few."""
    needed = ("left.eye.corner_outer", "right.eye.corner_outer", "center.chin.tip", "center.nose.tip")
    if not all(name in points for name in needed):
        return None
    left, right, chin, nose = (points[name] for name in needed)
    return Directions(left - right, (left + right) / 2 - chin, nose - (left + right) / 2)


def axes_from(directions: Directions) -> Int[np.ndarray, "3 3"]:
    """The signed permutation P with `P @ file axes = model axes` (x image right, y up, z out of the face).

    ValueError where the face lies obliquely to the axes, or is mirrored (left and right exchanged).
    """
    axes = np.zeros((3, 3), int)
    for row, (name, direction) in enumerate(directions._asdict().items()):
        column = int(np.abs(direction).argmax())
        if np.abs(direction[column]) < 0.6 * np.linalg.norm(direction) or axes[:, column].any():
            raise ValueError(f"the mean face lies obliquely to the axes: {name} is {np.round(direction, 3)}")
        axes[row, column] = 1 if direction[column] > 0 else -1
    if round(np.linalg.det(axes)) != 1:
        raise ValueError("the mean face is mirrored: its left and right are exchanged; this is not the official file")
    return axes


def check_axes(mean: Float[np.ndarray, "V 3"], expression: Float[np.ndarray, "E V 3"]) -> None:
    """Without landmarks: the face must be symmetric about x, its foremost point in the middle, its motion in front.

    ValueError says which of them fails.
    """
    middle = (mean.max(axis=0) + mean.min(axis=0)) / 2
    asymmetry = [_mirror_distance(mean - middle, axis) for axis in range(3)]
    if int(np.argmin(asymmetry)) != 0:
        axis = "xyz"[int(np.argmin(asymmetry))]
        raise ValueError(
            f"the mean face is symmetric about {axis}, expected x: the axes are not those of the official file"
        )
    extent = np.ptp(mean, axis=0)
    foremost = mean[mean[:, 2].argmax()]
    if abs(foremost[0] - middle[0]) > 0.2 * extent[0]:
        raise ValueError("the point of largest z is not in the middle of the face: z does not point out of the face")
    if len(expression):
        motion = np.square(expression).sum(axis=(0, 2))
        if (motion @ mean[:, 2]) / motion.sum() < mean[:, 2].mean() - 0.1 * extent[2]:
            raise ValueError("the expressions move the side of smallest z: z does not point out of the face")


def outwardness(mean: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> float:
    """1 where all triangles are counter-clockwise seen from outside, -1 where all are clockwise, 0 where none can tell.

    The share of signed volume in the volume of the tetrahedra to the middle of the bounding box.
    """
    corners = mean[triangles].astype(np.float64) - (mean.max(axis=0) + mean.min(axis=0)) / 2
    volumes = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return float(volumes.sum() / max(np.abs(volumes).sum(), 1e-30))


def _mirror_distance(points: np.ndarray, axis: int) -> float:
    """Mean distance of mirrored points to the nearest point."""
    mirrored = points[:: max(1, len(points) // 2000)].copy()
    mirrored[:, axis] *= -1
    return float(cKDTree(points).query(mirrored)[0].mean())
