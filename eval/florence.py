"""MICC Florence: faces of three kinds of video against a 3D scan of the person, by any of the papers' protocols.

The data needs a licence (micc.unifi.it, "MICC 3D Face dataset"); the 68 points on the scans are public. Layout:

    subject_01 .. subject_53/Model/frontal1/obj/NAME.obj     the scan, in mm, one .obj; so frontal2 where there is one
    subject_NN/Video/{Indoor-Cooperative,PTZ-Indoor,PTZ-Outdoor}.EXT    .mjpg, .mjpeg or any video OpenCV reads
    MICC_landmarks/subject_NN/Model/frontal1/obj/NAME.ljson  github.com/barisgecer/GANFit, MICC_landmarks

The videos have no boxes: the method finds the face itself, and its largest one counts. Frames are drawn at random (as
GANFit and MVF-Net do), the same for the same seed; a frame where no face is found is replaced by the next one drawn.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from eval.crop import BROWS, NOSE_TIP
from eval.florence_metrics import (
    CROP_MM,
    VARIANTS,
    FaceMesh,
    VariantName,
    face_of,
    global_scale,
    mean_face_of,
)
from eval.now_region import LANDMARKS
from eval.obj_mesh import read_obj
from eval.protocol import Found, Method, Prediction, Record, Run

SETTINGS = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")
SUBJECTS = 53
_DRAWN_A_FACE = 4  # frames drawn for each that is wanted, so that some may have no face
_LICENCE = "MICC Florence needs a licence: ask at micc.unifi.it; eval/florence.py shows the layout"


class Video(NamedTuple):
    """One video of one subject."""

    subject: int
    setting: str
    file: Path

    @property
    def name(self) -> str:
        """As in the record."""
        return f"subject_{self.subject:02d} {self.setting}"


class Florence:
    """The folder in its published layout, any number of subjects, each of them complete.

    Raises FileNotFoundError that names the first missing folder or file, ValueError where a scan's folder has several.
    """

    name = "MICC Florence"

    def __init__(self, folder: Path, settings: Sequence[str] = SETTINGS) -> None:
        found = sorted(path for path in folder.glob("subject_*") if path.is_dir())
        if not found:
            raise FileNotFoundError(
                f"no subject_01 .. subject_{SUBJECTS} (Model/frontal1/obj/*.obj, Video/*.mjpg) in {folder}. {_LICENCE}"
            )
        self.folder = folder
        self.subjects = [_number(path) for path in found]
        for subject in self.subjects:
            self._files(subject, "frontal1")
        self.videos = [Video(s, setting, self._video(s, setting)) for s in self.subjects for setting in settings]

    def scan(self, subject: int, which: str = "frontal1") -> FaceMesh | None:
        """A scan in mm with its landmarks; None where the subject has no frontal2."""
        files = self._files(subject, which)
        if files is None:
            return None
        mesh = read_obj(files[0])
        return FaceMesh(mesh.vertices, mesh.triangles, read_ljson(files[1]))

    def _files(self, subject: int, which: str) -> tuple[Path, Path] | None:
        """The scan and its landmarks; frontal2 is a scan only where it has both (subject 30 has no landmarks)."""
        place = Path(f"subject_{subject:02d}") / "Model" / which / "obj"
        scans = sorted((self.folder / place).glob("*.obj"))
        if len(scans) > 1:
            raise ValueError(f"{self.folder / place}: expected one .obj, found {[scan.name for scan in scans]}")
        landmarks = self.folder / "MICC_landmarks" / place / f"{scans[0].stem}.ljson" if scans else None
        if scans and landmarks is not None and landmarks.is_file():
            return scans[0], landmarks
        if which != "frontal1":
            return None
        if landmarks is None:
            raise FileNotFoundError(f"no .obj in {self.folder / place}: expected the frontal scan. {_LICENCE}")
        raise FileNotFoundError(f"no {landmarks}: the 68 points are MICC_landmarks of github.com/barisgecer/GANFit")

    def _video(self, subject: int, setting: str) -> Path:
        place = self.folder / f"subject_{subject:02d}" / "Video"
        files = sorted(place.glob(f"{setting}.*"))
        if not files:
            raise FileNotFoundError(f"no {setting}.mjpg (or .mjpeg) in {place}: expected a video. {_LICENCE}")
        return files[0]


def _number(folder: Path) -> int:
    number = folder.name.removeprefix("subject_")
    if len(number) != 2 or not number.isdigit():
        raise ValueError(f"{folder} is not named subject_01 .. subject_{SUBJECTS}")
    return int(number)


def read_ljson(path: Path) -> Float[np.ndarray, "68 3"]:
    """The 68 points of a landmark file, in the scan's frame. ValueError names a file of another form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        groups = content.get("groups", content)
        points = np.array(groups["LJSON"]["landmarks"]["points"], np.float64)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected groups/LJSON/landmarks/points ({error!r})") from error
    if points.shape != (68, 3):
        raise ValueError(f"{path}: expected 68 points (68, 3), got {points.shape}")
    if not np.isfinite(points[[*LANDMARKS, *BROWS, NOSE_TIP]]).all():
        raise ValueError(f"{path}: the points that evaluation needs are not all there")
    return points


