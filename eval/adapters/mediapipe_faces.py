"""MediaPipe Face Mesh on exported samples: `PYTHON mediapipe_faces.py SAMPLES PREDICTIONS`, in a Python that has it.

mediapipe 0.10.21 carries its models in its wheel and needs numpy < 2, so it has an environment of its own. Of the
faces found in a photo, the one whose points overlap the given box most is written; without a box, all of them. The
points' pixel edges are at 0: 0.5 is subtracted. The jaw of the 68-point scheme is hidden in profiles, MediaPipe's is
the face's visible oval: no choice of its points comes near it there.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import mediapipe
import numpy as np

JAW = [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
BROWS = [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]
NOSE = [168, 197, 5, 4, 75, 97, 2, 326, 305]
EYES = [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
MOUTH = [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
POINTS = JAW + BROWS + NOSE + EYES + MOUTH  # nearest to the 68 of 300W


def find(mesh, file: Path) -> list[np.ndarray]:
    """(68, 3) float64 points of each face in a photo: pixels with centres at integers, depth larger is farther."""
    image = cv2.imread(str(file))
    if image is None:
        raise ValueError(f"{file} is not an image")
    size = np.array([image.shape[1], image.shape[0], image.shape[1]], np.float64)
    found = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks or []
    return [np.array([(p.x, p.y, p.z) for p in face.landmark])[POINTS] * size - [0.5, 0.5, 0.0] for face in found]


def shared(points: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of the points' box and `box`."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    inside = np.prod(np.maximum(np.minimum(high, box[2:]) - np.maximum(low, box[:2]), 0.0))
    return float(inside / (np.prod(high - low) + np.prod(box[2:] - box[:2]) - inside))


def main(samples: Path, predictions: Path) -> None:
    """Write NAME.npz, NAME_face2.npz, ... for every sample with a face."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=5, refine_landmarks=True, min_detection_confidence=0.3
    )
    for sample in json.loads((samples / "samples.json").read_text()):
        faces = find(mesh, samples / sample["image"])
        if sample["box_px"] is not None:
            box = np.array(sample["box_px"])
            overlapping = [points for points in faces if shared(points, box) > 0]
            faces = sorted(overlapping, key=lambda points: -shared(points, box))[:1]
        for number, points in enumerate(faces, start=1):
            name = sample["name"] + (f"_face{number}" if number > 1 else "")
            arrays: dict[str, Any] = {"landmarks_px/mediapipe": points}
            np.savez(predictions / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
