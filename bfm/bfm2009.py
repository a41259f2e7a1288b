"""Basel Face Model 2009: `01_MorphableModel.mat`, with the expressions of `Exp_Pca.bin` where it lies beside it.

`01_MorphableModel.mat` (53,490 vertices): shapeMU (3V,1) um, shapePC (3V,199) of norm 1, shapeEV (199,1) standard
deviations (not variances) in um; texMU, texPC, texEV the same in 0..255; tl (F,3) from 1, clockwise seen from outside.
`Exp_Pca.bin` (Guo et al., CNN-based real-time dense face reconstruction): int32 N, float32 mean (3V'), float32 basis
(N, 3V') for V' = 53,215 vertices; `std_exp.txt`: N standard deviations. Which vertices those are is `trimIndex` of
`BFM_exp_idx.mat` (Deep3DFaceReconstruction) or of `model_info.mat` (3DDFA), which also holds 68 `keypoints`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from bfm.fields import Fields
from bfm.mat import read_mat
from bfm.raw import RawModel, scaled

KIND = "Basel Face Model 2009"
LICENCE = "Basel Face Model licence: non-commercial, not to be passed on (https://faces.dmi.unibas.ch/bfm)"
TRIM_FILES = ("model_info.mat", "BFM_exp_idx.mat")


@dataclass(frozen=True)
class Expression:
    """Expressions in um for one standard deviation, and what was noted on reading them."""

    mean: Float[np.ndarray, "V 3"]
    basis: Float[np.ndarray, "E V 3"]
    notes: tuple[str, ...] = ()


def read_bfm2009(path: Path, expression_path: Path | None = None) -> RawModel:
    """Read the model. ValueError names a missing or wrong field; FileNotFoundError a file needed beside it."""
    fields = read_mat(path, KIND)
    mean = fields.points("shapeMU")
    identity = _spread(fields, "shapePC", "shapeEV", len(mean))
    colour = fields.points("texMU")
    if len(colour) != len(mean):
        raise fields.error("texMU", f"is for {len(colour)} vertices, but 'shapeMU' has {len(mean)}")
    albedo = _spread(fields, "texPC", "texEV", len(mean))
    triangles = fields.triangles("tl", len(mean), base=1)
    expression_path = expression_path or _beside(path, "Exp_Pca.bin")
    if expression_path is None:
        note = "no expressions: Exp_Pca.bin is not beside the file"
        return _raw(mean, identity, colour, albedo, triangles, Expression(mean * 0, identity[:0], (note,)), None)
    expression = read_exp_pca(expression_path)
    trim, keypoints = _trim(path, len(mean), len(expression.mean))
    parts = mean[trim], identity[:, trim], colour[trim], albedo[:, trim], kept_triangles(triangles, trim, len(mean))
    return _raw(*parts, expression, keypoints)


def read_exp_pca(path: Path) -> Expression:
    """Read `Exp_Pca.bin` and `std_exp.txt`. ValueError where its length does not fit what its first number says."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected Exp_Pca.bin")
    data = path.read_bytes()
    count = int(np.frombuffer(data[:4], "<i4")[0]) if len(data) >= 4 else 0
    vertices, rest = divmod(len(data) - 4, 4 * 3 * (1 + count)) if count > 0 else (0, 1)
    if rest or not 1 <= count <= 1000 or vertices < 3:
        raise ValueError(
            f"{path}: {len(data)} bytes do not hold expMU (3 V) and expPC ({count}, 3 V) in float32: "
            "the file is truncated or not an Exp_Pca.bin"
        )
    numbers = np.frombuffer(data, "<f4", offset=4)
    mean, basis = numbers[: 3 * vertices].reshape(-1, 3), numbers[3 * vertices :].reshape(count, -1, 3)
    fields = Fields({"expMU": mean, "expPC": basis}, path, "Exp_Pca.bin")
    return _with_std(path, fields.numbers("expMU"), fields.numbers("expPC"))


