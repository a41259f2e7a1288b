"""Rasteriser of PyTorch3D, where the user installed it: for parity and for those who already build on it.

PyTorch3D's NDC: +x left, +y up, +z away, the shorter side of the picture spans [-1, 1], pixel centres lie half a pixel
inside (https://github.com/facebookresearch/pytorch3d/blob/main/docs/notes/cameras.md).
"""

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor


def ndc_from_px(points_px: Float[Tensor, "*B 3"], size_hw: tuple[int, int]) -> Float[Tensor, "*B 3"]:
    """PyTorch3D NDC of image points; the third column is left as it is."""
    height, width = size_hw
    half = min(height, width) / 2.0
    x, y, depth = points_px.unbind(-1)
    return torch.stack([((width - 1) / 2.0 - x) / half, ((height - 1) / 2.0 - y) / half, depth], dim=-1)


def px_from_ndc(points_ndc: Float[Tensor, "*B 3"], size_hw: tuple[int, int]) -> Float[Tensor, "*B 3"]:
    """Image points of PyTorch3D NDC; the third column is left as it is."""
    height, width = size_hw
    half = min(height, width) / 2.0
    x, y, depth = points_ndc.unbind(-1)
    return torch.stack([(width - 1) / 2.0 - x * half, (height - 1) / 2.0 - y * half, depth], dim=-1)


def visible_triangles(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "F 3"],
    size_hw: tuple[int, int],
    cull_backfaces: bool = False,
    area_epsilon_px2: float = 0.0,
) -> Int32[Tensor, "B H W"]:
    """Index of the nearest face at each pixel centre, -1 where none; a pixel exactly on an edge belongs to no face.

    `area_epsilon_px2` is there for the signature: PyTorch3D always has its own, 1e-8 in NDC.

    Raises:
        ImportError: PyTorch3D is not installed.
    """
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        message = "backend 'pytorch3d' needs PyTorch3D (its INSTALL.md); backends 'numba', 'cuda' and 'torch' do not"
        raise ImportError(message) from error
    vertices = ndc_from_px(vertices_px.detach(), size_hw)
    nearest = vertices[..., 2].amin(dim=1, keepdim=True)
    vertices = torch.cat(
        [vertices[..., :2], (vertices[..., 2] - nearest + 1.0)[..., None]], dim=-1
    )  # in front of z = 0
    meshes = Meshes(vertices, triangles.long().expand(len(vertices), -1, -1))
    faces, *_ = rasterize_meshes(
        meshes,
        image_size=size_hw,
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=False,
        cull_backfaces=cull_backfaces,
    )
    first = torch.arange(len(vertices), device=faces.device)[:, None, None] * len(
        triangles
    )  # faces are numbered through
    return torch.where(faces[..., 0] >= 0, faces[..., 0] - first, -1).to(torch.int32)
