"""eval.alignment: a known similarity is recovered, noise is measured, scale is only used where allowed."""

import numpy as np
import pytest
import torch

from eval.alignment import Alignment, align_points, align_rigid, icp
from eval.distance import Surface
from face3d.geometry import rotation_from_euler_deg
from face3d.morphable import MorphableModel


def a_rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    camera_from_model = rotation_from_euler_deg(torch.tensor([[pitch, yaw, roll]], dtype=torch.float64))[0].numpy()
    return np.diag([1.0, -1.0, -1.0]) @ camera_from_model


@pytest.fixture
def bumpy(rng) -> tuple[np.ndarray, np.ndarray]:
    """A curved sheet, 100 mm wide, without symmetry."""
    u, v = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    z = 30 * np.exp(-((u - 0.2) ** 2) * 8 - (v + 0.1) ** 2 * 3) + 10 * np.sin(3 * u + v) - 20 * v**2 - 35 * u**2
    vertices = np.stack([50 * u, 60 * v, z], -1).reshape(-1, 3)
    corner = (np.arange(39)[:, None] * 40 + np.arange(39)).reshape(-1)
    halves = [np.stack([corner, corner + a, corner + b], 1) for a, b in ((1, 41), (41, 40))]
    return vertices, np.concatenate(halves)


def test_apply_and_invert(rng) -> None:
    alignment = Alignment(a_rotation(10, 20, 30), 1.7, np.array([1.0, 2.0, 3.0]))
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(alignment.invert(alignment.apply(points)), points, atol=1e-12)


def test_align_points_and_rigid(rng) -> None:
    truth = Alignment(a_rotation(5, -40, 12), 1.3, np.array([4.0, -2.0, 9.0]))
    points = rng.normal(size=(7, 3)) * 40
    found = align_points(points, truth.apply(points))
    np.testing.assert_allclose(found.apply(points), truth.apply(points), atol=1e-9)
    rigid = align_rigid(points, truth._replace(scale=1.0).apply(points))
    np.testing.assert_allclose(rigid.apply(points), truth._replace(scale=1.0).apply(points), atol=1e-9)
    assert align_rigid(points, truth.apply(points)).scale == 1.0


@pytest.mark.parametrize("residual", ["point-to-plane", "point-to-point"])
def test_icp_recovers_a_known_similarity(bumpy, residual: str) -> None:
    vertices, triangles = bumpy
    truth = Alignment(a_rotation(6, -8, 4), 1.15, np.array([5.0, -3.0, 8.0]))
    inner = vertices[(np.abs(vertices[:, 0]) < 40) & (np.abs(vertices[:, 1]) < 48)][::3]
    start = Alignment(np.eye(3), 1.0, np.zeros(3))
    steps = 100 if residual == "point-to-plane" else 2000
    result = icp(Surface(vertices, triangles), truth.apply(inner), start, residual=residual, max_steps=steps)
    tolerance = 1e-3 if residual == "point-to-plane" else 0.3
    np.testing.assert_allclose(result.alignment.apply(inner), truth.apply(inner), atol=tolerance)
    assert result.distance.mean() < tolerance


def test_icp_error_equals_the_noise(bumpy, rng) -> None:
    vertices, triangles = bumpy
    surface = Surface(vertices, triangles)
    inner = rng.permutation(vertices[(np.abs(vertices[:, 0]) < 40) & (np.abs(vertices[:, 1]) < 48)])
    nearest = surface.closest(inner)
    noise = rng.normal(0, 0.5, len(inner))
    targets = inner + noise[:, None] * surface.normals[nearest.triangle]
    result = icp(surface, targets, Alignment(a_rotation(2, 1, -2), 1.03, np.array([1.0, 0.5, -1.0])))
    assert result.distance.mean() == pytest.approx(np.abs(noise).mean(), rel=0.05)


def test_icp_without_scale_keeps_it(bumpy) -> None:
    vertices, triangles = bumpy
    start = Alignment(np.eye(3), 1.0, np.zeros(3))
    result = icp(Surface(vertices, triangles), 1.1 * vertices[::7], start, with_scale=False)
    assert result.alignment.scale == 1.0
    assert result.distance.mean() > 0.3


def test_icp_does_not_depend_on_the_order_of_vertices(bumpy, rng) -> None:
    vertices, triangles = bumpy
    order = rng.permutation(len(vertices))
    shuffled = Surface(vertices[order], np.argsort(order)[triangles][rng.permutation(len(triangles))])
    targets = vertices[::5] * 1.05 + np.array([1.0, 2.0, 0.0])
    start = Alignment(np.eye(3), 1.0, np.zeros(3))
    first, second = icp(Surface(vertices, triangles), targets, start), icp(shuffled, targets, start)
    np.testing.assert_allclose(first.alignment.scale, second.alignment.scale, rtol=1e-5)


def test_a_face_that_is_aligned_already_stays(rng) -> None:
    model = MorphableModel.random(0)
    vertices = model.mean.numpy().astype(float)
    start = Alignment(np.eye(3), 1.0, np.zeros(3))
    result = icp(Surface(vertices, model.triangles.numpy()), vertices, start)
    np.testing.assert_allclose(result.alignment.apply(vertices), vertices, atol=1e-6)
