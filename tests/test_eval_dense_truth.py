"""Dense scores across topologies, and truths that are a model fitted to 68 points."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from eval.aflw2000 import Aflw2000
from eval.aflw2000_pose import true_landmarks_px
from eval.alignment import align_points
from eval.correspondence import Face, find_correspondence
from eval.dense_meshes import FittedMeshes
from eval.dense_points import counted_points
from eval.dense_truth import DenseTruths, dense_truths
from eval.distance import Surface
from eval.landmark_fit import LandmarkFitter
from eval.protocol import Prediction
from face3d.checkpoint import asset_path
from face3d.metrics import nme_percent
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from tests.mini_300wlp import converted, landmarks_on, measured, turned, write_photos
from tests.official_files import toy


@pytest.fixture
def arrays() -> MorphableArrays:
    return toy()


# Other topologies


def finer(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same surface with each triangle in four."""
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, place = np.unique(sides, axis=0, return_inverse=True)
    ab, bc, ca = place.reshape(3, -1) + len(vertices)
    a, b, c = triangles.T
    parts = np.concatenate([np.stack(part, 1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return np.concatenate([vertices, vertices[unique].mean(1)]), parts


@pytest.fixture
def finer_predictions(tmp_path: Path, arrays: MorphableArrays) -> tuple[DenseTruths, dict[str, Prediction]]:
    """Predictions of the true surfaces in a topology of four times as many triangles."""
    meshes = write_photos(tmp_path / "a", arrays)
    truths = dense_truths(converted(tmp_path / "a"), None, MorphableModel(toy(identity=3)))
    mean = arrays.mean.astype(np.float64)
    neutral, triangles = finer(mean, arrays.triangles)
    landmarks = landmarks_on(MorphableModel.load(tmp_path / "a" / "model.npz"), mean)
    return truths, {
        name: Prediction(
            vertices_px=finer(mesh, arrays.triangles)[0],
            neutral_mm=neutral,
            model_landmarks_mm=landmarks,
            triangles=triangles,
        )
        for name, mesh in meshes.items()
    }


def test_the_same_surface_in_another_topology(tmp_path: Path, finer_predictions) -> None:
    truths, predictions = finer_predictions
    scores = measured(tmp_path / "a", truths, predictions)
    assert len(scores) == 4 and max(scores.values()) < 2e-3
    moved = {name: replace(one, vertices_px=one.vertices_px + [2, 0, 5]) for name, one in predictions.items()}
    assert measured(tmp_path / "a", truths, moved)["dense/bfm"] > 0.3


def test_the_order_of_vertices_does_not_count(tmp_path: Path, finer_predictions, rng) -> None:
    truths, predictions = finer_predictions
    noisy, shuffled = {}, {}
    for name, one in predictions.items():
        mesh = one.vertices_px + rng.normal(size=one.vertices_px.shape)
        noisy[name] = replace(one, vertices_px=mesh)
        order = np.random.default_rng(7).permutation(len(mesh))  # new vertex n is old vertex order[n]
        back = np.argsort(order)
        triangles = np.random.default_rng(8).permutation(back[one.triangles])
        other = replace(one, neutral_mm=one.neutral_mm[order], triangles=triangles)
        shuffled[name] = replace(other, vertices_px=mesh[order])
    expected = measured(tmp_path / "a", truths, noisy)
    assert expected["dense/bfm"] > 0.3
    assert measured(tmp_path / "a", truths, shuffled) == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_compared_has_no_scores(tmp_path: Path, finer_predictions) -> None:
    truths, predictions = finer_predictions
    sample = next(iter(Aflw2000(tmp_path / "a", dense=truths).samples()))
    one = predictions[sample.name]
    truth = sample.truth.dense
    assert truths.scores(truth, Prediction()) == {}
    assert truths.scores(truth, replace(one, triangles=None)) == {}
    assert truths.scores(truth, replace(one, neutral_mm=None)) == {}
    assert truths.scores(truth, replace(one, model_landmarks_mm=None)) == {}
    shape_only = replace(one, vertices_px=None, vertices_mm=one.vertices_px @ turned(2).T / 1.3)
    scores = truths.scores(truth, shape_only)
    assert set(scores) == {"reconstruction/bfm", "truth-landmarks/bfm"} and scores["reconstruction/bfm"] < 2e-3


def test_the_mean_of_the_methods_own_model_stands_for_its_topology(tmp_path: Path, arrays: MorphableArrays) -> None:
    """A face of that topology needs no neutral mesh, and its identity does not move the correspondence."""
    write_photos(tmp_path / "a", arrays)
    vertices, triangles = finer(arrays.mean.astype(np.float64), arrays.triangles)
    none = np.zeros((0, len(vertices), 3), np.float32)
    fine = replace(
        arrays,
        mean=vertices.astype(np.float32),
        triangles=triangles.astype(np.int32),
        identity_basis=none,
        identity_std=np.zeros(0, np.float32),
        expression_basis=none,
        expression_std=np.zeros(0, np.float32),
        landmark_triangles=arrays.landmark_triangles + 3 * len(arrays.triangles),
        vertex_region=np.zeros(len(vertices), np.uint8),
        albedo_mean=None,
        albedo_basis=None,
        uv=None,
        symmetry=None,
        grid=None,
    )
    truths = dense_truths(converted(tmp_path / "a"), None, MorphableModel(fine))
    sample = next(iter(Aflw2000(tmp_path / "a", dense=truths).samples()))
    scores = truths.scores(sample.truth.dense, Prediction(vertices_px=vertices, triangles=triangles))
    assert len(scores) == 4 and np.isfinite(list(scores.values())).all()


def test_the_correspondence_of_two_people() -> None:
    """The embedded model's people have a known one: 0.9 mm off in the mean of six, 2.3 mm without the spline."""
    model = MorphableModel.load(asset_path("face3d_model.npz"))
    mean, points = model.mean.double().numpy(), counted_points(model).vertices
    face = Face(mean, model.triangles.numpy(), landmarks_on(model, mean))
    bent, straight = [], []
    for seed in range(2):
        identity = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 80)).astype(np.float32))
        person = 1.7 * model.vertices(identity)[0].double().numpy() @ turned(seed).T + [5, 6, 7]
        found = find_correspondence(person[points], landmarks_on(model, person), face).on(mean)
        bent.append(np.linalg.norm(found - mean[points], axis=1).mean())
        moved = align_points(landmarks_on(model, person), face.landmarks_mm).apply(person[points])
        closest = Surface(mean, face.triangles).closest(moved).points
        straight.append(np.linalg.norm(closest - mean[points], axis=1).mean())
    assert np.mean(bent) < 1.1 and np.mean(bent) < 0.65 * np.mean(straight)


