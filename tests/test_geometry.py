"""Similarities as a group; Euler angles: round trip, sign, singularity, and AFLW2000's own photos."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from face3d.geometry import (
    apply_similarity,
    compose_similarity,
    euler_deg_from_rotation,
    invert_similarity,
    rotation_from_euler_deg,
)
from face3d.types import Similarity

FRONTAL = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def random_similarity(batch: int) -> Similarity:
    euler_deg = (torch.rand(batch, 3, dtype=torch.float64) - 0.5) * 170
    scale = torch.rand(batch, dtype=torch.float64) + 0.5
    return Similarity(rotation_from_euler_deg(euler_deg), scale, torch.randn(batch, 3, dtype=torch.float64) * 10)


def test_inverse_undoes() -> None:
    similarity, points = random_similarity(4), torch.randn(4, 7, 3, dtype=torch.float64)
    there = apply_similarity(points, similarity)
    torch.testing.assert_close(apply_similarity(there, invert_similarity(similarity)), points)


def test_composition_applies_inner_first_and_is_associative() -> None:
    a, b, c = (random_similarity(3) for _ in range(3))
    points = torch.randn(3, 5, 3, dtype=torch.float64)
    composed = apply_similarity(points, compose_similarity(a, b))
    torch.testing.assert_close(composed, apply_similarity(apply_similarity(points, b), a))
    left = compose_similarity(compose_similarity(a, b), c)
    torch.testing.assert_close(left, compose_similarity(a, compose_similarity(b, c)))


@settings(deadline=None, max_examples=50)
@given(st.tuples(st.floats(-179, 179), st.floats(-89.9, 89.9), st.floats(-179, 179)))
def test_euler_round_trip(euler_deg: tuple[float, float, float]) -> None:
    angles = torch.tensor([euler_deg], dtype=torch.float64)
    rotation = rotation_from_euler_deg(angles)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64)[None])
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(euler_deg_from_rotation(rotation), angles, atol=1e-6, rtol=0)


def test_zero_angles_face_the_camera() -> None:
    torch.testing.assert_close(rotation_from_euler_deg(torch.zeros(1, 3, dtype=torch.float64))[0], FRONTAL)


def test_signs_of_the_angles() -> None:
    """Positive yaw: nose to the image's left; pitch: nose up; roll: top of the head to the image's right."""
    pitch, yaw, roll = rotation_from_euler_deg(torch.eye(3, dtype=torch.float64) * 20)
    assert yaw[0, 2] < 0
    assert pitch[1, 2] < 0
    assert roll[0, 1] > 0


@pytest.mark.parametrize("yaw", [-90.0, 90.0])
def test_profile_singularity_keeps_the_rotation(yaw: float) -> None:
    rotation = rotation_from_euler_deg(torch.tensor([[20.0, yaw, 15.0]], dtype=torch.float64)).requires_grad_()
    euler_deg = euler_deg_from_rotation(rotation)
    assert euler_deg[0, 2] == 0
    torch.testing.assert_close(rotation_from_euler_deg(euler_deg), rotation, atol=1e-6, rtol=0)
    euler_deg.sum().backward()
    assert rotation.grad is not None and rotation.grad.isfinite().all()


def test_gradients() -> None:
    angles = torch.tensor([[10.0, -40.0, 5.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_euler_deg, (angles,))
    assert torch.autograd.gradcheck(lambda a: euler_deg_from_rotation(rotation_from_euler_deg(a)), (angles,))
