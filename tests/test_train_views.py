"""Training data: fits, turned photos, synthetic people, augmentation, exact targets."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.camera import project
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from face3d.types import ScaledOrthography
from tests.toy_views import toy_model, toy_photos, toy_views
from train.augment import PLAIN, AugmentConfig, augment
from train.fit import Fit, Gaps, fit_points, place, point_basis
from train.labels import person_of, read_labels
from train.photos import PATCH, PATCH_FACTOR, _patch, load_photos, true_yaw_deg, turn_far
from train.profiling import apparent_yaw_deg, border_loop, ring_triangles, to_model_mm, turn, view_of
from train.profiling import project as project_numpy
from train.supervision import Supervisor, texel_vertices
from train.synthetic import Generator
from train.view_batches import LandmarkBasis, ViewBatches, held_out_batch, split_rows
from train.views import Turner, beyond_edge, draw_turned, load_views


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return toy_model(tmp_path)


def test_fit_recovers_pose_and_shape() -> None:
    """Points projected from known coefficients: the fit reprojects them, but for the prior's pull."""
    model = MorphableModel.random(0)
    rng = torch.Generator().manual_seed(0)
    identity = torch.randn(3, model.identity_count, generator=rng)
    expression = torch.zeros(3, model.expression_count)
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(3, 1, 1)
    pose = ScaledOrthography(rotation, torch.tensor([0.5, 1.0, 2.0]), torch.tensor([[50.0, 60.0]]).repeat(3, 1))
    corners = model.triangles[:, :]
    weights = torch.full((len(corners), 3), 1 / 3)
    basis = point_basis(model, corners, weights)
    shape = model.vertices(identity, expression)[:, corners].mean(2)
    fit = fit_points(basis, model.expression_std, project(shape, pose)[..., :2], sigma_mm=0.1, rounds=30)
    assert float(fit.rms_mm.max()) < 0.2
    torch.testing.assert_close(fit.pose.scale, pose.scale, rtol=0.05, atol=0)


def test_fit_is_robust_to_outliers() -> None:
    model = MorphableModel.random(1)
    corners = model.triangles
    basis = point_basis(model, corners, torch.full((len(corners), 3), 1 / 3))
    flat = basis.mean[None, :, :2] * torch.tensor([1.0, -1.0]) + 80
    spoilt = flat.clone()
    spoilt[:, ::20] += 60
    fit = fit_points(basis, model.expression_std, spoilt)
    clean = torch.ones(flat.shape[1], dtype=torch.bool)
    clean[::20] = False
    placed = (fit.pose.scale[:, None, None] * basis.mean @ fit.pose.rotation.mT)[..., :2] + fit.pose.translation_px
    assert float((placed - flat)[:, clean].norm(dim=-1).mean()) < 2.0


def test_fit_holds_a_rotation_that_is_given() -> None:
    """With the true rotation held, scale, translation and shape follow; with a wrong one the fit is worse."""
    model = MorphableModel.random(2)
    corners = model.triangles
    basis = point_basis(model, corners, torch.full((len(corners), 3), 1 / 3))
    true = torch.from_numpy(turn(np.diag([1.0, -1.0, -1.0]), 40.0, 5.0)).float()[None]
    pose = ScaledOrthography(true, torch.tensor([1.3]), torch.tensor([[50.0, 60.0]]))
    points_px = project(basis.mean[None], pose)[..., :2]
    fit = fit_points(basis, model.expression_std, points_px, rotation=true)
    torch.testing.assert_close(fit.pose.rotation, true)
    torch.testing.assert_close(fit.pose.scale, pose.scale, rtol=1e-3, atol=0)
    torch.testing.assert_close(fit.pose.translation_px, pose.translation_px, rtol=0, atol=0.05)
    wrong = torch.from_numpy(turn(np.diag([1.0, -1.0, -1.0]), 10.0, 5.0)).float()[None]
    assert float(fit_points(basis, model.expression_std, points_px, rotation=wrong).rms_mm) > 3 * float(fit.rms_mm)


def test_gaps_are_fitted_where_points_are_not() -> None:
    """Labels that err together tell little of where points are, but what separates two of them well."""
    model = MorphableModel.random(3)
    corners = model.triangles
    basis = point_basis(model, corners, torch.full((len(corners), 3), 1 / 3))
    expression = 3 * model.expression_std[None]
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    pose = ScaledOrthography(frontal, torch.tensor([1.3]), torch.tensor([[50.0, 60.0]]))
    shape = model.vertices(torch.zeros(1, model.identity_count), expression)[:, corners].mean(2)
    goal = project(shape, pose)[..., :2]
    gaps = Gaps(torch.tensor([0, 4]), torch.tensor([9, 17]), 0.1)

    def missed_mm(told: Gaps | None) -> float:
        fit = fit_points(basis, model.expression_std, goal, 50.0, rotation=frontal, gaps=told)
        error = place(basis, fit) - goal
        return float((error[:, gaps.first] - error[:, gaps.second]).norm(dim=-1).mean() / fit.pose.scale[0])

    assert missed_mm(None) > 1.0 and missed_mm(gaps) < 0.1 * missed_mm(None)


