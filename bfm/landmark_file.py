"""The 68 landmarks of a model from a file of their own, for models whose file has none.

Vertex numbers from 0: `.json` or `.txt`, 68 numbers. Surface points: `.npz`, `.npy` or `.pkl` with triangles and
barycentrics under the names of DECA's `landmark_embedding.npy` (full_lmk_faces_idx, full_lmk_bary_coords), of FLAME's
embeddings (lmk_face_idx, lmk_b_coords), or of face3d (landmark_triangles, landmark_barycentric).
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from bfm import restricted_pickle
from bfm.fields import Fields
from bfm.raw import SurfacePoints, vertices_on_triangles

PAIRS = (
    ("landmark_triangles", "landmark_barycentric"),
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
)


def read_landmarks(path: Path, triangles: Int[np.ndarray, "F 3"]) -> SurfacePoints:
    """The landmarks on `triangles`. ValueError says what the file holds instead of 68 of them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such landmark file")
    content = _content(path)
    if not isinstance(content, dict):
        vertices = _sixty_eight(path, np.asarray(content).reshape(-1))
        limit = int(triangles.max())
        if vertices.dtype.kind not in "iu" or vertices.min() < 0 or vertices.max() > limit:
            raise ValueError(f"{path}: vertices {vertices.min()}..{vertices.max()}, expected integers in 0..{limit}")
        return vertices_on_triangles(vertices, triangles)
    for faces_name, weights_name in PAIRS:
        if faces_name in content:
            fields = Fields(content, path, "landmark embedding")
            faces = _sixty_eight(path, fields.indices(faces_name, len(triangles), base=0))
            weights = fields.numbers(weights_name).reshape(-1, 3)
            if len(weights) != len(faces):
                raise fields.error(weights_name, f"has {len(weights)} rows for {len(faces)} landmarks")
            return SurfacePoints(faces, weights)
    raise ValueError(f"{path}: none of the fields {[pair[0] for pair in PAIRS]}; found {sorted(map(str, content))[:8]}")


def _sixty_eight(path: Path, values: np.ndarray) -> np.ndarray:
    if len(values) != 68:
        hint = "; DECA's landmark_embedding.npy has the 17 of the jaw as well" if len(values) == 51 else ""
        raise ValueError(f"{path}: {len(values)} landmarks, expected 68{hint}")
    return values


def _content(path: Path) -> Any:
    """A dictionary of arrays, or a list of vertex numbers."""
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".npy":
            return restricted_pickle.load_npy_object(path.read_bytes(), path)
        if path.suffix == ".pkl":
            return restricted_pickle.load(path)
        if path.suffix == ".json":
            return json.loads(path.read_text())
        return [int(number) for number in re.split(r"[\s,;]+", path.read_text().strip())]
    except (UnicodeDecodeError, json.JSONDecodeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable landmark file ({error})") from error
