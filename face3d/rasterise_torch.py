"""The readable reference rasteriser: every face against every pixel, in plain torch. Slow; for tests."""

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

_CHUNK = 1 << 21  # face-pixel pairs held at a time


def visible_triangles(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    size_hw: tuple[int, int],
    cull_backfaces: bool = False,
    area_epsilon_px2: float = 0.0,
) -> Int32[Tensor, "B H W"]:
    """Index of the nearest face at each pixel centre, -1 where none; of equal depths the first face.

    A face without area, or with a vertex that is not finite, is not drawn; a pixel on an edge is inside.
    """
    height, width = size_hw
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2).to(vertices_px.device, torch.float64)
    found = [
        _nearest(mesh[triangles.long()].double(), pixels, cull_backfaces, area_epsilon_px2)
        for mesh in vertices_px.detach()
    ]
    if not found:
        return torch.zeros(0, height, width, dtype=torch.int32, device=vertices_px.device)
    return torch.stack(found).reshape(len(found), height, width).to(torch.int32)


def _nearest(
    corners: Float[Tensor, "F 3 3"], pixels: Float[Tensor, "P 2"], cull: bool, epsilon: float
) -> Int[Tensor, " P"]:
    best = torch.full((len(pixels),), -1, dtype=torch.int64, device=pixels.device)
    nearest = torch.full((len(pixels),), torch.inf, dtype=torch.float32, device=pixels.device)
    step = max(1, _CHUNK // max(1, len(pixels)))
    for start in range(0, len(corners), step):
        inside, depth = _inside_and_depth(corners[start : start + step], pixels, cull, epsilon)
        depth = torch.where(inside, depth, torch.inf)
        z = depth.amin(dim=0)
        face = (depth == z).to(torch.uint8).argmax(dim=0)  # the first of equals
        nearer = z < nearest
        nearest, best = torch.where(nearer, z, nearest), torch.where(nearer, face + start, best)
    return best


def _inside_and_depth(
    corners: Float[Tensor, "F 3 3"], pixels: Float[Tensor, "P 2"], cull: bool, epsilon: float
) -> tuple[Bool[Tensor, "F P"], Float[Tensor, "F P"]]:
    """Whether each pixel is in each face, and the face's depth there (float32, as the other backends compare it)."""
    x, y, z = corners[:, :, None, :].unbind(-1)  # (F, 3, 1)
    px, py = pixels[:, 0], pixels[:, 1]
    edges = []
    for i, j in ((1, 2), (2, 0), (0, 1)):
        edges.append((px - x[:, i]) * (y[:, i] - y[:, j]) + (py - y[:, i]) * (x[:, j] - x[:, i]))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    weights = torch.stack(edges, dim=1) * area.sign()[:, None]
    drawn = (area != 0) & corners.isfinite().all(dim=(1, 2))[:, None] & ~((area > 0) & cull)
    depth = (weights * z).sum(dim=1) * area.sign() / (area - epsilon)
    return (weights >= 0).all(dim=1) & drawn, depth.float()