def test_only_large_yaws_are_corrected() -> None:
    assert [true_yaw_deg(yaw) for yaw in (0.0, 20.0, -31.0)] == [0.0, 20.0, -31.0]
    assert true_yaw_deg(51.0) == pytest.approx(57.2) and true_yaw_deg(-51.0) == pytest.approx(-57.2)
    frontal = np.diag([1.0, -1.0, -1.0])
    rotation = torch.from_numpy(np.stack([frontal, turn(frontal, -51.0, 0.0)])).float()
    pose = ScaledOrthography(rotation, torch.ones(2), torch.zeros(2, 2))
    fit = Fit(torch.zeros(2, 3), torch.zeros(2, 2), pose, torch.ones(2))

    def refit(rows: torch.Tensor, held: torch.Tensor) -> Fit:
        assert rows.tolist() == [1]
        again = ScaledOrthography(held, torch.full((1,), 2.0), torch.zeros(1, 2))
        return Fit(torch.ones(1, 3), torch.ones(1, 2), again, torch.full((1,), 0.5))

    turned = turn_far(fit, refit)
    assert apparent_yaw_deg(turned.pose.rotation[1].numpy()) == pytest.approx(-57.2, abs=0.01)
    assert turned.pose.scale.tolist() == [1.0, 2.0] and turned.identity[:, 0].tolist() == [0.0, 1.0]
    assert turned.rms_mm.tolist() == [1.0, 0.5]


def test_turn_reaches_the_yaw_asked_for() -> None:
    for start in (-40.0, 0.0, 25.0):
        rotation = turn(np.diag([1.0, -1.0, -1.0]), start, 0.0)
        assert apparent_yaw_deg(rotation) == pytest.approx(start)
        turned = turn(rotation, 70.0, 0.0)
        assert apparent_yaw_deg(turned) == pytest.approx(70.0)
        np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turned) == pytest.approx(1.0)


def test_picture_and_model_space_are_inverse() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 50, (20, 3))
    pose = view_of(points, turn(np.diag([1.0, -1.0, -1.0]), 33.0, 10.0), 160)
    np.testing.assert_allclose(to_model_mm(project_numpy(points, pose), pose), points, atol=1e-9)


def test_rings_continue_the_border() -> None:
    grid = np.arange(20).reshape(4, 5)
    loop = border_loop(grid)
    assert len(loop) == len(set(loop.tolist())) == 14
    triangles = ring_triangles(loop, 20, 2)
    assert triangles.shape == (4 * 14, 3) and triangles.max() == 20 + 2 * 14 - 1


def test_turned_views_carry_their_labels(model_path: Path, tmp_path: Path) -> None:
    model = MorphableArrays.load(model_path)
    photos = toy_photos(tmp_path, model)
    draw_turned(model_path, photos, tmp_path / "turned", 5, seed=0)
    views = load_views(tmp_path / "turned")
    assert views.images.shape == (5, 160, 160, 3) and views.rotation.shape == (5, 3, 3)
    again = Turner(model, load_photos(photos)).draw(0, np.random.default_rng(3))
    same = Turner(model, load_photos(photos)).draw(0, np.random.default_rng(3))
    np.testing.assert_array_equal(again.image, same.image)


def test_missing_folders_say_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train.prepare turned"):
        load_views(tmp_path)
    with pytest.raises(FileNotFoundError, match="train.prepare photos"):
        load_photos(tmp_path)


def test_photos_of_an_earlier_version_are_refused(model_path: Path, tmp_path: Path) -> None:
    folder = toy_photos(tmp_path, MorphableArrays.load(model_path))
    with np.load(folder / "fits.npz") as file:
        fields = {name: file[name] for name in file.files if name != "inside_px"}
    np.savez(folder / "fits.npz", allow_pickle=False, **fields)
    with pytest.raises(ValueError, match=r"lacks \['inside_px'\]: make it again with `python -m train.prepare photos`"):
        load_photos(folder)


def test_a_patch_knows_what_of_it_shows_the_photo() -> None:
    image = np.full((100, 80, 3), 200, np.uint8)
    patch = _patch(image, np.array([[30.0, 40.0], [70.0, 90.0]]))
    x0, y0, x1, y1 = patch.inside_px
    middle, side = np.array([50.0, 65.0]), PATCH_FACTOR * 50
    zoom = PATCH / side
    expected = (np.array([[-0.5, -0.5], [79.5, 99.5]]) - middle) * zoom + (PATCH - 1) / 2
    np.testing.assert_allclose([[x0, y0], [x1, y1]], expected, atol=1e-4)


