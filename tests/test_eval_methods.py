"""Methods beside face3d: one in another Python, face-alignment, and the one that the documentation shows."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eval import method_other_python
from eval.aflw2000 import Aflw2000
from eval.method_other_python import OtherPython
from eval.methods import Choice
from eval.protocol import LeftOut, run
from face3d.checkpoint import asset_path
from face3d.metrics import landmark_box_px
from face3d.morphable_file import MorphableArrays
from tests.fake_networks import noise_photo

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
samples, predictions = Path(sys.argv[1]), Path(sys.argv[2])
mean = np.array({mean})
for index, sample in enumerate(json.loads((samples / "samples.json").read_text())):
    width, height = Image.open(samples / sample["image"]).size
    box = np.array(sample["box_px"] or [0, 0, width - 1, height - 1])
    if index != 1:
        np.savez(predictions / (sample["name"] + ".npz"), landmarks_px=box[:2] + mean * (box[2:] - box[:2]))
"""


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """The mean face's 68 points, frontal, in a box from 0 to 1."""
    arrays = MorphableArrays.load(asset_path("face3d_model.npz"))
    corners = arrays.mean[arrays.triangles[arrays.landmark_triangles]]
    x_y = (corners * arrays.landmark_barycentric[..., None]).sum(1)[:, :2] * [1, -1]
    return (x_y - x_y.min(0)) / np.ptp(x_y, axis=0)


@pytest.fixture
def folder(tmp_path: Path, points: np.ndarray) -> Path:
    """Three photos of noise that the mean face fills."""
    folder = tmp_path / "aflw2000"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(noise_photo(seed=index)).save(folder / f"image{index:05d}.jpg")
        x, y = (points * [159, 119] + 1).T
        pose = {"pt3d_68": np.stack([x, y, 0 * x]), "Pose_Para": np.zeros((1, 7))}
        savemat(folder / f"image{index:05d}.mat", pose)
    return folder


def adapter(tmp_path: Path, monkeypatch, script: str) -> None:
    monkeypatch.setattr(method_other_python, "ADAPTERS", tmp_path)
    (tmp_path / "mediapipe_faces.py").write_text(script)


@pytest.mark.parametrize("crop", ["gt", "detector"])
def test_a_script_in_another_python(folder: Path, tmp_path: Path, points: np.ndarray, monkeypatch, crop) -> None:
    adapter(tmp_path, monkeypatch, SCRIPT.format(mean=points.tolist()))
    benchmark = Aflw2000(folder)
    method = Choice("mediapipe", python=Path(sys.executable)).source(benchmark, crop)
    result = run(benchmark, method, crop)
    assert result.summary["landmarks/original"]["upto_30"] == pytest.approx(0.0, abs=1e-3)
    assert result.records[1].problem == "mediapipe found no face"


def test_what_goes_wrong_in_another_python_is_said(folder: Path, tmp_path: Path, monkeypatch) -> None:
    adapter(tmp_path, monkeypatch, "raise SystemExit('no mediapipe here')")
    with pytest.raises(ValueError, match=r"mediapipe_faces.py failed in .*\nno mediapipe here"):
        OtherPython("mediapipe", Path(sys.executable), Aflw2000(folder), "gt")
    with pytest.raises(FileNotFoundError, match="cannot be run .*--python"):
        OtherPython("mediapipe", tmp_path / "python", Aflw2000(folder), "gt")


def test_the_mediapipe_script_names_68_points() -> None:
    """Read, not imported: mediapipe is in no environment of ours."""
    text = (ROOT / "eval" / "adapters" / "mediapipe_faces.py").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:JAW|BROWS|NOSE|EYES|MOUTH) = \[([\d, ]+)\]", text, flags=re.MULTILINE)
    numbers = [int(number) for group in lists for number in group.split(",")]
    assert [len(group.split(",")) for group in lists] == [17, 10, 9, 12, 20]
    assert len(set(numbers)) == 68 and max(numbers) < 468


class FakeFaceAlignment:
    """face_alignment.FaceAlignment's interface of version 1.5, which finds a face on the left half."""

    def __init__(self, kind: str, device: str, flip_input: bool = True, compile: bool = True) -> None:
        assert (kind, device, flip_input, compile) == ("2.5D", "cpu", False, False)

    def get_landmarks_from_image(self, image, detected_faces=None, return_bboxes=False):
        if not image.any():
            return (None, None, None) if return_bboxes else None
        boxes = detected_faces or [np.array([0, 0, image.shape[1] / 2, image.shape[0], 0.99])]
        landmarks = [np.tile(np.array(box[:2], np.float32), (68, 1)) for box in boxes]
        return (landmarks, None, boxes) if return_bboxes else landmarks


def test_face_alignment_where_it_is_installed(folder: Path, monkeypatch) -> None:
    kinds = SimpleNamespace(TWO_HALF_D="2.5D")
    fake = SimpleNamespace(LandmarksType=kinds, FaceAlignment=FakeFaceAlignment)
    monkeypatch.setitem(sys.modules, "face_alignment", fake)
    benchmark = Aflw2000(folder)
    method = Choice("face-alignment").source(benchmark, "gt")
    assert "fan/original" in run(benchmark, method).summary
    (found,) = method.find(noise_photo())
    assert found.box_px.tolist() == [0, 0, 80, 120] and found.prediction.landmarks_px["fan"].shape == (68, 2)
    black = np.zeros((9, 9, 3), np.uint8)
    assert method.find(black) == []
    with pytest.raises(LeftOut, match="no landmarks"):
        method.predict(black, np.array([0.0, 0, 5, 5]))


def test_face_alignment_where_it_is_not(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(ImportError, match=r'pip install "face3d\[landmarks\]"'):
        Choice("face-alignment").source(Aflw2000(folder), "gt")


def test_the_method_of_the_documentation_runs(folder: Path) -> None:
    text = (ROOT / "docs" / "new_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 60
    command = [sys.executable, "-W", "error", "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mean points/original" in done.stdout and "pose/mean" in done.stdout


def test_the_boxes_that_are_written_are_the_true_ones(folder: Path, tmp_path: Path, points: np.ndarray) -> None:
    benchmark = Aflw2000(folder)
    method_other_python.write_samples(benchmark.samples(), tmp_path / "s", "gt")
    assert {file.name for file in (tmp_path / "s").iterdir()} == {
        *(f"image{index:05d}.png" for index in range(3)),
        "samples.json",
    }
    box = landmark_box_px(points * [159, 119])
    listed = (tmp_path / "s" / "samples.json").read_text()
    assert '"image": "image00000.png"' in listed and f"{box[2]:.1f}" in listed
