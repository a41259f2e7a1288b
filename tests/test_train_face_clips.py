"""Rendered face clips: the flow moves the face and what is behind it, both directions agree, landmarks move with it."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from face3d.morphable_file import MorphableArrays
from tests.test_train_flow_scenes import inside_layers, moved
from tests.toy_views import toy_model, toy_photos
from train.face_clips import ClipDrawer, FaceClip, FaceClips, held_out_clips
from train.flow_scenes import SceneConfig
from train.flow_textures import Patches

MODEL = Path(__file__).resolve().parents[1] / "face3d" / "assets" / "face3d_model.npz"
STILL = SceneConfig(layers=(0, 2), blur=0.0, light=0.0, noise=0.0)
SIZE = 160
SOURCE = FaceClips(MODEL, SIZE, 2, 2, with_skimage=False, config=STILL)


@pytest.fixture(scope="module")
def clips() -> list[FaceClip]:
    return [SOURCE.clip(seed) for seed in range(8)]


def test_the_flow_brings_the_next_frame_back(clips: list[FaceClip]) -> None:
    errors, unmoved = [], []
    for scene, _ in clips:
        flow, hidden = scene.flow_forward_px[0], scene.occluded_forward[0]
        known = ~hidden & inside_layers(scene.layer[0], scene.layer[1], flow, 2)
        for part in (known & (scene.layer[0] == 0), known & (scene.layer[0] > 0)):
            if part.sum() > 500:
                errors.append(np.abs(moved(scene.frames[1], flow) - scene.frames[0])[part].mean())
                unmoved.append(np.abs(scene.frames[1].astype(float) - scene.frames[0])[part].mean())
    assert np.mean(errors) < 3.0 and 2 * np.mean(errors) < np.mean(unmoved)


def test_forward_and_backward_flow_agree(clips: list[FaceClip]) -> None:
    gaps = []
    for scene, _ in clips:
        for here, there in ((0, 1), (1, 0)):
            both = (scene.flow_forward_px[0], scene.flow_backward_px[0])
            flow, back = both[here], both[there]
            hidden = (scene.occluded_forward, scene.occluded_backward)[here][0]
            known = ~hidden & inside_layers(scene.layer[here], scene.layer[there], flow, 2)
            gaps.append(np.linalg.norm(flow + moved(back, flow), axis=-1)[known & (scene.layer[here] == 0)])
    gap = np.concatenate(gaps)
    # Between the nose and the cheek behind it, a look-up between pixels mixes two surfaces.
    assert np.median(gap) < 0.01 and (gap < 0.1).mean() > 0.98 and len(gap) > 8 * 2 * 2000


def test_hidden_points_are_covered_turned_away_or_outside(clips: list[FaceClip]) -> None:
    for scene, _ in clips:
        flow, hidden = scene.flow_forward_px[0], scene.occluded_forward[0]
        rows, columns = np.mgrid[:SIZE, :SIZE]
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        out = (x < -0.01) | (y < -0.01) | (x > SIZE - 0.99) | (y > SIZE - 0.99)
        assert hidden[out].all()
        x, y = (np.clip(np.rint(at), 0, SIZE - 1).astype(int) for at in (x, y))
        behind_face = (scene.layer[0] > 0) & (scene.layer[1][y, x] == 0)
        assert hidden[behind_face].all()
        face = (scene.layer[0] == 0) & hidden & ~out
        assert face.sum() < 0.1 * (scene.layer[0] == 0).sum()


def test_landmarks_move_as_the_flow_says_where_they_are_seen(clips: list[FaceClip]) -> None:
    gaps = []
    for scene, landmarks in clips:
        x, y = landmarks[0, :, 0].astype(np.float32), landmarks[0, :, 1].astype(np.float32)
        said = cv2.remap(scene.flow_forward_px[0], x, y, cv2.INTER_LINEAR)[:, 0]
        seen = cv2.remap((scene.layer[0] == 0).astype(np.float32), x, y, cv2.INTER_LINEAR)[:, 0] > 0.99
        seen &= ~(cv2.remap(scene.occluded_forward[0].astype(np.float32), x, y, cv2.INTER_LINEAR)[:, 0] > 0)
        inner = seen & (np.arange(68) >= 17)  # the jaw's far side is behind the face
        gaps.append(np.linalg.norm(landmarks[1] - landmarks[0] - said, axis=1)[inner])
    gap = np.concatenate(gaps)
    assert np.median(gap) < 0.05 and (gap < 0.25).mean() > 0.85 and len(gap) > 100


def test_faces_move_at_many_speeds(clips: list[FaceClip]) -> None:
    speed = np.array([np.linalg.norm(c.landmarks_px[1] - c.landmarks_px[0], axis=1).mean() for c in clips])
    assert speed.min() < 2.5 and speed.max() > 2 and speed.max() < 40


def test_a_seed_is_a_clip() -> None:
    source = FaceClips(MODEL, 96, 3, 2, with_skimage=False)
    one, two = source.clip(3).scene, pickle.loads(pickle.dumps(source)).clip(3).scene
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    batch = next(source(0))
    assert batch["frames"].shape == (2, 3, 3, 96, 96) and batch["frames"].dtype == torch.uint8
    assert batch["flow_backward_px"].shape == (2, 2, 2, 96, 96)
    assert batch["occluded_backward"].shape == (2, 2, 96, 96) and batch["occluded_backward"].dtype == torch.bool


def test_one_frame_has_no_flow() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        FaceClips(MODEL, 64, 1, 1, with_skimage=False).clip(0)


def test_photos_lend_their_skin_and_people_held_out_stay_unseen(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    photos = toy_photos(tmp_path, MorphableArrays.load(model))
    source = FaceClips(model, 64, 2, 2, photos_dir=photos, photo_share=1.0, with_skimage=False)
    batch, held_out = next(source(0)), held_out_clips(source, 2)
    assert batch["frames"].shape == held_out["frames"].shape == (2, 2, 3, 64, 64)
    assert torch.equal(held_out["frames"], held_out_clips(source, 2)["frames"])
    assert batch["flow_forward_px"].isfinite().all()


def test_a_model_without_colours_is_refused() -> None:
    from dataclasses import replace

    model = replace(MorphableArrays.load(MODEL), albedo_mean=None, albedo_basis=None)
    with pytest.raises(ValueError, match="needs an albedo"):
        ClipDrawer(model, None, Patches())
