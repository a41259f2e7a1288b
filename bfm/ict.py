"""ICT-FaceKit: its OBJ folder `FaceXModel`, or the same arrays in one `.npz`.

Folder: `generic_neutral_mesh.obj` (26,719 vertices, cm, quads, UV), `identity000.obj` ... for one standard deviation
each, one OBJ an expression at full strength; `vertex_indices.json` names expressions and the 68 landmark vertices.
`.npz`: vertices (V,3) cm, faces (F,4) with -1 for the fourth corner of a triangle, uv and faces_uv, identity (K,V,3),
expression (E,V,3), expression_names; `landmarks68.json` or `vertex_indices.json` beside it.
Regions: the vertex ranges of ICT-FaceKit's README.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bfm.fields import Fields
from bfm.raw import RawModel

NEUTRAL = "generic_neutral_mesh.obj"
VERTEX_COUNT = 26719
REGION_STARTS = {
    "skin": 0,
    "head_and_neck": 9409,
    "mouth_socket": 11248,
    "eye_sockets": 13294,
    "gums_and_tongue": 14062,
    "teeth": 17039,
    "eyeballs": 21451,
    "eye_details": 24591,
}


def read_ict(path: Path) -> RawModel:
    """Read the folder or the `.npz`. ValueError names a missing or wrong file or field."""
    if path.is_dir():
        fields = Fields(_from_folder(path), path, "ICT-FaceKit")
        landmarks = _landmarks(path)
    else:
        fields = Fields(_from_npz(path), path, "ICT-FaceKit")
        landmarks = _landmarks(path.parent)
    mean = fields.points("vertices")
    names = [str(name) for name in fields.array("expression_names")]
    identity, expression = (_displacements(fields, name, len(mean)) for name in ("identity", "expression"))
    if len(names) != len(expression):
        raise fields.error("expression_names", f"has {len(names)} names for {len(expression)} expressions")
    return RawModel(
        name="ICT-FaceKit",
        source="Li et al., Learning Formation of Physically-Based Face Attributes, CVPR 2020 (ICT-VGL/ICT-FaceKit)",
        licence="MIT, Copyright (c) 2020 USC Institute for Creative Technologies",
        unit="cm",
        mean=mean,
        identity=identity,
        expression=expression,
        expression_std=np.full(len(expression), 0.3, np.float32),
        expression_names=tuple(names),
        expression_kind="blendshape",
        triangles=_split_quads(fields, len(mean)),
        uv=_vertex_uv(fields, len(mean)),
        regions=_regions(len(mean)),
        region_names=tuple(REGION_STARTS) if len(mean) == VERTEX_COUNT else ("skin",),
        landmark_vertices=landmarks,
        notes=("expression spreads of 0.3 are assumed, the model has none",),
    )


def _from_npz(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a readable .npz ({error}); it is truncated or not an ICT-FaceKit file"
        ) from error


def _from_folder(folder: Path) -> dict[str, Any]:
    """The arrays of the `.npz`, gathered from the OBJ files."""
    neutral = _read_obj(folder / NEUTRAL)
    identities = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    for number, file in enumerate(identities):
        if file.name != f"identity{number:03d}.obj":
            raise ValueError(f"{folder}: identity{number:03d}.obj is missing, but {file.name} is there")
    names = _expression_names(folder)
    files = {"identity": identities, "expression": [folder / f"{name}.obj" for name in names]}
    values = {**neutral, "expression_names": np.array(names)}
    for name, paths in files.items():
        if not paths:
            raise ValueError(f"{folder}: no {name} OBJ files beside {NEUTRAL}")
        values[name] = np.stack([_moved(path, neutral["vertices"]) for path in paths])
    return values


def _moved(path: Path, neutral: np.ndarray) -> np.ndarray:
    vertices = _read_obj(path, only_vertices=True)["vertices"]
    if vertices.shape != neutral.shape:
        raise ValueError(f"{path}: {len(vertices)} vertices, but {NEUTRAL} has {len(neutral)}; the file is truncated")
    return (vertices - neutral).astype(np.float32)


def _expression_names(folder: Path) -> list[str]:
    """Those of `vertex_indices.json`, or every other OBJ file's name."""
    index = folder / "vertex_indices.json"
    if index.is_file():
        return [str(name) for name in _json(index, "expressions")]
    names = {path.stem for path in folder.glob("*.obj")} - {Path(NEUTRAL).stem}
    return sorted(name for name in names if not name.startswith("identity"))


