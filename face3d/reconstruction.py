"""One reconstructed face: what `face3d.reconstruct` returns."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from face3d import export, overlay
from face3d.geometry import euler_deg_from_rotation
from face3d.gltf import expression_targets
from face3d.image import transform_points
from face3d.io import ImageLike, read_image, replace_files
from face3d.morphable import MorphableModel
from face3d.parse import embedded_parser
from face3d.parse_shown import shown_share
from face3d.region import FaceRegion
from face3d.texture import Texture, extract_texture, visibility

if TYPE_CHECKING:
    from trimesh import Trimesh
else:
    Trimesh = Any  # trimesh is loaded when a mesh is first asked for

TEXTURE_SIZE = 512
_RECORDED = (
    *("image_size_hw", "box", "score", "rotation", "scale", "translation_px", "euler_deg"),
    *("landmarks_px", "landmarks_confidence", "identity", "expression", "expression_names"),
    *("vertices_mm", "vertices_px", "triangles"),
)


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction:
    """A face in millimetres and in the photo: ``vertices_px = scale * (rotation @ vertices_mm) + translation_px``.

    Pixels are the photo's: pixel centres at integers, x right, y down; a third column is depth in pixels, larger is
    farther. Millimetres are the model's frame: x to the image's right when the face looks at the camera, y up, z out of
    the face. Camera axes are x right, y down, z forward. Texture and visibility are computed when first asked for.
    """

    box: Float[np.ndarray, " 4"]
    """[x0, y0, x1, y1] of the detection, or as given, in photo pixels."""
    score: float
    """Of the detection, in [0, 1]; 1 for a given box."""
    vertices_mm: Float32[np.ndarray, "V 3"]
    """The mesh in model space."""
    vertices_px: Float32[np.ndarray, "V 3"]
    """The mesh in the photo, with depth."""
    triangles: Int32[np.ndarray, "F 3"]
    """Vertex indices, counter-clockwise seen from outside."""
    landmarks_px: Float32[np.ndarray, "68 3"]
    """The 68 landmarks (300W order) in the photo, with depth, as the pose guidance network sees them."""
    landmarks_confidence: Float32[np.ndarray, " 68"]
    """In (0, 1]."""
    rotation: Float32[np.ndarray, "3 3"]
    """Model to camera axes; diag(1, -1, -1) for a face that looks straight at the camera."""
    scale: float
    """Pixels per millimetre."""
    translation_px: Float32[np.ndarray, " 2"]
    """Where the model's origin lies in the photo."""
    identity: Float32[np.ndarray, " K"]
    """Coefficients of the face's shape, in standard deviations."""
    expression: Float32[np.ndarray, " E"]
    """Weights of the expressions; `expression_names` names them."""
    uv: Float32[np.ndarray, "V 2"] | None
    """Texture coordinates, u right, v down: texel x = u (S - 1), y = v (S - 1). None where the model has none."""
    image_size_hw: tuple[int, int]
    """Height and width of the photo."""
    model: MorphableModel
    """The morphable model that the mesh comes from."""
    region: FaceRegion
    """The part of the photo under the face."""

    def __repr__(self) -> str:
        box = ", ".join(f"{edge:.1f}" for edge in self.box)
        angles = ", ".join(
            f"{name} {angle:.1f}" for name, angle in zip(("pitch", "yaw", "roll"), self.euler_deg, strict=True)
        )
        return f"Reconstruction(box [{box}] px, score {self.score:.2f}, {len(self.vertices_mm)} vertices, {angles} deg)"

    @property
    def expression_names(self) -> tuple[str, ...] | None:
        """A name for each expression weight, or None where the model's expressions are principal components."""
        return self.model.expression_names

    @cached_property
    def euler_deg(self) -> Float32[np.ndarray, " 3"]:
        """(pitch, yaw, roll) in degrees, with the sign of AFLW2000's Pose_Para."""
        return euler_deg_from_rotation(torch.from_numpy(self.rotation)[None])[0].numpy()

    @cached_property
    def visibility(self) -> Bool[np.ndarray, " V"]:
        """Which vertices the photo shows: inside it, and not behind another part of the face."""
        return visibility(self._vertices_in_region, self.triangles, self.region.size_hw)

    @property
    def texture(self) -> UInt8[np.ndarray, "S S 3"] | None:
        """The photo's colours in UV space (512 x 512 sRGB), or None: see `texture_maps`."""
        return None if self.texture_maps is None else self.texture_maps.image

    @cached_property
    def texture_maps(self) -> Texture | None:
        """The texture and where each texel comes from: 0 seen, 1 mirrored from the other side, 2 filled in.

        What the face parser takes for background, clothes or something before the face is no part of it; hair above
        the brows is. The neck is always filled in.

        None where it was not asked for (``texture=False``), or where the model has no UV coordinates.
        """
        if self.region.pixels is None or self.uv is None:
            return None
        vertices_px = self._vertices_in_region
        landmarks_px = transform_points(self.region.T_region_from_photo, self.landmarks_px)
        shown = shown_share(self.region.pixels, landmarks_px, vertices_px, self.model, embedded_parser())
        return extract_texture(self.region.pixels, vertices_px, self.model, TEXTURE_SIZE, shown)

    @cached_property
    def fade(self) -> Float32[np.ndarray, " V"]:
        """How strongly `overlay` shows each vertex: 1 on the face, falling to 0 on neck and scalp."""
        landmarks_mm = self.model.landmarks_of(torch.from_numpy(self.vertices_mm)[None].to(self.model.mean.device))
        return overlay.fade_out(self.vertices_mm, landmarks_mm[0].cpu().numpy())

    def to_trimesh(self) -> Trimesh:
        """The mesh in millimetres (model space) with its texture as material, where it has one."""
        return export.build_mesh(self.vertices_mm, self.triangles, self.uv, self.texture)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.glb`` (metres, as glTF wants), ``.obj`` (.mtl and .png beside it), ``.ply``, ``.json`` or ``.npz``.

        The .glb can be animated: its morph targets are the model's expressions (`face3d.gltf.expression_targets`).
        Missing folders are made; all files appear whole or not at all. docs/usage.md describes each format.
        Raises ValueError for another extension, OSError where nothing can be written.
        """
        path = Path(path)
        kind = export.format_of(path)
        if kind == "json":
            files = {path: export.json_bytes(self._record() | {"expression": self._named_expression()})}
        elif kind == "npz":
            files = {path: export.npz_bytes(self._record() | self._heavy_record())}
        else:
            files = export.mesh_files(self.to_trimesh(), path, expression_targets(self.model, self.expression))
        replace_files(files)

    def overlay(
        self, image: ImageLike, opacity: float = overlay.OPACITY, landmarks: bool = False
    ) -> UInt8[np.ndarray, "H W 3"]:
        """A copy of the photo with the mesh drawn over it as half-transparent clay, and the 68 landmarks as dots.

        ``image`` is the photo that was reconstructed; neck and scalp fade out (`fade`).
        Raises ValueError for a photo of another size and an opacity outside [0, 1].
        """
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity is {opacity}: expected 0 (photo only) to 1 (mesh only)")
        photo = read_image(image)
        if photo.shape[:2] != self.image_size_hw:
            raise ValueError(
                f"the photo is {photo.shape[1]} x {photo.shape[0]}, the face was reconstructed from one of "
                f"{self.image_size_hw[1]} x {self.image_size_hw[0]}: pass the same photo"
            )
        picture = overlay.draw_mesh(photo, self.vertices_px, self.triangles, opacity * self.fade)
        return overlay.draw_landmarks(picture, self.landmarks_px) if landmarks else picture

    def depth_map(self, shape: tuple[int, ...]) -> Float32[np.ndarray, "H W"]:
        """Depth (px, larger is farther) at each pixel of a photo of this shape (H, W, ...); NaN off the face."""
        return overlay.depth_map_px(self.vertices_px, self.triangles, _size_hw(shape))

    def normal_map(self, shape: tuple[int, ...]) -> Float32[np.ndarray, "H W 3"]:
        """Unit normals in camera axes at each pixel of a photo of this shape (H, W, ...); NaN off the face."""
        return overlay.normal_map(self.vertices_px, self.triangles, _size_hw(shape))

    @property
    def _vertices_in_region(self) -> Float32[np.ndarray, "V 3"]:
        return transform_points(self.region.T_region_from_photo, self.vertices_px).astype(np.float32)

    def _record(self) -> dict[str, Any]:
        return {"model": self.model.meta.name} | {name: getattr(self, name) for name in _RECORDED}

    def _named_expression(self) -> dict[str, float] | np.ndarray:
        names = self.expression_names
        return self.expression if names is None else dict(zip(names, self.expression.tolist(), strict=True))

    def _heavy_record(self) -> dict[str, Any]:
        source = None if self.texture_maps is None else self.texture_maps.source
        return {"visibility": self.visibility, "uv": self.uv, "texture": self.texture, "texture_source": source}


def _size_hw(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2 or shape[0] < 1 or shape[1] < 1:
        raise ValueError(f"shape is {tuple(shape)}: expected (height, width), for example image.shape")
    return int(shape[0]), int(shape[1])
