"""Results that any system wrote into a folder, one file a sample, as a method under test.

A sample's file is named after it without its suffix: `image00002.npz` (or .obj, .ply, .txt) for `image00002.jpg`. A
mesh and a .txt of the same name belong together. Where a system found several faces by itself, the others are
`image00002_face2.npz`, `..._face3`, and the one whose landmarks overlap the true box most, by 0.4 at least, is scored;
where a benchmark has no boxes, the one whose landmarks are the largest in the photo.

The 68 landmarks of a mesh are known where it has the vertices of the embedded model, or where the folder has a
`landmark_vertices.txt`: 68 vertex numbers counted from 0, in 300W order.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from eval.boxes import largest_box, match_box
from eval.prediction_checks import check_prediction
from eval.prediction_file import SUFFIXES, read_prediction
from eval.protocol import Crop, LeftOut, Prediction, Sample
from face3d.checkpoint import asset_path
from face3d.metrics import landmark_box_px
from face3d.morphable_file import MorphableArrays

LANDMARK_VERTICES = "landmark_vertices.txt"
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class NoFile(LeftOut):
    """A sample that nothing was written for."""


def file_stem(sample: str) -> str:
    """The name of a sample's files: without the suffix of a photo, and without slashes."""
    path = Path(sample)
    name = str(path.with_suffix("")) if path.suffix.lower() in _PHOTO_SUFFIXES else sample
    return re.sub(r"[/\\:]", "_", name)


class FromFiles:
    """The predictions in a folder. FileNotFoundError where there is no such folder, or nothing that can be one."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of predictions {folder}")
        if not any(file.suffix in SUFFIXES and file.name != LANDMARK_VERTICES for file in folder.iterdir()):
            raise FileNotFoundError(f"no predictions in {folder}: expected a file a sample, {', '.join(SUFFIXES)}")
        self.folder, self.name = folder, name or folder.name
        self._arrays = MorphableArrays.load(asset_path("face3d_model.npz"))
        self._mean_mm = self._own_landmarks(self._arrays.mean)
        file = folder / LANDMARK_VERTICES
        self._landmark_vertices = _read_vertices(file) if file.is_file() else None

    def of_sample(self, sample: Sample, crop: Crop) -> Prediction:
        """The checked prediction of a sample. LeftOut: no file (NoFile), or one that cannot be measured, and why."""
        stem = file_stem(sample.name)
        try:
            faces = list(self._faces(stem, first_only=crop == "gt"))
        except ValueError as error:
            raise LeftOut(str(error)) from error
        if not faces:
            raise NoFile(f"no file {stem} ({', '.join(SUFFIXES)})")
        return faces[_chosen(faces, sample, crop)]

    def _faces(self, stem: str, first_only: bool) -> Iterator[Prediction]:
        face = 1
        while files := self._files(stem if face == 1 else f"{stem}_face{face}"):
            prediction = self._with_landmarks(_together([read_prediction(file) for file in files]), files[0].name)
            try:
                check_prediction(prediction, self._mean_mm)
            except ValueError as error:
                raise ValueError(f"{files[0].name}: {error}") from error
            yield prediction
            if first_only:
                return
            face += 1

    def _files(self, stem: str) -> list[Path]:
        """The .npz, or else a mesh, its landmarks, or both."""
        files = [self.folder / f"{stem}{suffix}" for suffix in SUFFIXES]
        there = [file for file in files if file.is_file()]
        if len(there) > 1 and [file.suffix for file in there] not in ([".obj", ".txt"], [".ply", ".txt"]):
            names = " and ".join(file.name for file in there)
            raise ValueError(f"{names}: which one? expected one file, or a mesh and a .txt")
        return there

    def _with_landmarks(self, prediction: Prediction, file: str) -> Prediction:
        mesh = prediction.neutral_mm
        if mesh is None or prediction.model_landmarks_mm is not None:
            return prediction
        if self._landmark_vertices is not None:
            if self._landmark_vertices.max() >= len(mesh):
                most = self._landmark_vertices.max()
                raise ValueError(f"{file}: {len(mesh)} vertices, but {LANDMARK_VERTICES} names vertex {most}")
            return replace(prediction, model_landmarks_mm=mesh[self._landmark_vertices])
        if mesh.shape == self._arrays.mean.shape:
            return replace(prediction, model_landmarks_mm=self._own_landmarks(mesh))
        return prediction

    def _own_landmarks(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
        """The 68 landmarks on a mesh of the embedded model's topology."""
        corners = vertices[self._arrays.triangles[self._arrays.landmark_triangles]]
        return (corners.astype(np.float64) * self._arrays.landmark_barycentric[..., None]).sum(1)


def _read_vertices(file: Path) -> Int[np.ndarray, " 68"]:
    words = file.read_text(encoding="utf-8").split()
    if len(words) != 68 or not all(word.isdigit() for word in words):
        raise ValueError(f"{file}: expected 68 vertex numbers, counted from 0, got {len(words)} words")
    return np.array(words, np.int64)


def _together(parts: list[Prediction]) -> Prediction:
    """A mesh with the landmarks beside it."""
    return parts[0] if len(parts) == 1 else replace(parts[0], landmarks_px=parts[1].landmarks_px)


def _chosen(faces: list[Prediction], sample: Sample, crop: Crop) -> int:
    """The face whose first landmark set overlaps the true box, or is the largest.

    A face without landmarks overlaps nothing, and is smaller than any that has some.
    """
    if crop == "gt":
        return 0
    sets = [next(iter(face.landmarks_px.values()), np.zeros((1, 2))) for face in faces]
    boxes_px = np.array([landmark_box_px(points) for points in sets], np.float64)
    index = largest_box(boxes_px) if crop == "largest" else match_box(boxes_px, sample.box_px)
    if index is None:
        raise LeftOut("not found by the detector")
    return index
