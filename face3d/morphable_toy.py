"""A random morphable model, small and face-like, so that no test needs a real one."""

import numpy as np
from jaxtyping import Float, Int

from face3d.morphable_file import ModelMeta, MorphableArrays


def toy_arrays(seed: int, rows: int = 12, columns: int = 12, identity: int = 6, expression: int = 4) -> MorphableArrays:
    """A symmetric face-sized surface (150 x 180 mm with a nose) on a UV grid, with smooth random bases.

    ValueError where the grid is smaller than 4 x 4 or has too few vertices for the bases to be independent.
    """
    if min(rows, columns) < 4 or identity + expression >= rows * columns:
        raise ValueError(f"a {rows} x {columns} grid is too small for {identity} + {expression} components")
    generator = np.random.default_rng(seed)
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    mean = _surface(u, v)
    bases = _smooth_bases(generator, u, v, identity + expression + 3)
    identity_std = (60.0 * 0.8 ** np.arange(identity)).astype(np.float32)
    grid = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    triangles = _grid_triangles(grid)
    landmark_triangles, barycentric = _locate(_landmark_uv(), rows, columns)
    return MorphableArrays(
        mean=mean.astype(np.float32),
        identity_basis=(bases[:identity] * identity_std[:, None, None]).astype(np.float32),
        identity_std=identity_std,
        expression_basis=(bases[identity : identity + expression] * 40.0).astype(np.float32),
        expression_std=np.full(expression, 0.5, np.float32),
        triangles=triangles,
        landmark_triangles=landmark_triangles,
        landmark_barycentric=barycentric,
        vertex_region=((np.abs(u - 0.5) < 0.12) & (np.abs(v - 0.5) < 0.15)).astype(np.uint8).ravel(),
        albedo_mean=(0.6 + 0.1 * generator.standard_normal((rows * columns, 3)).clip(-2, 2)).astype(np.float32),
        albedo_basis=(bases[-3:] * 0.5).astype(np.float32),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32),
        symmetry=grid[:, ::-1].ravel().copy(),
        grid=grid,
        meta=ModelMeta("toy", f"random, seed {seed}", "MIT", ("skin", "nose"), created_by="face3d.morphable_toy"),
    )


def _surface(u: Float[np.ndarray, "R C"], v: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "V 3"]:
    """Half an elliptic cylinder, narrower at the chin, with a nose; origin between the ears."""
    angle = np.deg2rad(160.0) * (u - 0.5)
    width = 75.0 * (1.0 - 0.35 * v**2)
    nose = 25.0 * np.exp(-(((u - 0.5) / 0.08) ** 2) - ((v - 0.52) / 0.12) ** 2)
    xyz = [width * np.sin(angle), 180.0 * (0.45 - v), (width + 10.0 * np.sin(np.pi * v)) * np.cos(angle) + nose]
    return np.stack(xyz, axis=-1).reshape(-1, 3)


def _smooth_bases(
    generator: np.random.Generator, u: Float[np.ndarray, "R C"], v: Float[np.ndarray, "R C"], count: int
) -> Float[np.ndarray, "N V 3"]:
    """`count` orthonormal displacement fields, smooth over the grid (random sums of low cosines)."""
    order = 2 + int(np.ceil(np.sqrt(count)))
    waves = [np.cos(np.pi * a * u) * np.cos(np.pi * b * v) for a in range(order) for b in range(order)]
    mixing = generator.standard_normal((count, len(waves), 3)) / (1.0 + np.arange(len(waves)))[:, None]
    fields = np.einsum("nwc,wv->nvc", mixing, np.reshape(waves, (len(waves), -1)))
    orthonormal, _ = np.linalg.qr(fields.reshape(count, -1).T)
    return orthonormal.T.reshape(count, -1, 3)


def _grid_triangles(grid: Int[np.ndarray, "R C"]) -> Int[np.ndarray, "F 3"]:
    """Two triangles a cell, counter-clockwise from outside; cell (r, c) has number 2 (r (C-1) + c) and the next."""
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    return np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2).reshape(-1, 3).astype(np.int32)


def _locate(
    uv: Float[np.ndarray, "L 2"], rows: int, columns: int
) -> tuple[Int[np.ndarray, " L"], Float[np.ndarray, "L 3"]]:
    """Triangle of `_grid_triangles` and barycentrics of points in UV."""
    x, y = uv[:, 0] * (columns - 1), uv[:, 1] * (rows - 1)
    c, r = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    s, t = x - c, y - r
    upper = s + t <= 1.0
    first = np.stack([1 - s - t, t, s], axis=1)  # a, c, b
    second = np.stack([1 - t, 1 - s, s + t - 1], axis=1)  # b, c, d
    barycentric = np.where(upper[:, None], first, second)
    return (2 * (r * (columns - 1) + c) + ~upper).astype(np.int32), barycentric.astype(np.float32)


def _landmark_uv() -> Float[np.ndarray, "68 2"]:
    """A plausible place in UV for each of the 68 landmarks (300W order)."""

    def ring(centre_u: float, centre_v: float, size_u: float, size_v: float, degrees: np.ndarray) -> np.ndarray:
        angle = np.deg2rad(degrees)
        return np.stack([centre_u + size_u * np.cos(angle), centre_v - size_v * np.sin(angle)], axis=1)

    def line(start: tuple[float, float], stop: tuple[float, float], count: int) -> np.ndarray:
        return np.linspace(start, stop, count)

    parts = [
        ring(0.5, 0.38, 0.42, 0.56, np.linspace(180, 360, 17)),
        ring(0.34, 0.32, 0.10, 0.05, np.linspace(180, 0, 5)),
        ring(0.66, 0.32, 0.10, 0.05, np.linspace(180, 0, 5)),
        line((0.5, 0.38), (0.5, 0.52), 4),
        ring(0.5, 0.55, 0.06, 0.03, np.linspace(180, 360, 5)),
        ring(0.34, 0.39, 0.06, 0.02, np.arange(180, -180, -60)),
        ring(0.66, 0.39, 0.06, 0.02, np.arange(180, -180, -60)),
        ring(0.5, 0.70, 0.11, 0.04, np.arange(180, -180, -30)),
        ring(0.5, 0.70, 0.08, 0.015, np.arange(180, -180, -45)),
    ]
    return np.concatenate(parts)
