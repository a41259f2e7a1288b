"""Photos and frames with one labelled face each, for the detector: kept as JPEG bytes with a few points of the face.

Labels are files of `tools/label_faces.py` (478 points, pixel edges at 0) for tars of images and videos below the data
folder. Large yaws come from folders of `python -m train.prepare turned`, drawn with the embedded morphable model or
with another that is given.
"""

import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from face3d.checkpoint import asset_path
from face3d.morphable_file import MorphableArrays
from train.config import Inputs
from train.profiling import Pose, project
from train.view_batches import LandmarkBasis
from train.views import load_views

EVALUATION_ONLY = ("aflw2000", "dlib_faces")
LARGEST_SIDE_PX = 400
FRAMES_PER_VIDEO = 60

# MediaPipe points that bound what the 68 landmarks bound: jaw line from ear to ear, brows, nose tip, lips, eye corners.
# The first two are the outer eye corners, image left and image right, and tell the roll.
_EYES = (33, 263)
_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_OTHERS = (1, 4, 61, 291, 0, 17)
POINTS = np.array(_EYES + _JAW + _BROWS + _OTHERS)
VIEWS_PER_FOLDER = 6000


@dataclass(frozen=True)
class LabelledFace:
    """A photo as JPEG bytes and points (P,2) px of its face; the line from the first to the second has its roll."""

    name: str
    person: str
    jpeg: bytes
    points_px: np.ndarray
    grey: bool

    def image(self, shrink: int = 1) -> np.ndarray:
        """The photo (H,W,3) RGB, decoded at 1, 1/2 or 1/4 of its size; points divide by `shrink` likewise."""
        flag = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}[shrink]
        image = np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), flag))
        return image if shrink == 1 else np.ascontiguousarray(image[..., ::-1])

    @property
    def held_out(self) -> bool:
        """Whether the face's person belongs to the twentieth that is not trained on."""
        return zlib.crc32(self.person.encode()) % 20 == 0


def load_faces(inputs: Inputs) -> list[LabelledFace]:
    """Every labelled face of the label files and turned photos, in a fixed order.

    Raises ValueError for labels of evaluation photos and FileNotFoundError for a source that is not there.
    """
    faces: list[LabelledFace] = []
    for path in inputs.labels:
        with np.load(path, allow_pickle=False) as labels:
            faces += _pseudo_labelled(inputs.data_dir, labels["names"], labels["landmarks"])
    models = [path for path in inputs.extra if path.suffix == ".npz"]
    for folder in inputs.extra:
        if folder.is_dir():
            model = MorphableArrays.load(models[0] if models else asset_path("face3d_model.npz"))
            faces += _turned(folder, LandmarkBasis(model))
    if not faces:
        raise ValueError("no faces: give --labels FILE (written by tools/label_faces.py).")
    return faces


def _pseudo_labelled(data_dir: Path, names: np.ndarray, landmarks: np.ndarray) -> list[LabelledFace]:
    by_source: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for name, points in zip(names.tolist(), landmarks, strict=True):
        source, _, member = name.partition("/")
        if np.isfinite(points).all():
            by_source[source][member] = points[POINTS, :2] - 0.5
    faces = []
    for source, members in sorted(by_source.items()):
        path = _find(data_dir, source)
        read = _tar_members if path.suffix == ".tar" else _video_frames
        faces += [_face(f"{source}/{member}", image, members[member]) for member, image in read(path, set(members))]
    return faces


def _find(data_dir: Path, source: str) -> Path:
    found = sorted(p for p in data_dir.rglob(source) if p.is_file())
    if not found:
        raise FileNotFoundError(
            f"{source}, which the labels name, is nowhere below {data_dir}: give its folder as --data."
        )
    if any(part in EVALUATION_ONLY for part in found[0].parts):
        raise ValueError(f"{found[0]} is for evaluation only: never train on it.")
    return found[0]


def _tar_members(path: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name in wanted else None
            if file is not None:
                yield member.name, np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR))


def _video_frames(path: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    ordered = sorted(wanted)
    chosen = set(ordered[:: max(1, len(ordered) // FRAMES_PER_VIDEO)])
    capture, last = cv2.VideoCapture(str(path)), int(max(chosen))
    for index in range(last + 1):
        if not capture.grab():
            break
        if f"{index:06d}" in chosen:
            ok, image = capture.retrieve()
            if ok:
                yield f"{index:06d}", image


def _face(name: str, bgr: np.ndarray, points_px: np.ndarray) -> LabelledFace:
    scale = LARGEST_SIDE_PX / max(bgr.shape[:2])
    if scale < 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points_px = (points_px + 0.5) * scale - 0.5
    grey = bool((np.ptp(bgr[::7, ::7].astype(np.int16), axis=2) < 8).mean() > 0.98)
    source, _, member = name.partition("/")
    person = member.rsplit("_", 1)[0] if source.startswith("lfw") else member if "." in member else source
    return LabelledFace(name, person, _jpeg(bgr), points_px.astype(np.float32), grey)


def _turned(folder: Path, landmarks: LandmarkBasis) -> list[LabelledFace]:
    views = load_views(folder)
    faces: list[LabelledFace] = []
    for row in range(min(len(views.images), VIEWS_PER_FOLDER)):
        pose = Pose(views.rotation[row], float(views.scale[row]), views.translation_px[row])
        points = project(landmarks(views.identity[row], views.expression[row]), pose)[:, :2]
        middle, reach = (points.min(0) + points.max(0)) / 2, 0.1 * np.ptp(points, axis=0).max()
        up = pose.rotation[:2, 1] / max(1e-6, float(np.linalg.norm(pose.rotation[:2, 1])))
        along = reach * np.array([-up[1], up[0]])  # image right of a head that stands upright
        points = np.concatenate([[middle - along, middle + along], points]).astype(np.float32)
        bgr = np.ascontiguousarray(views.images[row][..., ::-1])
        grey = bool((np.ptp(bgr[::7, ::7].astype(np.int16), axis=2) < 8).mean() > 0.8)
        person = f"{folder.name} {views.person[row]}"
        faces.append(LabelledFace(f"{folder.name}/{row:06d}", person, _jpeg(bgr), points, grey))
    return faces


def _jpeg(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 93])[1].tobytes()
