"""eval.dlib_faces on a miniature in dlib's layout, and its box mapping on the real one."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.boxes import overlap
from eval.dlib_faces import dlib_box, read_annotations, score_detector

XML = """<?xml version='1.0' encoding='ISO-8859-1'?>
<dataset><name>Training faces</name><images>
  <image file='a.jpg' width='100' height='80'>
    <box top='10' left='20' width='30' height='30'/>
    <box top='40' left='60' width='30' height='30'/>
    <box top='0' left='0' width='9' height='9' ignore='1'/>
  </image>
  <image file='b.jpg' width='60' height='60'><box top='5' left='5' width='40' height='40'/></image>
</images></dataset>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "training.xml").write_text(XML)
    for name, size in (("a", (100, 80)), ("b", (60, 60)), ("dogs", (50, 50))):
        Image.new("RGB", size).save(tmp_path / f"{name}.jpg")
    return tmp_path


def tight(dlib_px: np.ndarray) -> np.ndarray:
    """A tight box that `dlib_box` takes to the given square."""
    side = (dlib_px[:, 2:] - dlib_px[:, :2]) / 1.066
    centre = (dlib_px[:, :2] + dlib_px[:, 2:]) / 2 + side * np.array([0.085, 0.084])
    return np.concatenate([centre - side / 2, centre + side / 2], 1)


def detect(image: np.ndarray) -> np.ndarray:
    """One of two faces of a.jpg and one that is not there, the face of b.jpg, one dog."""
    found = {
        100: [[20, 10, 50, 40.0], [0, 50, 20, 70]],
        60: [[5, 5, 45, 45.0]],
        50: [[10, 10, 30, 30.0]],
    }
    return tight(np.array(found[image.shape[1]]))


def test_annotations_are_read(folder: Path) -> None:
    first, second = read_annotations(folder / "training.xml")
    np.testing.assert_allclose(first.boxes_px, [[20, 10, 50, 40], [60, 40, 90, 70]])
    assert (first.name, first.image.shape, len(second.boxes_px)) == ("a.jpg", (80, 100, 3), 1)


def test_known_detections_are_counted(folder: Path) -> None:
    result = score_detector(folder, detect)
    assert result["summary"] == {"faces": 3, "found": 2, "without_annotation": 1, "false_alarms_on_dogs": 1}
    assert result["samples"]["a.jpg"]["overlap"] == pytest.approx([1.0, 0.0])


def test_no_detections(folder: Path) -> None:
    result = score_detector(folder, lambda image: np.zeros((0, 4)))
    assert result["summary"] == {"faces": 3, "found": 0, "without_annotation": 0, "false_alarms_on_dogs": 0}


def test_missing_and_broken_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "dogs.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="dogs.jpg"):
        score_detector(folder, detect)
    (folder / "training.xml").write_text(XML.replace("width='30'", ""))
    with pytest.raises(ValueError, match="a.jpg lacks"):
        list(read_annotations(folder / "training.xml"))
    with pytest.raises(FileNotFoundError, match="nothing.xml"):
        list(read_annotations(folder / "nothing.xml"))


def test_mapping_takes_true_landmark_boxes_to_dlibs(data_dir: Path) -> None:
    file = data_dir / "dlib_faces" / "training_with_face_landmarks.xml"
    boxes, landmarks = [], []
    for box in ElementTree.parse(file).getroot().iter("box"):
        left, top, width, height = (float(box.get(key, "nan")) for key in ("left", "top", "width", "height"))
        points = np.array([[float(part.get(k, "nan")) for k in "xy"] for part in box.iter("part")])
        boxes.append([left, top, left + width, top + height])
        landmarks.append([*points.min(0), *points.max(0)])
    shared = np.diag(overlap(dlib_box(np.array(landmarks)), np.array(boxes)))
    assert len(shared) == 18
    assert shared.min() > 0.55 and shared.mean() > 0.75
