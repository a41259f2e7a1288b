"""Named arrays of an official file: taking one checks that it is there and has the shape it must have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class Fields:
    """The fields of one file. Every method raises ValueError that names the file and the field that is wrong."""

    def __init__(self, values: Mapping[str, Any], path: Path, kind: str) -> None:
        self.values, self.path, self.kind = values, path, kind

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def array(self, name: str) -> np.ndarray:
        """The field as it is."""
        if name not in self.values:
            found = ", ".join(sorted(self.values)[:12]) or "nothing"
            raise ValueError(f"{self.path}: the field '{name}' is missing from this {self.kind} file; found: {found}")
        value = self.values[name]
        if not isinstance(value, np.ndarray):
            raise self.error(name, f"is a {getattr(value, 'origin', type(value).__name__)}, expected an array")
        return value

    def numbers(self, name: str) -> np.ndarray:
        """The field as finite float32 of any shape."""
        value = self.array(name)
        if value.dtype.kind not in "fiu":
            raise self.error(name, f"holds {value.dtype}, expected numbers")
        if not value.size:
            raise self.error(name, "is empty")
        if not np.isfinite(value).all():
            raise self.error(name, f"holds {int((~np.isfinite(value)).sum())} NaN or infinite values; it is damaged")
        return np.asarray(value, np.float32)

    def vector(self, name: str, count: int | None = None) -> Float[np.ndarray, " N"]:
        """A flat list of numbers, of `count` where given; a row or column matrix will do."""
        value = self.numbers(name)
        if value.size != max(value.shape, default=1) or (count is not None and value.size != count):
            expected = "one row of numbers" if count is None else f"{count} numbers"
            raise self.error(name, f"has shape {value.shape}, expected {expected}")
        return value.reshape(-1)

    def points(self, name: str) -> Float[np.ndarray, "V 3"]:
        """Points stored as x y z x y z ... or as (V, 3)."""
        value = self.numbers(name)
        if value.ndim == 2 and value.shape[1] == 3:
            return value
        if value.size % 3 or value.size != max(value.shape):
            raise self.error(name, f"has shape {value.shape}, expected (3 V, 1) or (V, 3)")
        return value.reshape(-1, 3)

    def basis(self, name: str, vertices: int) -> Float[np.ndarray, "K V 3"]:
        """A basis stored as (3 V, K), rows x y z x y z ..."""
        value = self.numbers(name)
        if value.ndim != 2 or value.shape[0] != 3 * vertices:
            raise self.error(name, f"has shape {value.shape}, expected (3 V, K) with V = {vertices}")
        return np.ascontiguousarray(value.T).reshape(-1, vertices, 3)

    def triangles(self, name: str, vertices: int, base: int) -> Int[np.ndarray, "F 3"]:
        """Triangles stored as (F, 3) or (3, F), counted from `base` (1 in MATLAB files)."""
        value = np.asarray(self.array(name))
        if value.ndim != 2 or 3 not in value.shape:
            raise self.error(name, f"has shape {value.shape}, expected (F, 3) or (3, F)")
        return self._indices(name, value if value.shape[1] == 3 else value.T, vertices, base)

    def indices(self, name: str, limit: int, base: int) -> Int[np.ndarray, " N"]:
        """Indices below `limit`, counted from `base`."""
        return self._indices(name, np.asarray(self.array(name)).reshape(-1), limit, base)

    def _indices(self, name: str, value: np.ndarray, limit: int, base: int) -> np.ndarray:
        if value.dtype.kind not in "fiu" or not value.size:
            raise self.error(name, f"holds {value.size} values of {value.dtype}, expected indices")
        index = value.astype(np.int64) - base
        if index.min() < 0 or index.max() >= limit:
            raise self.error(name, f"holds {value.min():.0f}..{value.max():.0f}, expected {base}..{limit - 1 + base}")
        return index.astype(np.int32)

    def error(self, name: str, what: str) -> ValueError:
        """A ValueError about one field."""
        return ValueError(f"{self.path}: the field '{name}' {what} (a {self.kind} file)")
