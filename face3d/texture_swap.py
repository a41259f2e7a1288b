"""Visible texture swapping: frame i redrawn with the skin that another frame j of the same person shows.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020): the texture of j, where its z-buffer
sees it, is put on the geometry of i and rasterised in the pose of i. Here each pixel of i asks directly where its point
of the surface lies in frame j, so nothing is lost in a texture between. Differentiable in both frames' vertices (shape,
expression, pose) and in the pictures; which face a pixel sees, and what is visible, has no gradient.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.image import sample_bilinear
from face3d.mesh import vertex_normals
from face3d.rasterise import Fragments, rasterise
from face3d.render import interpolate

DEPTH_TOLERANCE = 0.01
"""Of the mesh's size in the picture: a point that lies no deeper than this behind what the z-buffer shows is seen."""

LEAST_FACING = 0.2
"""Cosine to the camera below which skin is seen too aslant to be compared."""


class View(NamedTuple):
    """What of a mesh each frame shows; made once a frame, used in every pair."""

    fragments: Fragments
    vertices_px: Float[Tensor, "B V 3"]
    facing: Float[Tensor, "B V 1"]  # cosine between the vertices' normals and the direction to the camera


class Swapped(NamedTuple):
    """Frame i with the skin of frame j, zero where the mesh is not, and where the two can be compared: skin that both
    show, of the triangles that count."""

    image: Float[Tensor, "B C H W"]
    mask: Bool[Tensor, "B H W"]


def look(vertices_px: Float[Tensor, "B V 3"], triangles: Int[Tensor, "F 3"], size_hw: tuple[int, int]) -> View:
    """Rasterise frames. Vertices in pixels, third column depth in pixels; triangles counter-clockwise from outside."""
    with torch.no_grad():
        facing = -vertex_normals(vertices_px, triangles)[..., 2:]
    return View(rasterise(vertices_px, triangles, size_hw), vertices_px, facing)


def swap_texture(
    image_j: Float[Tensor, "B C H W"],
    view_i: View,
    view_j: View,
    triangles: Int[Tensor, "F 3"],
    counted: Bool[Tensor, " F"] | None = None,
) -> Swapped:
    """I_(j->i) and M_ij of a batch of pairs.

    Args:
        image_j: the frames that give their skin.
        view_i, view_j: both frames' meshes, of one person and one topology, looked at in pictures of the same size.
        triangles: of the topology.
        counted: the triangles of the mask; all where None. The inner mouth, for one, is better left out.

    Raises:
        ValueError: pictures and views of different sizes.
    """
    size_hw, drawn = tuple(image_j.shape[-2:]), tuple(view_i.fragments.depth.shape[-2:])
    if not size_hw == drawn == tuple(view_j.fragments.depth.shape[-2:]):
        raise ValueError(f"image_j is {size_hw}, views are {drawn} and {tuple(view_j.fragments.depth.shape[-2:])}")
    fragments = view_i.fragments
    place = interpolate(view_j.vertices_px, fragments, triangles)
    colours = sample_bilinear(image_j, place[..., :2].flatten(1, 2).to(image_j.dtype)).unflatten(2, size_hw)
    covered = fragments.triangle >= 0
    image = torch.where(covered[:, None], colours, torch.zeros_like(colours))
    with torch.no_grad():
        facing = interpolate(torch.cat([view_i.facing, view_j.facing], 2), fragments, triangles).amin(-1)
        mask = covered & (facing > LEAST_FACING) & _seen(place, view_j)
        if counted is not None:
            mask &= counted[fragments.triangle.clamp_min(0).long()]
    return Swapped(image, mask)


def ordered_pairs(frames: int) -> list[tuple[int, int]]:
    """All (i, j) with i != j of so many frames."""
    return [(i, j) for i in range(frames) for j in range(frames) if i != j]


def _seen(place: Float[Tensor, "B H W 3"], view: View) -> Bool[Tensor, "B H W"]:
    """Whether points (x, y, depth) lie in the picture, and not behind what it shows there.

    Behind means farther than the farthest of the four pixels around, which no slope of the surface itself is."""
    depth = view.fragments.depth
    height, width = depth.shape[-2:]
    low = place[..., :2].floor()
    inside = ((place[..., :2] >= 0) & (place[..., :2] <= torch.tensor([width - 1, height - 1]).to(place))).all(-1)
    x, y = low[..., 0].clamp(0, width - 1).long(), low[..., 1].clamp(0, height - 1).long()
    flat = depth.flatten(1)
    around = [
        flat.gather(1, ((y + dy).clamp_max(height - 1) * width + (x + dx).clamp_max(width - 1)).flatten(1))
        for dy in (0, 1)
        for dx in (0, 1)
    ]
    shown = torch.stack([torch.where(values.isinf(), -torch.inf, values) for values in around]).amax(0)
    points = view.vertices_px[..., :2]
    size = (points.amax(1) - points.amin(1)).amax(1)[:, None]
    return inside & (place[..., 2] <= (shown + DEPTH_TOLERANCE * size).view_as(place[..., 2]))
