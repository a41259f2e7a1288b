"""The detector: cells and boxes, folding of norms, suppression, photos of any size, and the embedded weights."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import face3d.checkpoint
from face3d.checkpoint import save_weights
from face3d.detect import Detections, Detector, network_input, overlaps, suppress
from face3d.networks.backbone import fuse_norms
from face3d.networks.detector import STRIDES, DetectorConfig, DetectorNetwork, cell_centres_px, decode

ASSET = Path(face3d.checkpoint.__file__).parent / "assets" / "detector.safetensors"
SMALL = DetectorConfig(stem=8, channels=(16, 16, 16), blocks=(1, 1, 1), head=16)
needs_weights = pytest.mark.skipif(not ASSET.is_file(), reason="the embedded detector has not been trained yet")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.safetensors"
    meta = {"stage": "detector", "network": {"config": asdict(SMALL), "threshold": 0.5}}
    save_weights(path, DetectorNetwork(SMALL).state_dict(), meta)
    return path


@pytest.fixture
def embedded():
    return Detector()


def test_network_is_small_and_covers_every_cell():
    network = DetectorNetwork()
    assert sum(p.numel() for p in network.parameters()) < 200_000
    cells = network.eval()(torch.rand(2, 3, 64, 96))
    count = sum((64 // s) * (96 // s) for s in STRIDES)
    assert cells.logit.shape == (2, count) and cells.box_px.shape == (2, count, 4) and cells.roll.shape == (2, count, 2)
    assert float(torch.sigmoid(cells.logit.detach()).max()) < 0.2  # a fresh network claims nothing


def test_boxes_are_side_distances_from_cell_centres():
    raw = [torch.zeros(1, 7, 32 // s, 64 // s) for s in STRIDES]
    raw[1][0, 1:5, 1, 2] = torch.tensor([0.5, 1.0, 2.0, 1.5]).log()
    box = decode(raw).box_px[0, 4 * 8 + 1 * 4 + 2]
    # centre of the cell in row 1, column 2 at stride 16: (39.5, 23.5)
    torch.testing.assert_close(box, torch.tensor([39.5 - 16, 23.5 - 32, 39.5 + 64, 23.5 + 48]))
    centres = cell_centres_px(2, 3, 8, box)
    assert centres[0].tolist() == [3.5, 3.5] and centres[-1].tolist() == [19.5, 11.5]


def test_folding_norms_changes_nothing():
    network = DetectorNetwork(SMALL)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval()(images)
        got = fuse_norms(network)(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_photos_are_shrunk_padded_and_never_enlarged():
    tensor, scale = network_input(np.full((100, 50, 3), 255, np.uint8), 384)
    assert tensor.shape == (1, 3, 128, 64) and scale.tolist() == [1, 1]
    assert float(tensor[0, :, :100, :50].min()) == 1 and float(tensor[0, :, 100:].max()) < 0.5
    tensor, scale = network_input(np.zeros((1000, 2000, 3), np.uint8), 384)
    assert tensor.shape == (1, 3, 192, 384) and scale.tolist() == pytest.approx([0.192, 0.192])


@pytest.mark.parametrize("shape", [(1, 1), (10, 4000), (4000, 10), (33, 31), (450, 450)])
def test_any_shape_of_photo_is_taken(weights, shape):
    found = Detector(weights)(np.zeros((*shape, 3), np.uint8), threshold=0.0, max_side=128)
    assert found.boxes_px.shape == (len(found.scores), 4) and found.roll_deg.shape == found.scores.shape
    areas = (found.boxes_px[:, 2:] - found.boxes_px[:, :2]).prod(1)
    assert len(areas) and (np.diff(areas) <= 1e-3).all()
    assert len(Detector(weights)(np.zeros((*shape, 3), np.uint8), threshold=0.999).scores) == 0


def test_suppression_keeps_the_best_of_what_overlaps():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 60, 60], [45, 45, 55, 55], [20, 0, 30, 10]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.9, 0.8, 0.6, 0.7], np.float32), np.arange(5, dtype=np.float32))
    kept = suppress(found)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8, 0.7]) and kept.roll_deg.tolist() == [1, 2, 4]
    assert 0.1 < kept.boxes_px[0, 0] < 1  # a mean of the two
    np.testing.assert_allclose(suppress(kept).boxes_px, kept.boxes_px)
    empty = Detections(boxes[:0], found.scores[:0], found.roll_deg[:0])
    assert suppress(empty).boxes_px.shape == (0, 4)


def test_overlaps():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(overlaps(a, b), [[1, 1 / 3, 0], [0, 0, 0]], atol=1e-6)


def test_weights_of_another_stage_are_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", {}, {"stage": "pgn"})
    with pytest.raises(ValueError, match="'pgn'"):
        Detector(tmp_path / "w.safetensors")


@needs_weights
def test_embedded_weights_are_small():
    assert ASSET.stat().st_size <= 400_000


@needs_weights
@pytest.mark.parametrize("angle", [-40, 0, 40])
def test_the_astronaut_is_found_upright_and_turned(embedded, angle):
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    # face of skimage's astronaut, from its brows to the chin: about x 175-272, y 85-185
    turn = cv2.getRotationMatrix2D((223, 135), -angle, 1.0)  # clockwise
    found = embedded(cv2.warpAffine(data.astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REFLECT))
    best = int(found.scores.argmax())
    box = found.boxes_px[best]
    assert found.scores[best] > 0.8 and np.delete(found.scores, best).max(initial=0) < 0.7
    assert np.abs((box[:2] + box[2:]) / 2 - (223, 135)).max() < 25
    assert 70 < (box[2:] - box[:2]).max() < 150
    assert abs(found.roll_deg[best] - angle) < 20


@needs_weights
def test_nothing_is_found_where_no_face_is(embedded):
    data = pytest.importorskip("skimage.data")
    rng = np.random.default_rng(0)
    photos = [data.coffee(), data.rocket(), np.full((300, 300, 3), 200, np.uint8)]
    photos += [rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)]
    assert [len(embedded(photo).scores) for photo in photos] == [0] * len(photos)


@needs_weights
def test_small_and_large_faces_are_found(embedded):
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    face = data.astronaut()[50:220, 140:310]
    whole = embedded(cv2.resize(face, (640, 640)))
    assert len(whole.scores) == 1 and (whole.boxes_px[0, 2:] - whole.boxes_px[0, :2]).max() > 280
    canvas = cv2.GaussianBlur(data.coffee()[:300, :380], (0, 0), 1)
    canvas[100:142, 200:242] = cv2.resize(face, (42, 42), interpolation=cv2.INTER_AREA)
    small = embedded(np.ascontiguousarray(canvas))
    assert len(small.scores) == 1 and 18 < (small.boxes_px[0, 2:] - small.boxes_px[0, :2]).max() < 34
