"""Whether landmarks can be those of a face in millimetres: what catches wrong units and mirrored axes."""

import numpy as np
from jaxtyping import Float

from eval.now_region import LANDMARKS

OUTER_EYES_MM = (60.0, 130.0)
"""Distance of the outer eye corners that a face can have, wide enough for children and for rough landmarks."""

_UNITS_MM = {"metres": 1000.0, "inches": 25.4, "centimetres": 10.0, "micrometres": 0.001}


def check_size(seven_mm: Float[np.ndarray, "7 3"], what: str) -> None:
    """ValueError that names `what`, and the unit it seems to have, where the outer eyes are implausibly far apart."""
    distance = float(np.linalg.norm(seven_mm[0] - seven_mm[3]))
    low, high = OUTER_EYES_MM
    if low <= distance <= high:
        return
    guesses = [name for name, size_mm in _UNITS_MM.items() if low <= distance * size_mm <= high]
    hint = f", as if in {guesses[0]}" if guesses else ""
    raise ValueError(f"{what}: outer eye corners {distance:.3g} mm apart, expected {low:g} to {high:g}{hint}")


def seven_of(landmarks: Float[np.ndarray, "68 3"], what: str) -> Float[np.ndarray, "7 3"]:
    """NoW's seven of the 68. ValueError that names `what` where they are not all there, or mirrored."""
    if landmarks.shape != (68, 3):
        raise ValueError(f"{what} has landmarks {landmarks.shape}, expected (68, 3)")
    seven = landmarks[list(LANDMARKS)].astype(np.float64)
    if not np.isfinite(seven).all():
        raise ValueError(f"{what} has landmarks that are not finite")
    check_handedness(seven, what)
    return seven


def check_handedness(seven: Float[np.ndarray, "7 3"], what: str) -> None:
    """ValueError that names `what` where the nose points into the head: mirrored axes, or points in another order.

    In right-handed axes the nose's base lies before the eye and mouth corners, on the side that (image left to right) x
    (mouth to eyes) points to.
    """
    eyes, mouth = seven[:4].mean(0), seven[5:].mean(0)
    outwards = np.cross(seven[3] - seven[0], eyes - mouth)
    if not (seven[4] - (eyes + mouth) / 2) @ outwards > 0.0:
        raise ValueError(f"{what}: the nose points into the head: mirrored axes, or landmarks in another order?")


def check_head(five: Float[np.ndarray, "5 3"], vertices: Float[np.ndarray, "V 3"], what: str) -> None:
    """ValueError that names `what` where the face looks into the head: mirrored axes, or landmarks in another order.

    For heads or faces of which only eye corners and nose base are known, NoW's first five. They lie before the mean of
    the vertices, on the side that (image left to right) x (nose to eyes) points to: by 0.3 outer eye distances at least
    on the mean meshes of BFM 2009, FLAME and ICT-FaceKit, and on people drawn from the embedded model.
    """
    outwards = np.cross(five[3] - five[0], five[[0, 3]].mean(0) - five[4])
    if not (five.mean(0) - vertices.mean(0)) @ outwards > 0.0:
        raise ValueError(f"{what}: the face looks into the head: mirrored axes, or landmarks in another order?")