def random_frames(file: Path, count: int, seed: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Up to `count` different frames (RGB) in random order, the same for the same seed. ValueError: no video."""
    order = np.random.default_rng(seed).permutation(_frame_count(file))[:count]
    wanted = set(order.tolist())
    frames: dict[int, np.ndarray] = {}
    capture = cv2.VideoCapture(str(file))
    for index in range(int(order.max()) + 1):
        capture.grab()
        if index in wanted:
            decoded, frame = capture.retrieve()
            if not decoded:
                raise ValueError(f"{file}: frame {index} cannot be decoded")
            frames[index] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    yield from (frames[index] for index in order.tolist())


def _frame_count(file: Path) -> int:
    """Counted, since motion JPEG does not say."""
    capture, count = cv2.VideoCapture(str(file)), 0
    while capture.grab():
        count += 1
    capture.release()
    if not count:
        raise ValueError(f"{file} is not a video that OpenCV can read")
    return count


class WholeFrame:
    """A method that takes every frame for a face: how the mean face, which finds none, becomes the floor."""

    def __init__(self, method: Method) -> None:
        self.method, self.name = method, method.name

    def predict(self, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> Prediction:
        """As the method itself."""
        return self.method.predict(image, box_px)

    def find(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """One face as large as the frame."""
        box_px = np.array([0.0, 0.0, image.shape[1] - 1.0, image.shape[0] - 1.0])
        return [Found(box_px, self.method.predict(image, box_px))]


def run_florence(data: Florence, method: Method, variant: VariantName, frames: int = 5, seed: int = 0) -> Run:
    """Every video by one variant: `single` is the mean error of its frames' faces, `pooled` that of their mean.

    A video where no face is found is left out, and counted.
    """
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}: choose one of {', '.join(get_args(VariantName))}")
    faces = {video: _faces(video, method, frames, seed) for video in data.videos}
    scale = _scale(data, faces) if VARIANTS[variant].one_scale else 1.0
    records: list[Record] = []
    for subject in data.subjects:
        names = VARIANTS[variant].scans
        scans = [scan for scan in (data.scan(subject, name) for name in names) if scan is not None]
        own = {video: found for video, found in faces.items() if video.subject == subject}
        for video, found in own.items():
            scores = _errors([face.scaled(scale) for face in found], scans, subject, variant) if found else {}
            records.append(Record(video.name, scores, None if found else "no face found in any frame"))
    return Run(data.name, method.name, "detector", records, summarise(records, len(data.subjects)))


def _faces(video: Video, method: Method, count: int, seed: int) -> list[FaceMesh]:
    """Neutral faces of the first `count` frames drawn in which one is found."""
    faces: list[FaceMesh] = []
    for image in random_frames(video.file, _DRAWN_A_FACE * count, seed):
        found = method.find(image)
        if found and len(faces) < count:
            largest = max(found, key=lambda face: float(np.prod(face.box_px[2:] - face.box_px[:2])))
            faces.append(face_of(largest.prediction))
        if len(faces) == count:
            break
    return faces


def _scale(data: Florence, faces: dict[Video, list[FaceMesh]]) -> float:
    """The one scale of all faces of the method."""
    scans = {subject: data.scan(subject) for subject in data.subjects}
    pairs = [(face, scan) for video, found in faces.items() for face in found if (scan := scans[video.subject])]
    return global_scale(pairs) if pairs else 1.0


def _errors(faces: list[FaceMesh], scans: list[FaceMesh], subject: int, variant: VariantName) -> dict[str, float]:
    protocol = VARIANTS[variant]
    radius = protocol.radius_mm.get(subject, CROP_MM)
    single = [min(protocol.error(face, scan, radius) for scan in scans) for face in faces]
    mean = mean_face_of(faces)
    pooled = min(protocol.error(mean, scan, radius) for scan in scans) if len(faces) > 1 else single[0]
    return {
        f"{variant}/single_{protocol.unit}": float(np.mean(single)),
        f"{variant}/pooled_{protocol.unit}": pooled,
        "frames": float(len(faces)),
    }


def summarise(records: list[Record], subjects: int) -> dict[str, Any]:
    """Mean and standard deviation over the subjects of each setting and score, and how many there were."""
    summary: dict[str, Any] = {"subjects": subjects, "subjects_of_the_protocol": SUBJECTS}
    scored = [record for record in records if record.problem is None]
    for setting in SETTINGS:
        own = [record.scores for record in scored if record.name.endswith(f" {setting}")]
        for name in sorted({name for scores in own for name in scores if name != "frames"}):
            values = np.array([scores[name] for scores in own])
            values = values[np.isfinite(values)]
            spread = {"mean": float(values.mean()), "std": float(values.std())} if len(values) else {}
            summary[f"{setting}/{name}"] = {**spread, "count": len(values)}
    return summary
