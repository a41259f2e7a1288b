"""Visible texture swapping: the same frame gives itself back, true geometry another frame; what is hidden is masked."""

import math

import pytest
import torch
from torch import Tensor

from face3d.morphable import MorphableModel
from face3d.rasterise import rasterise
from face3d.render import interpolate
from face3d.texture_swap import look, ordered_pairs, swap_texture

SIZE = (96, 96)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=30, columns=30)


def posed(model: MorphableModel, yaw_deg: float, shift: float = 0.0) -> Tensor:
    """The mean face in a picture, turned about the vertical axis."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    turn = torch.tensor([[c, 0, s], [0, -1, 0], [s, 0, -c]])
    points = model.mean @ turn.T
    scale = 80 / float((model.mean.amax(0) - model.mean.amin(0))[:2].max())
    middle = (model.mean.amax(0) + model.mean.amin(0)) / 2 @ turn.T
    return ((points - middle) * scale + torch.tensor([47.5 + shift, 47.5, 0.0]))[None]


def skin(model: MorphableModel) -> Tensor:
    """Smooth colours (1,V,3) on the surface."""
    extent = model.mean.amax(0) - model.mean.amin(0)
    return (0.5 + 0.4 * torch.sin(6 * model.mean / extent + torch.arange(3)))[None]


def photo(model: MorphableModel, vertices_px: Tensor) -> Tensor:
    """A picture (1,3,H,W) of the coloured face on grey."""
    fragments = rasterise(vertices_px, model.triangles, SIZE)
    image = interpolate(skin(model), fragments, model.triangles)
    return torch.where((fragments.triangle >= 0)[..., None], image, 0.5).permute(0, 3, 1, 2)


def test_a_frame_gives_itself_back(model: MorphableModel) -> None:
    vertices = posed(model, 20.0)
    view, image = look(vertices, model.triangles, SIZE), torch.rand(1, 3, *SIZE)
    swapped = swap_texture(image, view, view, model.triangles)
    assert swapped.mask.sum() > 1500
    torch.testing.assert_close(swapped.image.permute(0, 2, 3, 1)[swapped.mask], image.permute(0, 2, 3, 1)[swapped.mask],
                               atol=1e-3, rtol=0)  # fmt: skip
    assert not swapped.image.permute(0, 2, 3, 1)[view.fragments.triangle < 0].any()


@pytest.mark.parametrize(("yaw_i", "yaw_j"), [(0.0, 25.0), (-20.0, 20.0), (30.0, -10.0)])
def test_true_geometry_reproduces_the_other_frame(model: MorphableModel, yaw_i: float, yaw_j: float) -> None:
    """Within interpolation error: colours are of the surface, so light plays no part."""
    vertices_i, vertices_j = posed(model, yaw_i), posed(model, yaw_j, shift=2.3)
    views = [look(vertices, model.triangles, SIZE) for vertices in (vertices_i, vertices_j)]
    swapped = swap_texture(photo(model, vertices_j), *views, model.triangles)
    error = (swapped.image - photo(model, vertices_i)).abs().amax(1)[swapped.mask]
    assert swapped.mask.sum() > 800
    assert float(error.mean()) < 0.01 and float(error.quantile(0.99)) < 0.06


def test_wrong_geometry_does_not(model: MorphableModel) -> None:
    vertices_i, vertices_j = posed(model, 0.0), posed(model, 25.0)
    image_i, image_j = photo(model, vertices_i), photo(model, vertices_j)
    views = [look(vertices, model.triangles, SIZE) for vertices in (vertices_i, posed(model, 10.0))]
    swapped = swap_texture(image_j, *views, model.triangles)
    assert float((swapped.image - image_i).abs().amax(1)[swapped.mask].mean()) > 0.03


def test_what_frame_j_hides_is_masked(model: MorphableModel) -> None:
    """The far cheek of a turned face, and what lies outside of the picture."""
    front = look(posed(model, 0.0), model.triangles, SIZE)
    right, left = (look(posed(model, yaw), model.triangles, SIZE) for yaw in (60.0, -60.0))
    image = torch.rand(1, 3, *SIZE)
    masks = [swap_texture(image, front, view, model.triangles).mask for view in (right, left)]
    middles = [float(mask[0].nonzero()[:, 1].float().mean()) for mask in masks]
    assert abs(middles[0] - middles[1]) > 8 and masks[0].sum() < 0.9 * (front.fragments.triangle >= 0).sum()
    away = look(posed(model, 0.0, shift=500.0), model.triangles, SIZE)
    assert not swap_texture(image, front, away, model.triangles).mask.any()
    assert not swap_texture(image, away, front, model.triangles).mask.any()


def test_only_counted_triangles_are_in_the_mask(model: MorphableModel) -> None:
    view, counted = look(posed(model, 0.0), model.triangles, SIZE), torch.zeros(len(model.triangles), dtype=torch.bool)
    counted[:200] = True
    mask = swap_texture(torch.rand(1, 3, *SIZE), view, view, model.triangles, counted).mask
    assert mask.any() and (view.fragments.triangle[mask] < 200).all()
    assert not swap_texture(torch.rand(1, 3, *SIZE), view, view, model.triangles, counted & False).mask.any()


def test_an_occluding_part_is_not_taken_for_the_skin_behind_it() -> None:
    """A small square before a large one: from the side, the large one's point behind the small one is not seen."""
    large = torch.tensor([[10.0, 10, 40], [80, 10, 40], [10, 80, 40], [80, 80, 40]])
    small = torch.tensor([[30.0, 30, 10], [50, 30, 10], [30, 50, 10], [50, 50, 10]])
    triangles = torch.tensor([[0, 2, 1], [1, 2, 3], [4, 6, 5], [5, 6, 7]])
    moved = small + torch.tensor([20.0, 0, 0])
    i, j = (look(torch.cat([large, part])[None], triangles, SIZE) for part in (small, moved))
    mask = swap_texture(torch.rand(1, 3, *SIZE), i, j, triangles).mask[0]
    assert mask[40, 40]  # the small square, seen in both
    assert not mask[40, 60]  # the large one, hidden in j
    assert mask[40, 20] and mask[70, 60]


