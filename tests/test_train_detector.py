"""The detector's stage: mosaics say where their faces are, cells are assigned, losses fall, the stage runs."""

import io
import itertools
import tarfile

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from face3d.detect import Detections, Detector
from face3d.morphable import MorphableModel
from face3d.networks.detector import DetectorConfig, DetectorNetwork
from train.config import Inputs, RunOptions, change
from train.detector import CONFIGS, as_float, choose_threshold, match, task
from train.detector_animals import bent_cat, drawn_animal
from train.detector_backgrounds import Backgrounds, without_face
from train.detector_data import FACE, IGNORED, MOST_FACES, MosaicSource, make_mosaic, mirrored
from train.detector_loss import assign, cells_of, detector_losses, overlap_and_giou
from train.detector_sources import POINTS, LabelledFace, load_faces
from train.loop import Loop
from train.views import save_views

SMALL = DetectorConfig(stem=8, channels=(16, 24, 32), blocks=(1, 1, 1), head=16)


def toy_portrait(rng, roll_deg=0.0):
    """A grey oval with eyes and mouth, and 478 points with pixel edges at 0 as MediaPipe gives them."""
    image = np.full((96, 96, 3), rng.integers(60, 200, 3), np.uint8)
    cv2.ellipse(image, (48, 48), (24, 30), roll_deg, 0, 360, (170, 190, 220), -1)
    angle = np.radians(roll_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = np.zeros((478, 2)) + [0, 5]
    around = np.linspace(0, 2 * np.pi, len(POINTS), endpoint=False)
    flat[POINTS] = np.stack([24 * np.cos(around), 5 + 25 * np.sin(around)], 1)
    flat[[33, 263]] = [[-12, -8], [12, -8]]
    points = flat @ turn.T + 48.5
    for eye in points[[33, 263]]:
        cv2.circle(image, tuple(int(v) for v in eye), 4, (20, 20, 20), -1)
    return image, np.concatenate([points, np.zeros((478, 1))], 1).astype(np.float32)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng, names, landmarks = np.random.default_rng(0), [], []
    with tarfile.open(folder / "toy.tar", "w") as archive:
        for index in range(60):
            image, points = toy_portrait(rng, roll_deg=float(rng.uniform(-20, 20)))
            data = cv2.imencode(".png", image)[1].tobytes()
            info = tarfile.TarInfo(f"p{index:03d}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
            names.append(f"toy.tar/p{index:03d}.png")
            landmarks.append(points)
    landmarks[3][:] = np.nan
    np.savez(folder / "labels.npz", names=np.array(names), landmarks=np.stack(landmarks), size=np.full((60, 2), 96))
    return Inputs(folder, (folder / "labels.npz",))


def test_faces_are_read_with_pixel_centres_at_integers(inputs):
    faces = load_faces(inputs)
    assert len(faces) == 59  # one has no labels
    held_out = [face.name for face in faces if face.held_out]
    assert 0 < len(held_out) < 15
    face = faces[0]
    assert face.image().shape == (96, 96, 3) and face.image(2).shape == (48, 48, 3)
    assert face.points_px.mean(0) == pytest.approx([48, 52], abs=4)
    eye = face.image()[tuple(np.rint(face.points_px[0, ::-1]).astype(int))]
    assert eye.max() < 60  # the first point is on the dark eye


@pytest.mark.parametrize("roll_deg", [0.0, 30.0])
def test_turned_views_tell_box_and_roll(tmp_path, roll_deg):
    model = MorphableModel.random(0)
    model.save(tmp_path / "model.npz")
    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    clockwise = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    profile = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], np.float32)
    labels = {
        "identity": np.zeros((2, model.identity_count), np.float32),
        "expression": np.zeros((2, model.expression_count), np.float32),
        "rotation": np.stack([clockwise @ np.diag([1.0, -1, -1]), clockwise @ profile]).astype(np.float32),
        "scale": np.full(2, 0.5, np.float32),
        "translation_px": np.full((2, 2), 80, np.float32),
        "person": np.arange(2),
    }
    save_views(tmp_path / "turned", np.zeros((2, 160, 160, 3), np.uint8), labels)
    faces = load_faces(Inputs(tmp_path, (), (), (tmp_path / "model.npz", tmp_path / "turned")))
    landmarks = model.landmarks(torch.zeros(1, 1), torch.zeros(1, 1))[0].numpy()
    for face, rotation in zip(faces, labels["rotation"], strict=True):
        expected = 0.5 * landmarks @ rotation[:2].T + 80
        np.testing.assert_allclose(face.points_px.min(0), expected.min(0), atol=1e-3)
        np.testing.assert_allclose(face.points_px.max(0), expected.max(0), atol=1e-3)
        along = face.points_px[1] - face.points_px[0]
        assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(roll_deg, abs=0.1)


