"""Moving scenes: the flow moves the pictures, both directions agree, what is hidden is hidden, disparity too."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from train.flow_scenes import PLAIN, FlowScenes, Scene, SceneConfig, StereoScenes, draw_layers, held_out_scenes
from train.flow_textures import Patches, cut_out
from train.layer_warp import LATTICE, MAX_SLOPE, draw

SIZE = (96, 128)
SOURCE = FlowScenes(SIZE, 3, 2, with_skimage=False, config=PLAIN)
STEREO = StereoScenes(SIZE, 2, with_skimage=False, config=PLAIN)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [SOURCE.scene(seed) for seed in range(12)]


def moved(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`values` (H,W,C) looked up where the flow leads."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def inside_layers(layer: np.ndarray, there: np.ndarray, flow: np.ndarray, reach: int = 1) -> np.ndarray:
    """Pixels whose neighbours, here and around where they go, all show the same layer."""
    kernel, same = np.ones((2 * reach + 1,) * 2, np.uint8), np.ones(layer.shape, bool)
    for picture, look in ((layer, None), (there, flow)):
        low, high = (how(picture.astype(np.uint8), kernel).astype(np.float32) for how in (cv2.erode, cv2.dilate))
        if look is not None:
            low, high = moved(low, look), moved(high, look)
        same &= (low == layer) & (high == layer)
    return same


def test_the_flow_brings_the_next_frame_back(scenes: list[Scene]) -> None:
    errors, unmoved = [], []
    for scene in scenes:
        for t in range(2):
            flow = scene.flow_forward_px[t]
            known = ~scene.occluded_forward[t] & inside_layers(scene.layer[t], scene.layer[t + 1], flow)
            difference = np.abs(moved(scene.frames[t + 1], flow) - scene.frames[t])[known]
            errors.append(difference.mean())
            unmoved.append(np.abs(scene.frames[t + 1].astype(float) - scene.frames[t])[known].mean())
            assert np.quantile(difference, 0.99) < 14
    assert np.mean(errors) < 1.0 and 5 * np.mean(errors) < np.mean(unmoved)


def test_forward_and_backward_flow_agree(scenes: list[Scene]) -> None:
    count = 0
    for scene in scenes:
        for t in range(2):
            there_and_back = (
                (scene.flow_forward_px[t], scene.flow_backward_px[t], scene.occluded_forward[t], t, t + 1),
            )
            there_and_back += (
                (scene.flow_backward_px[t], scene.flow_forward_px[t], scene.occluded_backward[t], t + 1, t),
            )
            for flow, back, hidden, here, there in there_and_back:
                known = ~hidden & inside_layers(scene.layer[here], scene.layer[there], flow)
                gap = np.linalg.norm(flow + moved(back, flow), axis=-1)[known]
                assert gap.max() < 0.1 and gap.mean() < 0.02
                count += known.sum()
    assert count > 0.6 * len(scenes) * 4 * SIZE[0] * SIZE[1]


def test_a_hidden_point_leaves_the_picture_or_lies_behind_something_nearer(scenes: list[Scene]) -> None:
    for scene in scenes:
        flow, hidden = scene.flow_forward_px[0], scene.occluded_forward[0]
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        out = (x < -0.001) | (y < -0.001) | (x > SIZE[1] - 0.999) | (y > SIZE[0] - 0.999)
        assert hidden[out].all()
        nearest = cv2.erode(scene.layer[1].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
        covered = hidden & ~out
        assert (moved(nearest, flow)[covered] < scene.layer[0][covered]).mean() > 0.97 if covered.any() else True
        visible = ~hidden & (
            moved(cv2.dilate(scene.layer[1].astype(np.uint8), np.ones((3, 3), np.uint8)), flow) < scene.layer[0]
        )
        assert not visible.any()


def test_the_point_of_a_pixel_is_exact() -> None:
    """Putting each pixel's layer point back into the picture leads to the pixel; displacements stay invertible."""
    for seed in range(6):
        layers = draw_layers(np.random.default_rng(seed), Patches(), SIZE, PLAIN)
        placement = layers.placement(0.7)
        drawing = draw(layers.stack, placement, SIZE)
        flow, hidden = layers.flow(drawing, drawing, placement)
        assert np.abs(flow).max() < 1e-3 and not hidden.any()
        cells = (layers.stack.size_hw[:, None, ::-1] - 1) / (LATTICE - 1)
        slopes = [np.abs(np.diff(placement.bend, axis=2 - a)).sum(-1).max((1, 2)) / cells[:, 0, a] for a in (0, 1)]
        assert (slopes[0] + slopes[1]).max() <= MAX_SLOPE + 1e-4


def test_a_seed_is_a_scene() -> None:
    for source in (SOURCE, FlowScenes(SIZE, 3, 2, with_skimage=False)):
        one, two, other = source.scene(3), pickle.loads(pickle.dumps(source)).scene(3), source.scene(4)
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first, second)
        assert not np.array_equal(one.frames, other.frames)


