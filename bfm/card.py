"""What the built model is worth: figures for its model card."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bfm.ict_source import read_source
from bfm.topology import LENSES, ROWS, build_grid, lens_rows
from face3d.morphable_file import MorphableArrays

HELD_OUT = 200
HELD_OUT_SEED = 777  # never the seed that the model is built with


def held_out_error_mm(model: MorphableArrays, ict: Path) -> dict[str, float]:
    """Per-vertex error of ICT identities that were not drawn for the model, resampled on its topology and projected."""
    source = read_source(ict)
    grid = build_grid(source.skin, source.uv, source.triangles)
    modes = np.stack([grid.matrix @ mode for mode in source.identity]).reshape(len(source.identity), -1)
    faces = np.random.default_rng(HELD_OUT_SEED).standard_normal((HELD_OUT, len(modes))) @ modes
    basis = model.identity_basis.reshape(len(model.identity_basis), -1).astype(np.float64)
    coefficients = np.linalg.solve(basis @ basis.T, basis @ faces.T)
    error = np.linalg.norm((faces - coefficients.T @ basis).reshape(HELD_OUT, -1, 3), axis=2)
    return {"mean": float(error.mean()), "p95": float(np.percentile(error, 95)), "max": float(error.max())}


def crossing_mm(shape: np.ndarray) -> dict[str, float]:
    """How far the lower border of each opening lies above the upper one at the worst column (0: nothing crosses)."""
    worst = {}
    for lens in LENSES:
        columns, upper, lower = lens_rows(lens)
        gap = shape[upper * ROWS + columns, 1] - shape[lower * ROWS + columns, 1]
        worst[lens.name] = float(np.maximum(-gap, 0).max())
    return worst


def enclosed_volume_ml(shape: np.ndarray, triangles: np.ndarray) -> float:
    """Volume between the surface and the origin's cone, in millilitres: by how much an expression inflates the face."""
    a, b, c = (shape[triangles[:, n]] for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000)


def turned_faces(neutral: np.ndarray, shape: np.ndarray, triangles: np.ndarray) -> int:
    """Triangles whose normal turned by more than 90 degrees: folds."""

    def normals(points: np.ndarray) -> np.ndarray:
        a, b, c = (points[triangles[:, n]] for n in range(3))
        return np.cross(b - a, c - a)

    return int((np.einsum("ij,ij->i", normals(neutral), normals(shape)) < 0).sum())


def expression_checks(model: MorphableArrays) -> dict[str, dict[str, Any]]:
    """For every expression at full strength: crossing of lids and lips, folds, volume."""
    hidden = [i for i, name in enumerate(model.meta.region_names) if name in ("eyes", "inner_mouth")]
    visible = ~np.isin(model.vertex_region, hidden)[model.triangles].any(1)
    neutral_ml = enclosed_volume_ml(model.mean, model.triangles)
    named = dict(zip(model.meta.expression_names or (), model.expression_basis, strict=True))
    checks = {}
    for name, basis in named.items():
        shape = model.mean + basis
        if name == "mouthClose":  # as in ARKit it closes the lips of an open jaw
            shape = shape + named["jawOpen"]
        checks[name] = {
            "crossing_mm": {k: round(v, 2) for k, v in crossing_mm(shape).items()},
            "folded_triangles": turned_faces(model.mean, shape, model.triangles[visible]),
            "volume_percent": round(100 * (enclosed_volume_ml(shape, model.triangles) / neutral_ml - 1), 2),
        }
    return checks


def measure(model: MorphableArrays, ict: Path) -> dict[str, Any]:
    """All figures of the card."""
    mirrored = model.mean[model.symmetry] * [-1, 1, 1] if model.symmetry is not None else model.mean
    return {
        "held_out_ict_identities_mm": {k: round(v, 3) for k, v in held_out_error_mm(model, ict).items()},
        "asymmetry_of_mean_mm": round(float(np.linalg.norm(mirrored - model.mean, axis=1).max()), 4),
        "expressions_at_full_strength": expression_checks(model),
    }


def write_card(path: Path, model: MorphableArrays, figures: dict[str, Any]) -> None:
    """The model card beside the model."""
    stored = path.with_suffix(".npz")
    card = {
        "name": model.meta.name,
        "file": stored.name,
        "sha256": hashlib.sha256(stored.read_bytes()).hexdigest(),
        "bytes": stored.stat().st_size,
        "source": model.meta.source,
        "licence": model.meta.licence,
        "command": model.meta.created_by,
        "vertices": len(model.mean),
        "triangles": len(model.triangles),
        "identity_components": len(model.identity_basis),
        "expressions": list(model.meta.expression_names or ()),
        "figures": figures,
    }
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
