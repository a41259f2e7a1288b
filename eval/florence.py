"""MICC Florence: faces of three kinds of video against a 3D scan of the person, by any of the papers' protocols.

The data needs a licence (micc.unifi.it, "MICC 3D Face dataset"); the 68 points on the scans are public. Layout:

    subject_01 .. subject_53/Model/frontal1/obj/NAME.obj     the scan, in mm, one .obj; so frontal2 where there is one
    subject_NN/Video/{Indoor-Cooperative,PTZ-Indoor,PTZ-Outdoor}.EXT    .mjpg, .mjpeg or any video OpenCV reads
    MICC_landmarks/subject_NN/Model/frontal1/obj/NAME.ljson  github.com/barisgecer/GANFit, MICC_landmarks

The videos have no boxes: the method finds the face itself, and its largest one counts. Frames are drawn at random (as
GANFit and MVF-Net do): `eval.florence_frames`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from eval.crop import BROWS, NOSE_TIP
from eval.florence_metrics import FaceMesh
from eval.now_region import LANDMARKS
from eval.obj_mesh import read_obj
from eval.seven_landmarks import check_size, seven_of

SETTINGS = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")
SUBJECTS = 53
_OFF_SCAN_MM = 20.0  # a landmark farther from the scan belongs to another scan or frame
_LICENCE = "MICC Florence needs a licence: ask at micc.unifi.it; eval/florence.py shows the layout"


class Video(NamedTuple):
    """One video of one subject."""

    subject: int
    setting: str

    @property
    def name(self) -> str:
        """As in the record."""
        return f"subject_{self.subject:02d} {self.setting}"


class Florence:
    """The folder in its published layout, any number of subjects.

    Raises FileNotFoundError that names a part of the layout that is missing as a whole, ValueError for a subject's
    folder of another name. Single videos and scans that are missing or damaged are told by `file_of` and `scan`.
    """

    name = "MICC Florence"

    def __init__(self, folder: Path, settings: Sequence[str] = SETTINGS) -> None:
        found = sorted(path for path in folder.glob("subject_*") if path.is_dir())
        if not found:
            raise FileNotFoundError(
                f"no subject_01 .. subject_{SUBJECTS} (Model/frontal1/obj/*.obj, Video/*.mjpg) in {folder}. {_LICENCE}"
            )
        self.folder, self.settings = folder, tuple(settings)
        self.subjects = [_number(path) for path in found]
        self.videos = [Video(subject, setting) for subject in self.subjects for setting in settings]
        if not any(folder.glob("subject_*/Model/frontal1/obj/*.obj")):
            raise FileNotFoundError(f"no scan subject_NN/Model/frontal1/obj/*.obj in {folder}. {_LICENCE}")
        if not any(any(folder.glob(f"subject_*/Video/{setting}.*")) for setting in settings):
            raise FileNotFoundError(f"no video subject_NN/Video/{settings[0]}.mjpg (or .mjpeg) in {folder}. {_LICENCE}")
        if not (folder / "MICC_landmarks").is_dir():
            raise FileNotFoundError(f"no MICC_landmarks in {folder}: those of github.com/barisgecer/GANFit")

    def scan(self, subject: int, which: str = "frontal1") -> FaceMesh | None:
        """A scan in mm with its landmarks; None where the subject has no frontal2.

        FileNotFoundError; ValueError where the mesh or its landmarks are damaged, not in mm, mirrored, or apart.
        """
        files = self._files(subject, which)
        if files is None:
            return None
        mesh, landmarks = read_obj(files[0]), read_ljson(files[1])
        seven = seven_of(landmarks, str(files[1]))
        check_size(seven, str(files[1]))
        off_mm = float(cKDTree(mesh.vertices).query(seven)[0].max())
        if off_mm > _OFF_SCAN_MM:
            raise ValueError(f"{files[1]}: a landmark lies {off_mm:.0f} mm off the scan {files[0].name}")
        return FaceMesh(mesh.vertices, mesh.triangles, landmarks)

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

    def file_of(self, video: Video) -> Path:
        """The file of a video. FileNotFoundError where there is none."""
        place = self.folder / f"subject_{video.subject:02d}" / "Video"
        files = sorted(place.glob(f"{video.setting}.*"))
        if not files:
            raise FileNotFoundError(f"no {video.setting}.mjpg (or .mjpeg) in {place}: expected a video. {_LICENCE}")
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