def test_evaluation_photos_and_missing_sources_are_refused(inputs, tmp_path):
    (tmp_path / "aflw2000").mkdir()
    (tmp_path / "aflw2000" / "toy.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="evaluation only"):
        load_faces(Inputs(tmp_path, inputs.labels))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="toy.tar"):
        load_faces(Inputs(tmp_path / "empty", inputs.labels))
    with pytest.raises(ValueError, match="no faces"):
        load_faces(Inputs(tmp_path))


def test_mosaics_are_labelled_where_their_faces_are(inputs, rng):
    faces = load_faces(inputs)
    backgrounds = Backgrounds([np.zeros((50, 60, 3), np.uint8)], faces)
    mosaics = [make_mosaic(rng, faces, backgrounds, 192) for _ in range(40)]
    assert any(len(m.kind) == 0 for m in mosaics) and any(len(m.kind) > 3 for m in mosaics)
    for mosaic in mosaics:
        assert mosaic.image.shape == (192, 192, 3) and mosaic.image.dtype == np.uint8
        assert len(mosaic.kind) == len(mosaic.boxes_px) == len(mosaic.roll_deg) <= MOST_FACES
        size = mosaic.boxes_px[:, 2:] - mosaic.boxes_px[:, :2]
        assert (size > 3).all() and set(mosaic.kind.tolist()) <= {FACE, IGNORED}
        assert (np.abs(mosaic.roll_deg) < 90).all()


def test_faces_are_taken_out(rng):
    image, points = toy_portrait(rng)
    for _ in range(20):
        changed = without_face(rng, image, points[POINTS, :2] - 0.5)
        assert (changed != image).any() and (changed[:10] == image[:10]).all()


def test_animals_are_drawn_in_any_size(rng):
    for size in ((60, 90), (200, 150), (12, 300)):
        cat = bent_cat(rng, rng.integers(0, 256, (300, 451, 3)).astype(np.uint8), *size)
        for image in (cat, drawn_animal(rng, *size)):
            assert image.shape == (*size, 3) and image.dtype == np.uint8 and image.std() > 3


def test_mirrored_batches_are_labelled_alike(inputs):
    batch = next(MosaicSource(inputs, 4)(1))
    other = mirrored(batch)
    again = mirrored(other)
    assert all(torch.equal(again[name], batch[name]) for name in ("image", "kind", "roll"))
    torch.testing.assert_close(again["boxes"], batch["boxes"])
    image, face = batch["image"].shape[-1], batch["kind"] > 0
    width = batch["boxes"][face][:, 2] - batch["boxes"][face][:, 0]
    torch.testing.assert_close(other["boxes"][face][:, 0], image - 1 - batch["boxes"][face][:, 0] - width)


def test_batches_are_alike_for_a_seed_and_split_people(inputs):
    first = next(MosaicSource(inputs, 8)(5))
    again = next(MosaicSource(inputs, 8)(5))
    assert torch.equal(first["image"], again["image"]) and first["image"].dtype == torch.uint8
    assert first["boxes"].shape[1:] == (MOST_FACES, 4)
    sides = {b["image"].shape[-1] for b in itertools.islice(MosaicSource(inputs, 8)(0), 8)}
    assert len(sides) > 1


