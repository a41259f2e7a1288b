"""A face as the bytes of files: glb, obj (with mtl and png), ply, json, npz. Writing them is face3d.io's business."""

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from face3d._version import __version__
from face3d.gltf import MorphTargets, Motion, glb_bytes

if TYPE_CHECKING:
    from trimesh import Trimesh
else:
    Trimesh = Any  # trimesh is loaded when a mesh is first asked for

FORMATS = ("glb", "obj", "ply", "json", "npz")
RECORD_FORMAT = "face3d-reconstruction-1"
_DECIMALS, _MESH_DECIMALS = 7, 4
_MESH_SIZE = 1000  # numbers; longer arrays are rounded more


def format_of(path: Path) -> str:
    """The format that a file name asks for. ValueError for any other than ``FORMATS``."""
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise ValueError(f"unknown format {path.suffix!r} of {path.name}: use one of {', '.join(FORMATS)}")
    return name


def build_mesh(
    vertices_mm: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    uv: Float[np.ndarray, "V 2"] | None,
    texture: UInt8[np.ndarray, "S S 3"] | None,
) -> Trimesh:
    """A trimesh mesh in millimetres, vertices in the given order, with the texture as a matt material."""
    import trimesh

    mesh = trimesh.Trimesh(vertices=vertices_mm, faces=triangles, process=False)
    mesh.units = "mm"
    if uv is not None and texture is not None:
        material = trimesh.visual.material.PBRMaterial(
            name="face", baseColorTexture=Image.fromarray(texture), metallicFactor=0.0, roughnessFactor=0.9
        )
        mesh.visual = trimesh.visual.TextureVisuals(uv=_gl_uv(uv, texture.shape[0]), material=material)
    return mesh


def mesh_files(
    mesh: Trimesh, path: Path, targets: MorphTargets | None = None, motion: Motion | None = None
) -> dict[Path, bytes]:
    """The files of a mesh by its format; the named file comes last, after what it refers to. Only .glb can hold morph
    targets and motion."""
    kind = format_of(path)
    if kind == "glb":
        return {path: glb_bytes(mesh, targets, motion)}
    return _obj(mesh, path) if kind == "obj" else _ply(mesh, path)


def json_bytes(record: dict[str, Any]) -> bytes:
    """A record as JSON: arrays become lists, rounded to seven decimals (meshes: four)."""
    return json.dumps(_plain({"format": RECORD_FORMAT, "created_by": f"face3d {__version__}", **record})).encode()


def npz_bytes(record: dict[str, Any]) -> bytes:
    """A record as a compressed npz without pickles: numbers and names become arrays, None is left out."""
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in record.items() if value is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"format": np.asarray(RECORD_FORMAT), **arrays})
    return buffer.getvalue()


def _gl_uv(uv: np.ndarray, size: int) -> np.ndarray:
    """From texel centres at u (S - 1), v down, to those of OpenGL files: (u (S - 1) + 1/2) / S, v up."""
    centred = (uv * (size - 1) + 0.5) / size
    return np.column_stack([centred[:, 0], 1 - centred[:, 1]])


def _obj(mesh: Trimesh, path: Path) -> dict[Path, bytes]:
    from trimesh.exchange.obj import export_obj
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial, SimpleMaterial

    stem = re.sub(r"[^\w.-]", "_", path.stem)
    mesh = mesh.copy()
    if isinstance(mesh.visual, TextureVisuals) and isinstance(mesh.visual.material, PBRMaterial):
        white, black = [255, 255, 255, 255], [0, 0, 0, 255]
        texture = mesh.visual.material.baseColorTexture
        mesh.visual.material = SimpleMaterial(texture, diffuse=white, ambient=white, specular=black)
        mesh.visual.material.name = f"{stem}_texture"  # never NAME.png, which may be the photo itself
    header = f"face3d {__version__}, millimetres"
    text, beside = export_obj(mesh, return_texture=True, mtl_name=f"{stem}.mtl", digits=_MESH_DECIMALS, header=header)
    return {**{path.with_name(name): content for name, content in beside.items()}, path: text.encode()}


def _ply(mesh: Trimesh, path: Path) -> dict[Path, bytes]:
    """PLY has no texture: each vertex takes the colour of its texel."""
    from trimesh.exchange.ply import export_ply
    from trimesh.visual import TextureVisuals

    mesh = mesh.copy()
    if isinstance(mesh.visual, TextureVisuals):
        mesh.visual = mesh.visual.to_color()
    return {path: export_ply(mesh)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        decimals = _MESH_DECIMALS if value.size > _MESH_SIZE else _DECIMALS
        return np.round(value.astype(np.float64), decimals).tolist() if value.dtype.kind == "f" else value.tolist()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(value, _DECIMALS) if isinstance(value, float) else value
