"""Meshes with an error a vertex, packed small for the viewer in the page: 16-bit places and errors, base64."""

import base64
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt16

from eval.error_mesh import ErrorMesh

UNMEASURED = 65535
_FINE = 65535
_MICROMETRES = 1000.0
_NARROW = 65536  # vertices whose indices fit 16 bits

RAMP = ("#2c4f9e", "#4fa3c7", "#a8d8b0", "#f5eda3", "#f2a057", "#c8303b")
"""Colours of the errors, none to most."""


class NamedMesh(NamedTuple):
    """A mesh of the page and its caption."""

    title: str
    mesh: ErrorMesh


def error_limit_mm(meshes: Sequence[ErrorMesh]) -> float:
    """Where the colours end: what 98 of 100 measured vertices stay below, rounded up to half a millimetre."""
    measured = np.concatenate([mesh.error_mm[np.isfinite(mesh.error_mm)] for mesh in meshes])
    if not len(measured):
        return 1.0
    return max(math.ceil(float(np.percentile(measured, 98.0)) * 2.0) / 2.0, 0.5)


def packed(meshes: Sequence[NamedMesh]) -> dict[str, Any]:
    """What the viewer reads: triangle lists, each once, and the meshes with the number of their list.

    A vertex is low_mm + step_mm * place (16 bits an axis, little-endian); errors are micrometres, 65535 for none.
    """
    lists: list[bytes] = []
    shown = []
    for title, mesh in meshes:
        narrow = len(mesh.vertices_mm) <= _NARROW
        triangles = mesh.triangles.astype("<u2" if narrow else "<u4").tobytes()
        if triangles not in lists:
            lists.append(triangles)
        low = mesh.vertices_mm.min(0).astype(np.float64)
        step = max(float(np.ptp(mesh.vertices_mm, axis=0).max()), 1e-6) / _FINE
        places = np.rint((mesh.vertices_mm - low) / step).astype("<u2")
        shown.append(
            {
                "title": title,
                "triangles": lists.index(triangles),
                "bits": 16 if narrow else 32,
                "low_mm": [round(float(value), 4) for value in low],
                "step_mm": step,
                "places": _text(places.tobytes()),
                "errors": _text(packed_errors(mesh.error_mm).tobytes()),
            }
        )
    limit = error_limit_mm([mesh for _, mesh in meshes]) if meshes else 1.0
    return {"limit_mm": limit, "ramp": RAMP, "triangles": [_text(each) for each in lists], "meshes": shown}


def packed_errors(error_mm: Float[np.ndarray, " V"]) -> UInt16[np.ndarray, " V"]:
    """Micrometres, at most 65534; 65535 where nothing was measured."""
    finite = np.isfinite(error_mm)
    micrometres = np.rint(np.where(finite, error_mm, 0.0) * _MICROMETRES).clip(0, UNMEASURED - 1)
    return np.where(finite, micrometres, UNMEASURED).astype("<u2")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
