"""FaceWarehouse in small: nine people by twenty expressions of a toy model in the published layout, in decimetres."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.facewarehouse import EXPRESSIONS, PHOTO_LANDMARKS, STEADY, FaceWarehouse
from eval.protocol import Found, Prediction, whole
from face3d.morphable import MorphableModel
from tests.mini_florence import a_move, write_obj

ROWS = 12
PEOPLE = (3, 17, 22, 40, 54, 71, 99, 120, 150)
MM_PER_UNIT = 100.0


def toy_model() -> MorphableModel:
    return MorphableModel.random(0, ROWS, ROWS)


def landmark_vertices() -> np.ndarray:
    """The vertices next to the mean's landmarks."""
    model = toy_model()
    landmarks = model.landmarks_of(model.mean[None])[0, list(STEADY)]
    return torch.cdist(landmarks, model.mean).argmin(1).numpy()


def quads() -> np.ndarray:
    """The toy grid's cells, as FaceWarehouse's faces are."""
    grid = np.arange(ROWS * ROWS).reshape(ROWS, ROWS)
    return np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=-1).reshape(-1, 4)


def write_facewarehouse(folder: Path) -> Path:
    model = toy_model()
    for person_index, person in enumerate(PEOPLE):
        place = folder / f"Tester_{person}" / "TrainingPose"
        coefficients = model.sample(person, EXPRESSIONS)
        expressions = 0.5 * coefficients.expression
        expressions[0] = 0.0
        vertices = model.vertices(coefficients.identity[:1].expand(EXPRESSIONS, -1), expressions).numpy()
        for pose in range(EXPRESSIONS):
            write_obj(place / f"pose_{pose}.obj", vertices[pose] / MM_PER_UNIT, quads())
            colour = (25 * person_index + 1, 10 * pose + 1, 0)
            Image.new("RGB", (40, 30), colour).save(place / f"pose_{pose}.png")
            _write_land(place / f"pose_{pose}.land")
    (folder / "evaluation_people.txt").write_text("# nine of 150\n" + ", ".join(map(str, PEOPLE)) + "\n")
    (folder / "landmark_vertices.txt").write_text("\n".join(map(str, landmark_vertices())))
    return folder


def _write_land(path: Path) -> None:
    """Landmarks from a quarter to three quarters of the width, and of the height from a fifth above the bottom."""
    t = np.linspace(0.0, 1.0, PHOTO_LANDMARKS)
    lines = [f"{0.25 + 0.5 * k:.6f} {0.2 + 0.5 * k:.6f}" for k in t]
    path.write_text("\n".join([str(PHOTO_LANDMARKS), *lines]) + "\n")


class Knows:
    """Answers with the true mesh, moved by a similarity, with noise of a known size; `shuffled` in another order."""

    name = "knows"

    def __init__(self, data: FaceWarehouse, noise_mm: float = 0.0, shuffled: bool = False) -> None:
        self.noise_mm, self.shuffled, self.move = noise_mm, shuffled, a_move()
        self.truth = {tuple(sample.image[0, 0]): sample.truth for sample in whole(data.samples())}
        model = toy_model()
        self.triangles = model.triangles.numpy()
        self.mean_landmarks = model.landmarks_of(model.mean[None])[0].double().numpy()

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        truth = self.truth[tuple(image[0, 0])]
        rng = np.random.default_rng(7)
        noise = rng.normal(0.0, 1.0, truth.vertices_mm.shape)
        noise *= self.noise_mm / np.linalg.norm(noise, axis=1, keepdims=True)
        order = rng.permutation(len(noise)) if self.shuffled else np.arange(len(noise))
        landmarks = self.move.apply(self.mean_landmarks)
        landmarks[list(STEADY)] = self.move.apply(truth.landmarks_mm + rng.normal(0.0, 1.0, (5, 3)))
        vertices = self.move.apply(truth.vertices_mm + noise)[order]
        triangles = np.argsort(order)[self.triangles]
        return Prediction(vertices_mm=vertices, triangles=triangles, model_landmarks_mm=landmarks)

    def find(self, image: np.ndarray) -> list[Found]:
        return []