@pytest.mark.parametrize("backdrop", [False, True])
def test_only_what_lies_beyond_the_photos_edge_is_replaced(backdrop: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    behind = np.full((20, 20, 3), 7, np.uint8) if backdrop else None
    found = beyond_edge(image, np.array([0, 10]), np.array([30, 40]), behind)
    np.testing.assert_array_equal(found[10:, :30], image[10:, :30])
    outside = np.ones((40, 40), bool)
    outside[10:, :30] = False
    assert (found[outside] == 7).all() if backdrop else found[outside].std() < 0.5 * image.std()


def test_a_photo_shows_the_same_inside_whatever_lies_beyond(model_path: Path, tmp_path: Path) -> None:
    model = MorphableArrays.load(model_path)
    turner = Turner(model, load_photos(toy_photos(tmp_path, model)))
    views = [turner.photo(0, np.random.default_rng(seed)).image for seed in range(8)]
    stored = np.asarray(turner.photos.images[0])
    size = len(stored)
    for image in views:
        np.testing.assert_array_equal(image[11:, : size - 20], stored[11:, : size - 20])
    assert any((image[:10] != views[0][:10]).any() for image in views[1:])


def test_label_files_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", names=np.array(["a"]))
    with pytest.raises(ValueError, match="landmarks"):
        read_labels([tmp_path / "bad.npz"])
    assert person_of("lfw-0000.tar/Ada_Lovelace_0002.jpg") == "Ada_Lovelace"
    assert person_of("clip.mp4/000017") == "clip.mp4"


def test_synthetic_people_need_an_albedo(model_path: Path, tmp_path: Path) -> None:
    model = MorphableArrays.load(model_path)
    photos = load_photos(toy_photos(tmp_path, model))
    view = Generator(model, photos).draw(np.random.default_rng(0))
    assert view.image.shape == (160, 160, 3) and view.image.dtype == np.uint8 and view.image.std() > 1
    assert np.linalg.det(view.pose.rotation) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="albedo"):
        Generator(dataclasses.replace(model, albedo_mean=None, albedo_basis=None), photos)


def test_plain_augmentation_is_a_centred_crop() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    crop, matrix, flipped = augment(image, np.array([30.0, 40.0, 70.0, 60.0]), 56, PLAIN, np.random.default_rng(0))
    assert not flipped
    np.testing.assert_allclose(matrix @ [50.0, 50.0, 1.0], [27.5, 27.5])
    assert np.linalg.det(matrix[:, :2]) == pytest.approx((56 / (40 * 1.4)) ** 2)


def test_targets_follow_the_augmented_picture(model_path: Path, tmp_path: Path) -> None:
    """A bright dot at each landmark of a view is found again at the target, whatever crop, roll and flip."""
    model = MorphableArrays.load(model_path)
    folder = toy_views(tmp_path, model, count=4, size=160)
    views = load_views(folder)
    basis = LandmarkBasis(model)
    images = np.zeros_like(np.asarray(views.images))
    for row in range(len(images)):
        placed = views.scale[row] * basis(views.identity[row], views.expression[row]) @ views.rotation[row].T
        x, y = (placed[30, :2] + views.translation_px[row]).round().astype(int)
        images[row, y - 1 : y + 2, x - 1 : x + 2] = 255
    np.save(folder / "images.npy", images)
    changes = AugmentConfig(occlude=0, blur=0, low_resolution=0, noise=0, grey=0)
    batch = next(ViewBatches(model_path, (folder,), 96, 12, changes)(0))
    targets = Supervisor(MorphableModel.load(model_path), 13)(batch, 96)
    assert bool(batch["flipped"].any()) and not bool(batch["flipped"].all())
    for crop, mark in zip(batch["crop"].float().sum(1), targets.landmarks_px[:, 30], strict=True):
        if 3 < float(mark[0]) < 92 and 3 < float(mark[1]) < 92:
            y, x = divmod(int(crop.argmax()), 96)
            assert abs(x - float(mark[0])) < 3 and abs(y - float(mark[1])) < 3


def test_position_map_holds_the_models_vertices(model_path: Path, tmp_path: Path) -> None:
    model = MorphableModel.load(model_path)
    folder = toy_views(tmp_path, model.arrays())
    batch = held_out_batch(model_path, (folder,), 64, 4)
    targets = Supervisor(model, 13)(batch, 64)
    pose = ScaledOrthography(batch["rotation"], batch["scale"], batch["translation_px"])
    placed = project(model.vertices(batch["identity"], batch["expression"]), pose)
    expected = placed[:, texel_vertices(model, 13)].transpose(1, 2).unflatten(2, (13, 13))
    torch.testing.assert_close(targets.map_px, expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(targets.landmarks_px, model.landmarks_of(placed), atol=1e-3, rtol=1e-4)


def test_maps_that_are_no_subset_of_the_grid_are_refused(model_path: Path) -> None:
    with pytest.raises(ValueError, match="UV grid"):
        texel_vertices(MorphableModel.load(model_path), 18)


def test_nobody_is_on_both_sides(model_path: Path, tmp_path: Path) -> None:
    views = load_views(toy_views(tmp_path, MorphableArrays.load(model_path)))
    train, held_out = split_rows(views, held_out=False), split_rows(views, held_out=True)
    assert not set(views.person[train].tolist()) & set(views.person[held_out].tolist())
    assert len(train) + len(held_out) == len(views.person)