def _read_obj(path: Path, only_vertices: bool = False) -> dict[str, np.ndarray]:
    """Vertices (float64), UV and polygons of three or four corners of an OBJ file; 1-based there, 0-based here."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; ICT-FaceKit's FaceXModel folder has it")
    lines = path.read_text(errors="replace").splitlines()
    try:
        values = {"vertices": _numbers([line[2:] for line in lines if line.startswith("v ")], 3)}
        if not only_vertices:
            corners = [[corner.split("/") for corner in line.split()[1:]] for line in lines if line.startswith("f ")]
            values["uv"] = _numbers([line[3:] for line in lines if line.startswith("vt ")], 2)
            values["faces"], values["faces_uv"] = _padded(corners, 0), _padded(corners, 1)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: not a readable OBJ file ({error})") from error
    if not len(values["vertices"]):
        raise ValueError(f"{path}: no vertices ('v x y z' lines); the file is empty or not an OBJ file")
    return values


def _numbers(rows: list[str], columns: int) -> np.ndarray:
    return np.array([row.split()[:columns] for row in rows], np.float64).reshape(-1, columns)


def _padded(corners: list[list[list[str]]], part: int) -> np.ndarray:
    """(F, 4) indices from 0, -1 where a polygon has three corners."""
    rows = [[int(corner[part]) - 1 if "".join(corner[part:][:1]) else -1 for corner in face] for face in corners]
    if any(len(row) not in (3, 4) for row in rows):
        raise ValueError("polygons must have three or four corners")
    return np.array([row + [-1] * (4 - len(row)) for row in rows], np.int32).reshape(-1, 4)


def _displacements(fields: Fields, name: str, vertices: int) -> np.ndarray:
    value = fields.numbers(name)
    if value.ndim != 3 or value.shape[1:] != (vertices, 3):
        raise fields.error(name, f"has shape {value.shape}, expected (K, V, 3) with V = {vertices}")
    if name == "identity" and not np.abs(value).max(axis=(1, 2)).min() > 0:
        raise fields.error(name, "has a component without movement; the file is damaged")
    return value


def _split_quads(fields: Fields, vertices: int) -> np.ndarray:
    faces = fields.array("faces")
    if faces.ndim != 2 or faces.shape[1] != 4:
        raise fields.error("faces", f"has shape {faces.shape}, expected (F, 4), -1 where a face has three corners")
    quads = faces[faces[:, 3] >= 0]
    triangles = np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]])
    return Fields({"faces": triangles}, fields.path, fields.kind).triangles("faces", vertices, base=0)


def _vertex_uv(fields: Fields, vertices: int) -> np.ndarray | None:
    """One UV a vertex (that of one of its corners), v downwards; the row of UDIM tiles is scaled into 0..1."""
    if "uv" not in fields or "faces_uv" not in fields or not len(fields.array("uv")):
        return None
    corners, corners_uv = fields.array("faces").reshape(-1), fields.array("faces_uv").reshape(-1)
    used = (corners >= 0) & (corners_uv >= 0)
    uv = np.zeros((vertices, 2), np.float32)
    uv[corners[used]] = fields.numbers("uv")[corners_uv[used]]
    tiles = max(1.0, float(np.ceil(uv[:, 0].max())))
    return np.stack([uv[:, 0] / tiles, 1.0 - uv[:, 1]], axis=1).astype(np.float32)


def _regions(vertices: int) -> np.ndarray:
    if vertices != VERTEX_COUNT:
        return np.zeros(vertices, np.int32)
    return (np.searchsorted(list(REGION_STARTS.values()), np.arange(vertices), side="right") - 1).astype(np.int32)


def _landmarks(folder: Path) -> np.ndarray | None:
    for name, key in (("landmarks68.json", None), ("vertex_indices.json", "idx_to_landmark_verts")):
        if (folder / name).is_file():
            vertices = np.asarray(_json(folder / name, key), np.int64).reshape(-1)
            if len(vertices) != 68:
                raise ValueError(f"{folder / name}: {len(vertices)} landmark vertices, expected 68")
            return vertices.astype(np.int32)
    return None


def _json(path: Path, key: str | None) -> Any:
    try:
        value = json.loads(path.read_text())
        return value if key is None else value[key]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: the field '{key}' is missing") from error
