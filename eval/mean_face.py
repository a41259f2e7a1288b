"""The floor that any method must beat: the mean face, laid on the box."""

import numpy as np
from jaxtyping import Float, UInt8

from eval.boxes import whole_photo
from eval.protocol import Found, Prediction
from face3d.metrics import box_size_px, landmark_box_px
from face3d.morphable import MorphableModel


class MeanFace:
    """The model's mean, looking at the camera, as large as the box; without a box, as large as the photo."""

    name = "mean face"

    def __init__(self, model: MorphableModel) -> None:
        self.vertices_mm = model.mean.cpu().numpy()
        self.landmarks_mm = model.landmarks_of(model.mean[None])[0].cpu().numpy()
        self.triangles = model.triangles.cpu().numpy()
        self.identity = np.zeros(model.identity_count, np.float32)

    def predict(self, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> Prediction:
        """The mean face with its landmarks' box laid on the box."""
        frontal = self.landmarks_mm * np.array([1.0, -1.0, -1.0], np.float32)
        own = landmark_box_px(frontal)
        scale = float(box_size_px(box_px) / box_size_px(own))
        shift = (box_px[:2] + box_px[2:]) / 2 - scale * (own[:2] + own[2:]) / 2
        offset = np.array([*shift, 0.0])
        vertices_px = scale * self.vertices_mm * np.array([1.0, -1.0, -1.0]) + offset
        return Prediction(
            landmarks_px={"3dmm": scale * frontal + offset},
            vertices_px=vertices_px,
            vertices_mm=self.vertices_mm,
            neutral_mm=self.vertices_mm,
            model_landmarks_mm=self.landmarks_mm,
            triangles=self.triangles,
            euler_deg=np.zeros(3),
            identity=self.identity,
        )

    def find(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """One face, as large as the photo."""
        box_px = whole_photo(image)
        return [Found(box_px, self.predict(image, box_px))]