# A model fitted to the points


def test_the_fit_finds_the_face_that_made_the_points(rng) -> None:
    model = MorphableModel.random(5, identity=3, expression=2)
    identity, expression = rng.normal(size=(1, 3)), 0.5 * rng.normal(size=(1, 2))
    vertices = model.vertices(*(torch.from_numpy(values.astype(np.float32)) for values in (identity, expression)))[0]
    placed = 1.4 * vertices.double().numpy() @ turned(4).T + [200, 150, -30]
    fit = LandmarkFitter(model, sigma_mm=1e-3).fit(landmarks_on(model, placed))
    np.testing.assert_allclose(fit.identity, identity[0], atol=2e-2)
    np.testing.assert_allclose(fit.expression, expression[0], atol=2e-2)
    np.testing.assert_allclose(fit.pose.rotation, turned(4), atol=2e-3)
    stiff = LandmarkFitter(model, sigma_mm=1e3).fit(landmarks_on(model, placed))
    assert np.abs(stiff.identity).max() < 0.1 * np.abs(identity).max()


def test_a_fitted_truth_meets_its_points(rng) -> None:
    model = MorphableModel.random(5, identity=3, expression=2)
    truths = dense_truths(None, None, model)
    assert truths.name == "face3d-fit" and "not the Basel Face Model" in str(truths)
    vertices = model.vertices(torch.from_numpy(rng.normal(size=(1, 3)).astype(np.float32)))[0].double().numpy()
    placed = 1.4 * vertices * [1, -1, -1] + [200, 150, -30]
    points = landmarks_on(model, placed) * [1, 1, -1] + [1, 1, 0]
    truth = truths.of_photo({"pt3d_68": points.T}, "m.mat")
    assert truth.landmark_nme_percent < 0.3
    scores = truths.scores(truth, Prediction(vertices_px=placed, triangles=model.triangles.numpy()))
    assert scores["dense/face3d-fit"] < 0.5 and scores["reconstruction/face3d-fit"] < 1.0
    far = truths.scores(truth, Prediction(vertices_px=placed * [1, 1, -1], triangles=model.triangles.numpy()))
    assert far["dense/face3d-fit"] > 10 and far["dense-2d/face3d-fit"] == scores["dense-2d/face3d-fit"]


def test_the_depth_of_the_real_labels_counts_towards_the_camera(data_dir: Path) -> None:
    """Fitted with that sign the 68 points of the 15 photos are met within 0.81 %, with the other none within 2 %."""
    meshes = FittedMeshes(MorphableModel.load(asset_path("face3d_model.npz")))
    errors = []
    for file in sorted((data_dir / "aflw2000").glob("image*.mat")):
        label = scipy.io.loadmat(file)
        both = []
        for points in (label["pt3d_68"], label["pt3d_68"] * [[1], [1], [-1]]):
            fitted = landmarks_on(meshes.model, meshes.vertices_px({"pt3d_68": points}, file.name))
            both.append(float(nme_percent(fitted, true_landmarks_px(label))))
        errors.append(both)
    right, wrong = np.transpose(errors)
    assert len(right) == 15 and right.mean() == pytest.approx(0.456, abs=2e-3) and right.max() < 0.83
    assert wrong.min() > 2.0
