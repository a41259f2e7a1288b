"""Pictures of meshes: attributes, textures, depth, normals; differentiable in the vertices and what they carry."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.image import sample_bilinear
from face3d.mesh import vertex_normals
from face3d.rasterise import Backend, Fragments, corner_values, rasterise


class Rendering(NamedTuple):
    """A picture, where it shows a mesh, and which part of it."""

    image: Float[Tensor, "B H W C"]
    mask: Bool[Tensor, "B H W"]
    fragments: Fragments


def interpolate(
    attributes: Float[Tensor, "B V C"] | Float[Tensor, "B N 3 C"],
    fragments: Fragments,
    triangles: Int[Tensor, "F 3"],
) -> Float[Tensor, "B H W C"]:
    """Attributes of the vertices, or of each face's corners, at every covered pixel; 0 elsewhere.

    Raises:
        ValueError: another batch size than the fragments', or attributes of another number of faces.
    """
    if len(attributes) != len(fragments.triangle):
        raise ValueError(f"attributes of {len(attributes)} meshes, fragments of {len(fragments.triangle)}")
    if attributes.ndim == 4:
        if attributes.shape[1] != len(triangles):
            raise ValueError(f"attributes of {attributes.shape[1]} faces, but there are {len(triangles)} triangles")
        triangles = torch.arange(3 * len(triangles), device=triangles.device).reshape(-1, 3)
        attributes = attributes.flatten(1, 2)
    where = (fragments.triangle >= 0).nonzero(as_tuple=True)
    corners = corner_values(attributes, triangles, fragments.triangle)
    values = (fragments.barycentric[where][..., None].to(corners.dtype) * corners).sum(dim=1)
    return corners.new_zeros(*fragments.triangle.shape, corners.shape[2]).index_put(where, values)


def render(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    attributes: Float[Tensor, "B V C"] | Float[Tensor, "B N 3 C"],
    size_hw: tuple[int, int],
    background: Float[Tensor, "B H W C"] | float = 0.0,
    backend: Backend = "auto",
) -> Rendering:
    """Draw meshes with attributes over a background; frames and errors as in `face3d.rasterise.rasterise`."""
    fragments = rasterise(vertices_px, triangles, size_hw, backend)
    mask = fragments.triangle >= 0
    image = interpolate(attributes, fragments, triangles)
    return Rendering(torch.where(mask[..., None], image, background), mask, fragments)


def sample_texture(
    texture: Float[Tensor, "B C S S"],
    uv: Float[Tensor, "V 2"],
    fragments: Fragments,
    triangles: Int[Tensor, "F 3"],
) -> Float[Tensor, "B H W C"]:
    """The texture at every covered pixel, bilinear at x = u (S - 1), y = v (S - 1); 0 elsewhere."""
    batch, channels, size = texture.shape[:3]
    pixels = (uv * (size - 1)).expand(batch, -1, -1)
    lookup = interpolate(pixels, fragments, triangles)
    values = sample_bilinear(texture, lookup.flatten(1, 2).to(texture.dtype))
    image = values.transpose(1, 2).reshape(*fragments.triangle.shape, channels)
    return image * (fragments.triangle >= 0)[..., None]


def depth_map(
    vertices_px: Float[Tensor, "B V 3"], triangles: Int[Tensor, "F 3"], size_hw: tuple[int, int]
) -> Float[Tensor, "B H W"]:
    """Depth in pixels (larger is farther) at every pixel, +inf where there is no mesh."""
    return rasterise(vertices_px, triangles, size_hw).depth


def normal_map(
    vertices_px: Float[Tensor, "B V 3"], triangles: Int[Tensor, "F 3"], size_hw: tuple[int, int]
) -> Float[Tensor, "B H W 3"]:
    """Unit normals in camera axes (x right, y down, z forward: a surface that faces the camera has -z), 0 elsewhere."""
    fragments = rasterise(vertices_px, triangles, size_hw)
    normals = interpolate(vertex_normals(vertices_px, triangles), fragments, triangles)
    return torch.nn.functional.normalize(normals, dim=-1)
