import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.rasterise import rasterise
from face3d.render import depth_map, interpolate, normal_map, render, sample_texture

SIZE = (20, 30)


def slope() -> tuple[Float[Tensor, "B V 3"], Int[Tensor, "F 3"]]:
    """A rectangle x 2..25, y 3..15 whose depth falls by one a pixel to the right: faces the camera."""
    vertices = torch.tensor([[[2.0, 3, 25], [25, 3, 2], [2, 15, 25], [25, 15, 2]]], dtype=torch.float64)
    return vertices, torch.tensor([[0, 2, 1], [1, 2, 3]])


def test_linear_attributes_are_linear_in_the_picture() -> None:
    vertices, triangles = slope()
    image, mask, fragments = render(vertices, triangles, vertices[..., :2], SIZE, background=-7.0)
    y, x = mask[0].nonzero(as_tuple=True)
    assert mask.sum() == 24 * 13
    torch.testing.assert_close(image[0][mask[0]], torch.stack([x, y], -1).double())
    assert (image[0][~mask[0]] == -7).all()
    torch.testing.assert_close(fragments.depth[0][mask[0]], 27.0 - x.double())


def test_attributes_of_corners_equal_those_of_vertices() -> None:
    vertices, triangles = slope()
    fragments = rasterise(vertices, triangles, SIZE)
    values = torch.randn(1, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(
        interpolate(values[:, triangles], fragments, triangles), interpolate(values, fragments, triangles)
    )


def test_depth_and_normals() -> None:
    vertices, triangles = slope()
    depth, normals = depth_map(vertices, triangles, SIZE)[0], normal_map(vertices, triangles, SIZE)[0]
    assert depth[3, 2] == 25 and depth[0, 0] == torch.inf
    torch.testing.assert_close(normals[8, 8], torch.tensor([-1.0, 0, -1], dtype=torch.float64) / 2**0.5)
    assert (normals[0, 0] == 0).all()


def test_texture_is_looked_up_at_texel_centres() -> None:
    texture = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    vertices = torch.tensor([[[0.0, 0, 0], [7, 0, 0], [0, 7, 0], [7, 7, 0]]], dtype=torch.float64)
    uv = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)
    triangles = slope()[1]
    image = sample_texture(texture, uv, rasterise(vertices, triangles, (9, 9)), triangles)
    torch.testing.assert_close(image[0, :8, :8], texture[0].permute(1, 2, 0))
    assert (image[0, 8] == 0).all()


def test_gradcheck() -> None:
    vertices, triangles = slope()
    vertices = (vertices / 4 + torch.rand(1, 4, 3, dtype=torch.float64) * 0.1).requires_grad_()
    colours = torch.rand(1, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, c: render(v, triangles, c, (6, 8)).image, (vertices, colours))


def test_nothing_in_view() -> None:
    vertices, triangles = slope()
    leaf = (vertices + 100).requires_grad_()
    image, mask, _ = render(leaf, triangles, leaf[..., :2], SIZE)
    image.sum().backward()
    assert not mask.any() and (image == 0).all() and (leaf.grad == 0).all()


def test_bad_input_is_named() -> None:
    vertices, triangles = slope()
    fragments = rasterise(vertices, triangles, SIZE)
    with pytest.raises(ValueError, match="attributes of 2 meshes, fragments of 1"):
        interpolate(torch.zeros(2, 4, 1), fragments, triangles)
    with pytest.raises(ValueError, match="attributes of 3 faces"):
        interpolate(torch.zeros(1, 3, 3, 1), fragments, triangles)
