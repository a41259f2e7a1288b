"""A predicted mesh in the frame of the truth with an error a vertex, and the file that keeps one."""

import io
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Int

FORMAT = "face3d-error-mesh-1"


class ErrorMesh(NamedTuple):
    """`error_mm` is NaN where nothing is measured; `what` says in a line what the error is."""

    vertices_mm: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    error_mm: Float[np.ndarray, " V"]
    what: str


def error_mesh_bytes(mesh: ErrorMesh) -> bytes:
    """An .npz of float32 vertices and errors, int32 triangles, and the line `what`."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        format=np.array(FORMAT),
        vertices_mm=mesh.vertices_mm.astype(np.float32),
        triangles=mesh.triangles.astype(np.int32),
        error_mm=mesh.error_mm.astype(np.float32),
        what=np.array(mesh.what),
    )
    return stream.getvalue()


def read_error_mesh(content: bytes) -> ErrorMesh:
    """What `error_mesh_bytes` wrote. ValueError where it is something else, or its parts do not fit each other."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as fields:
            if str(fields["format"]) != FORMAT:
                raise ValueError(f"format {fields['format']}")
            vertices, triangles, error = (fields[name] for name in ("vertices_mm", "triangles", "error_mm"))
            what = str(fields["what"])
    except (OSError, KeyError, ValueError, BadZipFile) as error_read:
        raise ValueError(f"expected an error mesh, an .npz of format {FORMAT} ({error_read})") from error_read
    floats = all(np.issubdtype(array.dtype, np.floating) for array in (vertices, error))
    shaped = vertices.ndim == 2 and vertices.shape[1:] == (3,) and error.shape == vertices.shape[:1]
    joined = triangles.ndim == 2 and triangles.shape[1:] == (3,) and np.issubdtype(triangles.dtype, np.integer)
    if not (floats and shaped and joined and len(triangles) and np.isfinite(vertices).all()):
        shapes = f"{vertices.shape}, {triangles.shape}, {error.shape}"
        raise ValueError(f"expected vertices (V, 3), triangles (F, 3), errors (V,), got {shapes} or what is not finite")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(f"triangle indices {triangles.min()}..{triangles.max()} do not fit {len(vertices)} vertices")
    return ErrorMesh(vertices, triangles, error, what)
