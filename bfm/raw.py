"""What every reader returns, and the one way from there to the face3d format: unit, axes, winding, norms, landmarks."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from bfm import frames
from face3d.morphable_file import ModelMeta, MorphableArrays


@dataclass(frozen=True)
class SurfacePoints:
    """The 68 landmarks on triangles: barycentrics (68, 3)."""

    triangles: Int[np.ndarray, " L"]
    barycentric: Float[np.ndarray, "L 3"]


@dataclass(frozen=True)
class RawModel:
    """A model in the unit and axes of its file; bases are displacements for one standard deviation or weight.

    `identity_sigma`: standard deviations that the file's own coefficients of unit-norm components have.
    `strict` models are known to be faces: implausible size or axes are an error there, a remark elsewhere.
    """

    name: str
    source: str
    licence: str
    unit: str
    mean: Float[np.ndarray, "V 3"]
    identity: Float[np.ndarray, "K V 3"]
    expression: Float[np.ndarray, "E V 3"]
    triangles: Int[np.ndarray, "F 3"]
    expression_std: Float[np.ndarray, " E"] | None = None
    expression_names: tuple[str, ...] | None = None
    expression_kind: str = "component"
    albedo_mean: Float[np.ndarray, "V 3"] | None = None
    albedo_basis: Float[np.ndarray, "A V 3"] | None = None
    uv: Float[np.ndarray, "V 2"] | None = None
    regions: Int[np.ndarray, " V"] | None = None
    region_names: tuple[str, ...] = ("skin",)
    landmark_vertices: Int[np.ndarray, " L"] | None = None
    directions: frames.Directions | None = None
    strict: bool = True
    notes: tuple[str, ...] = field(default=())
    identity_sigma: Float[np.ndarray, " K"] | None = None


def assemble(raw: RawModel, landmarks: SurfacePoints | None = None) -> MorphableArrays:
    """Millimetres, x to the image's right, y up, z out of the face, triangles counter-clockwise from outside.

    `landmarks` replace those of the file. ValueError where the file contradicts itself (see `bfm.frames`).
    """
    notes = list(raw.notes)
    unit = _unit(raw, notes)
    landmarks = landmarks or _on_vertices(raw)
    axes = _axes(raw, landmarks, notes)
    to_mm = (axes.T * frames.MM_PER_UNIT[unit]).astype(np.float32)
    mean, identity, expression = raw.mean @ to_mm, raw.identity @ to_mm, raw.expression @ to_mm
    triangles = raw.triangles
    if frames.outwardness(mean, triangles) < -0.5:
        notes.append("triangles were clockwise seen from outside and are turned")
        # The first and third corner are exchanged, so barycentrics must follow.
        triangles = triangles[:, ::-1].copy()
        landmarks = SurfacePoints(landmarks.triangles, landmarks.barycentric[:, ::-1].copy())
    return MorphableArrays(
        mean=mean,
        identity_basis=identity,
        identity_std=_norms(identity),
        expression_basis=expression,
        expression_std=np.ones(len(expression), np.float32) if raw.expression_std is None else raw.expression_std,
        triangles=triangles,
        landmark_triangles=landmarks.triangles,
        landmark_barycentric=landmarks.barycentric,
        vertex_region=(np.zeros(len(mean)) if raw.regions is None else raw.regions).astype(np.uint8),
        meta=_meta(raw, notes),
        albedo_mean=raw.albedo_mean,
        albedo_basis=raw.albedo_basis,
        uv=raw.uv,
    ).validate()


def scaled(basis: Float[np.ndarray, "K V 3"], std: Float[np.ndarray, " K"], names: str) -> Float[np.ndarray, "K V 3"]:
    """`basis` for one standard deviation, whether it is stored with unit norms or multiplied by `std` already.

    ValueError where its norms are neither; `names` are the fields to blame.
    """
    if len(basis) != len(std):
        raise ValueError(f"{names}: {len(basis)} components, but {len(std)} standard deviations")
    if not len(basis):
        return basis
    if std.min() <= 0:
        raise ValueError(f"{names}: the spread of component {int(std.argmin())} is {std.min():.3g}, expected > 0")
    norms = _norms(basis)
    # A model cropped from a larger one keeps a part of each norm: factors down to 1/2 are the same convention.
    unit, full = (float(np.median(np.abs(np.log(np.maximum(norms, 1e-20) / wanted)))) for wanted in (1.0, std))
    if min(unit, full) > np.log(2.0):
        raise ValueError(
            f"{names}: the basis has norms {norms.min():.3g}..{norms.max():.3g}, expected 1 or the standard deviations "
            f"{std.min():.3g}..{std.max():.3g}"
        )
    return basis * std[:, None, None].astype(np.float32) if unit <= full else basis


def _unit(raw: RawModel, notes: list[str]) -> str:
    try:
        unit, remark = frames.unit_of(raw.mean, raw.unit)
    except ValueError as error:
        if raw.strict:
            raise
        unit, remark = raw.unit, f"{error}; read as {raw.unit}"
    notes += [remark] if remark else []
    return unit


def _axes(raw: RawModel, landmarks: SurfacePoints, notes: list[str]) -> np.ndarray:
    directions = raw.directions
    if directions is None and len(landmarks.triangles):
        corners = raw.mean[raw.triangles[landmarks.triangles]]
        directions = frames.directions_68((corners * landmarks.barycentric[:, :, None]).sum(axis=1))
    if directions is None:
        if raw.strict:
            frames.check_axes(raw.mean, raw.expression)
        else:
            notes.append("the file has no landmarks that tell its axes; they are taken as they are")
        return np.eye(3)
    axes = frames.axes_from(directions)
    if not np.array_equal(axes, np.eye(3)):
        notes.append(f"axes changed by {axes.tolist()}")
    return axes


def _on_vertices(raw: RawModel) -> SurfacePoints:
    """The file's landmark vertices, each as a corner of one of its triangles."""
    if raw.landmark_vertices is None:
        return SurfacePoints(np.zeros(0, np.int32), np.zeros((0, 3), np.float32))
    return vertices_on_triangles(raw.landmark_vertices, raw.triangles)


def vertices_on_triangles(vertices: Int[np.ndarray, " L"], triangles: Int[np.ndarray, "F 3"]) -> SurfacePoints:
    """Vertices as surface points. ValueError names a vertex that no triangle has."""
    order = np.argsort(triangles.reshape(-1), kind="stable")
    found = np.searchsorted(triangles.reshape(-1)[order], vertices)
    corner = order[np.minimum(found, len(order) - 1)]
    wrong = triangles.reshape(-1)[corner] != vertices
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"landmark {first} is vertex {int(vertices[first])}, which is in no triangle")
    return SurfacePoints((corner // 3).astype(np.int32), np.eye(3, dtype=np.float32)[corner % 3])


def _norms(basis: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(component.astype(np.float64)) for component in basis], np.float32)


def _meta(raw: RawModel, notes: list[str]) -> ModelMeta:
    return ModelMeta(
        name=raw.name,
        source=raw.source,
        licence=raw.licence,
        region_names=raw.region_names,
        expression_names=raw.expression_names,
        expression_kind="blendshape" if raw.expression_kind == "blendshape" else "component",
        created_by="python -m bfm convert",
        notes="; ".join(notes),
        identity_sigma=None if raw.identity_sigma is None else tuple(float(value) for value in raw.identity_sigma),
    )
