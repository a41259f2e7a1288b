"""MICC Florence in small: scans, landmarks and motion-JPEG videos in the published layout, faces of a toy model."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.alignment import Alignment
from eval.florence import SETTINGS
from eval.florence_metrics import FaceMesh
from eval.protocol import Found, Prediction
from face3d.geometry import rotation_from_euler_deg
from face3d.morphable import MorphableModel

GREY_STEP = 40  # a subject is told by the grey of its frames


def a_move(scale: float = 0.37) -> Alignment:
    turn = rotation_from_euler_deg(torch.tensor([[10.0, -35.0, 5.0]], dtype=torch.float64))[0].numpy()
    return Alignment(turn, scale, np.array([100.0, 20.0, -50.0]))


def toy_face(seed: int, rows: int = 24) -> FaceMesh:
    """A person of the toy model, in mm."""
    model = MorphableModel.random(0, rows, rows)
    identity = model.sample(seed, 1).identity
    vertices, landmarks = (
        points[0].double().numpy() for points in (model.vertices(identity), model.landmarks(identity))
    )
    return FaceMesh(vertices, model.triangles.numpy(), landmarks)


def moved(face: FaceMesh, move: Alignment, seed: int = 1, landmark_noise: float = 0.0) -> FaceMesh:
    """The same surface in another frame, with vertices and triangles in another order and rougher landmarks."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(face.vertices))
    triangles = rng.permutation(np.argsort(order)[face.triangles])
    landmarks = face.landmarks + rng.normal(0.0, landmark_noise, (68, 3))
    return FaceMesh(move.apply(face.vertices[order]), triangles, move.apply(landmarks))


def prediction_of(face: FaceMesh) -> Prediction:
    return Prediction(neutral_mm=face.vertices, triangles=face.triangles, model_landmarks_mm=face.landmarks)


class Knows:
    """Tells the subject by the frame's grey and answers with the face that it was given; black frames have none."""

    name = "knows"

    def __init__(self, faces: dict[int, FaceMesh]) -> None:
        self.faces = faces

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return prediction_of(self.faces[round(float(image.mean()) / GREY_STEP)])

    def find(self, image: np.ndarray) -> list[Found]:
        if image.mean() < GREY_STEP / 2:
            return []
        small, large = np.array([0.0, 0, 5, 5]), np.array([0.0, 0, 30, 30])
        return [Found(small, Prediction()), Found(large, self.predict(image, large))]


def write_obj(path: Path, vertices: np.ndarray, polygons: np.ndarray) -> None:
    """A mesh as the data sets write it: texture indices, polygons of 3 or 4 corners."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices]
    faces = ["f " + " ".join(f"{corner + 1}/1/1" for corner in face) for face in polygons]
    path.write_text("\n".join(["# scan", *points, "vt 0 0", "vn 0 0 1", *faces]) + "\n")


def write_scan(folder: Path, subject: int, which: str, face: FaceMesh) -> None:
    place = Path(f"subject_{subject:02d}/Model/{which}/obj")
    write_obj(folder / place / f"1109201504{subject:02d}.obj", face.vertices, face.triangles)
    landmarks = folder / "MICC_landmarks" / place / f"1109201504{subject:02d}.ljson"
    landmarks.parent.mkdir(parents=True, exist_ok=True)
    content = {"groups": {"LJSON": {"labels": [], "landmarks": {"points": face.landmarks.tolist()}}}, "version": 3}
    landmarks.write_text(json.dumps(content))


def write_video(path: Path, greys: list[int]) -> None:
    """A motion-JPEG stream: one JPEG after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    for grey in greys:
        Image.new("RGB", (64, 48), (grey, grey, grey)).save(stream, "JPEG")
    path.write_bytes(stream.getvalue())


def write_florence(folder: Path, scans: dict[int, FaceMesh]) -> Path:
    """Every subject with one scan and three videos of four frames, the first without a face."""
    for subject, face in scans.items():
        write_scan(folder, subject, "frontal1", face)
        for setting in SETTINGS:
            suffix = ".mjpg" if setting == SETTINGS[0] else ".mjpeg"
            video = folder / f"subject_{subject:02d}" / "Video" / f"{setting}{suffix}"
            write_video(video, [0, *[GREY_STEP * subject] * 3])
    return folder
