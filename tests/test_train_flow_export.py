"""Generated scenes as files: what is read back is what was drawn."""

from pathlib import Path

import numpy as np

from face3d.flow_layouts import flow_samples, stereo_samples
from train.flow_export import write_scenes
from train.flow_scenes import HELD_OUT_SEED, FlowScenes, StereoScenes


def test_scenes_are_read_back(tmp_path: Path) -> None:
    write_scenes("scenes", tmp_path, 2, 32, ())
    _, sample = flow_samples("generated", tmp_path)
    scene = FlowScenes((32, 32), 3, 1, held_out=True).scene(HELD_OUT_SEED + 1)
    assert sample.name == "0001" and sample.previous is not None and sample.occluded is not None
    for found, true in zip((sample.previous, sample.first, sample.second), scene.frames, strict=True):
        np.testing.assert_array_equal(found, true)
    np.testing.assert_array_equal(sample.flow_px, scene.flow_forward_px[1])
    np.testing.assert_array_equal(sample.occluded, scene.occluded_forward[1])
    assert sample.valid.all()


def test_faces_are_written(tmp_path: Path) -> None:
    model = Path("face3d/assets/face3d_model.npz")
    write_scenes("faces", tmp_path / "faces", 1, 48, (model,))
    (sample,) = flow_samples("generated", tmp_path / "faces")
    assert sample.first.shape == (48, 48, 3) and np.abs(sample.flow_px).max() > 0


def test_stereo_is_read_back(tmp_path: Path) -> None:
    write_scenes("stereo", tmp_path, 1, 40, ())
    (sample,) = stereo_samples("generated", tmp_path)
    scene = StereoScenes((40, 40), 1, held_out=True).scene(HELD_OUT_SEED)
    np.testing.assert_array_equal(sample.left, scene.frames[0])
    np.testing.assert_array_equal(sample.right, scene.frames[1])
    np.testing.assert_allclose(sample.disparity_px, scene.disparity_left_px[0], atol=1 / 256)
    assert sample.occluded is not None and (sample.occluded == scene.hidden_left[0]).all() and sample.valid.all()
