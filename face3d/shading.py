"""Light as nine real spherical harmonics (bands 0 to 2), enough for the diffuse reflection of any distant light.

R. Ramamoorthi, P. Hanrahan, An Efficient Representation for Irradiance Environment Maps, SIGGRAPH 2001, equations 2-3.
The cosine lobe's factors are part of the coefficients: colour = albedo * (basis(normal) @ light).
Normals and light are in the same frame, whichever that is.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_Y00 = 0.28209479177387814  # sqrt(1 / (4 pi))


def sh_basis(normals: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 9"]:
    """The nine functions 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2 of unit normals, orthonormal over the sphere."""
    x, y, z = normals.unbind(-1)
    basis = [
        torch.full_like(x, _Y00),
        0.4886025119029199 * y,
        0.4886025119029199 * z,
        0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        1.0925484305920792 * y * z,
        0.31539156525252005 * (3 * z.square() - 1),
        1.0925484305920792 * x * z,
        0.5462742152960396 * (x.square() - y.square()),
    ]
    return torch.stack(basis, dim=-1)


def ambient_light(like: Float[Tensor, "B N C"]) -> Float[Tensor, "B 9 3"]:
    """White light from everywhere, which leaves the albedo as it is: one a sample of `like`, of its type and device."""
    light = like.new_zeros(len(like), 9, 3)
    light[:, 0] = 1 / _Y00
    return light


def shade(
    albedo: Float[Tensor, "B N 3"], normals: Float[Tensor, "B N 3"], light: Float[Tensor, "B 9 3"]
) -> Float[Tensor, "B N 3"]:
    """Colours under a light, not clipped: ``albedo * (sh_basis(normals) @ light)``."""
    return albedo * (sh_basis(normals) @ light)


def estimate_light(
    albedo: Float[Tensor, "B N 3"],
    normals: Float[Tensor, "B N 3"],
    image: Float[Tensor, "B N 3"],
    mask: Bool[Tensor, "B N"],
    ridge: float = 1e-4,
) -> Float[Tensor, "B 9 3"]:
    """The light that explains the colours seen on a surface.

    Least squares per colour channel, in float64, ``min mean (albedo (Y l) - image)^2 + ridge |l - ambient|^2`` over the
    points of the mask: with few points (or none) the answer goes to white ambient light.

    Raises:
        ValueError: `ridge` is not positive.
    """
    if not ridge > 0:
        raise ValueError(
            f"ridge is {ridge}; expected a positive number, or points that do not fix the light would fail"
        )
    keep = mask[..., None]
    surface, seen = (torch.where(keep, value, 0.0).double() for value in (albedo, image))
    basis = torch.where(keep, sh_basis(normals), 0.0).double()
    weight = mask.sum(dim=1).clamp(min=1).double()[:, None, None, None]
    normal_matrix = torch.einsum("bnc,bni,bnj->bcij", surface.square(), basis, basis) / weight
    right = torch.einsum("bnc,bni->bci", surface * seen, basis)[..., None] / weight
    ambient = ambient_light(basis).transpose(1, 2)[..., None]
    eye = torch.eye(9, dtype=torch.float64, device=basis.device)
    light = torch.linalg.solve(normal_matrix + ridge * eye, right + ridge * ambient)
    return light[..., 0].transpose(1, 2).to(image.dtype)
