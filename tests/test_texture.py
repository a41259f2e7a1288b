import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

from face3d.mesh import vertex_normals
from face3d.morphable import MorphableModel
from face3d.rasterise_numba import interpolate_numpy, rasterise_numpy, sample_texture_numpy
from face3d.texture import INPAINTED, MIRRORED, OBSERVED, _columns, _towards_camera, extract_texture, visibility

SIZE = 200


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=30, columns=30)


def posed(model: MorphableModel, yaw_deg: float, scale: float = 0.9, centre: float = 100.0) -> np.ndarray:
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    points = scale * model.mean.numpy() @ (np.diag([1.0, -1, -1]) @ turn).T
    points[:, :2] += centre
    return points.astype(np.float32)


def photo(seed: int = 0, size: int = SIZE) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(20, 236, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("yaw_deg", [0.0, 35.0, -70.0])
def test_extract_then_render_gives_the_photo_back(model: MorphableModel, yaw_deg: float) -> None:
    image, vertices = photo(), posed(model, yaw_deg)
    texture = extract_texture(image, vertices, model, 512)
    triangles, uv = model.triangles.numpy(), model.uv.numpy()
    fragments = rasterise_numpy(vertices, triangles, (SIZE, SIZE))
    again = sample_texture_numpy(texture.image, uv, triangles, fragments)
    taken = sample_texture_numpy(255 * texture.observed.astype(np.uint8)[..., None], uv, triangles, fragments)[..., 0]
    error = np.abs(again.astype(float) - image).max(axis=-1)
    assert (taken == 255).sum() > 0.4 * (fragments.triangle >= 0).sum()
    assert error[taken == 255].mean() < 2
    towards = vertex_normals(torch.from_numpy(vertices)[None], model.triangles)[0, :, 2:].numpy()
    facing = interpolate_numpy(towards, triangles, fragments)[..., 0] < -0.6  # else the mirrored half is blended in,
    inner = cv2.erode((fragments.triangle >= 0).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0  # and at the outline
    assert (facing & inner & (taken == 255)).sum() > 1500
    assert np.percentile(error[facing & inner & (taken == 255)], 99) <= 4


def test_the_unseen_half_mirrors_the_seen_one(model: MorphableModel) -> None:
    texture = extract_texture(photo(), posed(model, 70.0), model, 128)
    assert (texture.source == MIRRORED).mean() > 0.25
    assert ((texture.source == OBSERVED) == texture.observed).all()
    flipped = texture.image[:, ::-1]
    inner = cv2.erode((texture.source == MIRRORED).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert np.abs(texture.image[inner].astype(int) - flipped[inner]).mean() < 0.5
    arrays = model.arrays()
    lopsided = MorphableModel(dataclasses.replace(arrays, symmetry=None))
    assert not (extract_texture(photo(), posed(model, 70.0), lopsided, 128).source == MIRRORED).any()


def test_fill_continues_the_colours_around(model: MorphableModel) -> None:
    """Without an albedo, or of a face that has only one colour."""
    image = np.full((SIZE, SIZE, 3), (200, 120, 60), np.uint8)
    plain = MorphableModel(dataclasses.replace(model.arrays(), albedo_mean=None, albedo_basis=None))
    texture = extract_texture(image, posed(model, 50.0), plain, 128)
    assert np.abs(texture.image.astype(int) - (200, 120, 60)).max() <= 3


def test_fill_is_the_albedo_in_the_light_around(model: MorphableModel) -> None:
    """A photo of the mean face in tinted light, turned so that neither half shows all: the rest is predicted."""
    triangles, uv, vertices = model.triangles.numpy(), model.uv.numpy(), posed(model, 80.0)
    smooth = 0.5 + 0.3 * np.stack([np.sin(5 * uv[:, 1]), np.cos(4 * uv[:, 1]), np.sin(3 * uv[:, 1] + 1)], 1)
    smooth_model = MorphableModel(dataclasses.replace(model.arrays(), albedo_mean=smooth.astype(np.float32)))
    tint = np.array([1.2, 1.0, 0.7])
    fragments = rasterise_numpy(vertices, triangles, (SIZE, SIZE))
    lit = interpolate_numpy((255 * smooth * tint).astype(np.float32), triangles, fragments)
    image = np.where(fragments.triangle[..., None] >= 0, lit.clip(0, 255), 0).astype(np.uint8)
    texture = extract_texture(image, vertices, smooth_model, 128)
    at = np.round(uv * 127).astype(int)
    filled = texture.source[at[:, 1], at[:, 0]] == INPAINTED
    error = np.abs(texture.image[at[:, 1], at[:, 0]] - 255 * smooth * tint)[filled & (smooth * tint < 1).all(1)]
    assert len(error) > 30 and np.median(error) < 6


def test_what_covers_the_face_is_not_taken(model: MorphableModel) -> None:
    """The photo is one colour but for a stripe down the middle; what is taken there is nothing."""
    image, vertices = np.full((SIZE, SIZE, 3), (200, 120, 60), np.uint8), posed(model, 0.0)
    image[:, 80:120] = (0, 255, 0)
    plain = MorphableModel(dataclasses.replace(model.arrays(), albedo_mean=None, albedo_basis=None))
    covered = np.abs(vertices[:, 0] - 99.5) < 24
    texture = extract_texture(image, vertices, plain, 128, np.where(covered, 0.0, 1.0).astype(np.float32))
    assert np.abs(texture.image.astype(int) - (200, 120, 60)).max() <= 3
    at = np.round(model.uv.numpy() * 127).astype(int)
    assert not texture.observed[at[covered, 1], at[covered, 0]].any() and texture.observed.mean() > 0.1
    with pytest.raises(ValueError, match="shown"):
        extract_texture(image, vertices, plain, 128, np.ones(7, np.float32))


def test_nothing_seen_gives_the_mean_albedo(model: MorphableModel) -> None:
    texture = extract_texture(photo(), posed(model, 0.0, centre=5000.0), model, 64)
    assert not texture.observed.any() and (texture.source == INPAINTED).all()
    fragments = rasterise_numpy(posed(model, 0.0), model.triangles.numpy(), (SIZE, SIZE))
    drawn = sample_texture_numpy(texture.image, model.uv.numpy(), model.triangles.numpy(), fragments)
    expected = interpolate_numpy(255 * model.albedo_mean.numpy(), model.triangles.numpy(), fragments)
    inner = cv2.erode((fragments.triangle >= 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert np.abs(drawn - expected)[inner].mean() < 8


def test_size_of_the_photo_does_not_matter(model: MorphableModel) -> None:
    small = extract_texture(photo(), posed(model, 20.0), model, 64)
    large_photo = cv2.resize(photo(), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    vertices = posed(model, 20.0) * 8
    vertices[:, :2] += 3.5
    large = extract_texture(large_photo, vertices, model, 64)
    assert (small.source == large.source).mean() > 0.99
    both = small.observed & large.observed
    assert np.abs(small.image[both].astype(int) - large.image[both]).mean() < 2


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 400), (400, 3)])
def test_tiny_and_narrow_photos(model: MorphableModel, size_hw: tuple[int, int]) -> None:
    texture = extract_texture(np.zeros((*size_hw, 3), np.uint8), posed(model, 10.0, 0.01, 0.0), model, 32)
    assert texture.image.shape == (32, 32, 3)


def spike() -> tuple[np.ndarray, np.ndarray]:
    """A pyramid of which only the tip (vertex 0) reaches through a wall whose corners are outside the photo."""
    tip = [[50, 50, 0], [20, 20, 50], [80, 20, 50], [80, 80, 50], [20, 80, 50]]
    wall = [[-50, -50, 20], [150, -50, 20], [150, 150, 20], [-50, 150, 20]]
    sides = [[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 1, 4]]
    return np.array(tip + wall, np.float32), np.array([*sides, [5, 7, 6], [5, 8, 7]])


def test_one_visible_vertex(model: MorphableModel) -> None:
    vertices, triangles = spike()
    assert visibility(vertices, triangles, (100, 100)).tolist() == [True] + 8 * [False]
    single = MorphableModel.random(1)
    points = posed(single, 0.0)
    points[:, :2] += 1000.0
    points[70, :2] -= 1000.0
    assert visibility(points, single.triangles.numpy(), (SIZE, SIZE)).sum() <= 1
    assert (extract_texture(photo(), points, single, 32).source == INPAINTED).all()


def test_visibility_of_a_turned_face(model: MorphableModel) -> None:
    triangles = model.triangles.numpy()
    assert visibility(posed(model, 0.0), triangles, (SIZE, SIZE)).mean() > 0.95
    left, right = (visibility(posed(model, yaw), triangles, (SIZE, SIZE)) for yaw in (80.0, -80.0))
    assert 0.3 < left.mean() < 0.7
    assert (left == right[model.symmetry.numpy()]).mean() > 0.97
    assert not visibility(posed(model, 180.0), triangles, (SIZE, SIZE)).any()  # seen from inside only


def test_bad_input_is_named(model: MorphableModel) -> None:
    vertices = posed(model, 0.0)
    with pytest.raises(ValueError, match="got 10 vertices; the model .* has 900"):
        extract_texture(photo(), vertices[:10], model)
    vertices[3] = np.nan
    with pytest.raises(ValueError, match="1 vertices are not finite"):
        extract_texture(photo(), vertices, model)
    with pytest.raises(ValueError, match="but there are 5 vertices"):
        visibility(posed(model, 0.0)[:5], model.triangles.numpy(), (10, 10))
    bare = MorphableModel(dataclasses.replace(model.arrays(), uv=None))
    with pytest.raises(ValueError, match="has no 'uv'"):
        extract_texture(photo(), posed(model, 0.0), bare)


def test_interpolated_normals_equal_torch(model: MorphableModel) -> None:
    """The compiled cosine to the camera is that of `face3d.mesh.vertex_normals`."""
    vertices, triangles = posed(model, 30.0), model.triangles.numpy().astype(np.int32)
    expected = -vertex_normals(torch.from_numpy(vertices)[None], model.triangles)[0, :, 2].numpy()
    np.testing.assert_allclose(_towards_camera(_columns(vertices), triangles), expected, atol=1e-4)


def test_uv_layout_is_its_own_interpolation(model: MorphableModel) -> None:
    uv, triangles = model.uv.numpy(), model.triangles.numpy()
    layout = np.column_stack([uv * 31, np.zeros(len(uv))])
    found = interpolate_numpy(uv * 31, triangles, rasterise_numpy(layout, triangles, (32, 32)))
    y, x = np.mgrid[:32, :32]
    np.testing.assert_allclose(found, np.stack([x, y], -1), atol=1e-4)
