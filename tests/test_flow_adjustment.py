"""Shapes adjusted to the flow between frames: exact differences give the shape back, whatever the pose's error."""

import math

import pytest
import torch
from torch import Tensor

from face3d.camera import project
from face3d.flow_adjustment import (
    Adjustment,
    AdjustmentConfig,
    Flow,
    Points,
    chosen_points,
    compare_frames,
    compared,
    solve,
    unexplained_px,
)
from face3d.image import sample_bilinear
from face3d.morphable import MorphableModel
from face3d.render import interpolate
from face3d.texture_swap import look, ordered_pairs
from face3d.types import ScaledOrthography

SIZE = (96, 96)
YAWS_DEG = (-20.0, 0.0, 25.0)
SOFT = AdjustmentConfig()
LOOSE = AdjustmentConfig(identity_ridge=1e-7, expression_ridge=1e-7, pose_ridge=1e-7)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=30, columns=30)


def poses(model: MorphableModel, yaws_deg: tuple[float, ...] = YAWS_DEG) -> ScaledOrthography:
    """The face upright and from the front, turned about the vertical axis, in the middle of the picture."""
    turns = [(math.cos(math.radians(yaw)), math.sin(math.radians(yaw))) for yaw in yaws_deg]
    rotation = torch.tensor([[[c, 0, s], [0, -1, 0], [s, 0, -c]] for c, s in turns])
    scale = 80 / (model.mean.amax(0) - model.mean.amin(0))[:2].max()
    middle = (model.mean.amax(0) + model.mean.amin(0)) / 2
    at = 47.5 - scale * (rotation @ middle)[:, :2]
    return ScaledOrthography(rotation, scale.repeat(len(yaws_deg)), at)


def placed(model: MorphableModel, identity: Tensor, expression: Tensor, pose: ScaledOrthography) -> Tensor:
    """A person's meshes (1,K,V,3) in the frames."""
    return project(model.vertices(identity.expand(len(expression), -1), expression), pose)[None]


def coefficients(model: MorphableModel, size: float) -> tuple[Tensor, Tensor]:
    """An identity (1,I), and expressions (K,E) of the frames."""
    draw = torch.Generator().manual_seed(1)
    identity = size * torch.randn(1, len(model.identity_basis), generator=draw)
    expression = size * torch.randn(len(YAWS_DEG), len(model.expression_basis), generator=draw)
    return identity, expression * model.expression_std


def moved_points(model: MorphableModel, found: Tensor, true: Tensor) -> list[Points]:
    """The points of every pair, with the differences that the true meshes make."""
    views = [look(found[:, k], model.triangles, SIZE) for k in range(len(YAWS_DEG))]
    points = []
    for i, j in ordered_pairs(len(YAWS_DEG)):
        mask = views[i].fragments.triangle >= 0
        chosen = chosen_points(views[i], views[j], model.triangles, mask, torch.zeros(1, 2, *SIZE), 300)

        def at(meshes: Tensor, frame: int, chosen: Points = chosen) -> Tensor:
            corners = meshes[0, frame][model.triangles.long()[chosen.triangle]]
            return torch.einsum("bpc,bpcx->bpx", chosen.barycentric, corners)[..., :2]

        slid = torch.einsum("bpxy,bpy->bpx", chosen.slope, at(true, i) - at(found, i))
        points.append(chosen._replace(difference_px=at(true, j) - at(found, j) - slid))
    return points


def adjust_to_flow(
    frames: Tensor,
    meshes: Tensor,
    pose: ScaledOrthography,
    model: MorphableModel,
    flow: Flow,
    config: AdjustmentConfig = SOFT,
    to_anchor: Tensor | None = None,
) -> Adjustment:
    return solve(compare_frames(frames, meshes, pose, model, flow), config, to_anchor)


def _nothing(change: Adjustment) -> Adjustment:
    return Adjustment(*(torch.zeros_like(part) for part in change))


def maps_of(pose: ScaledOrthography) -> Tensor:
    return (pose.scale[:, None, None] * pose.rotation[:, :2])[None]


@pytest.mark.parametrize("turned_deg", [0.0, 0.3])
def test_exact_differences_give_the_shape_back(model: MorphableModel, turned_deg: float) -> None:
    """Whether the poses found are the true ones or a little turned, moved and larger."""
    pose = poses(model)
    identity, expression = coefficients(model, 1.0)
    found = placed(model, torch.zeros_like(identity), torch.zeros_like(expression), pose)
    true = poses(model, tuple(yaw + turned_deg * (-1) ** n for n, yaw in enumerate(YAWS_DEG)))
    moved_px = torch.tensor([[1.0, -0.5], [0.0, 0.7], [-0.4, 0.3]]) * turned_deg
    true = true._replace(scale=true.scale * (1 + 0.01 * turned_deg), translation_px=true.translation_px + moved_px)
    points = moved_points(model, found, placed(model, identity, expression, true))
    told = compared(model, maps_of(pose), points, float(SIZE[1]), torch.ones(1))
    change = solve(told, LOOSE)
    assert float((change.identity - identity).norm()) < (0.2 if turned_deg else 1e-3) * float(identity.norm())
    assert float(unexplained_px(told, change)) < 0.05 * float(unexplained_px(told, _nothing(change)))


