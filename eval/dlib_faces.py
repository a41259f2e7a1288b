"""Detection on dlib's example photos: every annotated face found, nothing on a photo of dogs.

dlib annotates square boxes of its own detector, ours are tight about the 68 landmarks. Where both exist (18 faces of
training_with_face_landmarks.xml) the medians are: side = 1.066 s, centre shifted by (-0.085, -0.084) s, s = sqrt(w h)
of the landmarks' box; so mapped, the true landmarks overlap dlib's boxes by 0.58 at least and 0.76 in the mean.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from eval.boxes import MATCH_IOU, match_all
from face3d.io import read_image
from face3d.metrics import box_size_px

SIDE = 1.066
SHIFT = (-0.085, -0.084)
NO_FACES = "dogs.jpg"

Detect = Callable[[UInt8[np.ndarray, "H W 3"]], Float[np.ndarray, "N 4"]]
"""A photo in, tight 68-landmark boxes out."""


class Annotated(NamedTuple):
    """A photo with dlib's boxes [x0, y0, x1, y1]."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    boxes_px: Float[np.ndarray, "M 4"]


def dlib_box(tight_px: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    """The square box that dlib would annotate for faces of these tight landmark boxes."""
    size = box_size_px(tight_px)[:, None]
    centre = (tight_px[:, :2] + tight_px[:, 2:]) / 2 + np.array(SHIFT) * size
    return np.concatenate([centre - SIDE * size / 2, centre + SIDE * size / 2], 1)


def read_annotations(file: Path) -> Iterator[Annotated]:
    """Photos and boxes of an imglab XML file (left, top, width, height); boxes marked `ignore` are left out."""
    if not file.is_file():
        raise FileNotFoundError(f"no {file.name} in {file.parent}: expected dlib's examples/faces folder")
    for element in ElementTree.parse(file).getroot().iter("image"):
        boxes = [box for box in element.iter("box") if box.get("ignore") != "1"]
        sides = np.array([[float(box.get(k, "nan")) for k in ("left", "top", "width", "height")] for box in boxes])
        if not np.isfinite(sides).all():
            raise ValueError(f"{file.name}: a box of {element.get('file')} lacks left, top, width or height")
        corners = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], 1) if boxes else np.zeros((0, 4))
        name = element.get("file", "")
        yield Annotated(name, read_image(file.parent / name), corners)


def score_detector(folder: Path, detect: Detect) -> dict[str, Any]:
    """Faces found (overlap above 0.4 after `dlib_box`), detections without annotation, detections on the dogs."""
    photos = [_score_photo(photo, detect) for photo in read_annotations(folder / "training.xml")]
    dogs = folder / NO_FACES
    if not dogs.is_file():
        raise FileNotFoundError(f"no {NO_FACES} in {folder}: expected dlib's examples/faces folder")
    return {
        "benchmark": "dlib faces",
        "least_overlap": MATCH_IOU,
        "summary": {
            "faces": sum(photo["faces"] for photo in photos),
            "found": sum(photo["found"] for photo in photos),
            "without_annotation": sum(photo["detections"] - photo["found"] for photo in photos),
            "false_alarms_on_dogs": len(detect(read_image(dogs))),
        },
        "samples": {photo["name"]: photo for photo in photos},
    }


def _score_photo(photo: Annotated, detect: Detect) -> dict[str, Any]:
    boxes = detect(photo.image)
    pairs = match_all(dlib_box(boxes), photo.boxes_px)
    found = {true: shared for _, true, shared in pairs}
    return {
        "name": photo.name,
        "faces": len(photo.boxes_px),
        "found": len(pairs),
        "detections": len(boxes),
        "overlap": [found.get(index, 0.0) for index in range(len(photo.boxes_px))],
    }
