import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor

from face3d.rasterise import Fragments, fragments_of, rasterise
from face3d.rasterise_pytorch3d import ndc_from_px, px_from_ndc

SIZE = (40, 56)
FAST = ("numba", "cuda")


def soup(seed: int, faces: int = 60, batch: int = 2) -> tuple[Float[Tensor, "B V 3"], Int[Tensor, "F 3"]]:
    """Overlapping random triangles, some beyond the picture."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(batch, faces, 1, 3, generator=generator) * torch.tensor([SIZE[1] + 20.0, SIZE[0] + 20.0, 50.0])
    corners = corners - torch.tensor([10.0, 10.0, 25.0]) + torch.randn(batch, faces, 3, 3, generator=generator) * 8
    return corners.reshape(batch, -1, 3), torch.arange(3 * faces).reshape(-1, 3)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("cull", [False, True])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_backends_equal_the_reference(backend: str, cull: bool, seed: int) -> None:
    vertices, triangles = soup(seed)
    expected = rasterise(vertices, triangles, SIZE, "torch", cull)
    found = rasterise(vertices, triangles, SIZE, backend, cull)
    assert (found.triangle == expected.triangle).float().mean() > 0.9995
    same = found.triangle == expected.triangle
    torch.testing.assert_close(found.barycentric[same], expected.barycentric[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.depth[same], expected.depth[same], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_do_not_depend_on_the_backend(backend: str) -> None:
    vertices, triangles = soup(3)
    gradients = []
    for name in (backend, "torch"):
        leaf = vertices.clone().requires_grad_()
        fragments = rasterise(leaf, triangles, SIZE, name)
        loss = fragments.barycentric.square().sum() + fragments.depth[fragments.triangle >= 0].sin().sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients)


def test_gradcheck_of_barycentrics_and_depth() -> None:
    vertices = torch.tensor(
        [[[0.3, 0.2, 1.0], [6.2, 0.7, 2.0], [1.1, 5.3, 4.0], [6.4, 6.6, -1.0]]], dtype=torch.float64
    )
    triangles = torch.tensor([[0, 1, 2], [1, 3, 2]])
    triangle = rasterise(vertices, triangles, (7, 8), "torch").triangle

    def visible(points: Tensor) -> tuple[Tensor, Tensor]:
        fragments = fragments_of(points, triangles, triangle)
        return fragments.barycentric, fragments.depth[triangle >= 0]

    assert torch.autograd.gradcheck(visible, vertices.requires_grad_())


@pytest.mark.parametrize("backend", ["numba", "cuda", "torch"])
def test_barycentrics_interpolate_the_pixel_itself(backend: str) -> None:
    vertices, triangles = soup(5)
    fragments = rasterise(vertices.double(), triangles, SIZE, backend)
    covered = fragments.triangle >= 0
    batch, y, x = covered.nonzero(as_tuple=True)
    corners = vertices.double()[batch[:, None], triangles[fragments.triangle[covered].long()]]
    points = (fragments.barycentric[covered][..., None] * corners).sum(1)
    torch.testing.assert_close(points[:, :2], torch.stack([x, y], -1).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(points[:, 2], fragments.depth[covered])
    assert (fragments.barycentric[~covered] == 0).all() and (fragments.depth[~covered] == torch.inf).all()


@pytest.mark.parametrize("backend", ["numba", "cuda", "torch"])
def test_shared_edges_leave_no_hole_and_the_first_of_equals_wins(backend: str) -> None:
    steps = torch.arange(0, 21) * 2.5  # vertices and edges that pass exactly through pixel centres
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(1, -1, 3)
    index = torch.arange(441).reshape(21, 21)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    twice = torch.cat([triangles, triangles])
    found = rasterise(vertices, twice, (51, 51), backend).triangle
    assert (found >= 0).all() and (found < len(triangles)).all()


@pytest.mark.parametrize("backend", ["numba", "cuda", "torch"])
def test_faces_that_cannot_be_drawn_are_left_out(backend: str) -> None:
    nan, inf = float("nan"), float("inf")
    vertices = torch.tensor([[[1.0, 1, 5], [8, 1, 5], [1, 8, 5], [nan, 2, 1], [3, inf, 1], [4, 4, -inf], [1e30, 2, 1]]])
    triangles = torch.tensor([[3, 1, 2], [0, 4, 2], [0, 1, 5], [1, 1, 2], [0, 1, 2]])
    fragments = rasterise(vertices, triangles, (10, 10), backend)
    assert set(fragments.triangle.unique().tolist()) == {-1, 4}
    assert rasterise(vertices, torch.tensor([[0, 6, 2]]), (10, 10), backend).triangle.max() == 0
    assert (rasterise(vertices, triangles[:0], (10, 10), backend).triangle == -1).all()
    assert (rasterise(vertices + 100, triangles, (10, 10), backend).triangle == -1).all()
    assert rasterise(vertices, triangles, (0, 10), backend).triangle.shape == (1, 0, 10)
    assert rasterise(vertices[:0], triangles, (3, 4), backend).depth.shape == (0, 3, 4)


@pytest.mark.parametrize("backend", ["numba", "cuda", "torch"])
def test_backfaces(backend: str) -> None:
    vertices = torch.tensor([[[1.0, 1, 0], [8, 1, 0], [1, 8, 0]]])
    outside, inside = torch.tensor([[0, 2, 1]]), torch.tensor([[0, 1, 2]])  # counter-clockwise on the screen: seen
    assert (rasterise(vertices, outside, (9, 9), backend, cull_backfaces=True).triangle == 0).any()
    assert (rasterise(vertices, inside, (9, 9), backend, cull_backfaces=True).triangle == -1).all()
    assert (rasterise(vertices, inside, (9, 9), backend).triangle == 0).any()


def test_bad_input_is_named() -> None:
    vertices, triangles = soup(0)
    with pytest.raises(ValueError, match="backend is 'opengl'; expected"):
        fragments = rasterise.__wrapped__ if hasattr(rasterise, "__wrapped__") else rasterise
        fragments(vertices, triangles, SIZE, "opengl")
    for backend in ("numba", "cuda", "torch"):
        with pytest.raises(ValueError, match="index vertices 0..179, but there are 10"):
            rasterise(vertices[:, :10], triangles, SIZE, backend)


def test_large_faces_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from face3d import rasterise_cuda, rasterise_torch

    vertices, triangles = soup(7)
    expected = rasterise(vertices, triangles, SIZE, "cuda").triangle
    monkeypatch.setattr(rasterise_cuda, "_CHUNK", 200)
    monkeypatch.setattr(rasterise_torch, "_CHUNK", 5000)
    assert (rasterise(vertices, triangles, SIZE, "cuda").triangle == expected).all()
    assert (rasterise(vertices, triangles, SIZE, "torch").triangle == expected).all()


def test_ndc_round_trip() -> None:
    points = torch.randn(5, 3, dtype=torch.float64) * 50
    torch.testing.assert_close(px_from_ndc(ndc_from_px(points, (30, 70)), (30, 70)), points)
    corner = ndc_from_px(torch.tensor([[-0.5, -0.5, 3.0]]), (64, 64))  # the outer corner of the first pixel
    torch.testing.assert_close(corner, torch.tensor([[1.0, 1.0, 3.0]]))


def test_pytorch3d_backend_through_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter's conversions, with a stand-in that draws NDC by the reference backend and numbers faces through."""

    def rasterize_meshes(meshes: SimpleNamespace, image_size: tuple[int, int], **options: object) -> tuple[Tensor, ...]:
        assert meshes.vertices[..., 2].min() > 0 and options["blur_radius"] == 0.0
        found = rasterise(px_from_ndc(meshes.vertices, image_size), meshes.faces[0], image_size, "torch").triangle
        first = torch.arange(len(found))[:, None, None] * meshes.faces.shape[1]
        return (torch.where(found >= 0, found + first, -1)[..., None], None, None, None)

    names = ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh", "pytorch3d.renderer.mesh.rasterize_meshes")
    for name in (*names, "pytorch3d.structures"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[names[-1]].rasterize_meshes = rasterize_meshes
    sys.modules["pytorch3d.structures"].Meshes = lambda v, f: SimpleNamespace(vertices=v, faces=f)
    vertices, triangles = soup(11)
    expected = rasterise(vertices, triangles, SIZE, "torch")
    found = rasterise(vertices, triangles, SIZE, "pytorch3d")
    assert (found.triangle == expected.triangle).float().mean() > 0.999


def test_pytorch3d_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", None)
    with pytest.raises(ImportError, match="needs PyTorch3D"):
        rasterise(*soup(0), SIZE, "pytorch3d")


def golden(data_dir: Path, name: str) -> dict[str, Tensor]:
    path = data_dir / "golden" / "pytorch3d_rasterize.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as arrays:
        return {key.split("/")[1]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith(name + "/")}


@pytest.mark.parametrize("name", ["scan", "soup", "sphere"])
@pytest.mark.parametrize("backend", FAST)
def test_golden_pytorch3d(data_dir: Path, name: str, backend: str) -> None:
    """What PyTorch3D 0.7.9 gives (shared/data/golden), with its epsilon; and without, but for its weights' sum."""
    case = golden(data_dir, name)
    size = tuple(case["size_hw"].tolist())
    epsilon = 1e-8 * (min(size) / 2) ** 2
    vertices = case["vertices_ndc"][None].requires_grad_()
    fragments = rasterise(px_from_ndc(vertices, size), case["faces"], size, backend, area_epsilon_px2=epsilon)
    expected, covered = case["pix_to_face"], case["pix_to_face"] >= 0
    same = (fragments.triangle[0] == expected) & covered
    assert same.sum() / covered.sum() >= 0.999
    assert ((fragments.triangle[0] >= 0) == covered).float().mean() >= 0.999
    torch.testing.assert_close(fragments.depth[0][same], case["zbuf"][same], atol=1e-4, rtol=0)
    torch.testing.assert_close(fragments.barycentric[0][same], case["bary"][same], atol=5e-4, rtol=0)
    assert relative_error(fragments.barycentric, case["weight_bary"], case["grad_bary"], vertices, covered) <= 1e-3
    assert relative_error(fragments.depth, case["weight_z"], case["grad_z"], vertices, covered) <= 1e-3
    exact = rasterise(px_from_ndc(vertices.detach(), size), case["faces"], size, backend)
    same = (exact.triangle[0] == expected) & covered
    assert same.sum() / covered.sum() >= 0.999
    depth = case["zbuf"] / case["bary"].sum(-1)
    torch.testing.assert_close(exact.depth[0][same], depth[same], atol=1e-4, rtol=0)


def relative_error(values: Tensor, weights: Tensor, expected: Tensor, vertices: Tensor, covered: Tensor) -> float:
    """Of the gradient of sum(weights * values) over the covered pixels."""
    (gradient,) = torch.autograd.grad((values[0][covered] * weights[covered]).sum(), vertices, retain_graph=True)
    return float((gradient[0] - expected).norm() / expected.norm())


def test_batch_runs_in_threads() -> None:
    vertices, triangles = soup(2, batch=5)
    single = [rasterise(mesh[None], triangles, SIZE, "numba") for mesh in vertices]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = rasterise(vertices, triangles, SIZE, "numba")
    finally:
        torch.set_num_threads(before)
    assert isinstance(together, Fragments)
    assert (together.triangle == torch.cat([one.triangle for one in single])).all()
