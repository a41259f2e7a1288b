"""One prediction in one file: .npz of named arrays, .obj or .ply mesh, .txt landmarks. Nothing is unpickled.

.npz    the fields of `eval.protocol.Prediction`, landmark sets as `landmarks_px/NAME` (68 points, or `landmarks_px`)
.obj    a mesh in millimetres in the model frame; it is taken both as the mesh with expression and as the neutral one
.ply    the same
.txt    68 lines "x y" or "x y z" in pixels of the photo, blanks or commas between them
"""

import io
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from eval.obj_mesh import read_obj
from eval.protocol import Prediction

SUFFIXES = (".npz", ".obj", ".ply", ".txt")
_SETS = "landmarks_px"
_ARRAYS = tuple(field.name for field in fields(Prediction) if field.name != _SETS)


def prediction_bytes(prediction: Prediction) -> bytes:
    """The prediction as an .npz file, every array with its own type; what is None is left out."""
    arrays: dict[str, Any] = {f"{_SETS}/{name}": points for name, points in prediction.landmarks_px.items()}
    arrays |= {name: getattr(prediction, name) for name in _ARRAYS if getattr(prediction, name) is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_prediction(path: Path) -> Prediction:
    """A prediction from one file of the formats above, not yet checked.

    Raises ValueError for another format, a file that cannot be read, or an array of an unknown name.
    """
    readers = {".npz": _read_npz, ".obj": _read_mesh, ".ply": _read_mesh, ".txt": _read_landmarks}
    if path.suffix not in readers:
        raise ValueError(f"{path.name}: expected one of {', '.join(SUFFIXES)}")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _read_npz(path: Path) -> Prediction:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    sets = {name.partition("/")[2] or "landmarks": arrays.pop(name) for name in list(arrays) if _is_set(name)}
    unknown = sorted(arrays.keys() - set(_ARRAYS))
    if unknown:
        raise ValueError(f"unknown arrays {unknown}; known are {_SETS}/NAME, {', '.join(_ARRAYS)}")
    return Prediction(landmarks_px=sets, **arrays)


def _is_set(name: str) -> bool:
    return name.partition("/")[0] == _SETS


def _read_mesh(path: Path) -> Prediction:
    vertices, triangles = _mesh_arrays(path)
    return Prediction(vertices_mm=vertices, neutral_mm=vertices, triangles=triangles)


def _mesh_arrays(path: Path) -> tuple[Float[np.ndarray, "V 3"], np.ndarray]:
    if path.suffix == ".obj":
        mesh = read_obj(path)
        return mesh.vertices, mesh.triangles
    loaded = trimesh.load(path, process=False)
    if not isinstance(loaded, trimesh.Trimesh):
        raise ValueError("no triangles, expected a mesh")
    return np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)


def _read_landmarks(path: Path) -> Prediction:
    rows = [line.replace(",", " ").split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Prediction({"landmarks": np.array(rows, np.float64)})
