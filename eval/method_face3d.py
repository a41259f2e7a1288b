"""face3d as a method under test, with any weights."""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval.protocol import Found, Prediction
from face3d import Reconstruction, Reconstructor
from face3d.morphable import MorphableModel


class Face3d:
    """The public interface as users call it, given the tight 68-landmark box. Landmark sets: "pgn" and "3dmm"."""

    def __init__(self, reconstructor: Reconstructor, name: str = "face3d") -> None:
        self.name = name
        self.reconstructor = reconstructor

    @property
    def model(self) -> MorphableModel:
        """The morphable model that the faces come from."""
        return self.reconstructor.model

    def predict(self, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> Prediction:
        """The face in the box."""
        return prediction_of(self.reconstructor(image, boxes=box_px[None], texture=False)[0])

    def find(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """The faces of a photo, largest first."""
        faces = self.reconstructor(image, texture=False)
        return [Found(np.asarray(face.box, np.float64), prediction_of(face)) for face in faces]

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "N 4"]:
        """Boxes of the detector alone, before the landmarks have judged them."""
        return np.asarray(self.reconstructor.detector(image).boxes_px, np.float64).reshape(-1, 4)


def prediction_of(face: Reconstruction) -> Prediction:
    """What the benchmarks read from a reconstruction."""
    model = face.model
    device = model.mean.device
    identity = torch.from_numpy(face.identity)[None].to(device)
    landmarks_px = model.landmarks_of(torch.from_numpy(face.vertices_px)[None].to(device))[0]
    return Prediction(
        landmarks_px={"pgn": face.landmarks_px, "3dmm": landmarks_px.cpu().numpy()},
        vertices_px=face.vertices_px,
        vertices_mm=face.vertices_mm,
        neutral_mm=model.vertices(identity)[0].cpu().numpy(),
        model_landmarks_mm=model.landmarks(identity)[0].cpu().numpy(),
        triangles=face.triangles,
        euler_deg=face.euler_deg,
        identity=face.identity,
    )