@pytest.mark.parametrize("frames", [2, 5])
def test_batches(frames: int) -> None:
    batch = next(FlowScenes((48, 64), frames, 3, with_skimage=False)(0))
    assert batch["frames"].shape == (3, frames, 3, 48, 64) and batch["frames"].dtype == torch.uint8
    for name in ("flow_forward_px", "flow_backward_px"):
        assert batch[name].shape == (3, frames - 1, 2, 48, 64) and batch[name].isfinite().all()
    for name in ("occluded_forward", "occluded_backward"):
        assert batch[name].shape == (3, frames - 1, 48, 64) and batch[name].dtype == torch.bool
    assert batch.keys() == {"frames", "flow_forward_px", "flow_backward_px", "occluded_forward", "occluded_backward"}


def test_held_out_scenes_are_others_than_those_trained_on_and_always_the_same() -> None:
    source = FlowScenes((48, 64), 2, 2)
    one, two = held_out_scenes(source, 2), held_out_scenes(source, 2)
    assert torch.equal(one["frames"], two["frames"]) and len(one["frames"]) == 2
    assert not torch.equal(one["frames"], next(source(0))["frames"])


def test_most_motion_is_slow_and_some_is_fast() -> None:
    source = FlowScenes((128, 128), 2, 1, with_skimage=False, config=PLAIN)
    speed = np.concatenate([np.linalg.norm(source.scene(s).flow_forward_px[0, ::4, ::4], axis=-1) for s in range(60)])
    speed *= 2  # as in a picture of 256 px
    assert 0.6 < (speed < 10).mean() < 0.97
    assert 0.005 < (speed > 20).mean() < 0.15
    assert 1.0 < np.median(speed) < 8 and speed.max() < 90


def test_blur_light_and_noise_change_the_frames_alone() -> None:
    plain = SOURCE.scene(5)
    config = SceneConfig(blur=1.0, light=1.0, noise=1.0)
    changed = FlowScenes(SIZE, 3, 2, with_skimage=False, config=config).scene(5)
    np.testing.assert_array_equal(plain.flow_forward_px, changed.flow_forward_px)
    assert 0.5 < np.abs(plain.frames.astype(float) - changed.frames).mean() < 40


def test_disparity_joins_left_and_right_and_motion_keeps_the_cameras_rows() -> None:
    for seed in range(6):
        scene = STEREO.scene(seed)
        for moment in range(2):
            left, right = scene.layer[2 * moment], scene.layer[2 * moment + 1]
            disparity = scene.disparity_left_px[moment]
            flow = np.stack([-disparity, np.zeros_like(disparity)], -1)
            known = ~scene.hidden_left[moment] & inside_layers(left, right, flow)
            back = moved(scene.frames[2 * moment + 1], flow)
            assert np.abs(back - scene.frames[2 * moment])[known].mean() < 2.5
            assert disparity.min() > -0.01
            gap = np.abs(disparity - moved(scene.disparity_right_px[moment], flow))[known]
            assert gap.max() < 0.1
            nearer = [disparity[left == number] for number in np.unique(left)]
            assert np.mean(nearer[0]) > np.mean(nearer[-1])


def test_the_flows_of_four_pictures_close_the_square() -> None:
    """w12(p) + w24(p + w12) = w13(p) + w34(p + w13) on points seen in all four."""
    scene = STEREO.scene(2)
    across, later = (np.stack([-d, 0 * d], -1) for d in scene.disparity_left_px)
    one = across + moved(scene.flow_forward_px[1], across)
    other = scene.flow_forward_px[0] + moved(later, scene.flow_forward_px[0])
    known = ~scene.hidden_left[0] & ~scene.occluded_forward[0]
    known &= inside_layers(scene.layer[0], scene.layer[1], across, 2)
    known &= inside_layers(scene.layer[0], scene.layer[2], scene.flow_forward_px[0], 2)
    assert np.abs(one - other)[known].max() < 0.1 and known.mean() > 0.3


def test_stereo_batches() -> None:
    batch = next(STEREO(1))
    assert batch["frames"].shape == (2, 4, 3, *SIZE) and batch["flow_forward_px"].shape == (2, 2, 2, *SIZE)
    for name in ("disparity_left_px", "disparity_right_px", "hidden_left", "hidden_right", "occluded_forward"):
        assert batch[name].shape == (2, 2, *SIZE)


def test_shapes_end_before_their_texture_does() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for index in range(40):
        layer = cut_out(rng, Patches()(rng, 40, 60), thin=index % 4 == 0)
        assert layer.shape == (40, 60, 4)
        mask = layer[..., 3]
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
        covered.append((mask > 127).mean())
    assert min(covered) > 0.005 and 0.2 < np.mean(covered) < 0.8


def test_a_layer_tilted_beyond_its_horizon_is_refused() -> None:
    layers = draw_layers(np.random.default_rng(0), Patches(), SIZE, PLAIN)
    layers.motions.tilt[0] = 1.0
    with pytest.raises(ValueError, match="layer 0 reaches the horizon"):
        layers.placement(0.0)


def test_one_frame_has_no_flow() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        FlowScenes(SIZE, 1, 1, with_skimage=False).scene(0)
