"""Flow as users call it: frames of any kind and size, both directions, occlusion, weights that do not fit."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import face3d
from face3d.checkpoint import save_weights
from face3d.networks.flow import DDFLOW, SELFLOW, SMALL, FlowConfig, FlowNetwork, Flows
from face3d.optical_flow import FlowEstimator, OpticalFlow, flow_config, load_flow_network
from tests.fake_networks import noise_photo
from tests.flow_weights import THREE, TINY, lively_network, write_flow_weights


class ConstantFlow(FlowNetwork):
    """Everything moves by (dx, dy) px a frame: what comes first in time is told by its brightness."""

    def __init__(self, config: FlowConfig, dx: float, dy: float) -> None:
        super().__init__(config)
        self.motion = torch.tensor([dx, dy]).view(1, 2, 1, 1)
        self.seen: list[list[list[int]]] = []

    def forward(self, frames: Tensor) -> Flows:
        """Remembers the frames of every item of the batch by their first value."""
        self.seen.append((255 * frames[:, :, 0, 0, 0]).round().int().tolist())
        first, second = frames[:, -2], frames[:, -1]
        towards = (second - first).mean((1, 2, 3)).sign().view(-1, 1, 1, 1)
        full = (towards * self.motion).expand(-1, 2, *frames.shape[-2:])
        return Flows(full, -full, full[..., ::4, ::4], -full[..., ::4, ::4])


def flat(value: int, size: tuple[int, int] = (10, 12)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def check(found: OpticalFlow, size: tuple[int, int]) -> None:
    for flow in (found.forward_px, found.backward_px):
        assert flow.shape == (*size, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()
    for mask in (found.occluded, found.occluded_backward):
        assert mask.shape == size and mask.dtype == np.bool_


@pytest.mark.parametrize("config", [TINY, THREE], ids=["two", "three"])
@pytest.mark.parametrize("size", [(16, 24), (17, 9), (3, 40), (1, 1)])
def test_flow_has_the_size_of_the_frames(config: FlowConfig, size: tuple[int, int]) -> None:
    estimator = FlowEstimator.from_network(lively_network(config))
    frames = [noise_photo(*size, seed=seed) for seed in range(3)]
    check(estimator(*frames), size)
    check(estimator(*frames[1:], previous=frames[0]), size)


@pytest.mark.parametrize("config", [TINY, THREE], ids=["two", "three"])
def test_exchanged_frames_exchange_the_flows(config: FlowConfig) -> None:
    estimator = FlowEstimator.from_network(lively_network(config))
    first, second = noise_photo(16, 24, seed=0), noise_photo(16, 24, seed=1)
    found, reverse = estimator(first, second), estimator(second, first)
    np.testing.assert_array_equal(found.forward_px, reverse.backward_px)
    np.testing.assert_array_equal(found.backward_px, reverse.forward_px)
    np.testing.assert_array_equal(found.occluded, reverse.occluded_backward)
    np.testing.assert_array_equal(found.occluded_backward, reverse.occluded)
    assert np.abs(found.forward_px - found.backward_px).max() > 0.1


def test_two_frames_go_through_as_the_network_defines() -> None:
    network = lively_network(TINY)
    first, second = noise_photo(13, 18, seed=0), noise_photo(13, 18, seed=1)
    found = FlowEstimator.from_network(network, refine=False)(first, second)
    frames = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        flows = network(frames)
    np.testing.assert_allclose(found.forward_px, flows.forward_px[0].permute(1, 2, 0), atol=1e-5)
    np.testing.assert_allclose(found.backward_px, flows.backward_px[0].permute(1, 2, 0), atol=1e-5)


def test_what_leaves_the_picture_is_occluded() -> None:
    found = FlowEstimator.from_network(ConstantFlow(TINY, 3, -2))(flat(10), flat(20))
    assert (found.forward_px == (3, -2)).all() and (found.backward_px == (-3, 2)).all()
    expected = np.zeros((10, 12), bool)
    expected[:2], expected[:, -3:] = True, True
    np.testing.assert_array_equal(found.occluded, expected)
    np.testing.assert_array_equal(found.occluded_backward, expected[::-1, ::-1])


def test_nothing_of_frames_that_stand_still_is_occluded() -> None:
    for config in (TINY, THREE):
        found = FlowEstimator.from_network(ConstantFlow(config, 3, -2))(flat(10), flat(10))
        assert not found.forward_px.any() and not found.occluded.any() and not found.occluded_backward.any()


def test_flows_that_disagree_are_occlusion() -> None:
    class Disagreeing(ConstantFlow):
        def forward(self, frames: Tensor) -> Flows:
            flows = super().forward(frames)
            return flows._replace(backward_px=flows.forward_px)

    found = FlowEstimator.from_network(Disagreeing(TINY, 1, 0))(flat(10), flat(20))
    assert found.occluded.all() and found.occluded_backward.all()


def test_three_frames_are_run_both_ways_as_one_batch() -> None:
    network = ConstantFlow(THREE, 3, -2)
    estimator = FlowEstimator.from_network(network)
    found = estimator(flat(20), flat(30), previous=flat(10))
    estimator(flat(20), flat(30))
    assert network.seen == [[[10, 20, 30], [30, 30, 20]], [[20, 20, 30], [30, 30, 20]]]
    assert (found.forward_px == (3, -2)).all() and (found.backward_px == (-3, 2)).all()


def test_two_frames_need_no_previous_one() -> None:
    network = ConstantFlow(TINY, 3, -2)
    FlowEstimator.from_network(network)(flat(20), flat(30), previous="no such file.png")
    assert network.seen == [[[20, 30]]]


def test_every_kind_of_picture_is_taken(tmp_path: Path) -> None:
    estimator = FlowEstimator.from_network(ConstantFlow(TINY, 1, 0))
    Image.fromarray(flat(10)).save(tmp_path / "a.png")
    grey = np.full((10, 12), 20, np.uint8)
    grey.setflags(write=False)
    for second in (grey, Image.fromarray(grey), np.full((10, 12, 4), 20, np.uint8)):
        check(estimator(tmp_path / "a.png", second), (10, 12))
    with pytest.raises(FileNotFoundError, match="no such photo"):
        estimator(tmp_path / "a.png", tmp_path / "b.png")


def test_frames_of_different_sizes_are_refused() -> None:
    estimator = FlowEstimator.from_network(ConstantFlow(THREE, 1, 0))
    with pytest.raises(ValueError, match="frame1 12 x 10 px, frame2 10 x 12 px"):
        estimator(flat(10), flat(20, (12, 10)))
    with pytest.raises(ValueError, match="previous 12 x 9 px"):
        estimator(flat(10), flat(20), previous=flat(5, (9, 12)))


@pytest.mark.parametrize("config", [TINY, THREE], ids=["two", "three"])
def test_weights_come_back_from_their_file(tmp_path: Path, config: FlowConfig) -> None:
    path = write_flow_weights(tmp_path / "w.safetensors", config)
    estimator = FlowEstimator(path, "cpu")
    assert estimator.network.config == config
    frames = noise_photo(16, 24, seed=0), noise_photo(16, 24, seed=1)
    expected = FlowEstimator.from_network(lively_network(config))(*frames)
    np.testing.assert_allclose(estimator(*frames).forward_px, expected.forward_px, atol=0.05)  # stored as float16


@pytest.mark.parametrize("config", [SELFLOW, DDFLOW, SMALL, TINY])
def test_a_configuration_comes_back_from_json(config: FlowConfig) -> None:
    assert flow_config(json.loads(json.dumps(asdict(config)))) == config


def test_weights_that_are_missing_or_of_another_stage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        FlowEstimator(tmp_path / "missing.safetensors", "cpu")
    save_weights(tmp_path / "w.safetensors", {}, {"stage": "pgn"})
    with pytest.raises(ValueError, match="'pgn': expected stage 'flow'"):
        FlowEstimator(tmp_path / "w.safetensors", "cpu")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="damaged"):
        FlowEstimator(tmp_path / "w.safetensors", "cpu")


@pytest.mark.parametrize(
    "network",
    [
        None,
        {},
        {"config": [1, 2]},
        {"config": {"colour": 3}},
        {"config": asdict(replace(TINY, radius=3))},
    ],
)
def test_weights_that_do_not_fit_their_description(tmp_path: Path, network: object) -> None:
    state = FlowNetwork(TINY).state_dict()
    save_weights(tmp_path / "w.safetensors", state, {"stage": "flow", "network": network})
    with pytest.raises(ValueError, match="does not describe"):
        load_flow_network(tmp_path / "w.safetensors")


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'cuda:77' is not there"):
        FlowEstimator(tmp_path / "missing.safetensors", "cuda:77")


ASTRONAUT = Path(face3d.__file__).parent / "assets" / "astronaut.jpg"


@pytest.mark.parametrize("config", [TINY, THREE], ids=["two", "three"])
def test_identical_frames_do_not_move(config: FlowConfig) -> None:
    frame = noise_photo(13, 9, seed=0)
    found = FlowEstimator.from_network(lively_network(config))(frame, frame.copy(), previous=noise_photo(13, 9, seed=1))
    check(found, (13, 9))
    assert not any(part.any() for part in found)


def test_frames_that_differ_by_noise_alone_hardly_move() -> None:
    photo = np.asarray(Image.open(ASTRONAUT).convert("RGB"))[:203, :150]  # odd sizes
    noisy = (photo.astype(np.int16) + np.random.default_rng(0).integers(-1, 2, photo.shape)).clip(0, 255)
    found = face3d.flow(photo, noisy.astype(np.uint8))
    check(found, (203, 150))
    assert np.linalg.norm(found.forward_px, axis=2).mean() < 0.2 and not found.occluded.any()


@pytest.mark.parametrize(("dx", "dy"), [(3, -4), (-11, 5)])
def test_the_embedded_network_sees_a_photo_move(dx: int, dy: int) -> None:
    photo = np.asarray(Image.open(ASTRONAUT).convert("RGB"))[:304, 100:404]
    first, second = photo[20:-20, 20:-20], photo[20 - dy : 284 - dy, 20 - dx : 284 - dx]
    found = face3d.flow(first, second)
    inner = (slice(20, -20), slice(20, -20))
    assert np.median(np.linalg.norm(found.forward_px - (dx, dy), axis=2)[inner]) < 0.4
    assert np.median(np.linalg.norm(found.backward_px + (dx, dy), axis=2)[inner]) < 0.4
    assert found.occluded[inner].mean() < 0.05
    assert found.occluded[:, -2:].mean() > 0.9 if dx > 0 else found.occluded[:, :8].mean() > 0.9
