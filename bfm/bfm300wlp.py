"""The Basel Face Model 2009 as 300W-LP, face profiling and 3DDFA use it: `Model_Shape.mat` with expressions beside it.

`Model_Shape.mat` (ModelGeneration, 53,215 vertices): mu_shape (3V,1) um, w (3V,199) of norm 1, sigma (199,1) standard
deviations in um, tri (3,F) from 1, keypoints (1,68) from 1; mu_tex (3V,1) in 0..255, w_tex without spreads.
`Model_Expression.mat` (3DDFA) or `Model_Exp.mat` (300W-LP): mu_exp (3V,1), w_exp (3V,29) um for a coefficient of 1,
sigma_exp (29,1) the coefficients' standard deviations. `mean = mu_shape + mu_exp`.
`bfm_noneck_v3.pkl` (3DDFA_V2): u (3V,1), w_shp (3V,40), w_exp (3V,10), keypoints (204,) rows of u; `tri.pkl` and the
parameters' standard deviations, `param_mean_std_62d_120x120.pkl`, beside it.
"""

from pathlib import Path

import numpy as np

from bfm import restricted_pickle
from bfm.bfm2009 import LICENCE
from bfm.fields import Fields
from bfm.mat import read_mat
from bfm.raw import RawModel, scaled

EXPRESSION_FILES = ("Model_Exp.mat", "Model_Expression.mat")
SOURCE = "BFM 2009 with FaceWarehouse expressions, Zhu et al., Face Alignment Across Large Poses, CVPR 2016"


def read_model_shape(path: Path, expression_path: Path | None = None) -> RawModel:
    """Read `Model_Shape.mat`. ValueError names a missing or wrong field; FileNotFoundError the expressions' file."""
    fields = read_mat(path, "300W-LP Model_Shape")
    mean = fields.points("mu_shape")
    basis = fields.basis("w", len(mean))
    sigma = fields.vector("sigma", len(basis))
    identity = scaled(basis, sigma, f"{path}: 'w' and 'sigma'")
    other = read_mat(expression_path or _expression_file(path), "300W-LP Model_Exp")
    expression_mean = other.points("mu_exp")
    if len(expression_mean) != len(mean):
        raise other.error("mu_exp", f"is for {len(expression_mean)} vertices, but 'mu_shape' has {len(mean)}")
    expression, std = _expression(other, len(mean))
    return RawModel(
        name="Basel Face Model 2009 (300W-LP)",
        source=SOURCE,
        licence=LICENCE,
        unit="um",
        mean=mean + expression_mean,
        identity=identity,
        expression=expression,
        expression_std=std,
        triangles=fields.triangles("tri", len(mean), base=1),
        albedo_mean=fields.points("mu_tex") / 255.0 if "mu_tex" in fields else None,
        albedo_basis=identity[:0] if "mu_tex" in fields else None,
        landmark_vertices=fields.indices("keypoints", len(mean), base=1) if "keypoints" in fields else None,
        notes=("albedo components are left out: the file has no spreads for w_tex",) if "mu_tex" in fields else (),
        identity_sigma=sigma,
    )


def read_3ddfa_v2(path: Path) -> RawModel:
    """Read `bfm_noneck_v3.pkl`. ValueError names a wrong field; FileNotFoundError what must lie beside the file."""
    fields = Fields(restricted_pickle.load(path), path, "3DDFA_V2 bfm")
    mean = fields.points("u")
    shapes, expressions = fields.basis("w_shp", len(mean)), fields.basis("w_exp", len(mean))
    spread_path = path.with_name("param_mean_std_62d_120x120.pkl")
    spread = Fields(restricted_pickle.load(spread_path), spread_path, "3DDFA_V2 parameters")
    std = spread.vector("std", 12 + len(shapes) + len(expressions))[12:]
    return RawModel(
        name="Basel Face Model 2009 (3DDFA_V2)",
        source="Guo et al., Towards Fast, Accurate and Stable 3D Dense Face Alignment, ECCV 2020",
        licence=LICENCE,
        unit="um",
        mean=mean,
        identity=shapes * std[: len(shapes), None, None],
        expression=expressions,
        expression_std=std[len(shapes) :].copy(),
        triangles=_tri(fields, path, len(mean)),
        landmark_vertices=fields.indices("keypoints", 3 * len(mean), base=0)[::3] // 3,
        notes=("spreads are those of 3DDFA_V2's training parameters",),
    )


def _expression(fields: Fields, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Basis in um and its coefficients' spreads: as stored, or one standard deviation each where norms are 1."""
    basis = fields.basis("w_exp", vertices)
    std = fields.vector("sigma_exp", len(basis))
    if std.min() <= 0:
        raise fields.error("sigma_exp", f"holds {std.min():.3g}, expected values > 0")
    norms = np.linalg.norm(basis.reshape(len(basis), -1), axis=1)
    if np.median(norms) < 10.0:  # unit norms: the spreads are in um
        return scaled(basis, std, f"{fields.path}: 'w_exp' and 'sigma_exp'"), np.ones_like(std)
    return basis, std


def _expression_file(path: Path) -> Path:
    found = [path.with_name(name) for name in EXPRESSION_FILES if path.with_name(name).is_file()]
    found += [path.parent.parent / name for name in EXPRESSION_FILES if (path.parent.parent / name).is_file()]
    if not found:
        names = " or ".join(EXPRESSION_FILES)
        raise FileNotFoundError(f"{path.parent}: expected {names} beside {path.name}, or --expression FILE")
    return found[0]


def _tri(fields: Fields, path: Path, vertices: int) -> np.ndarray:
    if "tri" in fields:
        return fields.triangles("tri", vertices, base=_base(fields))
    beside = path.with_name("tri.pkl")
    if not beside.is_file():
        raise FileNotFoundError(f"{beside}: no such file; 3DDFA_V2 keeps the triangles there")
    other = Fields({"tri": restricted_pickle.loads(beside.read_bytes(), beside)}, beside, "3DDFA_V2 tri.pkl")
    return other.triangles("tri", vertices, base=_base(other))


def _base(fields: Fields) -> int:
    """Whether vertices are counted from 0 or, as in MATLAB, from 1."""
    return int(fields.array("tri").min() == 1)
