"""People who do not exist: identities, expressions and colours drawn from the model, photographed by eval's own camera.

Their shapes are unseen samples of the model's prior, so they tell how much of a shape is read from a photo, not how
well the model spans real heads (eval.scan_shape does). Light, backdrop and drawing are not the training generator's.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from eval.alignment import Alignment, align_points
from eval.error_mesh import ErrorMesh
from eval.floor import reduction_percent
from eval.now_region import LANDMARKS, face_region
from eval.protocol import Prediction, Record, Sample
from eval.scene import Light, View, backdrop, draw, turned_view
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel

SIZE_PX = 256
_SKIN = (0.78, 0.61, 0.53)


class Person(NamedTuple):
    """The truth of one generated photo."""

    neutral_mm: Float[np.ndarray, "V 3"]
    vertices_px: Float[np.ndarray, "V 3"]
    px_per_mm: float
    yaw_deg: float
    mean_error_mm: float  # of the mean face for this person: the floor


class GeneratedPeople:
    """`count` photos, one a person, yaw within 60 degrees; the same for the same seed and model."""

    name = "shape: generated people"

    def __init__(self, model: MorphableModel, count: int = 100, seed: int = 20_240) -> None:
        self.model, self.count, self.seed = deepcopy(model).to("cpu"), count, seed
        self.mean_mm = self.model.mean.numpy()
        landmarks = self.model.landmarks_of(self.model.mean[None])[0].numpy()
        self.face: Bool[np.ndarray, " V"] = face_region(landmarks[list(LANDMARKS)]).inside(self.mean_mm)
        self.triangles: Int[np.ndarray, "F 3"] = self.model.triangles.numpy()

    def samples(self) -> Iterator[Sample]:
        """The photos, one after the other."""
        for index in range(self.count):
            yield self.person(index)

    def person(self, index: int) -> Sample:
        """Photo and truth of one person."""
        rng = np.random.default_rng([self.seed, index])
        identity, expression, colours = self._draw_coefficients(rng)
        vertices_mm = self.model.vertices(identity, expression)[0].numpy()
        neutral_mm = self.model.vertices(identity)[0].numpy()
        landmarks_mm = self.model.landmarks(identity, expression)[0].numpy()
        euler_deg = (rng.uniform(-15, 15), rng.uniform(-60, 60), rng.uniform(-15, 15))
        view = centred(turned_view(euler_deg, np.zeros(3), rng.uniform(0.8, 1.1), SIZE_PX), landmarks_mm)
        vertices_px = view.project(vertices_mm)
        light = Light(rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.6), tuple(rng.uniform(-1, 0, 3)))
        image = draw(vertices_px, self.triangles, colours, backdrop(self.seed + index, SIZE_PX), light)
        truth = Person(neutral_mm, vertices_px, view.scale, euler_deg[1], self.error_mm(self.mean_mm, neutral_mm))
        return Sample(f"person {index:03d}", image, landmark_box_px(view.project(landmarks_mm)), truth)

    def _draw_coefficients(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Identity of the prior, an expression of half the prior's strength, colours a vertex in [0, 1]."""
        sample = self.model.sample(int(rng.integers(2**31)), 1)
        if self.model.albedo_mean is None:
            return sample.identity, 0.5 * sample.expression, np.tile(_SKIN, (self.model.vertex_count, 1))
        albedo = torch.from_numpy(rng.normal(0.0, 0.8, (1, self.model.albedo_count)).astype(np.float32))
        return sample.identity, 0.5 * sample.expression, self.model.albedo(albedo)[0].numpy().clip(0, 1)

    def error_mm(self, predicted_mm: Float[np.ndarray, "V 3"], truth_mm: Float[np.ndarray, "V 3"]) -> float:
        """Mean distance of corresponding vertices of the face region after the best similarity, in mm of the truth."""
        moved = self._aligned(predicted_mm, truth_mm).apply(predicted_mm[self.face].astype(np.float64))
        return float(np.linalg.norm(moved - truth_mm[self.face], axis=1).mean())

    def _aligned(self, predicted_mm: Float[np.ndarray, "V 3"], truth_mm: Float[np.ndarray, "V 3"]) -> Alignment:
        return align_points(*(mesh[self.face].astype(np.float64) for mesh in (predicted_mm, truth_mm)))

    def error_mesh(self, sample: Sample, prediction: Prediction) -> ErrorMesh:
        """The neutral mesh on the true one after the best similarity, with the distance of each vertex of the face."""
        truth: Person = sample.truth
        assert prediction.neutral_mm is not None
        moved = self._aligned(prediction.neutral_mm, truth.neutral_mm).apply(prediction.neutral_mm.astype(np.float64))
        error_mm = np.linalg.norm(moved - truth.neutral_mm, axis=1)
        error_mm[~self.face] = np.nan
        return ErrorMesh(moved, self.triangles, error_mm, "distance of each vertex to its true place")

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """Error in mm of the neutral mesh, and of the mean face. ValueError for a mesh of another topology."""
        truth: Person = sample.truth
        if prediction.neutral_mm is None or prediction.neutral_mm.shape != truth.neutral_mm.shape:
            got = None if prediction.neutral_mm is None else prediction.neutral_mm.shape
            raise ValueError(f"expected a neutral mesh {truth.neutral_mm.shape} of the people's model, got {got}")
        error = self.error_mm(prediction.neutral_mm, truth.neutral_mm)
        return {"error_mm": error, "mean_face_mm": truth.mean_error_mm, "yaw_deg": truth.yaw_deg}

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """Mean errors and by how many % the method is below the mean face, in all and by yaw."""
        groups = {"all": (0, 90), "|yaw| <= 30": (0, 30), "|yaw| > 30": (30, 90)}
        return {name: _below_mean(_within(records, *limits)) for name, limits in groups.items()}


def centred(view: View, landmarks_mm: Float[np.ndarray, "68 3"]) -> View:
    """The view moved so that the middle of the landmarks' box is the middle of the photo."""
    box = landmark_box_px(view.project(landmarks_mm))
    return view._replace(translation_px=view.translation_px + (SIZE_PX - 1) / 2 - (box[:2] + box[2:]) / 2)


def _within(records: list[Record], low: float, high: float) -> list[Record]:
    return [record for record in records if low <= abs(record.scores["yaw_deg"]) <= high]


def _below_mean(records: list[Record]) -> dict[str, float]:
    error, floor = (
        float(np.mean([record.scores[key] for record in records])) if records else float("nan")
        for key in ("error_mm", "mean_face_mm")
    )
    below = reduction_percent(error, floor)
    return {"error_mm": error, "mean_face_mm": floor, "below_mean_face_percent": below, "count": len(records)}
