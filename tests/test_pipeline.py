"""The whole way of a photo, with stand-ins for what is learned: frames, batches, boxes, devices, assets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from face3d import checkpoint
from face3d.camera import project
from face3d.morphable import MorphableModel
from face3d.pipeline import Reconstructor, checked_boxes, pick_device
from face3d.types import ScaledOrthography
from tests.fake_networks import FakeDetections, FakeNetworks, fake_reconstructor, noise_photo

BOX = [60.0, 40.0, 90.0, 60.0]


def test_mesh_landmarks_and_pose_agree_in_the_photo() -> None:
    face = fake_reconstructor([BOX])(noise_photo())[0]
    pose = ScaledOrthography(
        torch.from_numpy(face.rotation)[None], torch.tensor([face.scale]), torch.from_numpy(face.translation_px)[None]
    )
    projected = project(torch.from_numpy(face.vertices_mm)[None], pose)[0].numpy()
    np.testing.assert_allclose(projected, face.vertices_px, atol=1e-3)
    landmarks = face.model.landmarks_of(torch.from_numpy(face.vertices_px)[None])[0].numpy()
    np.testing.assert_allclose(landmarks, face.landmarks_px, atol=1e-3)


def test_the_face_lies_in_its_box() -> None:
    """The stand-in fills half of a crop of 1.5 times the box's longer side, about the box's centre."""
    face = fake_reconstructor([BOX])(noise_photo())[0]
    low, high = face.vertices_px[:, :2].min(axis=0), face.vertices_px[:, :2].max(axis=0)
    np.testing.assert_allclose((low + high) / 2, [75, 50], atol=1e-2)
    assert (high - low).max() == pytest.approx(0.5 * 1.5 * 30, rel=1e-3)
    np.testing.assert_allclose(face.euler_deg, 0, atol=1e-4)
    assert face.score == pytest.approx(0.9)


def test_second_pass_crops_around_the_landmarks() -> None:
    model = fake_reconstructor([BOX], passes=2)
    face = model(noise_photo())[0]
    once = fake_reconstructor([BOX])(noise_photo())[0]
    landmarks = once.landmarks_px[:, :2]
    side = 1.5 * np.ptp(landmarks, axis=0).max()
    assert np.ptp(face.vertices_px[:, :2], axis=0).max() == pytest.approx(side / 2, rel=1e-2)
    assert isinstance(model.networks, FakeNetworks) and model.networks.batch_sizes == [1, 1]


def test_paths_and_pil_images(tmp_path: Path) -> None:
    photo = noise_photo()
    Image.fromarray(photo).save(tmp_path / "a.png")
    model = fake_reconstructor([BOX])
    results = [
        model(source)[0] for source in (photo, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(photo))
    ]
    for face in results[1:]:
        np.testing.assert_array_equal(face.vertices_px, results[0].vertices_px)


def test_given_boxes_skip_the_detector() -> None:
    model = fake_reconstructor([])
    faces = model(noise_photo(), boxes=[[10, 10, 30, 40], BOX, [-20.0, -20.0, 40.0, 40.0]])
    assert sorted(face.box.tolist() for face in faces) == [[-20, -20, 40, 40], [10, 10, 30, 40], BOX]
    areas = [np.prod(face.box[2:] - face.box[:2]) for face in faces]
    assert areas == sorted(areas, reverse=True) and len(faces) == 3
    assert {face.score for face in faces} == {1.0}
    assert len(model(noise_photo(), boxes=np.array([BOX]))) == 1
    assert model(noise_photo(), boxes=[]) == []


def test_no_face_is_an_empty_list() -> None:
    assert fake_reconstructor([BOX])(np.zeros((100, 100, 3), np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (10, 20_000), (3, 500)])
def test_photos_too_small_for_a_face(shape: tuple[int, int]) -> None:
    assert fake_reconstructor([BOX])(np.full((*shape, 3), 9, np.uint8)) == []


def test_thirty_faces_go_in_two_chunks_largest_first() -> None:
    boxes = [[float(x), 10.0, float(x) + 8 + x / 10, 20.0 + x / 10] for x in range(0, 150, 5)]
    model = fake_reconstructor(boxes)
    faces = model(noise_photo())
    assert len(faces) == 30
    assert isinstance(model.networks, FakeNetworks) and model.networks.batch_sizes == [16, 14]
    assert faces[0].box[0] == 145


def test_batch_is_the_same_as_one_by_one() -> None:
    photos = [noise_photo(seed=1), np.zeros((50, 60, 3), np.uint8), noise_photo(200, 100, seed=2)]
    model = fake_reconstructor([BOX, [5.0, 5.0, 50.0, 60.0]])
    batched = model.batch(photos)
    assert [len(faces) for faces in batched] == [2, 0, 2]
    for faces, photo in zip(batched, photos, strict=True):
        for face, single in zip(faces, model(photo), strict=True):
            np.testing.assert_allclose(face.vertices_px, single.vertices_px, atol=1e-3)
            assert face.texture is not None and single.texture is not None
            assert np.abs(face.texture.astype(int) - single.texture).max() <= 2


def test_batch_with_boxes() -> None:
    model = fake_reconstructor([BOX])
    assert [len(faces) for faces in model.batch([noise_photo()] * 2, boxes=[None, [BOX, BOX]])] == [1, 2]
    with pytest.raises(ValueError, match="boxes for 1 photos, but 2 photos"):
        model.batch([noise_photo()] * 2, boxes=[[BOX]])
    assert model.batch([]) == []


@pytest.mark.parametrize(
    "boxes",
    [
        [[200.0, 10.0, 230.0, 40.0]],
        [[-50.0, -50.0, -1.0, -1.0]],
        [[150.0, 10.0, 400.0, 40.0]],
        [[-1e6, -1e6, 1e6, 1e6]],
    ],
)
def test_boxes_outside_the_photo(boxes: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="lies outside the photo of 160 x 120 px"):
        fake_reconstructor([])(noise_photo(), boxes=boxes)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[30.0, 10.0, 10.0, 40.0]], "x0 < x1"),
        ([[10.0, 10.0, 11.0, 40.0]], "4 px apart"),
        ([[10.0, float("nan"), 30.0, 40.0]], "finite"),
        ([10.0, 10.0, 30.0, 40.0], r"expected \(N, 4\)"),
        ([[10.0, 10.0, 30.0]], r"expected \(N, 4\)"),
        ([[10.0, 10.0, 30.0], [10.0, 10.0, 30.0, 40.0]], "must be numbers"),
    ],
)
def test_malformed_boxes(boxes: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_boxes(boxes, (120, 160))


def test_photo_may_change_after_the_call() -> None:
    photo = noise_photo()
    face = fake_reconstructor([BOX])(photo)[0]
    kept = face.region.pixels
    assert kept is not None and not np.shares_memory(kept, photo)


def test_without_texture_no_pixels_are_kept() -> None:
    face = fake_reconstructor([BOX])(noise_photo(), texture=False)[0]
    assert face.region.pixels is None and face.texture is None
    assert face.visibility.shape == (len(face.vertices_mm),)


@pytest.mark.parametrize("device", ["cuda", "cuda:5"])
def test_a_cuda_device_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"'{device}' is not there.*use device='cpu'"):
        Reconstructor(device=device)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        pick_device("gpu")


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Reconstructor(tmp_path / "nowhere.safetensors", MorphableModel.random(0), "cpu")


def test_altered_asset_names_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face3d_model.npz").write_bytes(b"original")
    checkpoint.write_manifest(tmp_path)
    (tmp_path / "face3d_model.npz").write_bytes(b"altered!")
    monkeypatch.setattr(checkpoint, "_ASSETS", tmp_path)
    with pytest.raises(
        ValueError, match="face3d_model.npz was altered: SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"
    ):
        Reconstructor(device="cpu")
    (tmp_path / "face3d_model.npz").unlink()
    with pytest.raises(FileNotFoundError, match="face3d_model.npz is missing"):
        Reconstructor(device="cpu")


def test_detections_without_landmarks_are_no_faces() -> None:
    """The networks' confidence rejects what the detector took for a face, but never a box that the caller gave."""
    model = fake_reconstructor([[20, 20, 60, 60]])
    assert len(model(noise_photo())) == 1
    model.networks.least_confidence = 0.95
    assert model(noise_photo()) == []
    assert len(model(noise_photo(), boxes=[[20, 20, 60, 60]])) == 1


