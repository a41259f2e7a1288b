"""FLAME 2020 and 2023: `generic_model.pkl`, `flame2023.pkl`, `flame2023_no_jaw.pkl` (restricted reader) or `.npz`.

v_template (V,3) m, shapedirs (V,3,400): 300 identity and 100 expression components in m for one standard deviation,
f (F,3) from 0; 5,023 vertices. Only the linear part is carried: no joints, so no jaw or neck rotation.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bfm import restricted_pickle
from bfm.fields import Fields
from bfm.raw import RawModel

IDENTITY_COUNT = 300
KIND = "FLAME"
NEEDED = ("v_template", "shapedirs", "f")


def read_flame(path: Path) -> RawModel:
    """Read the model. ValueError names a missing or wrong field, or what the pickle asked to execute."""
    fields = Fields(_npz(path) if path.suffix == ".npz" else restricted_pickle.load(path), path, KIND)
    mean = fields.points("v_template")
    directions = fields.numbers("shapedirs")
    if directions.ndim != 3 or directions.shape[:2] != mean.shape:
        raise fields.error("shapedirs", f"has shape {directions.shape}, expected (V, 3, 400) with V = {len(mean)}")
    if directions.shape[2] <= IDENTITY_COUNT:
        wanted = f"{IDENTITY_COUNT} of identity and then expressions"
        raise fields.error("shapedirs", f"has {directions.shape[2]} components, expected {wanted}")
    basis = np.ascontiguousarray(directions.transpose(2, 0, 1))
    _check_norms(fields, basis[:IDENTITY_COUNT])
    return RawModel(
        name=path.stem,
        source="Li et al., Learning a model of facial shape and expression from 4D scans, SIGGRAPH Asia 2017",
        licence="FLAME model licence (https://flame.is.tue.mpg.de): FLAME 2020 non-commercial, FLAME 2023 CC-BY-4.0",
        unit="m",
        mean=mean,
        identity=basis[:IDENTITY_COUNT],
        expression=basis[IDENTITY_COUNT:],
        triangles=fields.triangles("f", len(mean), base=0),
        notes=("the joints (neck, jaw, eyes) are not carried: the mouth opens only as far as the expressions do",),
    )


def _check_norms(fields: Fields, identity: np.ndarray) -> None:
    """Components must carry their standard deviations: falling norms of millimetres a vertex, not norms of 1."""
    norms = np.linalg.norm(identity.reshape(len(identity), -1).astype(np.float64), axis=1)
    if norms.min() <= 0:
        raise fields.error("shapedirs", f"has an empty component ({int(norms.argmin())}); the file is damaged")
    if norms.max() < 1.02 * norms.min():
        raise fields.error("shapedirs", f"has components of one norm ({norms[0]:.3g}), expected their spreads in m")


def _npz(path: Path) -> dict[str, Any]:
    """The needed arrays of an `.npz`; others (a pickled joint regressor, for instance) are not touched."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            values: dict[str, Any] = {name: None for name in names}
            for name in NEEDED:
                if name in names:
                    values[name] = restricted_pickle.load_npy_object(archive.read(names[name]), path)
    except (zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        raise ValueError(f"{path}: not a readable .npz ({error}); it is truncated or not a FLAME file") from error
    return values
