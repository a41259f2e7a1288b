"""Basel Face Model 2017 and 2019 (`.h5`, Statismo layout): full head, bfm or face12, with or without mouth.

`shape`, `expression` and `color` each hold `model/mean` (3V), `model/pcaBasis` (3V, K) of norm 1, `model/pcaVariance`
(K), `representer/points` (3, V), `representer/cells` (3, F) from 0; `metadata/landmarks/json` (or `text`) holds named
points. `vertices = shape mean + expression mean + ...` in mm (or `representer/length-unit` metres), colours in 0..1.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bfm import frames
from bfm.fields import Fields
from bfm.raw import RawModel, scaled

KIND = "Basel Face Model .h5"
LICENCE = "Basel Face Model licence: non-commercial, not to be passed on (https://faces.dmi.unibas.ch/bfm)"
SOURCE = "Gerig et al., Morphable Face Models - An Open Framework, FG 2018"


def read_bfm2017(path: Path) -> RawModel:
    """Read the model. ValueError names a missing or wrong field; ImportError says how to get h5py."""
    fields = Fields(_datasets(path), path, KIND)
    mean, identity, count = _model(fields, "shape")
    triangles = fields.triangles("shape/representer/cells", count, base=0)
    unit, remark = _unit(fields)
    notes = [remark] if remark else []
    expression_mean, expression = np.zeros_like(mean), identity[:0]
    if _has(fields, "expression"):
        expression_mean, expression, _ = _model(fields, "expression", count)
    else:
        notes.append("the file has no expressions")
    albedo_mean, albedo, _ = _model(fields, "color", count) if _has(fields, "color") else (None, None, 0)
    return RawModel(
        name=path.stem,
        source=SOURCE,
        licence=LICENCE,
        unit=unit,
        mean=mean + expression_mean,
        identity=identity,
        expression=expression,
        triangles=triangles,
        albedo_mean=albedo_mean,
        albedo_basis=albedo,
        directions=frames.directions_named(_landmarks(fields)),
        strict=False,
        notes=tuple(notes),
    )


def _datasets(path: Path) -> dict[str, Any]:
    """All datasets of an HDF5 file by their path; arrays are read, text becomes `str`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        import h5py
    except ImportError as error:
        raise ImportError("reading .h5 models needs h5py: pip install 'face3d[train]'") from error
    values: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith(("catalog", "version")) and "modelinfo" not in name:
            values[name] = _value(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error}); it is truncated or not a {KIND} file") from error
    return values


def _value(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "SUO":
        return array
    first = array.reshape(-1)[0] if array.size else ""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


def _has(fields: Fields, part: str) -> bool:
    return any(name.startswith(f"{part}/") for name in fields.values)


def _model(fields: Fields, part: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean (V,3), components for one standard deviation (K,V,3), V."""
    mean = fields.points(f"{part}/model/mean")
    if count is not None and len(mean) != count:
        raise fields.error(f"{part}/model/mean", f"is for {len(mean)} vertices, but 'shape/model/mean' has {count}")
    basis = fields.basis(f"{part}/model/pcaBasis", len(mean))
    variance = fields.vector(f"{part}/model/pcaVariance", len(basis))
    if variance.min() < 0:
        raise fields.error(f"{part}/model/pcaVariance", f"holds {variance.min():.3g}, expected values >= 0")
    basis, variance = basis[variance > 0], variance[variance > 0]
    names = f"{fields.path}: '{part}/model/pcaBasis' and 'pcaVariance'"
    return mean, scaled(basis, np.sqrt(variance), names), len(mean)


def _unit(fields: Fields) -> tuple[str, str | None]:
    name = "shape/representer/length-unit"
    if name not in fields:
        return "mm", None
    metres = float(fields.numbers(name).reshape(-1)[0])
    for unit, mm in frames.MM_PER_UNIT.items():
        if np.isclose(metres * 1000.0, mm, rtol=1e-3):
            return unit, None
    return "mm", f"length-unit is {metres:.4g} m, which is none of {', '.join(frames.MM_PER_UNIT)}"


def _landmarks(fields: Fields) -> dict[str, np.ndarray]:
    """Named points from the JSON (2017, 2019) or the older text lines `name visible x y z`."""
    text = fields.values.get("metadata/landmarks/json")
    if isinstance(text, str):
        try:
            return {str(point["id"]): np.asarray(point["coordinates"], float) for point in json.loads(text)}
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise fields.error("metadata/landmarks/json", f"is no list of named points ({error})") from error
    text = fields.values.get("metadata/landmarks/text", "")
    rows = [line.split() for line in text.splitlines()] if isinstance(text, str) else []
    return {row[0]: np.asarray(row[2:5], float) for row in rows if len(row) == 5}
