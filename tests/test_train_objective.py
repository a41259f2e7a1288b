"""Consistency between frames of one person: least for the true pose, nothing where nothing is shared."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from face3d.consistency import swap_all
from face3d.losses import flow_consistency, semantic_consistency
from face3d.morphable import MorphableModel
from tests.test_texture_swap import SIZE, photo, posed
from train.objective import ConsistencyWeights, consistency_losses

PICTURES_ONLY = ConsistencyWeights(flow=0.0, semantic=0.0)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=30, columns=30)


def scene(model: MorphableModel, believed_deg: float) -> tuple[Tensor, Tensor]:
    """Frames at yaw 0 and 20 degrees, and vertices that take the second for another yaw."""
    frames = torch.stack([photo(model, posed(model, yaw)) for yaw in (0.0, 20.0)], 1)
    return frames, torch.stack([posed(model, 0.0), posed(model, believed_deg)], 1)


def test_all_ordered_pairs(model: MorphableModel) -> None:
    frames = torch.rand(2, 3, 3, *SIZE)
    vertices = torch.stack([posed(model, yaw)[0].expand(2, -1, -1) for yaw in (0.0, 10.0, 20.0)], 1)
    pairs = swap_all(frames, vertices, model.triangles)
    assert pairs.frame.shape == pairs.swapped.shape == (12, 3, *SIZE) and pairs.mask.shape == (12, *SIZE)
    torch.testing.assert_close(pairs.frame[2:4], frames[:, 0])  # second pair: (0, 2)
    torch.testing.assert_close(pairs.frame[4:6], frames[:, 1])  # third: (1, 0)


@pytest.mark.parametrize("weights", [PICTURES_ONLY, ConsistencyWeights(0.0, 1.0, 0.0, 0.0)])
def test_the_true_pose_costs_least(weights: ConsistencyWeights, model: MorphableModel) -> None:
    def loss(believed_deg: float) -> float:
        pairs = swap_all(*scene(model, believed_deg), model.triangles)
        return float(torch.stack(list(consistency_losses(pairs, weights).values())).sum(0).mean())

    true, near, far = loss(20.0), loss(24.0), loss(30.0)
    assert true < near < far


def test_gradient_turns_towards_the_true_pose(model: MorphableModel) -> None:
    frames, vertices = scene(model, 20.0)
    shift = torch.full((1,), 2.0, requires_grad=True)
    moved = torch.stack([vertices[:, 0], vertices[:, 1] + torch.stack([shift[0], 0 * shift[0], 0 * shift[0]])], 1)
    losses = consistency_losses(swap_all(frames, moved, model.triangles), ConsistencyWeights(0.0, 1.0, 0.0, 0.0))
    losses["rgb"].sum().backward()
    assert shift.grad is not None and float(shift.grad) > 0  # less shift, less loss


@pytest.mark.parametrize("weights", [PICTURES_ONLY, ConsistencyWeights(0.0, 1.0, 0.0, 0.0)])
def test_two_views_tell_the_shape(weights: ConsistencyWeights, model: MorphableModel) -> None:
    """Poses are known; what the pictures share pulls a wrong identity towards the true one."""
    torch.manual_seed(0)
    true = torch.randn(1, model.identity_count)
    still = posed(model, 0.0), posed(model, 25.0)
    shapes = model.vertices(true) - model.mean
    turned = [at + _in_picture(model, shapes, yaw) for at, yaw in zip(still, (0.0, 25.0), strict=True)]
    frames = torch.stack([photo(model, vertices) for vertices in turned], 1)
    identity = torch.zeros_like(true, requires_grad=True)
    optimiser = torch.optim.Adam([identity], lr=0.05)
    for _ in range(40):
        offset = model.vertices(identity) - model.mean
        vertices = [at + _in_picture(model, offset, yaw) for at, yaw in zip(still, (0.0, 25.0), strict=True)]
        losses = consistency_losses(swap_all(frames, torch.stack(vertices, 1), model.triangles), weights)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
    error = (model.vertices(identity.detach()) - model.vertices(true)).norm(dim=2).mean()
    assert error < 0.8 * (model.mean - model.vertices(true)).norm(dim=2).mean()


def _in_picture(model: MorphableModel, offsets_mm: Tensor, yaw_deg: float) -> Tensor:
    """Offsets of vertices, turned and scaled as `posed` does."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    turn = torch.tensor([[c, 0, s], [0, -1, 0], [s, 0, -c]])
    return offsets_mm @ turn.T * 80 / float((model.mean.amax(0) - model.mean.amin(0))[:2].max())


def test_nothing_shared_costs_nothing(model: MorphableModel) -> None:
    frames, vertices = scene(model, 20.0)
    away = (vertices + torch.tensor([500.0, 0, 0])).requires_grad_()
    losses = consistency_losses(swap_all(frames, away, model.triangles), PICTURES_ONLY)
    losses["census"].sum().backward()
    assert not losses["census"].any() and away.grad is not None and not away.grad.any()


def test_networks_see_the_frame_around_the_swapped_skin(model: MorphableModel) -> None:
    pairs = swap_all(*scene(model, 20.0), model.triangles)
    seen: list[Tensor] = []

    def flow(pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return (pictures[:, 1] - pictures[:, 0])[:, :2]

    def parser(pictures: Tensor) -> Tensor:
        return torch.cat([pictures[:, :1], 1 - pictures[:, :1]], 1)

    losses = consistency_losses(pairs, ConsistencyWeights(), flow, parser)
    assert set(losses) == {"census", "flow", "semantic"} and all(values.shape == (2,) for values in losses.values())
    outside = ~pairs.mask[:, None].expand_as(pairs.frame)
    torch.testing.assert_close(seen[0][:, 1][outside], pairs.frame[outside])


def test_a_weight_without_its_network_is_refused(model: MorphableModel) -> None:
    pairs = swap_all(*scene(model, 20.0), model.triangles)
    with pytest.raises(ValueError, match="set for flow and semantic"):
        consistency_losses(pairs, ConsistencyWeights())


def test_residual_flow_does_not_mind_a_shift(model: MorphableModel) -> None:
    pairs = swap_all(*scene(model, 20.0), model.triangles)
    assert pairs.depth_px.shape == pairs.mask.shape and bool(pairs.depth_px[pairs.mask].isfinite().all())
    assert not pairs.depth_px.requires_grad
    weights = ConsistencyWeights(census=0.0, semantic=0.0, flow=1.0, residual_flow=2.0)

    def shifted(pictures: Tensor) -> Tensor:
        return torch.ones(len(pictures), 2, *pictures.shape[-2:])

    losses = consistency_losses(pairs, weights, shifted)
    torch.testing.assert_close(losses["flow"], torch.full((2,), 2**0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(losses["residual_flow"], torch.zeros(2), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="set for flow:"):
        consistency_losses(pairs, replace(weights, flow=0.0))


def test_flow_and_semantics_by_hand() -> None:
    flow = torch.zeros(2, 2, 2, 2)
    flow[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    mask = torch.tensor([[[True, True], [False, False]], [[False, False], [False, False]]])
    torch.testing.assert_close(flow_consistency(flow, mask), torch.tensor([2.5, 0.0]), atol=1e-4, rtol=0)
    one, other = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    one[0, 0], other[0, 0, 0, 0], other[0, 2, 0, 1] = 1.0, 1.0, 1.0
    torch.testing.assert_close(semantic_consistency(one, other, torch.ones(1, 1, 2)), torch.tensor([0.5]))
