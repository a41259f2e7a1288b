"""AFLW2000-3D's dense scores: a photo's true mesh at the points that count, and what a prediction is off it.

The name of the truth (`eval.dense_meshes`) is in every score's. A prediction of the truth's topology is compared vertex
by vertex, any other one by a correspondence that is found once for its topology: on the mean of the method's own model,
else on the first neutral mesh of that topology that comes.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from eval.aflw2000_dense import dense_nme_percent, reconstruction_percent
from eval.aflw2000_pose import true_landmarks_px
from eval.correspondence import Correspondence, Face, at_vertices, find_correspondence
from eval.dense_meshes import SAID, BfmMeshes, FittedMeshes, Label, TrueMeshes
from eval.dense_points import CountedPoints, counted_points
from eval.protocol import Prediction
from face3d.metrics import nme_percent
from face3d.morphable import MorphableModel

DENSE, DENSE_2D, RECONSTRUCTION, LABELS = "dense", "dense-2d", "reconstruction", "truth-landmarks"
_OUTER_EYES = [36, 45]


class DenseTruth(NamedTuple):
    """Of one photo the counted points and outer eye corners, pixels with depth, and how far its 68 points are met."""

    points_px: Float[np.ndarray, "N 3"]
    outer_eyes_px: Float[np.ndarray, "2 3"]
    landmark_nme_percent: float


class DenseTruths:
    """True meshes at the points that count, and what predictions score against them.

    `own`: the model of the method under test, whose mean stands for its topology.
    """

    def __init__(self, meshes: TrueMeshes, points: CountedPoints, own: MorphableModel) -> None:
        self.name, self.points = meshes.name, points
        self._meshes, self._truth, self._own = meshes, _mean_face(meshes.model), _mean_face(own)
        self._known: dict[tuple[int, bytes], Correspondence] = {}

    def describe(self) -> dict[str, Any]:
        """For the JSON: what the truth is, its model, and which points count."""
        model, count = self._meshes.model.meta.name, len(self.points.vertices)
        return {"truth": self.name, "is": SAID[self.name], "model": model, "points": self.points.said, "count": count}

    def __str__(self) -> str:
        return f"{self.name}: {SAID[self.name]}; {len(self.points.vertices):,} {self.points.said}"

    def of_photo(self, label: Label, where: str) -> DenseTruth:
        """The truth of a photo. ValueError, with `where`, for a label of another model or without what it needs."""
        vertices = self._meshes.vertices_px(label, where)
        landmarks = _landmarks(self._meshes.model, vertices)
        error = float(nme_percent(landmarks, true_landmarks_px(label)))
        if not error <= self._meshes.most_nme_percent:
            raise ValueError(
                f"{where}: its parameters give 68 points that are {error:.2f} % NME off pt3d_68: "
                f"{self._meshes.model.meta.name!r} is not the model that the labels were made with"
            )
        return DenseTruth(vertices[self.points.vertices], landmarks[_OUTER_EYES], error)

    def scores(self, truth: DenseTruth, prediction: Prediction) -> dict[str, float]:
        """Each protocol in %, and the truth's own NME % at the 68 points; nothing for a prediction without a mesh."""
        placed = self._counted(prediction, prediction.vertices_px)
        shape = self._counted(prediction, prediction.vertices_mm) if placed is None else placed
        scores = {}
        if placed is not None:
            scores[DENSE] = dense_nme_percent(placed, truth.points_px)
            scores[DENSE_2D] = float(nme_percent(placed, truth.points_px))
        if shape is not None:
            scores[RECONSTRUCTION] = reconstruction_percent(shape, truth.points_px, truth.outer_eyes_px)
            scores[LABELS] = truth.landmark_nme_percent
        return {f"{name}/{self.name}": value for name, value in scores.items()}

    def _counted(
        self, prediction: Prediction, vertices: Float[np.ndarray, "V 3"] | None
    ) -> Float[np.ndarray, "N 3"] | None:
        """The counted points on the prediction; None without a mesh, or where nothing tells which they are."""
        triangles = prediction.triangles
        if vertices is None or triangles is None:
            return None
        key = (len(vertices), triangles.astype(np.int64).tobytes())
        if key not in self._known:
            found = self._correspondence(len(vertices), triangles, prediction)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key].on(vertices)

    def _correspondence(
        self, count: int, triangles: Int[np.ndarray, "F 3"], prediction: Prediction
    ) -> Correspondence | None:
        if _same_topology(self._truth, count, triangles):
            return at_vertices(self.points.vertices)
        neutral, landmarks = prediction.neutral_mm, prediction.model_landmarks_mm
        if _same_topology(self._own, count, triangles):
            face = self._own
        elif neutral is not None and landmarks is not None and len(neutral) == count:
            face = Face(neutral, triangles, landmarks)
        else:
            return None
        return find_correspondence(self._truth.vertices_mm[self.points.vertices], self._truth.landmarks_mm, face)


def dense_truths(bfm: Path | None, points: Path | None, own: MorphableModel) -> DenseTruths:
    """Truth of the Basel Face Model where its converted file is given, else of the model `own` fitted to the labels.

    `points`: a list of vertex numbers. FileNotFoundError and ValueError name a file that is missing or does not fit.
    """
    meshes: TrueMeshes = FittedMeshes(own) if bfm is None else BfmMeshes(MorphableModel.load(bfm))
    return DenseTruths(meshes, counted_points(meshes.model, points), own)


def _landmarks(model: MorphableModel, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
    return model.landmarks_of(torch.from_numpy(vertices)[None].to(model.mean.device))[0].cpu().numpy()


def _mean_face(model: MorphableModel) -> Face:
    mean = model.mean.cpu().double().numpy()
    return Face(mean, model.triangles.cpu().numpy(), _landmarks(model, mean))


def _same_topology(face: Face, count: int, triangles: Int[np.ndarray, "F 3"]) -> bool:
    """As many vertices, and the same triangles in whatever order."""
    same_size = len(face.vertices_mm) == count and face.triangles.shape == triangles.shape
    return same_size and np.array_equal(_in_order(face.triangles), _in_order(triangles))


def _in_order(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    rows = np.sort(triangles.astype(np.int64), axis=1)
    return rows[np.lexsort(rows.T)]
