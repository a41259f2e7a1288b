"""Which face each pixel sees, by the backend that suits the device; barycentrics and depth are differentiable.

A backend only decides the face. Barycentrics and depth are recomputed from the vertices in torch, so gradients flow to
`vertices_px` from every backend alike; the choice of the face itself has no gradient (as in PyTorch3D with blur 0).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from face3d import rasterise_cuda, rasterise_pytorch3d, rasterise_torch
from face3d.rasterise_numba import NumpyFragments, rasterise_numpy

Backend = Literal["auto", "numba", "cuda", "torch", "pytorch3d"]


class Fragments(NamedTuple):
    """What is seen at each pixel: face index (-1 none), barycentric weights (0 where none), depth (+inf where none)."""

    triangle: Int32[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


def rasterise(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    size_hw: tuple[int, int],
    backend: Backend = "auto",
    cull_backfaces: bool = False,
    area_epsilon_px2: float = 0.0,
) -> Fragments:
    """Rasterise a batch of meshes with the same triangles.

    Args:
        vertices_px: x, y in pixels (centres at integers, y down) and depth, smaller is nearer.
        triangles: vertex indices, counter-clockwise seen from outside.
        size_hw: height and width of the picture.
        backend: "numba" on the CPU and "cuda" on a graphics card are what "auto" takes; "torch" is the slow
            reference; "pytorch3d" needs PyTorch3D. All run on tensors of any device.
        cull_backfaces: leave out the faces seen from inside.
        area_epsilon_px2: see `fragments_of`; 0 gives exact barycentrics.

    Raises:
        ValueError: unknown backend, or triangles that name a vertex which does not exist.
        ImportError: backend "pytorch3d" without PyTorch3D.
    """
    if backend == "auto":
        backend = "cuda" if vertices_px.is_cuda else "numba"
    if backend != "numba" and backend not in _FINDERS:
        raise ValueError(f"backend is {backend!r}; expected one of 'auto', 'numba', {', '.join(map(repr, _FINDERS))}")
    if backend == "numba":
        drawn = _numba(vertices_px, triangles, size_hw, cull_backfaces, area_epsilon_px2)
        differentiable = vertices_px.requires_grad and torch.is_grad_enabled()
        if vertices_px.dtype == torch.float32 and not differentiable and area_epsilon_px2 == 0.0:
            return Fragments(*(array.to(vertices_px.device) for array in drawn))
        triangle = drawn.triangle.to(vertices_px.device)
    else:
        _check_indices(triangles, vertices_px.shape[1])
        triangle = _FINDERS[backend](vertices_px, triangles, size_hw, cull_backfaces, area_epsilon_px2)
    return fragments_of(vertices_px, triangles, triangle, area_epsilon_px2)


def fragments_of(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    triangle: Int32[Tensor, "B H W"],
    area_epsilon_px2: float = 0.0,
) -> Fragments:
    """Barycentrics and depth of the faces seen at each pixel, with gradients to the vertices.

    With q_i the corner i relative to the pixel: w_0 = q_1 x q_2 / (q_0 x q_1 + q_1 x q_2 + q_2 x q_0), and cyclically;
    depth = sum_i w_i z_i.

    PyTorch3D takes its epsilon of 1e-8 NDC^2, ``1e-8 (min(size_hw) / 2)^2`` in pixels, from that denominator
    (rasterize_meshes, `kEpsilon`): on small faces its weights do not sum to one, and its depth is off by as much.
    `area_epsilon_px2` reproduces this for comparisons.
    """
    batch, y, x = (triangle >= 0).nonzero(as_tuple=True)
    corners = corner_values(vertices_px, triangles, triangle)
    qx = corners[..., 0] - x[:, None].to(corners.dtype)
    qy = corners[..., 1] - y[:, None].to(corners.dtype)
    weights = qx.roll(-1, 1) * qy.roll(-2, 1) - qx.roll(-2, 1) * qy.roll(-1, 1)
    weights = weights / (weights.sum(dim=1, keepdim=True) - area_epsilon_px2)
    barycentric = vertices_px.new_zeros(*triangle.shape, 3).index_put((batch, y, x), weights)
    depth = vertices_px.new_full(triangle.shape, torch.inf)
    depth = depth.index_put((batch, y, x), (weights * corners[..., 2]).sum(dim=1))
    return Fragments(triangle, barycentric, depth)


def corner_values(
    values: Float[Tensor, "B V C"], triangles: Int[Tensor, "F 3"], triangle: Int32[Tensor, "B H W"]
) -> Float[Tensor, "P 3 C"]:
    """Values at the three vertices of the face of each covered pixel, in the order of ``(triangle >= 0).nonzero()``."""
    covered = triangle >= 0
    batch = covered.nonzero(as_tuple=True)[0]
    index = triangles.long()[triangle[covered].long()] + (batch * values.shape[1])[:, None]
    picked = values.reshape(-1, values.shape[2]).index_select(0, index.reshape(-1))
    return picked.reshape(-1, 3, values.shape[2])


_FINDERS: dict[str, Callable[..., Int32[Tensor, "B H W"]]] = {
    "cuda": rasterise_cuda.visible_triangles,
    "torch": rasterise_torch.visible_triangles,
    "pytorch3d": rasterise_pytorch3d.visible_triangles,
}


def _check_indices(triangles: Int[Tensor, "F 3"], vertex_count: int) -> None:
    if triangles.numel() and not (triangles.min() >= 0 and triangles.max() < vertex_count):
        found = f"{int(triangles.min())}..{int(triangles.max())}"
        raise ValueError(f"triangles index vertices {found}, but there are {vertex_count}: pass this mesh's triangles")


def _numba(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    size_hw: tuple[int, int],
    cull: bool,
    area_epsilon_px2: float,
) -> Fragments:
    """Fragments on the CPU in float32, one mesh a thread."""
    meshes = list(vertices_px.detach().cpu().float().numpy())
    faces = triangles.cpu().numpy().astype(np.int32)

    def draw(mesh: np.ndarray) -> NumpyFragments:
        return rasterise_numpy(mesh, faces, size_hw, cull, area_epsilon_px2)

    workers = min(len(meshes), torch.get_num_threads())
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            drawn = list(pool.map(draw, meshes))
    else:
        drawn = [draw(mesh) for mesh in meshes]
    if not drawn:
        empty = torch.zeros(0, *size_hw)
        return Fragments(empty.int(), empty[..., None].expand(-1, -1, -1, 3), empty)
    arrays = (np.stack(group) if len(group) > 1 else group[0][None] for group in zip(*drawn, strict=True))
    return Fragments(*(torch.from_numpy(array) for array in arrays))
