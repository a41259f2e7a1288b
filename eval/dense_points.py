"""Which vertices of a morphable model the dense protocols count: the user's list, else the face."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval.now_region import LANDMARKS, face_region
from face3d.morphable import MorphableModel

_NOT_FACE = ("ears", "neck", "inner_mouth")
_FEWEST = 4
_FORM = "whole numbers, vertices of the model counted from 0, blanks or lines between them (.txt) or one array (.npy)"


class CountedPoints(NamedTuple):
    """Vertex numbers in the order in which they count, and in words which they are."""

    vertices: Int[np.ndarray, " N"]
    said: str


def counted_points(model: MorphableModel, file: Path | None = None) -> CountedPoints:
    """The vertices named in `file`, as often as it names them; else those of the model's own regions of the face; for a
    model without such regions those in NoW's ball about the mean face.

    FileNotFoundError; ValueError where the file holds something else, or vertices that the model does not have.
    """
    if file is not None:
        return CountedPoints(_read(file, model), f"vertices listed in {file.name}")
    if set(_NOT_FACE) & set(model.region_names):
        left_out = [number for number, name in enumerate(model.region_names) if name in _NOT_FACE]
        inside = ~np.isin(model.vertex_region.cpu().numpy(), left_out)
        names = ", ".join(name for name in model.region_names if name not in _NOT_FACE)
        return CountedPoints(np.flatnonzero(inside), f"vertices of the model's regions {names}")
    mean = model.mean.cpu().double()
    seven = model.landmarks_of(mean[None])[0].numpy()[list(LANDMARKS)]
    inside = face_region(seven).inside(mean.numpy())
    return CountedPoints(np.flatnonzero(inside), "vertices in NoW's ball about the mean face")


def _read(file: Path, model: MorphableModel) -> Int[np.ndarray, " N"]:
    if not file.is_file():
        raise FileNotFoundError(f"no {file}: expected {_FORM}")
    try:
        values = _numbers(file)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file}: {error}; expected {_FORM}") from error
    if len(values) < _FEWEST or not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise ValueError(f"{file}: got {len(values)} values; expected at least {_FEWEST}, {_FORM}")
    if values.min() < 0 or values.max() >= model.vertex_count:
        raise ValueError(
            f"{file}: got numbers from {values.min():.0f} to {values.max():.0f}, but {model.meta.name!r} has "
            f"{model.vertex_count} vertices; PRN's face_ind.txt counts pixels of its UV map: take the vertex of each"
        )
    return values.astype(np.int64)


def _numbers(file: Path) -> Float[np.ndarray, " N"]:
    if file.suffix == ".npy":
        return np.load(file, allow_pickle=False).reshape(-1).astype(np.float64)
    return np.array(file.read_text(encoding="utf-8").split(), np.float64)