def kept_triangles(
    triangles: Int[np.ndarray, "F 3"], kept: Int[np.ndarray, " V2"], vertices: int
) -> Int[np.ndarray, "F2 3"]:
    """The triangles whose corners are all among the `kept` vertices, in the numbering of `kept`."""
    number = np.full(vertices, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    renamed = number[triangles]
    return renamed[(renamed >= 0).all(axis=1)]


def _with_std(path: Path, mean: np.ndarray, basis: np.ndarray) -> Expression:
    spread = _beside(path, "std_exp.txt")
    norms = np.linalg.norm(basis.reshape(len(basis), -1).astype(np.float64), axis=1)
    if spread is None:
        # One millimetre of root mean square movement a vertex, the size of a lively expression's component.
        wanted = 1000.0 * np.sqrt(basis.shape[1])
        factor = wanted / np.maximum(norms, 1e-20) if np.median(norms) < 10.0 else np.ones(len(basis))
        note = "std_exp.txt is not beside Exp_Pca.bin: equal spreads of 1 mm a vertex are assumed"
        basis = basis * factor[:, None, None].astype(np.float32)
        return Expression(mean, basis, (note if np.median(norms) < 10.0 else "expressions in the unit of Exp_Pca.bin",))
    try:
        std = np.loadtxt(spread, dtype=np.float32).reshape(-1)
    except ValueError as error:
        raise ValueError(f"{spread}: not a list of numbers ({error})") from error
    if len(std) < len(basis):
        raise ValueError(f"{spread}: {len(std)} standard deviations for the {len(basis)} expressions of {path.name}")
    return Expression(mean, basis * std[: len(basis), None, None])


def _spread(fields: Fields, basis: str, std: str, vertices: int) -> np.ndarray:
    components = fields.basis(basis, vertices)
    try:
        return scaled(components, fields.vector(std, len(components)), f"'{basis}' and '{std}'")
    except ValueError as error:
        raise ValueError(f"{fields.path}: {error}" if str(fields.path) not in str(error) else str(error)) from error


def _trim(path: Path, full: int, wanted: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices of the model that the expressions have, and the 68 keypoints among them where known."""
    for name in TRIM_FILES:
        beside = _beside(path, name)
        if beside is not None:
            info = read_mat(beside, "3DDFA model_info or BFM_exp_idx")
            trim = info.indices("trimIndex", full, base=1)
            if len(trim) != wanted:
                raise info.error("trimIndex", f"has {len(trim)} vertices, but the expressions have {wanted}")
            has = "keypoints" in info and info.array("keypoints").size == 68
            return trim, info.indices("keypoints", wanted, base=1) if has else None
    if full == wanted:
        return np.arange(full), None
    raise FileNotFoundError(
        f"{path.parent}: the expressions have {wanted} of the model's {full} vertices; the field 'trimIndex' of "
        f"{' or '.join(TRIM_FILES)} says which: put one of them there (bfm/README.md says where they are)"
    )


def _beside(path: Path, name: str) -> Path | None:
    other = path.with_name(name)
    return other if other.is_file() else None


def _raw(
    mean: np.ndarray, identity: np.ndarray, colour: np.ndarray, albedo: np.ndarray, triangles: np.ndarray,
    expression: Expression, keypoints: np.ndarray | None,
) -> RawModel:  # fmt: skip
    return RawModel(
        name="Basel Face Model 2009",
        source="Paysan et al., A 3D Face Model for Pose and Illumination Invariant Face Recognition, AVSS 2009",
        licence=LICENCE,
        unit="um",
        mean=mean + expression.mean,
        identity=identity,
        expression=expression.basis,
        triangles=triangles,
        albedo_mean=colour / 255.0,
        albedo_basis=albedo / 255.0,
        landmark_vertices=keypoints,
        notes=expression.notes,
    )
