"""REALY's 85 keypoints on results of other systems, whose meshes may have any topology.

Meshes of the morphable model have the model's keypoints. On others they are those of a file for that topology, as
published; without one the 68 landmarks that a prediction carries, and the other 17 where the scans' mean keypoints meet
the prediction's own neutral mesh, after the same similarity as on the mean face. That is our reading: there the four of
the 17 that count depend on the person, not on the topology alone (`tests/test_eval_realy_files.py`).
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from eval.florence_metrics import FaceMesh, face_of
from eval.protocol import Prediction
from eval.realy_keypoints import Keypoints, check_on_landmarks, place_keypoints, read_keypoints


class KeypointsOfFiles:
    """A source of keypoints for any prediction.

    `of_model`: those of the morphable model; `truth`: the scans' mean keypoints; `path`: a published file for the
    topology of the predictions, which must all be of that one. FileNotFoundError where there is no such file.
    """

    def __init__(self, of_model: Keypoints, truth: Float[np.ndarray, "85 3"], path: Path | None = None) -> None:
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"no such keypoints: {path}")
        self._of_model, self._truth, self._path = of_model, truth, path
        self._read: Keypoints | None = None

    def of_prediction(self, prediction: Prediction) -> Keypoints:
        """The file's, the model's, or placed on the neutral mesh.

        ValueError where the prediction has no triangles, others than the file's, or without a file no neutral mesh with
        68 landmarks on it.
        """
        if prediction.triangles is None:
            raise ValueError("a prediction needs vertices_mm and triangles for REALY")
        if self._path is not None:
            return self._of_file(prediction, self._path)
        if np.array_equal(prediction.triangles, self._of_model.triangles):
            return self._of_model
        return self._placed(prediction, len(prediction.triangles))

    def _of_file(self, prediction: Prediction, path: Path) -> Keypoints:
        assert prediction.triangles is not None
        if self._read is None:
            found = read_keypoints(path, prediction.triangles)
            if prediction.neutral_mm is not None and prediction.model_landmarks_mm is not None:
                check_on_landmarks(found, face_of(prediction), str(path))
            self._read = found
        return self._read.of_prediction(prediction)

    def _placed(self, prediction: Prediction, count: int) -> Keypoints:
        if prediction.neutral_mm is None or prediction.model_landmarks_mm is None:
            raise ValueError(
                f"no keypoints for a mesh of {count} triangles: give --keypoints FILE for it, or predictions with "
                "neutral_mm and model_landmarks_mm (landmark_vertices.txt beside meshes)"
            )
        face: FaceMesh = face_of(prediction)
        found = place_keypoints(face, self._truth)
        check_on_landmarks(found, face, "landmarks on the mesh")
        return found
