"""The one file format of a morphable model: an `.npz` of plain arrays, read without unpickling anything.

Arrays (V vertices, F faces, K identity, E expression, A albedo components, L = 68 landmarks or 0):

| name | shape | meaning |
|---|---|---|
| meta | () str | JSON, see `ModelMeta`; holds `format = "face3d-morphable-1"` |
| mean | V 3 | mm, x to the image's right when the face looks at the camera, y up, z out of the face |
| identity_basis | K V 3 | mm for one standard deviation |
| identity_std | K | mm, the Euclidean norm of each component (its PCA standard deviation) |
| expression_basis | E V 3 | mm for a coefficient of 1 (a blendshape's weight, or one standard deviation) |
| expression_std | E | prior standard deviation of the coefficients |
| triangles | F 3 | vertex indices, counter-clockwise seen from outside |
| landmark_triangles, landmark_barycentric | L, L 3 | the 68 landmarks (300W order) on the surface |
| vertex_region | V | index into `ModelMeta.region_names` |
| albedo_mean, albedo_basis | V 3, A V 3 | sRGB in 0..1, per standard deviation (optional, together) |
| uv | V 2 | u right, v down, in 0..1 (optional) |
| symmetry | V | the mirrored vertex (optional) |
| grid | R C | vertex at each cell of a UV grid, -1 for none (optional) |

A basis may be stored as `<name>_q` int8 with `<name>_scale` (one factor a component); reading undoes it.
"""

import dataclasses
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Integer

from face3d.morphable_check import check_fields

FORMAT = "face3d-morphable-1"
BASES = ("identity_basis", "expression_basis", "albedo_basis")

Storage = Literal["float32", "float16", "int8"]


