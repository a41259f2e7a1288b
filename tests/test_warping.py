"""Warping by flow, occlusion from flow, flow at other sizes."""

import pytest
import torch
from torch import Tensor

from face3d.warping import occluded_by_consistency, occluded_by_range, resize_flow, warp_by_flow


def uniform(x: float, y: float, size_hw: tuple[int, int], batch: int = 1) -> Tensor:
    """The same flow everywhere."""
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(batch, 2, *size_hw).contiguous()


def square_flows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A 6 px square that moves 4 px to the right over a still ground of 20 x 24 px.

    Forward and backward flow, and what is occluded in frame 1 and in frame 2: the ground that the square comes to
    stand on, and the ground that it stood on."""
    forward, backward = torch.zeros(1, 2, 20, 24), torch.zeros(1, 2, 20, 24)
    forward[:, 0, 8:14, 5:11] = 4
    backward[:, 0, 8:14, 9:15] = -4
    occluded_1, occluded_2 = torch.zeros(1, 20, 24, dtype=torch.bool), torch.zeros(1, 20, 24, dtype=torch.bool)
    occluded_1[:, 8:14, 11:15] = True
    occluded_2[:, 8:14, 5:9] = True
    return forward, backward, occluded_1, occluded_2


def test_no_flow_is_the_identity() -> None:
    picture = torch.rand(2, 3, 7, 9)
    values, inside = warp_by_flow(picture, torch.zeros(2, 2, 7, 9))
    torch.testing.assert_close(values, picture, atol=1e-5, rtol=0)
    assert inside.all()


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, -3), (-1, 2)])
def test_whole_pixels_are_copied_and_nothing_comes_from_outside(dx: int, dy: int) -> None:
    picture = torch.rand(2, 3, 8, 10) + 1
    values, inside = warp_by_flow(picture, uniform(dx, dy, (8, 10), 2))
    expected = torch.zeros_like(picture)
    for y in range(8):
        for x in range(10):
            within = 0 <= y + dy < 8 and 0 <= x + dx < 10
            assert bool(inside[0, y, x]) == within
            if within:
                expected[:, :, y, x] = picture[:, :, y + dy, x + dx]
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


def test_between_pixels_values_are_bilinear() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    plane = (2 * x - 3 * y)[None, None]
    values, inside = warp_by_flow(plane, uniform(0.25, 0.5, (6, 5)))
    expected = plane + 2 * 0.25 - 3 * 0.5
    torch.testing.assert_close(values[0, 0][inside[0]], expected[0, 0][inside[0]])
    assert inside[0, :5, :4].all() and not inside[0, 5].any() and not inside[0, :, 4].any()


def test_a_picture_of_one_pixel_knows_its_outside() -> None:
    """Coarse levels of a pyramid become as small as that."""
    values, inside = warp_by_flow(torch.ones(1, 1, 1, 1), uniform(2.0, 0.0, (1, 1)))
    assert values.item() == 0 and not inside.item()


def test_warping_differentiates() -> None:
    picture = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 4, 5, dtype=torch.float64) * 2 - 1.03).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, f: warp_by_flow(p, f).values, (picture, flow))


def test_translation_occludes_what_leaves_the_frame_and_nothing_else() -> None:
    forward, backward = uniform(3, -2, (12, 14)), uniform(-3, 2, (12, 14))
    leaves = torch.zeros(1, 12, 14, dtype=torch.bool)
    leaves[:, :, 11:] = True
    leaves[:, :2] = True
    assert (occluded_by_consistency(forward, backward) == leaves).all()
    assert (occluded_by_range(backward) == leaves).all()


def test_a_moving_square_hides_what_it_comes_to_stand_on() -> None:
    forward, backward, occluded_1, occluded_2 = square_flows()
    assert (occluded_by_consistency(forward, backward) == occluded_1).all()
    assert (occluded_by_consistency(backward, forward) == occluded_2).all()
    assert (occluded_by_range(backward) == occluded_1).all()
    assert (occluded_by_range(forward) == occluded_2).all()


def test_consistency_allows_more_where_motion_is_long() -> None:
    """|f + b|^2 = 1.21 against 0.5 + 0.01 (|f|^2 + |b|^2): the bound is crossed between flows of 5 and 7 pixels."""
    size = (4, 30)
    for length, occluded in ((5.0, True), (7.0, False)):
        mask = occluded_by_consistency(uniform(length, 0, size), uniform(1.1 - length, 0, size))
        assert bool(mask[0, 2, 10]) == occluded


def test_range_gives_what_arrives_between_pixels_its_share() -> None:
    backward = uniform(0.5, 0.5, (6, 6))
    assert not occluded_by_range(backward, threshold=0.2)[0, 1:, 1:].any()
    corner = torch.zeros(6, 6, dtype=torch.bool)
    corner[0, 0] = True  # a quarter of one pixel arrives; half of one along the other edges
    assert (occluded_by_range(backward, threshold=0.3)[0] == corner).all()


def test_range_counts_each_image_by_itself() -> None:
    backward = torch.cat([uniform(0, 0, (5, 6)), uniform(2, 0, (5, 6))])
    mask = occluded_by_range(backward)
    assert not mask[0].any() and mask[1, :, :2].all() and not mask[1, :, 2:].any()


def test_flow_that_is_not_a_number_is_occluded() -> None:
    broken = uniform(0, 0, (4, 4))
    broken[0, 0, 1, 1] = torch.nan
    assert occluded_by_consistency(broken, uniform(0, 0, (4, 4)))[0, 1, 1]
    occluded_by_range(broken)


def test_masks_carry_no_gradient() -> None:
    forward = torch.zeros(1, 2, 4, 4, requires_grad=True)
    assert not occluded_by_consistency(forward, forward).requires_grad
    assert not occluded_by_range(forward).requires_grad


def test_resized_flow_is_in_pixels_of_the_new_size() -> None:
    flow = resize_flow(uniform(2, -3, (6, 8)), (12, 32))
    torch.testing.assert_close(flow, uniform(8, -6, (12, 32)))
    torch.testing.assert_close(resize_flow(flow, (6, 8)), uniform(2, -3, (6, 8)))
    assert resize_flow(flow, (12, 32)) is flow


def test_resized_flow_keeps_its_corners() -> None:
    flow = torch.rand(1, 2, 4, 5)
    large = resize_flow(flow, (8, 10))
    torch.testing.assert_close(
        large[..., [0, 0, -1, -1], [0, -1, 0, -1]], 2 * flow[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    )
