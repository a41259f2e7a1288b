"""Losses of optical flow: invariances, values by hand, masks, gradients."""

import pytest
import torch
from torch import Tensor

from face3d.losses_flow import (
    census_distance,
    census_distance_reference,
    census_loss,
    masked_mean,
    rgb_loss,
    robust,
    self_supervision_loss,
    smoothness_first_order,
    smoothness_second_order,
    soft_census,
)

AT_BEST = 0.01**0.4
SMOOTHNESS = (smoothness_first_order, smoothness_second_order)


def pictures(batch: int = 2, height: int = 12, width: int = 14, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, 3, height, width, dtype=dtype)


def affine_flow(height: int = 12, width: int = 14) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) * 1.0, torch.arange(width) * 1.0, indexing="ij")
    return torch.stack([3 + 0.5 * x - 0.2 * y, -1 + 0.1 * x + 0.3 * y])[None].repeat(2, 1, 1, 1)


def test_robust_by_hand() -> None:
    torch.testing.assert_close(robust(torch.tensor([0.0, -0.99, 0.99])), torch.tensor([AT_BEST, 1.0, 1.0]))


def test_masked_mean_counts_the_mask_once_and_ignores_the_rest() -> None:
    values = torch.tensor([[[[1.0, float("nan")]], [[2.0, float("inf")]]]])
    assert masked_mean(values, torch.tensor([[[True, False]]])).tolist() == [3.0]
    assert masked_mean(values, torch.tensor([[[0.5, 0.0]]])).tolist() == [3.0]


def test_census_of_one_bright_neighbour_by_hand() -> None:
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 0, 0] = 0.9 / 255
    census = soft_census(image)
    assert census.shape == (1, 48, 1, 1)
    torch.testing.assert_close(census.abs().max(), torch.tensor(0.5**0.5))  # 0.9 / sqrt(0.81 + 0.81)
    distance = census_distance(image, torch.zeros_like(image))
    torch.testing.assert_close(distance[0, 3, 3], torch.tensor(0.5 / 0.6))
    assert int((distance > 0).sum()) == 1


def test_equal_pictures_have_no_distance() -> None:
    image, all_of_it = pictures(), torch.ones(2, 12, 14)
    assert census_distance(image, image).abs().max() == 0
    torch.testing.assert_close(census_loss(image, image, all_of_it), torch.full((2,), AT_BEST))
    torch.testing.assert_close(rgb_loss(image, image, all_of_it), torch.full((2,), 3 * AT_BEST))


def test_census_does_not_see_brightness_and_hardly_gain() -> None:
    image = 0.2 + 0.5 * pictures()
    other = 0.2 + 0.5 * pictures()
    unlike = census_distance(image, other).mean()
    assert census_distance(image, image + 0.2).max() < 1e-3
    assert census_distance(image, 1.3 * image).mean() < 0.01 * unlike


def test_census_leaves_the_border_out() -> None:
    image, changed = pictures(), pictures()
    mask = torch.ones(2, 12, 14)
    border = mask.clone()
    border[:, 3:-3, 3:-3] = 0
    assert census_loss(image, changed, border).tolist() == [0, 0]
    torch.testing.assert_close(census_loss(image, changed, mask), census_loss(image, changed, mask - border))


@pytest.mark.parametrize("size", [(7, 7), (7, 20), (23, 8), (31, 40)])
def test_compiled_census_is_the_reference(size: tuple[int, int]) -> None:
    first = pictures(3, size[1], size[0]).transpose(2, 3).requires_grad_()  # not contiguous
    second = (first.detach() + 0.02 * torch.randn(3, 3, *size)).requires_grad_()
    upstream = torch.rand(3, *size)
    found, expected = (
        (values, *torch.autograd.grad((values * upstream).sum(), (first, second)))
        for values in (census_distance(first, second), census_distance_reference(first, second))
    )
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    for gradient, wanted in zip(found[1:], expected[1:], strict=True):
        assert gradient.abs().max() > 1
        torch.testing.assert_close(gradient, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-4)


def test_compiled_census_gives_a_gradient_only_where_one_is_needed() -> None:
    still, moved = pictures(), pictures().requires_grad_()
    census_distance(still, moved).sum().backward()
    assert still.grad is None and moved.grad is not None
    assert not census_distance(still, moved.detach()).requires_grad


@pytest.mark.parametrize("size", [(1, 1), (6, 9), (7, 7)])
def test_small_pictures(size: tuple[int, int]) -> None:
    image, changed = pictures(2, *size), pictures(2, *size).requires_grad_()
    flow = torch.zeros(2, 2, *size, requires_grad=True)
    loss = census_loss(image, changed, torch.ones(2, *size)) + sum(smooth(flow, image) for smooth in SMOOTHNESS)
    assert loss.shape == (2,) and bool(loss.isfinite().all())
    loss.sum().backward()
    assert changed.grad is not None and bool(changed.grad.isfinite().all())


