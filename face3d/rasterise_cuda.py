"""Rasteriser for graphics cards, in torch alone: Triton and CUDA extensions both need a compiler on the user's machine.

Every pixel of every face's bounding box becomes one candidate; those inside their face compete for their pixel through
one atomic minimum over a 64-bit key, the depth's bits above the face's index. The result does not depend on the order
of execution: of two equal depths the first face wins, as in the other backends. Runs on the CPU too, for parity tests.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int32, Int64
from torch import Tensor

_CHUNK = 1 << 22  # candidates held at a time: about 0.6 GB
_NOTHING = torch.iinfo(torch.int64).max


class _Boxes(NamedTuple):
    """Pixels that each face may cover: left, top, width, height; 0 wide where a face is not drawn."""

    left: Int64[Tensor, " N"]
    top: Int64[Tensor, " N"]
    width: Int64[Tensor, " N"]
    height: Int64[Tensor, " N"]


def visible_triangles(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    size_hw: tuple[int, int],
    cull_backfaces: bool = False,
    area_epsilon_px2: float = 0.0,
) -> Int32[Tensor, "B H W"]:
    """Index of the nearest face at each pixel centre, -1 where none.

    A face without area, or with a vertex that is not finite, is not drawn; a pixel on an edge is inside.
    """
    (height, width), batch, count = size_hw, len(vertices_px), len(triangles)
    corners = vertices_px.detach()[:, triangles.long()].reshape(-1, 3, 3).double()
    boxes = _boxes(corners, size_hw, cull_backfaces)
    keys = torch.full((batch * height * width,), _NOTHING, dtype=torch.int64, device=vertices_px.device)
    candidates = boxes.width * boxes.height
    for faces in _chunks(candidates):
        face = torch.repeat_interleave(faces, candidates[faces])
        first = torch.repeat_interleave(candidates[faces].cumsum(0) - candidates[faces], candidates[faces])
        offset = torch.arange(len(face), device=face.device) - first
        x = boxes.left[face] + offset % boxes.width[face]
        y = boxes.top[face] + torch.div(offset, boxes.width[face], rounding_mode="floor")
        inside, depth = _inside_and_depth(corners[face], x, y, area_epsilon_px2)
        pixel = (torch.div(face, count, rounding_mode="floor") * height + y) * width + x
        key = (_sortable(depth) << 32) | (face % count)
        keys.scatter_reduce_(0, pixel[inside], key[inside], reduce="amin")
    triangle = torch.where(keys == _NOTHING, -1, keys & 0xFFFFFFFF)
    return triangle.reshape(batch, height, width).to(torch.int32)


def _boxes(corners: Float[Tensor, "N 3 3"], size_hw: tuple[int, int], cull: bool) -> _Boxes:
    edge = corners[:, 1:, :2] - corners[:, :1, :2]
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 1, 0] * edge[:, 0, 1]
    drawn = (area != 0) & corners.isfinite().flatten(1).all(dim=1) & ~((area > 0) & cull)
    points = torch.where(drawn[:, None, None], corners[..., :2], 0.0)
    limit = torch.tensor([size_hw[1] - 1.0, size_hw[0] - 1.0], dtype=points.dtype, device=points.device)
    start = points.amin(dim=1).ceil().clamp(min=0.0)
    stop = torch.minimum(points.amax(dim=1).floor(), limit)
    size = (stop - start + 1.0).clamp(min=0.0) * drawn[:, None]
    start = torch.minimum(start, limit.clamp(min=0.0))  # beyond the picture: any number that an integer can hold
    left_top, width_height = start.long(), size.long()
    return _Boxes(left_top[:, 0], left_top[:, 1], width_height[:, 0], width_height[:, 1])


def _chunks(candidates: Int64[Tensor, " N"]) -> list[Int64[Tensor, " M"]]:
    """Indices of the faces with candidates, in runs of at most `_CHUNK` candidates (or one larger face)."""
    faces = candidates.nonzero().squeeze(1)
    if len(faces) == 0:
        return []
    chunk = torch.div(candidates[faces].cumsum(0) - 1, _CHUNK, rounding_mode="floor")
    return list(faces.split(torch.unique_consecutive(chunk, return_counts=True)[1].tolist()))


def _inside_and_depth(
    corners: Float[Tensor, "N 3 3"], x: Int64[Tensor, " N"], y: Int64[Tensor, " N"], epsilon: float
) -> tuple[Bool[Tensor, " N"], Float[Tensor, " N"]]:
    """Whether each candidate's pixel is in its face, and the depth there in float32.

    float64 inside: the sign of an edge function of float32 vertices is then exact, and neighbours leave no hole.
    """
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (corner.unbind(-1) for corner in corners.unbind(1))
    weight_a = (x - x1) * (y1 - y2) + (y - y1) * (x2 - x1)
    weight_b = (x - x2) * (y2 - y0) + (y - y2) * (x0 - x2)
    weight_c = (x - x0) * (y0 - y1) + (y - y0) * (x1 - x0)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    sign = area.sign()
    inside = (weight_a * sign >= 0) & (weight_b * sign >= 0) & (weight_c * sign >= 0)
    depth = (weight_a * z0 + weight_b * z1 + weight_c * z2) / (area - epsilon)
    return inside, depth.float()


def _sortable(depth: Float[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Signed integers in the order of the float32 depths: negative floats count backwards from their sign bit."""
    bits = (depth + 0.0).view(torch.int32)  # + 0.0: -0.0 and 0.0 are the same depth
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
