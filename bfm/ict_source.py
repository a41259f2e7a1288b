"""What the builder takes from ICT-FaceKit: the skin with its UV, the eyeballs, identity modes and blendshapes."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfm.topology import triangulate

MM_PER_UNIT = 10.0  # ICT-FaceKit is in centimetres
SKIN_VERTICES = 9409


@dataclass(frozen=True)
class Source:
    """ICT-FaceKit in millimetres: skin (S,3), uv (S,2), triangles, 68 Multi-PIE landmarks (indices), identity
    (100,S,3),
    expression {name: (S,3)}, head (all vertices)."""

    skin: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    identity: np.ndarray
    expression: dict[str, np.ndarray]
    head: np.ndarray


def read_source(folder: Path) -> Source:
    """Read ict_facekit.npz (vertices, faces, uv, faces_uv, identity, expression, expression_names),
    landmarks68.json."""
    with np.load(folder / "ict_facekit.npz", allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    faces = data["faces"]
    on_skin = faces.max(1) < SKIN_VERTICES
    uv = np.zeros((SKIN_VERTICES, 2))
    for corner in range(4):
        rows = on_skin & (faces[:, corner] >= 0)
        uv[faces[rows, corner]] = data["uv"][data["faces_uv"][rows, corner]]
    head = data["vertices"].astype(np.float64) * MM_PER_UNIT
    shapes = data["expression"][:, :SKIN_VERTICES].astype(np.float64) * MM_PER_UNIT
    return Source(
        skin=head[:SKIN_VERTICES],
        uv=np.stack([uv[:, 0], 1 - uv[:, 1]], 1),
        triangles=triangulate(faces[on_skin]),
        landmarks=np.array(json.loads((folder / "landmarks68.json").read_text())),
        identity=data["identity"][:, :SKIN_VERTICES].astype(np.float64) * MM_PER_UNIT,
        expression=dict(zip([str(n) for n in data["expression_names"]], shapes, strict=True)),
        head=head,
    )
