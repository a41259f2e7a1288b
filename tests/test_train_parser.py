"""Labels of the face parser's crops agree with the picture, and its stage learns from them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from face3d.morphable_file import MorphableArrays
from face3d.networks.parser import CLASSES, UNKNOWN, ParserConfig
from face3d.parse import FaceParser
from face3d.rasterise_numba import depth_numpy
from tests.toy_views import toy_model, toy_photos
from train.__main__ import run
from train.augment import PLAIN, AugmentConfig
from train.config import Inputs, OptimiserConfig, RunOptions
from train.parser import ParserTask, ParserTrainConfig
from train.parser_data import OCCLUDER, LabelledCrops, Labeller, ParserBatches, occlude, parser_held_out
from train.photos import load_photos
from train.profiling import apparent_yaw_deg, project, vertices_of
from train.synthetic import Generator
from train.views import Turner, View

REAL_MODEL = Path(__file__).parents[1] / "face3d/assets/face3d_model.npz"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> MorphableArrays:
    return MorphableArrays.load(REAL_MODEL)


@pytest.fixture(scope="module")
def photos_dir(model: MorphableArrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_photos(tmp_path_factory.mktemp("real"), model)


@pytest.fixture(scope="module")
def synthetic(model: MorphableArrays, photos_dir: Path) -> list[View]:
    rng, generator = np.random.default_rng(0), Generator(model, load_photos(photos_dir))
    return [generator.draw(rng) for _ in range(24)]


@pytest.fixture(scope="module")
def photo(model: MorphableArrays, photos_dir: Path) -> View:
    return Turner(model, load_photos(photos_dir)).photo(2, np.random.default_rng(0))


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    path = toy_model(tmp_path)
    return Inputs(tmp_path, extra=(path, toy_photos(tmp_path, MorphableArrays.load(path))))


def small_config() -> ParserTrainConfig:
    optimiser = OptimiserConfig(learning_rate=3e-3, ema_decay=0.5)
    network = ParserConfig((8, 8, 16, 16), crop_size=64)
    return ParserTrainConfig(network=network, batch_size=4, validation_views=5, optimiser=optimiser)


def placed_px(model: MorphableArrays, view: View) -> np.ndarray:
    return project(vertices_of(model, view.identity, view.expression), view.pose)


def seen_vertices(model: MorphableArrays, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Vertices that nothing hides, with the mesh all around their pixel, and the pixels (x, y) of all vertices."""
    placed, size = placed_px(model, view), view.image.shape[0]
    depth = depth_numpy(placed.astype(np.float32), model.triangles, (size, size))
    pixels = np.rint(placed[:, :2]).astype(int)
    inside = ((pixels >= 1) & (pixels < size - 1)).all(1)
    covered = cv2.erode(np.isfinite(depth).astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    x, y = pixels.clip(0, size - 1).T
    return np.flatnonzero(inside & covered[y, x] & (placed[:, 2] < depth[y, x] + 1.0)), pixels


def surrounded(model: MorphableArrays, region: str) -> np.ndarray:
    """Which vertices (V,) lie in a region together with all their neighbours."""
    own = model.vertex_region == model.meta.region_names.index(region)
    mixed = model.triangles[own[model.triangles].any(1) & ~own[model.triangles].all(1)]
    own[mixed.ravel()] = False
    return own


@pytest.mark.parametrize(
    "region, name", [("nose", "nose"), ("brows", "brows"), ("ears", "skin"), ("neck", "background")]
)
def test_a_vertex_that_is_seen_has_its_label(
    model: MorphableArrays, synthetic: list[View], region: str, name: str
) -> None:
    labeller, inner, right = Labeller(model), surrounded(model, region), []
    for view in synthetic:
        assert view.cover is not None and view.cover.shape == (len(model.mean),)
        if abs(apparent_yaw_deg(view.pose.rotation)) < 60:
            vertices, pixels = seen_vertices(model, view)
            vertices = vertices[inner[vertices] & (view.cover[vertices] < 0.1)]
            x, y = pixels[vertices].T
            right.append(labeller(view)[y, x] == CLASSES.index(name))
    found = np.concatenate(right)
    assert len(found) > 100 and found.mean() > 0.9


def test_all_classes_but_the_occluder_occur(model: MorphableArrays, synthetic: list[View]) -> None:
    labels = np.stack([Labeller(model)(view) for view in synthetic])
    assert set(np.unique(labels)) == set(range(len(CLASSES))) - {OCCLUDER}


def test_hair_of_synthetic_people_is_background(model: MorphableArrays, synthetic: list[View]) -> None:
    labeller = Labeller(model)
    view = max(synthetic, key=lambda v: float(v.cover.astype(float).mean()) if v.cover is not None else 0.0)
    assert view.cover is not None and (view.cover > 0.5).mean() > 0.02
    haired, bald = labeller(view), labeller(view._replace(cover=np.zeros_like(view.cover)))
    changed = haired != bald
    assert changed.any() and (haired[changed] == 0).all() and (bald[changed] > 0).all()


def test_where_a_photos_hair_may_be_nothing_is_known(model: MorphableArrays, photo: View) -> None:
    labels, known = Labeller(model)(photo), Labeller(model)(photo._replace(cover=np.zeros(len(model.mean))))
    assert not (known == UNKNOWN).any()
    vertices, pixels = seen_vertices(model, photo)
    inner = surrounded(model, "skin")[vertices]
    forehead = pixels[vertices[inner & (model.mean[vertices, 1] > 50)]]
    cheeks = pixels[vertices[inner & (model.mean[vertices, 1] < 40)]]
    assert len(forehead) > 50 and (labels[forehead[:, 1], forehead[:, 0]] == UNKNOWN).mean() > 0.95
    assert len(cheeks) > 50 and (labels[cheeks[:, 1], cheeks[:, 0]] == 1).mean() > 0.95
    ears = pixels[vertices[surrounded(model, "ears")[vertices]]]
    assert (labels[ears[:, 1], ears[:, 0]] == UNKNOWN).mean() > 0.9


def test_a_band_around_a_photos_mesh_is_unknown(model: MorphableArrays, photo: View) -> None:
    """Outwards from the mesh: 6 % of the side (11 px) unknown, then background; what is seen but hair stays known."""
    labels, size = Labeller(model)(photo), photo.image.shape[0]
    placed = placed_px(model, photo).astype(np.float32)
    row = int(np.rint(placed[model.mean[:, 2].argmax(), 1]))  # through the tip of the nose
    seen = np.isfinite(depth_numpy(placed, model.triangles, (size, size))[row])
    last = int(np.flatnonzero(seen).max())
    assert (labels[row, last + 1 : last + 9] == UNKNOWN).all()
    assert (labels[row, last + 13 :] == 0).all() and len(labels[row, last + 13 :]) > 3


def test_mirrored_crops_have_mirrored_labels(model: MorphableArrays, synthetic: list[View]) -> None:
    view = next(v for v in synthetic if 20 < abs(apparent_yaw_deg(v.pose.rotation)) < 50)
    crops = LabelledCrops(model, view.image[None], 64)
    plain = crops(view, PLAIN, 0.0, np.random.default_rng(0))
    mirrored = crops(view, PLAIN._replace(flip=1.0), 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored["crop"], plain["crop"][..., ::-1])
    np.testing.assert_array_equal(mirrored["labels"], plain["labels"][:, ::-1])
    assert (mirrored["labels"] != plain["labels"]).any()


def test_labels_follow_the_crop(model: MorphableArrays, synthetic: list[View]) -> None:
    """A picture painted with its own labels shows them wherever it is cropped and turned."""
    view = next(v for v in synthetic if abs(apparent_yaw_deg(v.pose.rotation)) < 40)
    labels = Labeller(model)(view)
    painted = view._replace(image=np.repeat((20 * labels)[..., None], 3, 2))
    crops = LabelledCrops(model, painted.image[None], 96)
    config = PLAIN._replace(roll_deg=18.0, shift=0.08, flip=0.5, crop_factor=(1.2, 1.65))
    rng = np.random.default_rng(1)
    for _ in range(5):
        sample = crops(painted, config, 0.0, rng)
        assert (abs(sample["crop"][0].astype(int) - 20 * sample["labels"].astype(int)) <= 10).mean() > 0.9


def test_occluders_are_labelled(model: MorphableArrays, synthetic: list[View]) -> None:
    """What changes in the picture is an occluder, but for its soft edge."""
    rng, crop = np.random.default_rng(0), np.full((96, 96, 3), 128, np.uint8)
    photos = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    hidden = 0
    for _ in range(30):
        painted, labels = occlude(crop, np.full((96, 96), UNKNOWN, np.uint8), photos, rng)
        changed = (painted != crop).any(-1)
        assert set(np.unique(labels)) <= {OCCLUDER, UNKNOWN}
        assert (changed & (labels != OCCLUDER)).mean() < 0.08
        hidden += (labels == OCCLUDER).sum()
    assert 0.01 < hidden / (30 * 96 * 96) < 0.4
    crops = LabelledCrops(model, photos, 64)
    counts = [(crops(synthetic[0], PLAIN, 0.4, rng)["labels"] == OCCLUDER).any() for _ in range(100)]
    assert 25 <= sum(counts) <= 55
    assert not any((crops(v, AugmentConfig(), 0.0, rng)["labels"] == OCCLUDER).any() for v in synthetic[:5])


def test_regions_that_are_no_classes_are_refused(model: MorphableArrays) -> None:
    meta = replace(model.meta, region_names=("horn", *model.meta.region_names[1:]))
    with pytest.raises(ValueError, match="horn"):
        Labeller(replace(model, meta=meta))


def test_the_same_seed_gives_the_same_batches(inputs: Inputs) -> None:
    source = ParserBatches(*inputs.extra, crop_size=48, batch_size=6)
    one, two = source(3), source(3)
    for _ in range(2):
        first, second = next(one), next(two)
        assert first["crop"].shape == (6, 3, 48, 48) and first["labels"].shape == (6, 48, 48)
        for name in ("crop", "labels"):
            assert first[name].dtype == torch.uint8
            torch.testing.assert_close(first[name], second[name])
    assert not torch.equal(next(source(4))["crop"], next(source(3))["crop"])


def test_held_out_crops_are_always_the_same(inputs: Inputs) -> None:
    one, two = (parser_held_out(*inputs.extra, 48, 6) for _ in range(2))
    torch.testing.assert_close(one["crop"], two["crop"])
    torch.testing.assert_close(one["labels"], two["labels"])


def test_stage_needs_photos(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train.prepare photos"):
        ParserTask(small_config(), Inputs(tmp_path, extra=(inputs.extra[0],)), CPU)
    with pytest.raises(ValueError, match="train.prepare photos"):
        ParserTask(small_config(), Inputs(tmp_path, extra=(tmp_path,)), CPU)
    with pytest.raises(ValueError, match="class_weights"):
        ParserTask(replace(small_config(), class_weights=(1.0,)), inputs, CPU)


def test_stage_overfits_one_batch(inputs: Inputs) -> None:
    torch.manual_seed(0)
    task = ParserTask(small_config(), inputs, CPU)
    batch = next(task.train_data()(0))
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=1e-2)
    losses, right = [], 0.0
    for _ in range(30):
        values = task.train_step(task.model, batch, 0.0)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        losses.append(float(values["loss"].detach()))
        right = float(values["right"])
    assert losses[-1] < 0.6 * losses[0] and right > 0.6


def test_stage_ends_in_weights_that_parse(inputs: Inputs, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    path = run("parser", small_config(), inputs, RunOptions(tmp_path / "run", steps=2, workers=0), fabric)
    parser = FaceParser(path)
    assert parser.crop_size == 64 and parser(torch.rand(2, 3, 64, 64)).shape == (2, 9, 64, 64)
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert "mean_iou" in log and "iou_nose" in log
    further = ParserTask(small_config(), replace(inputs, weights=(path,)), CPU)
    state = FaceParser(path).network.state_dict()
    torch.testing.assert_close(further.model.predict.weight.detach(), state["predict.weight"])
    picture = further.pictures(further.model.eval())["held_out"]
    assert picture.shape == (2 * 64, 8 * 64, 3) and picture.dtype == np.uint8
