"""What the parser takes for background or something before the face is no part of a texture."""

from functools import cache

import numpy as np
import pytest
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

import face3d
from face3d.checkpoint import asset_path
from face3d.io import read_image
from face3d.morphable import MorphableModel
from face3d.networks.parser import CLASSES
from face3d.parse import FaceParser, embedded_parser
from face3d.parse_shown import shown_share
from face3d.texture import INPAINTED, OBSERVED

LANDMARKS_PX = np.random.default_rng(0).uniform(60, 140, (68, 2))
PHOTO = np.zeros((200, 200, 3), np.uint8)


class OneClass(FaceParser):
    """Finds the same class everywhere."""

    def __init__(self, name: str) -> None:
        self.crop_size, self.index = 32, CLASSES.index(name)

    def __call__(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 9 S S"]:
        found = torch.zeros(len(crops), len(CLASSES), *crops.shape[2:])
        found[:, self.index] = 1.0
        return found


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path("face3d_model.npz"))


@cache
def astronaut() -> UInt8[np.ndarray, "H W 3"]:
    return read_image(asset_path("astronaut.jpg"))


def share(model: MorphableModel, found: str) -> np.ndarray:
    vertices_px = np.column_stack([model.mean.numpy()[:, :2] * (1, -1) * 0.5 + 100, np.zeros(model.vertex_count)])
    return shown_share(PHOTO, LANDMARKS_PX, vertices_px.astype(np.float32), model, OneClass(found))


def test_skin_is_shown_but_never_the_neck(model: MorphableModel) -> None:
    neck = (model.vertex_region == model.region_names.index("neck")).numpy()
    assert 0.02 < neck.mean() < 0.5
    assert (share(model, "skin") == np.where(neck, 0.0, 1.0)).all()


def test_what_is_before_the_face_is_not_shown(model: MorphableModel) -> None:
    assert (share(model, "occluder") == 0.0).all()


def test_hair_is_kept_above_the_brows_only(model: MorphableModel) -> None:
    shown, brows_mm = share(model, "background"), model.landmarks_of(model.mean[None])[0, 17:27, 1].max().item()
    assert (shown == (model.mean[:, 1] > brows_mm).numpy()).all()
    assert 0.1 < shown.mean() < 0.5


def test_a_model_without_a_neck() -> None:
    toy = MorphableModel.random(0)
    assert "neck" not in toy.region_names
    assert (share(toy, "skin") == 1.0).all()


def test_landmarks_that_are_not_finite_are_refused(model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="finite"):
        shown_share(PHOTO, np.full((68, 2), np.nan), np.zeros((model.vertex_count, 3)), model, embedded_parser())


def test_a_thing_before_the_cheek_is_not_in_the_texture() -> None:
    """A bright green ball, which the parser has not seen in training, over a cheek; the boxes keep detection out."""
    image, box = astronaut(), [[185.0, 95.0, 262.0, 180.0]]
    plain = face3d.reconstruct(image, boxes=box)[0]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    centre = plain.landmarks_px[[2, 31], :2].mean(axis=0)
    ball = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < 12**2
    covered = face3d.reconstruct(np.where(ball[..., None], (30, 220, 40), image).astype(np.uint8), boxes=box)[0]
    assert green(plain.texture).sum() == 0
    texels_of_the_ball = (ball[tuple(np.round(plain.vertices_px[:, 1::-1]).astype(int).T)] & plain.visibility).sum()
    assert texels_of_the_ball > 100
    taken = green(covered.texture) & (covered.texture_maps.source == OBSERVED)
    assert taken.sum() < 0.1 * texels_of_the_ball * plain.texture.shape[0] ** 2 / plain.model.vertex_count


def test_the_collar_is_not_in_the_texture() -> None:
    face = face3d.reconstruct(astronaut())[0]
    at = np.round(face.uv * (face.texture.shape[0] - 1)).astype(int)
    neck = (face.model.vertex_region == face.model.region_names.index("neck")).numpy()
    assert (face.texture_maps.source[at[neck, 1], at[neck, 0]] == INPAINTED).all()
    assert face.texture[at[neck, 1], at[neck, 0]].mean() > 100  # it is black


def green(texture: UInt8[np.ndarray, "S S 3"]) -> np.ndarray:
    red, greenish, blue = np.moveaxis(texture.astype(int), -1, 0)
    return (greenish > red + 60) & (greenish > blue + 60)
