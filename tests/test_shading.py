import math

import pytest
import torch

from face3d.shading import ambient_light, estimate_light, sh_basis, shade


def unit_normals(batch: int, count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(batch, count, 3, dtype=torch.float64), dim=-1)


def test_basis_is_orthonormal_over_the_sphere() -> None:
    cosine, weight = torch.tensor(GAUSS_NODES, dtype=torch.float64), torch.tensor(GAUSS_WEIGHTS, dtype=torch.float64)
    angle = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    z, phi = torch.meshgrid(cosine, angle, indexing="ij")
    ring = (1 - z.square()).sqrt()
    basis = sh_basis(torch.stack([ring * phi.cos(), ring * phi.sin(), z], -1))
    gram = torch.einsum("zpi,zpj,z->ij", basis, basis, weight) * (2 * math.pi / 16)
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-12, rtol=0)


# numpy.polynomial.legendre.leggauss(3): exact to degree 5 in z, and 4 is needed
GAUSS_NODES = [-0.7745966692414834, 0.0, 0.7745966692414834]
GAUSS_WEIGHTS = [0.5555555555555557, 0.8888888888888888, 0.5555555555555557]


def test_ambient_light_leaves_the_albedo() -> None:
    albedo, normals = torch.rand(2, 5, 3, dtype=torch.float64), unit_normals(2, 5)
    torch.testing.assert_close(shade(albedo, normals, ambient_light(albedo)), albedo)


def test_light_is_found_again() -> None:
    albedo, normals = torch.rand(3, 400, 3, dtype=torch.float64) + 0.2, unit_normals(3, 400)
    light = torch.randn(3, 9, 3, dtype=torch.float64)
    mask = torch.rand(3, 400) > 0.3
    image = shade(albedo, normals, light)
    image[~mask] = torch.nan  # what is masked out may be anything
    torch.testing.assert_close(estimate_light(albedo, normals, image, mask, 1e-12), light, atol=1e-6, rtol=1e-6)


def test_few_points_and_none_tend_to_ambient_light() -> None:
    albedo, normals = torch.rand(2, 6, 3) + 0.2, unit_normals(2, 6).float()
    mask = torch.zeros(2, 6, dtype=torch.bool)
    torch.testing.assert_close(estimate_light(albedo, normals, albedo, mask), ambient_light(albedo))
    mask[:, 0] = True
    light = estimate_light(albedo, normals, 0.5 * albedo, mask)
    torch.testing.assert_close(shade(albedo, normals, light)[:, 0], 0.5 * albedo[:, 0], atol=0.01, rtol=0)
    with pytest.raises(ValueError, match="ridge is 0"):
        estimate_light(albedo, normals, albedo, mask, 0.0)


def test_gradcheck() -> None:
    albedo, normals = torch.rand(1, 12, 3, dtype=torch.float64) + 0.2, unit_normals(1, 12)
    image, light = torch.rand(1, 12, 3, dtype=torch.float64), torch.randn(1, 9, 3, dtype=torch.float64)
    mask = torch.ones(1, 12, dtype=torch.bool)
    inputs = [value.requires_grad_() for value in (albedo, normals, light, image)]
    assert torch.autograd.gradcheck(lambda a, n, c, i: (shade(a, n, c), estimate_light(a, n, i, mask, 0.1)), inputs)