def true_flow(model: MorphableModel, found: Tensor, true: Tensor) -> Tensor:
    """Flow of each pair (pairs,2,H,W) from a frame of the true mesh to itself redrawn with the mesh found: pixel p
    shows what the other frame has at a place; the redrawn picture shows it where the mesh found has that place."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    grid = torch.stack([columns, rows])[None].float()
    flows = []
    for i, j in ordered_pairs(found.shape[1]):
        of_found, of_true = (
            interpolate(meshes[:, j], look(meshes[:, i], model.triangles, SIZE).fragments, model.triangles)[..., :2]
            for meshes in (found, true)
        )
        lookup, wanted = (places.permute(0, 3, 1, 2) for places in (of_found, of_true))
        at = grid
        for _ in range(10):
            here = sample_bilinear(lookup, at.flatten(2).mT).unflatten(2, SIZE)
            at = at + (wanted - here).clamp(-3, 3)
        flows.append(at - grid)
    return torch.cat(flows)


def test_flow_of_pictures_leads_to_the_shape(model: MorphableModel) -> None:
    pose = poses(model)
    identity, expression = coefficients(model, 1.0)
    found = placed(model, torch.zeros_like(identity), torch.zeros_like(expression), pose)
    flow_px = true_flow(model, found, placed(model, identity, expression, pose))
    frames = torch.zeros(1, 3, 3, *SIZE)
    config = AdjustmentConfig(1e-4, 1e-4, 1e-4)
    told = compare_frames(frames, found, pose, model, lambda pairs: flow_px)
    change = solve(told, config)
    assert float((change.identity - identity).norm()) < 0.5 * float(identity.norm())
    assert 0.1 < float(told.shared) < 0.9
    some, rest = (solve(told.of_pairs(chosen), config) for chosen in ([0, 1, 2, 4], [3, 5]))
    assert not torch.equal(some.identity, rest.identity)
    held_out = [unexplained_px(told.of_pairs([3, 5]), part) for part in (some, _nothing(some))]
    assert float(held_out[0]) < 0.8 * float(held_out[1])


def test_people_do_not_touch_each_other(model: MorphableModel) -> None:
    pose = poses(model)
    meshes = placed(model, *coefficients(model, 0.2), pose)
    frames, flow_px = torch.rand(2, 3, 3, *SIZE), torch.randn(6, 2, 2, *SIZE)
    both = ScaledOrthography(*(torch.cat([values, values]) for values in pose))
    together = adjust_to_flow(frames, meshes.repeat(2, 1, 1, 1), both, model, lambda pairs: flow_px.flatten(0, 1))
    for person in range(2):
        one = slice(person, person + 1)
        alone = adjust_to_flow(frames[one], meshes, pose, model, lambda pairs, one=one: flow_px[:, one].flatten(0, 1))
        for both_people, one_person in zip(together, alone, strict=True):
            torch.testing.assert_close(both_people[one], one_person, atol=1e-4, rtol=1e-3)


def test_no_flow_changes_nothing(model: MorphableModel) -> None:
    pose = poses(model)
    meshes = placed(model, *coefficients(model, 0.2), pose)
    change = adjust_to_flow(
        torch.rand(1, 3, 3, *SIZE), meshes, pose, model, lambda pairs: torch.zeros(len(pairs), 2, *SIZE)
    )
    assert float(change.identity.abs().max()) < 1e-3 and float(change.expression.abs().max()) < 1e-3


def test_where_nothing_is_seen_the_anchor_holds(model: MorphableModel) -> None:
    pose = poses(model)
    meshes = placed(model, *coefficients(model, 0.2), pose)
    nothing = torch.zeros(len(model.triangles), dtype=torch.bool)
    to_anchor = torch.randn(1, len(model.identity_basis))
    frames = torch.rand(1, 3, 3, *SIZE)

    def flow(pairs: Tensor) -> Tensor:
        return torch.randn(len(pairs), 2, *SIZE)

    unseen = compare_frames(frames, meshes, pose, model, flow, nothing)
    none = solve(unseen)
    assert not unseen.shared.any() and not unexplained_px(unseen, none).any()
    assert not none.identity.any() and not none.expression.any()
    anchored = solve(unseen, to_anchor=to_anchor)
    torch.testing.assert_close(anchored.identity, to_anchor)


def test_a_stiff_identity_stays_at_its_anchor(model: MorphableModel) -> None:
    pose = poses(model)
    meshes = placed(model, *coefficients(model, 0.2), pose)
    to_anchor = torch.randn(1, len(model.identity_basis))
    flow_px = torch.randn(6, 2, *SIZE)
    change = adjust_to_flow(
        torch.rand(1, 3, 3, *SIZE),
        meshes,
        pose,
        model,
        lambda pairs: flow_px,
        config=AdjustmentConfig(identity_ridge=1e6),
        to_anchor=to_anchor,
    )
    torch.testing.assert_close(change.identity, to_anchor, atol=1e-3, rtol=1e-3)


def test_bad_input_is_named(model: MorphableModel) -> None:
    pose = poses(model)
    meshes = placed(model, *coefficients(model, 0.2), pose)
    frames = torch.rand(1, 3, 3, *SIZE)
    with pytest.raises(ValueError, match="1 frames of 1 people and 3 poses"):
        adjust_to_flow(frames[:, :1], meshes[:, :1], pose, model, lambda pairs: pairs[:, 0, :2])
    with pytest.raises(ValueError, match="a pose each"):
        first = ScaledOrthography(*(values[:2] for values in pose))
        adjust_to_flow(frames, meshes, first, model, lambda pairs: pairs[:, 0, :2])
