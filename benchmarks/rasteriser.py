"""The rasteriser's backends on one face-sized mesh: 10k vertices, about 20k faces, 224 x 224 pixels."""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.timing import Timing, measure
from face3d.morphable import MorphableModel
from face3d.rasterise import rasterise
from face3d.rasterise_numba import rasterise_numpy
from face3d.texture import extract_texture

SIZE_HW = (224, 224)


def sphere(rows: int = 100) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """A sphere of rows^2 vertices that fills nine tenths of the picture, both sides of it drawn."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, rows), indexing="ij")
    radius, centre = 0.45 * SIZE_HW[0], (SIZE_HW[0] - 1) / 2
    x, y = radius * np.sin(polar) * np.cos(around) + centre, centre - radius * np.cos(polar)
    vertices = np.stack([x, y, radius * np.sin(polar) * np.sin(around)], axis=-1).reshape(-1, 3)
    index = np.arange(rows * rows).reshape(rows, rows)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2).reshape(-1, 3)
    return vertices.astype(np.float32), triangles.astype(np.int32)


def run(quick: bool = False) -> list[Timing]:
    """Time every backend that can run here; `quick` leaves out those that need seconds."""
    vertices, triangles = sphere()
    mesh, faces = torch.from_numpy(vertices)[None], torch.from_numpy(triangles)
    cases: list[tuple[str, Callable[[], object]]] = [
        ("rasterise: numba, numpy door", lambda: rasterise_numpy(vertices, triangles, SIZE_HW)),
        ("rasterise: numba, torch door", lambda: rasterise(mesh, faces, SIZE_HW, "numba")),
        ("rasterise: numba, forward and backward", lambda: _backward(mesh, faces)),
        ("rasterise: the CUDA backend, run on the CPU", lambda: rasterise(mesh, faces, SIZE_HW, "cuda")),
        ("texture: 512 x 512 of 9k vertices, 450 x 450 photo", _texture_case()),
    ]
    if torch.cuda.is_available():
        on_card, faces_on_card = mesh.cuda(), faces.cuda()
        cases.append(("rasterise: CUDA", lambda: _synchronised(on_card, faces_on_card)))
    timings = [measure(name, case) for name, case in cases]
    return timings if quick else timings + _slow(mesh, faces)


def _slow(mesh: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> list[Timing]:
    """Once each, without a warming call."""
    timings = [
        measure("rasterise: torch reference, 32 x 32", lambda: rasterise(mesh, faces, (32, 32), "torch"), least_calls=1)
    ]
    if importlib.util.find_spec("pytorch3d") is not None:
        timings.append(
            measure("rasterise: PyTorch3D", lambda: rasterise(mesh, faces, SIZE_HW, "pytorch3d"), least_calls=1)
        )
    return timings


def _backward(vertices: Tensor, triangles: Tensor) -> None:
    leaf = vertices.clone().requires_grad_()
    fragments = rasterise(leaf, triangles, SIZE_HW, "numba")
    (fragments.barycentric.square().sum() + fragments.depth[fragments.triangle >= 0].sum()).backward()


def _synchronised(vertices: Tensor, triangles: Tensor) -> None:
    rasterise(vertices, triangles, SIZE_HW, "cuda")
    torch.cuda.synchronize()


def _texture_case() -> Callable[[], object]:
    model = MorphableModel.random(0, rows=100, columns=90)
    vertices = (model.mean.numpy() * [1.2, -1.2, -1.2] + [225, 225, 0]).astype(np.float32)
    photo = np.random.default_rng(0).integers(0, 256, (450, 450, 3)).astype(np.uint8)
    return lambda: extract_texture(photo, vertices, model, 512)
