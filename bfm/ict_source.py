"""What the builder takes from ICT-FaceKit: the skin with its UV, the eyeballs, identity modes and blendshapes."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfm.topology import border_loops, triangulate

MM_PER_UNIT = 10.0  # ICT-FaceKit is in centimetres
SKIN_VERTICES = 9409
PEELED = {"eye": 2, "mouth": 5}  # rings of skin inside the lids and lips, which no photo shows


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


def peel(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Take away the inner rings of the openings, so that their borders are the edges of lids and lips that meet."""
    _, *holes = border_loops(triangles)
    for hole in holes:
        centre = vertices[hole].mean(0)
        for _ in range(PEELED["mouth" if abs(centre[0]) < 10 else "eye"]):
            triangles = triangles[~np.isin(triangles, hole).any(1)]
            hole = min(border_loops(triangles), key=lambda loop: float(np.linalg.norm(vertices[loop].mean(0) - centre)))
    return triangles


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
    triangles = peel(triangulate(faces[on_skin]), head)
    used, compact = np.unique(triangles, return_inverse=True)
    shapes = data["expression"][:, used].astype(np.float64) * MM_PER_UNIT
    return Source(
        skin=head[used],
        uv=np.stack([uv[used, 0], 1 - uv[used, 1]], 1),
        triangles=compact.reshape(-1, 3),
        landmarks=np.searchsorted(used, json.loads((folder / "landmarks68.json").read_text())),
        identity=data["identity"][:, used].astype(np.float64) * MM_PER_UNIT,
        expression=dict(zip([str(n) for n in data["expression_names"]], shapes, strict=True)),
        head=head,
    )
