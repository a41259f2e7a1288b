"""`python -m bfm build`: the embedded face3d model, learned from many faces drawn from ICT-FaceKit.

Draws identities, resamples them on our own topology (`bfm.topology`), takes principal components again, resamples the
blendshapes and gives them ARKit names, places the 68 landmarks where AFLW2000's lie, names the regions.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import sparse

from bfm.card import measure, write_card
from bfm.closing import closing_shapes
from bfm.ict_source import read_source
from bfm.landmarks import fit_landmarks
from bfm.regions import REGION_NAMES, vertex_regions
from bfm.topology import LENSES, ROWS, Grid, build_grid, mirror_index, parametrise
from face3d.morphable_file import ModelMeta, MorphableArrays

EYEBALLS = ((21451, 23021), (23021, 24591))  # vertex ranges of ICT's left and right eyeball
POCKET_DEPTH_MM = 14.0
MERGED = {"browInnerUp": ("browInnerUp_L", "browInnerUp_R"), "cheekPuff": ("cheekPuff_L", "cheekPuff_R")}
DROPPED = ("PupilDilate_L", "PupilDilate_R")


def arkit_expressions(shapes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ARKit names (`eyeBlinkLeft`: the person's left), pupils left out, pairs that ARKit has as one shape merged."""
    taken = {part for parts in MERGED.values() for part in parts} | set(DROPPED)
    named = {merged: shapes[a] + shapes[b] for merged, (a, b) in MERGED.items() if a in shapes and b in shapes}
    for name, shape in shapes.items():
        if name not in taken:
            named[name.replace("_L", "Left").replace("_R", "Right")] = shape
    return dict(sorted(named.items()))


