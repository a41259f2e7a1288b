"""Views drawn while training: shares, reuse, other heads under a photo's skin, nobody on both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.morphable_file import MorphableArrays
from tests.toy_views import toy_model, toy_photos, toy_views
from train.augment import PLAIN
from train.fresh import Drawer, FreshBatches, Mix, aside_weight, choose_batches, choose_held_out, shut_weight
from train.photos import load_photos
from train.profiling import landmarks_of, project, vertices_of
from train.synthetic import LIDS, Generator
from train.view_batches import ViewBatches
from train.views import Turner


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return toy_model(tmp_path)


@pytest.fixture
def photos_dir(model_path: Path, tmp_path: Path) -> Path:
    return toy_photos(tmp_path, MorphableArrays.load(model_path))


def test_batches_are_endless_and_the_same_for_the_same_seed(model_path: Path, photos_dir: Path) -> None:
    source = FreshBatches(model_path, photos_dir, 64, 6, mix=Mix(pool=3))
    one, two = source(5), source(5)
    for _ in range(3):
        first, second = next(one), next(two)
        assert first["crop"].shape == (6, 3, 64, 64) and first["crop"].dtype == torch.uint8
        for name, value in first.items():
            torch.testing.assert_close(value, second[name])
    assert not torch.equal(next(source(6))["crop"], next(source(5))["crop"])


def test_only_photos_where_only_photos_are_asked_for(model_path: Path, photos_dir: Path) -> None:
    """With plain photos alone, every identity is one of the fits of the people trained on."""
    batch = next(FreshBatches(model_path, photos_dir, 64, 12, PLAIN, Mix(photo=1.0))(0))
    fits = torch.from_numpy(load_photos(photos_dir).identity[2:])  # person 0 (two photos) is held out
    distances = torch.cdist(batch["identity"], fits)
    assert float(distances.min(1).values.max()) == 0.0 and len(distances.argmin(1).unique()) > 1


def test_people_held_out_are_not_drawn(model_path: Path, photos_dir: Path) -> None:
    model = MorphableArrays.load(model_path)
    drawn, kept = (Drawer(model, photos_dir, held_out, Mix()).rows for held_out in (False, True))
    persons = load_photos(photos_dir).persons
    assert len(drawn) + len(kept) == len(persons)
    assert not set(persons[drawn].tolist()) & set(persons[kept].tolist())


def test_each_drawn_view_serves_about_as_often_as_asked(model_path: Path, photos_dir: Path) -> None:
    source = FreshBatches(model_path, photos_dir, 64, 40, PLAIN, Mix(photo=0.0, turned=0.0, pool=8, uses=4.0))
    batches = source(0)
    next(batches)  # fills the pool
    identities = torch.cat([next(batches)["identity"] for _ in range(4)])
    assert 20 < len(identities.unique(dim=0)) < 80  # 160 samples / 4 uses, and up to 8 that were waiting


def test_another_head_has_the_photos_expression_and_its_own_shape(model_path: Path, photos_dir: Path) -> None:
    model = MorphableArrays.load(model_path)
    turner = Turner(model, load_photos(photos_dir))
    own = turner.draw(0, np.random.default_rng(3), other_face=0.0)
    other = turner.draw(0, np.random.default_rng(3), other_face=1.0)
    np.testing.assert_array_equal(own.identity, turner.photos.identity[0])
    assert float(np.abs(other.identity - own.identity).mean()) > 0.2
    np.testing.assert_array_equal(other.expression, own.expression)
    shape_mm = vertices_of(model, other.identity, other.expression)
    marks = project(landmarks_of(model, shape_mm), other.pose)[:, :2]
    centre = (marks.min(0) + marks.max(0)) / 2
    np.testing.assert_allclose(centre, (other.image.shape[0] - 1) / 2, atol=1e-3)  # its labels fit its picture


def test_people_who_look_aside_are_drawn_more_often() -> None:
    weight = aside_weight(np.array([0.0, -17.0, 27.0, -27.0, 45.0, 90.0]))
    np.testing.assert_allclose(weight[:4], [1, 1, np.e, np.e], rtol=1e-6)
    assert weight[4] > 15 and weight[5] == 35


def with_lids(model: MorphableArrays) -> MorphableArrays:
    """The first two expressions are those of the lids."""
    names = (*LIDS, *(f"other{at}" for at in range(len(model.expression_basis) - len(LIDS))))
    return replace(model, meta=replace(model.meta, expression_names=names))


def test_people_whose_eyes_are_shut_are_drawn_more_often(model_path: Path) -> None:
    model = MorphableArrays.load(model_path)
    expression = np.zeros((4, len(model.expression_basis)))
    expression[:, :2] = np.array([0.0, 0.4, 0.6, 1.0])[:, None]
    weight = shut_weight(with_lids(model), expression)
    np.testing.assert_allclose(weight[:2], 1.0)
    assert 5 < weight[2] < weight[3] < 14
    np.testing.assert_array_equal(shut_weight(model, expression), 1.0)  # a model whose expressions have no such names


def test_some_synthetic_people_shut_their_eyes(model_path: Path, photos_dir: Path) -> None:
    model = with_lids(MorphableArrays.load(model_path))
    generator, rng = Generator(model, load_photos(photos_dir)), np.random.default_rng(0)
    lids = np.stack([generator.coefficients(rng)[1][:2] for _ in range(600)])
    both, one = (lids >= 0.4).all(1), (lids >= 0.4).any(1)
    assert 0.15 < both.mean() < 0.27 < one.mean() < 0.45 and lids.max() <= 1.2


def test_held_out_views_are_always_the_same(model_path: Path, photos_dir: Path) -> None:
    one, two = (choose_held_out(model_path, (photos_dir,), 64, 6) for _ in range(2))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name])


def test_photos_and_views_do_not_mix(model_path: Path, photos_dir: Path, tmp_path: Path) -> None:
    views = toy_views(tmp_path, MorphableArrays.load(model_path))
    assert isinstance(choose_batches(model_path, (photos_dir,), 64, 4), FreshBatches)
    assert isinstance(choose_batches(model_path, (views,), 64, 4), ViewBatches)
    with pytest.raises(ValueError, match="only views"):
        choose_batches(model_path, (photos_dir, views), 64, 4)


def test_the_mix_and_the_changes_of_a_stage_reach_its_batches(model_path: Path, photos_dir: Path) -> None:
    mix = Mix(photo=1.0)
    source = choose_batches(model_path, (photos_dir,), 64, 4, PLAIN, mix)
    assert isinstance(source, FreshBatches) and source.mix == mix and source.augment == PLAIN