@pytest.mark.parametrize("loss", [census_loss, rgb_loss, self_supervision_loss])
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_empty_mask_gives_zero_and_zero_gradients(loss, kind: torch.dtype) -> None:
    channels = 2 if loss is self_supervision_loss else 3
    first, second = torch.rand(2, channels, 9, 9), torch.rand(2, channels, 9, 9, requires_grad=True)
    mask = torch.zeros(2, 9, 9, dtype=kind)
    mask[1] = 1
    values = loss(first, second, mask)
    assert values[0] == 0 and values[1] > 0
    values.sum().backward()
    assert second.grad is not None and bool(second.grad.isfinite().all())
    assert second.grad[0].abs().max() == 0 and second.grad[1].abs().max() > 0


def test_gradients_are_finite_where_nothing_differs() -> None:
    image = pictures().requires_grad_()
    flow = torch.zeros(2, 2, 12, 14, requires_grad=True)
    mask = torch.ones(2, 12, 14)
    loss = census_loss(image.detach(), image, mask) + rgb_loss(image.detach(), image, mask)
    loss = loss + self_supervision_loss(flow.detach(), flow, mask) + sum(smooth(flow, image) for smooth in SMOOTHNESS)
    loss.sum().backward()
    for leaf in (image, flow):
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all())


def test_self_supervision_by_hand() -> None:
    teacher = torch.zeros(1, 2, 1, 2, requires_grad=True)
    student = torch.tensor([[[[0.99, 50.0]], [[0.0, 50.0]]]], requires_grad=True)
    loss = self_supervision_loss(teacher, student, torch.tensor([[[True, False]]]))
    torch.testing.assert_close(loss, torch.tensor([1.0 + AT_BEST]))
    loss.sum().backward()
    assert teacher.grad is None and student.grad is not None
    assert student.grad[..., 0].abs().max() > 0 and student.grad[..., 1].abs().max() == 0


def test_unknown_true_flow_does_no_harm() -> None:
    true = torch.tensor([[[[1.0, float("nan")]], [[1.0, float("inf")]]]])
    student = torch.zeros(1, 2, 1, 2, requires_grad=True)
    self_supervision_loss(true, student, torch.tensor([[[1.0, 0.0]]])).sum().backward()
    assert student.grad is not None and bool(student.grad.isfinite().all())


def test_smoothness_of_smooth_flow_is_nothing() -> None:
    image = pictures()
    constant = torch.full((2, 2, 12, 14), 7.0)
    assert smoothness_first_order(constant, image).max() <= 0.001
    assert smoothness_first_order(affine_flow(), 0 * image).min() > 0.1
    assert smoothness_second_order(affine_flow(), image).max() <= 0.00101
    assert smoothness_second_order(affine_flow().square(), 0 * image).min() > 0.1


@pytest.mark.parametrize("smoothness", SMOOTHNESS)
def test_flow_may_break_at_edges_of_the_picture(smoothness) -> None:
    flow = torch.zeros(1, 2, 10, 10)
    flow[..., 5:] = 4
    edge = torch.zeros(1, 3, 10, 10)
    edge[..., 5:] = 1
    flat = smoothness(flow, torch.zeros_like(edge))
    assert flat > 0.1 and smoothness(flow, edge) < 0.01 * flat
    torch.testing.assert_close(smoothness(flow.mT, edge.mT), smoothness(flow, edge))


def test_first_order_smoothness_by_hand() -> None:
    flow = torch.tensor([0.0, 1.0]).expand(1, 2, 3, 2)
    image = torch.tensor([0.0, 0.01]).expand(1, 3, 3, 2)
    expected = (torch.exp(torch.tensor(-1.5)) * (1 + 1e-6) ** 0.5 + 0.001) / 2  # along x, and along y
    torch.testing.assert_close(smoothness_first_order(flow, image), expected[None])


def test_samples_do_not_depend_on_each_other() -> None:
    first, second, flow = pictures(), pictures(), torch.randn(2, 2, 12, 14)
    mask = (torch.rand(2, 12, 14) > 0.3).float()

    def losses(part: slice) -> list[Tensor]:
        a, b, w, m = first[part], second[part], flow[part], mask[part]
        own = [census_loss(a, b, m), rgb_loss(a, b, m), self_supervision_loss(w.flip(1), w, m)]
        return own + [smooth(w, a) for smooth in SMOOTHNESS]

    for whole, start, end in zip(losses(slice(0, 2)), losses(slice(0, 1)), losses(slice(1, 2)), strict=True):
        torch.testing.assert_close(whole, torch.cat([start, end]))


def test_losses_pass_gradcheck() -> None:
    first, second = pictures(1, 8, 7, torch.float64), pictures(1, 8, 7, torch.float64).requires_grad_()
    mask = torch.rand(1, 8, 7, dtype=torch.float64)
    nearly = (first + 0.01 * second).detach().requires_grad_()  # where the census is not saturated
    flow = torch.randn(1, 2, 8, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: census_loss(first, image, mask), (nearly,))
    assert torch.autograd.gradcheck(lambda image: rgb_loss(first, image, mask), (second,))
    assert torch.autograd.gradcheck(lambda w: self_supervision_loss(torch.zeros_like(w), w, mask), (flow,))
    for smoothness in SMOOTHNESS:
        assert torch.autograd.gradcheck(lambda w, smooth=smoothness: smooth(w, first), (flow,))