@dataclasses.dataclass(frozen=True)
class ModelMeta:
    """What a morphable model is, where it comes from and what may be done with it.

    `expression_kind` is "blendshape" where weights live in 0..1 and "component" where they are symmetric about 0.
    `identity_sigma`: by what coefficients of the source's own unit-norm components are divided to become this model's
    (3DDFA's Shape_Para, micrometres); None where the source has no such ones.
    """

    name: str
    source: str
    licence: str
    region_names: tuple[str, ...] = ("skin",)
    expression_names: tuple[str, ...] | None = None
    expression_kind: Literal["blendshape", "component"] = "component"
    unit: str = "mm"
    axes: str = "x image right, y up, z out of the face"
    created_by: str = ""
    notes: str = ""
    identity_sigma: tuple[float, ...] | None = None

    def to_json(self) -> str:
        """The JSON text stored in the file."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "meta") -> "ModelMeta":
        """Read `to_json`'s text. ValueError: no JSON, another format, a field missing (`where` is the file)."""
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: the field 'meta' is not JSON ({error})") from error
        got = fields.pop("format", None) if isinstance(fields, dict) else None
        if got != FORMAT:
            raise ValueError(f"{where}: the format is {got!r}, expected {FORMAT!r}; see `python -m bfm convert`")
        missing = {"name", "source", "licence"} - fields.keys()
        if missing:
            raise ValueError(f"{where}: the field 'meta' lacks {sorted(missing)}")
        known = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for key in known & fields.keys():
            values[key] = tuple(fields[key]) if isinstance(fields[key], list) else fields[key]
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class MorphableArrays:
    """The arrays of a morphable model in numpy; shapes and units in the module's table."""

    mean: Float[np.ndarray, "V 3"]
    identity_basis: Float[np.ndarray, "K V 3"]
    identity_std: Float[np.ndarray, " K"]
    expression_basis: Float[np.ndarray, "E V 3"]
    expression_std: Float[np.ndarray, " E"]
    triangles: Int[np.ndarray, "F 3"]
    landmark_triangles: Int[np.ndarray, " L"]
    landmark_barycentric: Float[np.ndarray, "L 3"]
    vertex_region: Integer[np.ndarray, " V"]
    meta: ModelMeta
    albedo_mean: Float[np.ndarray, "V 3"] | None = None
    albedo_basis: Float[np.ndarray, "A V 3"] | None = None
    uv: Float[np.ndarray, "V 2"] | None = None
    symmetry: Int[np.ndarray, " V"] | None = None
    grid: Int[np.ndarray, "R C"] | None = None

    def fields(self) -> dict[str, np.ndarray]:
        """The arrays that are present, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "meta"}
        return {name: value for name, value in values.items() if value is not None}

    def validate(self) -> "MorphableArrays":
        """Check shapes, indices, finiteness and norms; returns self. ValueError names the wrong field."""
        check_fields(self.fields(), dataclasses.asdict(self.meta))
        return self

    def save(self, path: str | os.PathLike[str], bases: Storage = "float32") -> None:
        """Write `path` (aside, then renamed), the bases stored as float32, float16 or int8 with a scale a component."""
        self.validate()
        stored: dict[str, np.ndarray] = {"meta": np.array(self.meta.to_json())}
        for name, value in self.fields().items():
            stored |= _stored(name, value, bases)
        _write_npz(Path(path), stored)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MorphableArrays":
        """Read a file of this format; floats come back as float32, indices as int32, regions as uint8.

        FileNotFoundError where there is none; ValueError where it is another file or a field is missing or wrong.
        """
        path = Path(path)
        raw = _read_npz(path)
        if "meta" not in raw:
            raise ValueError(
                f"{path}: no field 'meta', so this is not a {FORMAT} file (found {sorted(raw)[:8]}); "
                "convert an official model file with `python -m bfm convert FILE -o model.npz`"
            )
        meta = ModelMeta.from_json(str(raw.pop("meta")), str(path))
        names = {field.name for field in dataclasses.fields(cls)}
        arrays = {name: _typed(name, value) for name, value in _dequantised(raw, path).items() if name in names}
        try:
            check_fields(arrays, dataclasses.asdict(meta))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(meta=meta, **arrays)


def _stored(name: str, value: np.ndarray, bases: Storage) -> dict[str, np.ndarray]:
    """The arrays that `name` becomes in the file."""
    if name not in BASES:
        return {name: _typed(name, value)}
    if bases != "int8":
        return {name: value.astype(bases)}
    largest = np.abs(value).max(axis=(1, 2), initial=0.0)
    scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return {f"{name}_q": np.rint(value / scale[:, None, None]).astype(np.int8), f"{name}_scale": scale}


def _dequantised(raw: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """`raw` with every `<name>_q`, `<name>_scale` pair multiplied out to `<name>`."""
    arrays = dict(raw)
    for name in BASES:
        quantised, scale = arrays.pop(f"{name}_q", None), arrays.pop(f"{name}_scale", None)
        if quantised is None and scale is None:
            continue
        if quantised is None or scale is None:
            raise ValueError(f"{path}: of '{name}_q' and '{name}_scale' only one is present; the file is damaged")
        if quantised.ndim != 3 or scale.shape != quantised.shape[:1]:
            raise ValueError(f"{path}: '{name}_scale' has shape {scale.shape} for '{name}_q' of {quantised.shape}")
        arrays[name] = quantised.astype(np.float32) * scale.astype(np.float32)[:, None, None]
    return arrays


def _typed(name: str, value: np.ndarray) -> np.ndarray:
    """`value` in the type of the format: float32, int32, or uint8 for regions."""
    if np.issubdtype(value.dtype, np.floating):
        return value.astype(np.float32)
    return value.astype(np.uint8 if name == "vertex_region" else np.int32)


def _read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an `.npz`, with nothing unpickled."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such morphable model file")
    try:
        # Opened here, because np.load leaves its own file open where the zip is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, AttributeError, TypeError) as error:
        hint = "it is damaged or of another kind; official model files are converted with `python -m bfm convert`"
        raise ValueError(f"{path}: not a readable {FORMAT} file ({error}); {hint}") from error


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed `.npz` beside `path`, then rename it: no reader ever sees half a file."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} to")
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
