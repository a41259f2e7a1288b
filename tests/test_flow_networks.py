"""Cost volume and flow networks: against slow references, sizes, symmetries, and that they learn."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from face3d.networks.convex_upsampling import ConvexUpsampler
from face3d.networks.cost_volume import cost_volume, cost_volume_reference, unit_features
from face3d.networks.flow import DDFLOW, SELFLOW, SMALL, FlowConfig, FlowNetwork, Flows
from face3d.warping import warp_by_flow
from tests.flow_weights import THREE, TINY, lively_network

VARIANTS = {
    "absolute": TINY,
    "residual": replace(TINY, residual_decoder=True, residual_context=True),
    "shared": replace(TINY, residual_decoder=True, residual_context=True, shared_width=10),
    "products": replace(TINY, cosine_cost=False, unit_features=True),
    "no_context": replace(TINY, context=(), dilations=(), residual_context=True),
    "convex": replace(TINY, residual_decoder=True, convex_upsampling=True),
    "three_frames_convex": replace(TINY, frames=3, convex_upsampling=True),
    "three_frames": THREE,
    "three_frames_shared": replace(TINY, frames=3, residual_decoder=True, shared_width=10),
}


def slow_cost_volume(a: Tensor, b: Tensor, radius: int, normalise: bool) -> Tensor:
    """As defined, pixel by pixel."""
    height, width = a.shape[-2:]
    if normalise:
        a, b = (x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt() for x in (a, b))
    rows = []
    for y in range(height):
        for x in range(width):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    inside = 0 <= y + dy < height and 0 <= x + dx < width
                    other = b[:, :, y + dy, x + dx] if inside else torch.zeros_like(b[:, :, 0, 0])
                    product = a[:, :, y, x] * other
                    rows.append(product.sum(1) if normalise else product.mean(1))
    return torch.stack(rows, 1).view(len(a), height, width, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("size", "radius"), [((5, 7), 2), ((3, 2), 3), ((1, 1), 4)])
def test_cost_volume_is_what_its_definition_says(normalise: bool, size: tuple[int, int], radius: int) -> None:
    pair = [torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    fast, slow = cost_volume(*pair, radius, normalise), slow_cost_volume(*pair, radius, normalise)
    torch.testing.assert_close(fast, slow)
    weights = torch.randn_like(slow)
    for got, expected in zip(
        torch.autograd.grad((fast * weights).sum(), pair),
        torch.autograd.grad((slow * weights).sum(), pair),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("size", "radius"), [((9, 20), 4), ((3, 33), 4), ((1, 24), 2), ((20, 21), 1)])
def test_compiled_cost_volume_is_the_reference(size: tuple[int, int], radius: int) -> None:
    pair = [unit_features(torch.randn(2, 5, *size)).requires_grad_() for _ in range(2)]
    fast, reference = cost_volume(*pair, radius), cost_volume_reference(*map(unit_features, pair), radius)
    torch.testing.assert_close(fast, reference)
    weights = torch.randn_like(reference)
    for got, expected in zip(
        torch.autograd.grad((fast * weights).sum(), pair),
        torch.autograd.grad((reference * weights).sum(), pair),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_compiled_cost_volume_takes_half_precision() -> None:
    pair = [torch.randn(1, 4, 4, 24, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
    cost = cost_volume(*pair)
    torch.testing.assert_close(cost, cost_volume(*(feature.float() for feature in pair)), atol=0.02, rtol=0.02)
    cost.sum().backward()
    assert all(feature.grad is not None and feature.grad.dtype == torch.bfloat16 for feature in pair)


@pytest.mark.parametrize("normalise", [True, False])
def test_cost_volume_differentiates(normalise: bool) -> None:
    pair = [torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: cost_volume(a, b, 1, normalise), pair)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-4, 4)])
def test_cost_volume_peaks_at_the_displacement(dx: int, dy: int) -> None:
    first = torch.randn(1, 16, 20, 24)
    second = first.roll((dy, dx), (2, 3))
    cost = cost_volume(first, second)
    best = cost.argmax(1)[0, 4:-4, 4:-4]
    assert (best == (dy + 4) * 9 + dx + 4).all()
    torch.testing.assert_close(cost.amax(1)[0, 4:-4, 4:-4], torch.ones(12, 16))


def test_a_fresh_upsampler_interpolates() -> None:
    upsampler, quarter_px = ConvexUpsampler(3), torch.randn(2, 2, 5, 7)
    upsampler.start_bilinear()
    padded = torch.nn.functional.pad(4 * quarter_px, (1, 1, 1, 1), mode="replicate")
    expected = torch.nn.functional.interpolate(padded, scale_factor=4, mode="bilinear", align_corners=False)
    found = upsampler(torch.randn(2, 3, 5, 7), quarter_px)
    torch.testing.assert_close(found, expected[..., 4:-4, 4:-4], atol=0.03 * float(expected.abs().max()), rtol=0.0)


def test_upsampled_flow_lies_between_its_neighbours() -> None:
    upsampler, quarter_px = ConvexUpsampler(3), torch.randn(2, 2, 5, 7)
    torch.nn.init.normal_(upsampler.weights.weight, 0, 3.0)
    fine = upsampler(torch.randn(2, 3, 5, 7), quarter_px)
    assert fine.shape == (2, 2, 20, 28)
    largest = torch.nn.functional.max_pool2d(4 * quarter_px, 3, 1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    least = -torch.nn.functional.max_pool2d(-4 * quarter_px, 3, 1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert (fine <= largest + 1e-5).all() and (fine >= least - 1e-5).all()
    torch.testing.assert_close(
        upsampler(torch.randn(1, 3, 4, 4), torch.ones(1, 2, 4, 4)), torch.full((1, 2, 16, 16), 4.0)
    )


def test_black_pictures_have_a_finite_gradient() -> None:
    features = torch.zeros(1, 4, 3, 3, requires_grad=True)
    unit_features(features).sum().backward()
    assert features.grad is not None and features.grad.abs().max() < 2e3


@pytest.mark.parametrize(("config", "parameters"), [(SELFLOW, 4_790_876), (DDFLOW, 4_273_628), (SMALL, 651_268)])
def test_presets_have_their_number_of_parameters(config: FlowConfig, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in FlowNetwork(config).parameters()) == parameters


@pytest.mark.parametrize("preset", [SELFLOW, DDFLOW, SMALL])
def test_a_fresh_network_hardly_moves_anything(preset: FlowConfig) -> None:
    with torch.inference_mode():
        flows = FlowNetwork(preset).eval()(torch.rand(1, preset.frames, 3, 64, 128))
    assert all(flow.isfinite().all() and flow.abs().max() < 2 for flow in flows)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("size", [(16, 24), (17, 9), (5, 31)])
def test_flow_has_the_size_of_the_frames(config: FlowConfig, size: tuple[int, int]) -> None:
    height, width = size
    flows = lively_network(config)(torch.rand(2, config.frames, 3, height, width))
    quarter = (2, 2, (height + 3) // 4, (width + 3) // 4)
    assert [tuple(flow.shape) for flow in flows] == [(2, 2, height, width)] * 2 + [quarter] * 2
    assert all(flow.isfinite().all() for flow in flows)


def test_padding_is_cut_back_where_it_was_added() -> None:
    """The flow of a small frame is that of the frame extended by its border, at the same pixels."""
    network, frames = lively_network(VARIANTS["residual"]).eval(), torch.rand(1, 2, 3, 13, 18)
    extended = torch.nn.functional.pad(frames[0], (0, 6, 0, 3), mode="replicate")[None]
    with torch.inference_mode():
        small, large = network(frames), network(extended)
    for got, expected in zip(small, large, strict=True):
        torch.testing.assert_close(got, expected[..., : got.shape[-2], : got.shape[-1]])


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_reversed_time_exchanges_the_flows(config: FlowConfig) -> None:
    network, frames = lively_network(config).eval(), torch.rand(2, config.frames, 3, 16, 24)
    with torch.inference_mode():
        flows, reversed_flows = network(frames), network(frames.flip(1))
    for got, expected in zip(reversed_flows, (flows[1], flows[0], flows[3], flows[2]), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert (flows.forward_px - flows.backward_px).abs().max() > 0.1


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_memory_order_changes_nothing(config: FlowConfig) -> None:
    network, frames = lively_network(config).eval(), torch.rand(1, config.frames, 3, 16, 24)
    with torch.inference_mode():
        flows = network(frames)
        others = network.to(memory_format=torch.channels_last)(frames)
    for got, expected in zip(others, flows, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_gradients_reach_every_parameter(config: FlowConfig) -> None:
    network = lively_network(config)
    flows = network(torch.rand(1, config.frames, 3, 16, 16))
    torch.stack([flow.square().sum() for flow in flows]).sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_images_of_a_batch_do_not_meet() -> None:
    network, frames = lively_network(VARIANTS["three_frames"]).eval(), torch.rand(3, 3, 3, 16, 16)
    with torch.inference_mode():
        together, alone = network(frames), [network(frame[None]) for frame in frames]
    for index, flow in enumerate(together):
        torch.testing.assert_close(flow, torch.cat([flows[index] for flows in alone]), atol=1e-5, rtol=1e-5)


def test_another_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="got 3 frames; this network takes 2"):
        FlowNetwork(TINY)(torch.rand(1, 3, 3, 16, 16))


@pytest.mark.parametrize("wrong", [{"frames": 4}, {"pyramid": (8,)}, {"decoder": ()}, {"dilations": (1,)}])
def test_configurations_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(TINY, **wrong)


def noise_moved_by(dx: int, dy: int, frames: int, size: int = 32) -> Tensor:
    """Smooth noise that moves by (dx, dy) from each frame to the next."""
    noise = torch.nn.functional.avg_pool2d(torch.rand(1, 3, size + 34, size + 34), 3, 1)
    noise = (noise - noise.amin()) / (noise.amax() - noise.amin())
    corners = [(16 - dy * t, 16 - dx * t) for t in range(frames)]
    return torch.stack([noise[..., y : y + size, x : x + size] for y, x in corners], dim=1)


def end_point_errors(flows: Flows, frames: int, dx: int, dy: int) -> Tensor:
    """Mean error of both directions in pixels; with time reversed the motion is the opposite."""
    motion = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1)
    return ((flows.forward_px - motion).norm(dim=1).mean() + (flows.backward_px + motion).norm(dim=1).mean()) / 2


@pytest.mark.parametrize("name", ["absolute", "shared", "three_frames"])
def test_a_few_steps_fit_a_translation(name: str) -> None:
    """Both directions with the same weights: a flow that ignores the frames is off by the whole motion in one."""
    config, (dx, dy) = VARIANTS[name], (3, -2)
    frames = noise_moved_by(dx, dy, config.frames)
    warped = warp_by_flow(frames[:, -1], torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 32, 32))
    assert (warped.values - frames[:, -2]).abs()[:, :, 2:, :-3].max() < 1e-3  # that is the motion of these frames
    network = FlowNetwork(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        error = end_point_errors(network(frames), config.frames, dx, dy)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0], errors[::10]