def test_gradients_reach_both_frames_and_the_picture(model: MorphableModel) -> None:
    vertices = [posed(model, yaw).requires_grad_() for yaw in (0.0, 20.0)]
    image = photo(model, posed(model, 20.0)).requires_grad_()
    views = [look(v, model.triangles, SIZE) for v in vertices]
    swapped = swap_texture(image, *views, model.triangles)
    swapped.image[swapped.mask[:, None].expand_as(swapped.image)].square().sum().backward()
    for tensor in (*vertices, image):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any()


def test_gradient_of_a_shift_is_that_of_the_picture() -> None:
    """One triangle in float64: moving it in frame j by a little changes what frame i shows, as gradcheck finds."""
    corners = torch.tensor([[[4.2, 3.1, 5.0], [25.3, 5.2, 6.0], [9.4, 26.7, 7.0]]], dtype=torch.float64)
    triangles = torch.tensor([[0, 2, 1]])
    y, x = torch.meshgrid(torch.arange(32.0).double(), torch.arange(32.0).double(), indexing="ij")
    image = torch.stack([torch.sin(0.3 * x + 0.1 * y), torch.cos(0.2 * y)])[None]
    mask = swap_texture(image, *(look(corners, triangles, (32, 32)),) * 2, triangles).mask

    def shown(vertices_i: Tensor, vertices_j: Tensor) -> Tensor:
        views = [look(vertices, triangles, (32, 32)) for vertices in (vertices_i, vertices_j)]
        return swap_texture(image, *views, triangles).image[0][:, mask[0]].sum(1)

    inputs = (corners.clone().requires_grad_(), (corners + 0.137).requires_grad_())
    assert torch.autograd.gradcheck(shown, inputs, eps=1e-7, atol=2e-2, rtol=2e-2)


def test_sizes_must_agree(model: MorphableModel) -> None:
    view = look(posed(model, 0.0), model.triangles, SIZE)
    with pytest.raises(ValueError, match=r"image_j is \(48, 96\), views are \(96, 96\)"):
        swap_texture(torch.rand(1, 3, 48, 96), view, view, model.triangles)


def test_ordered_pairs() -> None:
    assert ordered_pairs(1) == [] and ordered_pairs(3) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
