"""Files that a run keeps of its samples beside the JSON: overlays as JPEG, predicted meshes with their errors."""

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eval.error_mesh import ErrorMesh, error_mesh_bytes
from eval.pictures import sheet, square_tile
from eval.protocol import Benchmark, Damaged, Prediction, Record, Sample
from face3d.io import replace_files
from face3d.overlay import draw_landmarks, draw_mesh

TILE_PX = 300
_QUALITY = 82
_LEAST_PHOTO_PX = 450
_PAPER = (245, 245, 245)
_SHOWN = ("3dmm", "pgn")  # the set of landmarks that is drawn, the first that there is


@runtime_checkable
class Meshed(Protocol):
    """A benchmark that can show where a mesh is wrong."""

    def error_mesh(self, sample: Sample, prediction: Prediction) -> ErrorMesh:
        """The predicted mesh in the frame of the truth, an error a vertex."""
        ...


class Keeping:
    """A benchmark that keeps what it scores: it writes the picture and the mesh of a sample where it has a folder.

    `truth_px`: true landmarks of a sample, drawn as white rings. Meshes come from the benchmark's `error_mesh`.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        pictures: Path | None = None,
        meshes: Path | None = None,
        truth_px: Callable[[Sample], Float[np.ndarray, "68 _"]] | None = None,
    ) -> None:
        self.benchmark, self.name, self.truth_px = benchmark, benchmark.name, truth_px
        self.folders = {"pictures": pictures, "meshes": meshes if isinstance(benchmark, Meshed) else None}
        self.files: dict[str, dict[str, tuple[Path, str]]] = {"pictures": {}, "meshes": {}}

    def samples(self) -> Iterable[Sample | Damaged]:
        """The benchmark's."""
        return self.benchmark.samples()

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """The benchmark's errors, and the files of this sample."""
        scores = self.benchmark.score(sample, prediction)
        if self.folders["pictures"] is not None:
            truth_px = None if self.truth_px is None else self.truth_px(sample)
            self._write("pictures", sample.name, ".jpg", jpeg_bytes(overlay(sample, prediction, truth_px)))
        if self.folders["meshes"] is not None and isinstance(self.benchmark, Meshed):
            self._write("meshes", sample.name, ".npz", error_mesh_bytes(self.benchmark.error_mesh(sample, prediction)))
        return scores

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """The benchmark's."""
        return self.benchmark.summarise(records)

    def _write(self, kind: str, name: str, suffix: str, content: bytes) -> None:
        folder = self.folders[kind]
        assert folder is not None
        plain = re.sub(r"[^A-Za-z0-9+-]+", "_", name)
        path = folder / f"{len(self.files[kind]):04d}_{plain}{suffix}"
        replace_files({path: content})
        self.files[kind][name] = path, hashlib.sha256(content).hexdigest()

    def references(self, json: Path | None) -> dict[str, Any]:
        """For the JSON: each sample's file, its path from the JSON's folder, and its SHA-256; {} for nothing kept."""
        start = Path.cwd() if json is None else json.resolve().parent
        return {
            kind: {
                name: {"file": Path(os.path.relpath(path.resolve(), start)).as_posix(), "sha256": checksum}
                for name, (path, checksum) in files.items()
            }
            for kind, files in self.files.items()
            if files
        }


def overlay(
    sample: Sample, prediction: Prediction, truth_px: Float[np.ndarray, "68 _"] | None
) -> UInt8[np.ndarray, "H W 3"]:
    """Two squares about the face: the landmarks (truth as white rings), and the mesh over the photo."""
    factor = max(1.0, _LEAST_PHOTO_PX / max(sample.image.shape[:2]))  # small photos are drawn on larger
    larger = cv2.resize(sample.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    rim = int(
        factor * float(np.ptp(sample.box_px.reshape(2, 2), axis=0).max())
    )  # paper where the squares leave the photo
    photo = np.asarray(cv2.copyMakeBorder(larger, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=_PAPER), np.uint8)

    def moved(points: np.ndarray) -> np.ndarray:
        shift = np.array([(factor - 1) / 2 + rim, (factor - 1) / 2 + rim, 0.0][: points.shape[1]])
        return np.asarray(points * factor + shift, np.float32)

    dots = photo
    shown = next((name for name in _SHOWN if name in prediction.landmarks_px), None)
    if truth_px is not None:
        dots = _rings(dots, moved(truth_px))
    if shown is not None:
        dots = draw_landmarks(dots, moved(prediction.landmarks_px[shown]))
    mesh = photo
    if prediction.vertices_px is not None and prediction.triangles is not None:
        mesh = draw_mesh(photo, moved(prediction.vertices_px), prediction.triangles)
    box = moved(sample.box_px.reshape(2, 2)).reshape(4).astype(np.float64)
    return sheet([square_tile(picture, box, TILE_PX) for picture in (dots, mesh)], 2)


def _rings(photo: UInt8[np.ndarray, "H W 3"], points_px: Float[np.ndarray, "68 _"]) -> UInt8[np.ndarray, "H W 3"]:
    picture = photo.copy()
    radius = max(float(np.ptp(points_px[:, :2], axis=0).max()) / 60, 1.6)
    for x, y in points_px[:, :2]:
        centre = (round(float(x) * 16), round(float(y) * 16))
        cv2.circle(picture, centre, round(radius * 16), (24, 24, 24), 2, cv2.LINE_AA, shift=4)
        cv2.circle(picture, centre, round(radius * 16), (255, 255, 255), 1, cv2.LINE_AA, shift=4)
    return picture


def jpeg_bytes(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """The picture as a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()
