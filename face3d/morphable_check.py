"""What makes the arrays of a morphable model valid; every error names the field, what it is and what it should be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_SHAPES = {
    "mean": "V 3",
    "identity_basis": "K V 3",
    "identity_std": "K",
    "expression_basis": "E V 3",
    "expression_std": "E",
    "triangles": "F 3",
    "landmark_triangles": "L",
    "landmark_barycentric": "L 3",
    "vertex_region": "V",
}
_OPTIONAL_SHAPES = {"albedo_mean": "V 3", "albedo_basis": "A V 3", "uv": "V 2", "symmetry": "V", "grid": "R C"}
_INTEGERS = {"triangles", "landmark_triangles", "vertex_region", "symmetry", "grid"}
LANDMARK_COUNT = 68


def check_fields(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Check the arrays of one model (named as in `face3d.morphable_file`). ValueError names the first wrong one."""
    sizes: dict[str, int] = {}
    for name, shape in _SHAPES.items():
        if name not in arrays:
            raise ValueError(f"the field '{name}' is missing; expected shape ({shape})")
        _check_array(name, arrays[name], shape, sizes)
    for name, shape in _OPTIONAL_SHAPES.items():
        if name in arrays:
            _check_array(name, arrays[name], shape, sizes)
    if ("albedo_mean" in arrays) != ("albedo_basis" in arrays):
        raise ValueError("of the fields 'albedo_mean' and 'albedo_basis' only one is present; give both or neither")
    _check_indices(arrays, meta, sizes)
    _check_landmarks(arrays)
    _check_spreads(arrays)
    _check_meta(meta, sizes)


def _check_array(name: str, array: np.ndarray, shape: str, sizes: dict[str, int]) -> None:
    """Kind, rank, finiteness, and sizes that agree with the arrays seen before (`sizes`, filled here)."""
    kind = np.integer if name in _INTEGERS else np.floating
    if not np.issubdtype(array.dtype, kind):
        raise ValueError(f"the field '{name}' is {array.dtype}, expected {kind.__name__} of shape ({shape})")
    letters = shape.split()
    wanted = [int(letter) if letter.isdigit() else sizes.get(letter) for letter in letters]
    if array.ndim != len(letters) or any(w not in (None, got) for w, got in zip(wanted, array.shape, strict=True)):
        known = "".join(f", {letter} = {sizes[letter]}" for letter in letters if letter in sizes)
        raise ValueError(f"the field '{name}' has shape {array.shape}, expected ({shape}){known}")
    sizes.update({letter: got for letter, got in zip(letters, array.shape, strict=True) if not letter.isdigit()})
    if kind is np.floating and not np.isfinite(array).all():
        raise ValueError(f"the field '{name}' holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")


def _check_indices(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    limits = {
        "triangles": (0, sizes["V"], "vertices"),
        "landmark_triangles": (0, sizes["F"], "triangles"),
        "vertex_region": (0, len(meta["region_names"]), "region names"),
        "symmetry": (0, sizes["V"], "vertices"),
        "grid": (-1, sizes["V"], "vertices"),
    }
    for name, (low, high, what) in limits.items():
        array = arrays.get(name)
        if array is not None and array.size and (array.min() < low or array.max() >= high):
            got = f"indices {array.min()}..{array.max()}"
            raise ValueError(f"the field '{name}' holds {got}, but there are {high} {what}")
    symmetry = arrays.get("symmetry")
    if symmetry is not None and not np.array_equal(symmetry[symmetry], np.arange(sizes["V"])):
        raise ValueError("the field 'symmetry' is no mirror: mirroring twice must give every vertex back")


def _check_landmarks(arrays: Mapping[str, np.ndarray]) -> None:
    barycentric = arrays["landmark_barycentric"]
    if len(barycentric) not in (0, LANDMARK_COUNT):
        count = len(barycentric)
        raise ValueError(f"the field 'landmark_triangles' has {count} landmarks, expected {LANDMARK_COUNT} or 0")
    if len(barycentric) and np.abs(barycentric.astype(np.float64).sum(axis=1) - 1.0).max() > 1e-3:
        raise ValueError("the field 'landmark_barycentric' has rows that do not add up to 1")


def _check_spreads(arrays: Mapping[str, np.ndarray]) -> None:
    for name in ("identity_std", "expression_std"):
        if arrays[name].size and arrays[name].min() <= 0:
            smallest = arrays[name].min()
            raise ValueError(f"the field '{name}' has values <= 0 (smallest {smallest:.3g}); drop such components")
    basis, std = arrays["identity_basis"], arrays["identity_std"].astype(np.float64)
    norms = np.sqrt([np.square(component, dtype=np.float64).sum() for component in basis])
    wrong = np.flatnonzero(np.abs(norms - std) > 0.05 * std) if std.size else np.zeros(0, int)
    if wrong.size:
        k = int(wrong[0])
        raise ValueError(
            f"the field 'identity_std' is {std[k]:.4g} at component {k}, but the norm of 'identity_basis' there is "
            f"{norms[k]:.4g}; the basis must be in mm for one standard deviation"
        )


def _check_meta(meta: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    if meta["unit"] != "mm":
        raise ValueError(f"the field 'meta' says unit {meta['unit']!r}, expected 'mm'")
    names = meta["expression_names"]
    if names is not None and (len(names) != sizes["E"] or len(set(names)) != len(names)):
        got = len(set(names))
        raise ValueError(f"the field 'meta' has {got} different expression_names for {sizes['E']} expressions")
    sigma = meta.get("identity_sigma")
    if sigma is not None and (len(sigma) != sizes["K"] or not all(value > 0 for value in sigma)):
        raise ValueError(f"the field 'meta' has {len(sigma)} identity_sigma, expected {sizes['K']} numbers > 0")
    if meta["expression_kind"] not in ("blendshape", "component"):
        kind = meta["expression_kind"]
        raise ValueError(f"the field 'meta' has expression_kind {kind!r}, expected 'blendshape' or 'component'")
