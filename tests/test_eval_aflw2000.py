"""eval.aflw2000 on a miniature in the published layout: a method of known error gives exactly that error."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eval.aflw2000 import Aflw2000
from eval.protocol import Found, Prediction, run
from eval.report import run_as_dict, write_json

YAWS = [0.0, -20.0, 45.0, -80.0, 110.0]


@pytest.fixture
def folder(tmp_path: Path, rng) -> Path:
    original = rng.uniform(50, 250, (len(YAWS), 3, 68)).astype(np.float32)
    original[:, :2, 0], original[:, :2, 1] = 50, 250  # a box of 200 x 200
    for index, yaw in enumerate(YAWS):
        Image.fromarray(np.full((300, 300, 3), index, np.uint8)).save(tmp_path / f"image{index + 2:05d}.jpg")
        pose = np.deg2rad([[5.0, yaw, -3.0, 0, 0, 0, 0]]).astype(np.float32)
        savemat(tmp_path / f"image{index + 2:05d}.mat", {"pt3d_68": original[index], "Pose_Para": pose})
    (tmp_path / "labels").mkdir()
    # rows of the whole set: ours are not the first, and are found by their points
    rows = np.concatenate([rng.uniform(0, 450, (3, 3, 68)).astype(np.float32), original])
    np.save(tmp_path / "labels" / "AFLW2000-3D.pts68.npy", rows)
    np.save(tmp_path / "labels" / "AFLW2000-3D-Reannotated.pts68.npy", rows[:, :2] + 4)
    return tmp_path


class KnownError:
    """The truth moved by 2 px for |yaw| <= 60 and 6 px above, angles off by 1, 2 and 3 degrees."""

    name = "known error"

    def __init__(self, benchmark: Aflw2000) -> None:
        self.truth = {tuple(sample.box_px) + (sample.image[0, 0, 0],): sample.truth for sample in benchmark.samples()}

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        truth = self.truth[(*box_px, image[0, 0, 0])]
        error = 2.0 if abs(truth.euler_deg[1]) <= 60 else 6.0
        landmarks = {"pgn": truth.original_px + np.array([error, 0.0]), "3dmm": truth.reannotated_px}
        return Prediction(landmarks, euler_deg=truth.euler_deg + np.array([1.0, -2.0, 363.0]))

    def find(self, image: np.ndarray) -> list[Found]:
        box = np.array([49.0, 49.0, 249.0, 249.0])
        return [Found(box, self.predict(image, box))] if image[0, 0, 0] else []


def test_known_error_is_measured_exactly(folder: Path) -> None:
    benchmark = Aflw2000(folder)
    summary = run(benchmark, KnownError(benchmark)).summary
    bins = summary["pgn/original"]
    assert (bins["upto_30"], bins["upto_60"], bins["above_60"]) == pytest.approx((1.0, 1.0, 3.0))
    assert bins["of_bins"] == pytest.approx(5 / 3)
    assert bins["of_samples"] == pytest.approx((3 * 1.0 + 2 * 3.0) / 5)
    assert bins["counts"] == (2, 1, 2)
    assert summary["3dmm/reannotated"]["of_samples"] == pytest.approx(0.0)
    assert summary["3dmm/original"]["of_samples"] == pytest.approx(100 * 4 * np.sqrt(2) / 200)


def test_pose_error_leaves_out_angles_beyond_the_limit(folder: Path) -> None:
    benchmark = Aflw2000(folder)
    summary = run(benchmark, KnownError(benchmark)).summary
    assert [summary[f"pose/{angle}"]["mae_deg"] for angle in ("pitch", "yaw", "roll", "mean")] == pytest.approx(
        [1, 2, 3, 2]
    )
    assert summary["pose/mean"]["count"] == 4


def test_matlab_pixels_become_zero_based(folder: Path) -> None:
    np.testing.assert_allclose(next(iter(Aflw2000(folder).samples())).box_px, [49.0, 49.0, 249.0, 249.0])


def test_detector_crop_counts_what_was_found(folder: Path, tmp_path: Path) -> None:
    benchmark = Aflw2000(folder)
    result = run_as_dict(run(benchmark, KnownError(benchmark), "detector"))
    assert result["left_out"] == {"image00002.jpg": "not found by the detector"}
    write_json(tmp_path / "out" / "result.json", result)
    back = json.loads((tmp_path / "out" / "result.json").read_text())
    assert back["samples_in_all"] == 5
    assert back["samples"]["image00006.jpg"]["pose/yaw"] is None
    assert back["environment"]["packages"]["torch"]


def test_without_label_folder_only_the_original_labels_are_scored(folder: Path) -> None:
    for file in (folder / "labels").iterdir():
        file.unlink()
    benchmark = Aflw2000(folder)
    sample = next(iter(benchmark.samples()))
    assert set(benchmark.score(sample, Prediction({"a": sample.truth.original_px}))) == {"yaw_deg", "a/original"}


def test_another_layout_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no image\*.jpg"):
        Aflw2000(tmp_path / "labels")
    for file in folder.glob("*.mat"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no image\*.jpg in .* with a .mat"):
        Aflw2000(folder)


def test_the_real_photos_are_read(data_dir: Path) -> None:
    samples = list(Aflw2000(data_dir / "aflw2000").samples())
    assert len(samples) == 15
    assert all(sample.image.shape == (450, 450, 3) and sample.truth.reannotated_px is not None for sample in samples)
    assert samples[1].truth.euler_deg[1] == pytest.approx(68.155, abs=1e-3)