def test_cells_answer_for_faces_of_their_size():
    cells = cells_of(256, 256, torch.zeros(1))
    boxes = torch.tensor([[[10.0, 10, 30, 30], [50, 50, 250, 250], [100, 10, 130, 40], [0, 0, 0, 0]]])
    index, state = assign(cells, boxes, torch.tensor([[FACE, FACE, IGNORED, 0]]))
    strides = [set(cells.stride[(index[0] == i) & (state[0] == 1)].tolist()) for i in range(2)]
    assert strides == [{8.0}, {32.0}]
    assert ((index[0] == 1) & (state[0] == 1)).sum() >= 4
    ignored = cells.centre_px[state[0] == 2]
    assert len(ignored) and bool(((ignored > torch.tensor([100, 10])) & (ignored < torch.tensor([130, 40]))).all())


def test_giou_of_known_boxes():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 2, 2], [2, 0, 3, 1]])
    iou, giou = overlap_and_giou(a, b)
    torch.testing.assert_close(iou, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(giou, torch.tensor([1.0, -1 / 3]))


def test_losses_are_one_a_sample_and_blind_to_what_is_ignored():
    network, images = DetectorNetwork(SMALL), torch.rand(2, 3, 64, 64)
    predictions, cells = network(images), cells_of(64, 64, images)
    boxes = torch.tensor([[[8.0, 8, 40, 40]], [[0, 0, 64, 64]]])
    losses = detector_losses(predictions, cells, boxes, torch.zeros(2, 1), torch.tensor([[FACE], [IGNORED]]))
    assert losses.score.shape == (2,) and losses.answering[0] > 0
    assert losses.score[1] == 0 and losses.box[1] == 0 and losses.answering[1] == 0
    perfect = predictions._replace(box_px=boxes[:, :1].expand(-1, predictions.box_px.shape[1], -1))
    exact = detector_losses(perfect, cells, boxes, torch.zeros(2, 1), torch.tensor([[FACE], [FACE]]))
    torch.testing.assert_close(exact.box, torch.zeros(2), atol=1e-5, rtol=0)
    (losses.score.sum() + losses.box.sum() + losses.roll.sum()).backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())


def test_matching_counts_a_face_once():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    found = Detections(
        np.array([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros(3, np.float32),
    )
    matched, hit = match(found, boxes)
    assert hit.tolist() == [True, False, False] and matched[0] == 0


def test_the_threshold_is_the_lowest_that_is_precise():
    scores = np.linspace(1, 0.001, 1000)
    correct = np.arange(1000) < 400
    threshold, precision, recall = choose_threshold(scores[::-1], correct[::-1], 500)
    assert precision == pytest.approx(0.95, abs=0.003) and recall == 400 / 500
    assert threshold == pytest.approx(scores[420], abs=0.003)  # 400 of 421
    assert choose_threshold(np.array([0.6, 0.4]), np.array([False, True]), 3) == (0.5, 0.0, 0.0)
    assert choose_threshold(np.zeros(0), np.zeros(0, bool), 3) == (0.5, 0.0, 0.0)


def test_the_stage_learns_a_batch(inputs):
    config = change(CONFIGS["fast"], ["batch_size=4"])
    stage = task(config, inputs, torch.device("cpu"))
    stage.model = DetectorNetwork(SMALL)
    batch = next(stage.train_data()(0))
    optimiser = torch.optim.AdamW(stage.model.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        scalars = stage.train_step(stage.model, batch, 0.0)
        optimiser.zero_grad()
        scalars["loss"].backward()
        optimiser.step()
        values.append(float(scalars["loss"].detach()))
    assert values[-1] < 0.6 * values[0]
    assert as_float(batch["image"]).max() <= 1


def test_the_stage_runs_and_its_weights_detect(inputs, tmp_path):
    config = change(CONFIGS["fast"], ["batch_size=2", "detector.stem=8", "detector.head=16"])
    fabric = Fabric(accelerator="cpu", devices=1)
    stage = task(config, inputs, fabric.device)
    path = Loop(stage, config, RunOptions(tmp_path, steps=2, workers=0), fabric, "detector").run()
    assert (tmp_path / "held_out.png").is_file()
    detector = Detector(path)
    assert 0 < detector.threshold < 1
    found = detector(np.zeros((64, 64, 3), np.uint8))
    assert found.boxes_px.shape[1] == 4
    assert isinstance(load_faces(inputs)[0], LabelledFace)
