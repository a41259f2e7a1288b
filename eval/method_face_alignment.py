"""face-alignment (3D-FAN, Bulat and Tzimiropoulos 2017) as a method, where `face3d[landmarks]` is installed.

It downloads its weights when it is first used, or finds them in `$TORCH_HOME/hub/checkpoints`. Asked for the places of
the 3D points in the photo, without depth: no benchmark reads it, and its network would be unpickled.
"""

from inspect import signature

import numpy as np
from jaxtyping import Float, UInt8

from eval.protocol import Found, LeftOut, Prediction


class FaceAlignment:
    """The 68 points; boxes as they are given, or by its own detector. ImportError names the extra."""

    name = "face-alignment"

    def __init__(self, device: str | None = None) -> None:
        try:
            import face_alignment
        except ImportError as error:
            raise ImportError('face-alignment is not installed: pip install "face3d[landmarks]"') from error
        kind, build = face_alignment.LandmarksType.TWO_HALF_D, face_alignment.FaceAlignment
        compiling = (
            {"compile": False} if "compile" in signature(build).parameters else {}
        )  # since 1.5; needs a compiler
        self.network = build(kind, device=device or "cpu", flip_input=False, **compiling)

    def predict(self, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> Prediction:
        """The face in the box. LeftOut where it gives no landmarks."""
        found = self.network.get_landmarks_from_image(image, detected_faces=[box_px])
        if not found:
            raise LeftOut("no landmarks")
        return _prediction(found[0])

    def find(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """All faces that its own detector finds."""
        landmarks, _, boxes = self.network.get_landmarks_from_image(image, return_bboxes=True)
        faces = zip(landmarks or [], boxes or [], strict=True)
        return [Found(np.asarray(box[:4], np.float64), _prediction(points)) for points, box in faces]


def _prediction(points: np.ndarray) -> Prediction:
    return Prediction({"fan": np.asarray(points, np.float64)})