def fill_openings(grid: Grid, mean: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The mean (V,3) with eyeballs bulging between the lids and the mouth pocket pushed behind the lips."""
    filled = mean.copy()
    for number, lens in enumerate(LENSES):
        inside = grid.lens == number
        if lens.name == "mouth":
            hidden = np.sin(np.pi * grid.lens_fraction[inside])
            column = np.tile(np.arange(ROWS), ROWS)[inside]
            width = lens.rise(column.astype(float)) / lens.half_height
            filled[inside, 2] -= POCKET_DEPTH_MM * hidden * np.sqrt(width)
            continue
        balls = [head[a:b] for a, b in EYEBALLS]
        ball = min(balls, key=lambda points: abs(points[:, 0].mean() - mean[inside, 0].mean()))
        centre = (ball.max(0) + ball.min(0)) / 2
        radius = np.median(np.linalg.norm(ball - centre, axis=1)) - 0.3
        out = mean[inside, :2] - centre[:2]
        depth = centre[2] + np.sqrt(np.maximum(radius**2 - (out**2).sum(1), 0.0))
        ends = np.sin(np.pi * grid.lens_fraction[inside])  # touch the lids at their borders
        filled[inside, 2] += np.maximum(depth - mean[inside, 2], -1.0) * ends**0.5
    return filled


def principal_components(resample: sparse.csr_matrix, modes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` components (count,V,3), one standard deviation each, of 4000 faces drawn with unit normal coefficients.

    The drawn faces live in the span of the resampled modes, so the decomposition is done there (100 x 100)."""
    spread = np.stack([resample @ mode for mode in modes]).reshape(len(modes), -1)
    drawn = np.random.default_rng(seed).standard_normal((4000, len(modes)))
    drawn -= drawn.mean(0)
    orthonormal, mixing = np.linalg.qr(spread.T)
    _, deviation, axes = np.linalg.svd(drawn @ mixing.T, full_matrices=False)
    components = (axes[:count] * (deviation[:count, None] / np.sqrt(len(drawn)))) @ orthonormal.T
    return components.reshape(count, -1, 3)


def _origin(mean: np.ndarray, bridge: np.ndarray) -> np.ndarray:
    """The origin of model space: on the symmetry plane, at the height of the nose bridge, at the depth of the ears."""
    ears = np.abs(mean[:, 0]) > 0.93 * np.abs(mean[:, 0]).max()
    return np.array([0.0, bridge[1], mean[ears, 2].mean()])


def build(ict: Path, bfm68: Path, identities: int = 80, seed: int = 0) -> MorphableArrays:
    """The model of shape and expression; albedo is added by `with_albedo` once it was learned from photos."""
    source = read_source(ict)
    grid = build_grid(source.skin, source.uv, source.triangles)
    mirror = mirror_index()
    mean = grid.matrix @ source.skin
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    mean = fill_openings(grid, mean, source.head)
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    components = principal_components(grid.matrix, source.identity, identities, seed)
    shapes = {name: grid.matrix @ shape for name, shape in arkit_expressions(source.expression).items()}
    shapes = closing_shapes(mean, shapes)
    expression = np.stack(list(shapes.values()))
    closed = grid.lens[grid.triangles].max(1) < 0  # landmarks lie on the skin, never on an eyeball or in the mouth
    landmarks = fit_landmarks(mean, grid.triangles, closed, source.skin[source.landmarks], bfm68)
    bridge = (mean[grid.triangles[landmarks.triangles[27]]] * landmarks.barycentric[27][:, None]).sum(0)
    places = parametrise(source.skin, source.uv, source.triangles)[0][source.landmarks]
    meta = ModelMeta(
        name="face3d",
        source="principal components of 4000 faces drawn from ICT-FaceKit (USC ICT, MIT licence), resampled "
        "on face3d's own topology; places of the 68 landmarks after the 68-point Basel Face Model basis of 3DDFA",
        licence="MIT (face3d). ICT-FaceKit: MIT, Copyright (c) 2020 USC Institute for Creative Technologies",
        axes="x to the image's right when the face looks at the camera, y up, z out of the face; origin on the "
        "symmetry plane, at nose-bridge height and ear depth",
        region_names=REGION_NAMES,
        expression_names=tuple(shapes),
        expression_kind="blendshape",
        created_by=f"python -m bfm build --identities {identities} --seed {seed}",
    )
    return MorphableArrays(
        mean=(mean - _origin(mean, bridge)).astype(np.float32),
        identity_basis=components.astype(np.float32),
        identity_std=np.linalg.norm(components.reshape(identities, -1), axis=1).astype(np.float32),
        expression_basis=expression.astype(np.float32),
        expression_std=np.full(len(shapes), 0.3, np.float32),
        triangles=grid.triangles.astype(np.int32),
        uv=grid.uv.astype(np.float32),
        landmark_triangles=landmarks.triangles.astype(np.int32),
        landmark_barycentric=landmarks.barycentric.astype(np.float32),
        vertex_region=vertex_regions(mean, grid, places).astype(np.uint8),
        symmetry=mirror.astype(np.int32),
        grid=grid.grid.astype(np.int32),
        meta=meta,
    )


def with_albedo(model: MorphableArrays, path: Path) -> MorphableArrays:
    """The model with the colours learned by `python -m train.prepare albedo` (npz: albedo_mean, albedo_basis)."""
    with np.load(path, allow_pickle=False) as file:
        missing = {"albedo_mean", "albedo_basis"} - set(file.files)
        if missing:
            raise ValueError(f"{path}: lacks {sorted(missing)}; make it with `python -m train.prepare albedo`")
        mean, basis = file["albedo_mean"], file["albedo_basis"]
    meta = replace(model.meta, created_by=f"{model.meta.created_by} --albedo {path.name}")
    return replace(model, albedo_mean=mean, albedo_basis=basis, meta=meta).validate()


def command(
    ict: Annotated[Path, typer.Option(help="folder with ict_facekit.npz and landmarks68.json", exists=True)],
    bfm68: Annotated[Path, typer.Option(help="folder with 3DDFA's 68-point basis (u_base.txt)", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="model to write, .npz")],
    albedo: Annotated[Path | None, typer.Option(help="colours learned from photos, .npz")] = None,
    identities: Annotated[int, typer.Option(help="identity components", min=1, max=100)] = 80,
    seed: Annotated[int, typer.Option(help="of the faces drawn from ICT-FaceKit")] = 0,
    scan: Annotated[Path | None, typer.Option(help="JSON of `python -m eval model`, for the card")] = None,
) -> None:
    """Build the embedded face3d model and its model card (the same name, .json)."""
    model = build(ict, bfm68, identities, seed)
    if albedo is not None:
        model = with_albedo(model, albedo)
    model.save(output, bases="int8")
    stored = MorphableArrays.load(output)
    figures = measure(stored, ict)
    if scan is not None:
        fit = json.loads(scan.read_text(encoding="utf-8"))
        figures["lee_perry_smith_median_mean_mm"] = {key: fit[key] for key in ("mean_face_mm", "fitted_mm")}
    write_card(output.with_suffix(".json"), stored, figures)
    typer.echo(json.dumps(figures, indent=1))