def test_given_boxes_are_not_cropped_again() -> None:
    model = fake_reconstructor([BOX], passes=2)
    model(noise_photo(), boxes=[BOX])
    assert isinstance(model.networks, FakeNetworks) and model.networks.batch_sizes == [1]


@pytest.mark.parametrize("passes", [2, 3])
def test_what_a_first_look_rejects_is_not_looked_at_again(passes: int) -> None:
    model = fake_reconstructor([BOX, BOX], passes=passes)
    model.networks.least_confidence = 0.95
    assert model(noise_photo()) == []
    assert isinstance(model.networks, FakeNetworks) and model.networks.batch_sizes == [2]


def test_a_photo_without_faces_is_looked_at_again_from_farther_away() -> None:
    reconstructor = fake_reconstructor([])
    seen: list[tuple[int, ...]] = []

    def find(image: np.ndarray) -> FakeDetections:
        seen.append(image.shape[:2])
        small = max(image.shape) <= 192
        return FakeDetections(
            np.array([[9.5, 19.5, 59.5, 79.5]][: int(small)]).reshape(-1, 4), np.full(int(small), 0.7)
        )

    reconstructor.detector = find
    (face,) = reconstructor(noise_photo(400, 768))
    assert seen == [(400, 768), (100, 192)]
    np.testing.assert_allclose(face.box, [39.5, 79.5, 239.5, 319.5])  # four times as large, centres at integers
    assert face.score == pytest.approx(0.7)
    seen.clear()
    assert len(reconstructor(noise_photo(100, 192))) == 1 and seen == [(100, 192)]
