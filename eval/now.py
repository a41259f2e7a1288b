"""The NoW benchmark's validation set: neutral faces from photos of four kinds against a scan of the person.

Sanyal et al., CVPR 2019 (RingNet); the data needs an account at now.is.tue.mpg.de. 352 photos of 20 people; the scans
of the test set are not public. Layout, as github.com/soubhiksanyal/now_evaluation reads it:

    imagepathsvalidation.txt                     a line a photo: SUBJECT/CHALLENGE/NAME.jpg
    NoW_Dataset/final_release_version/
        iphone_pictures/SUBJECT/CHALLENGE/NAME.jpg
        detected_face/SUBJECT/CHALLENGE/NAME.npy     a dictionary: left, top, right, bottom in pixels of the photo
    scans/SUBJECT/ANY.obj                        in mm, one a person
    scans_lmks_onlypp/SUBJECT/ANY.pp             seven points picked in MeshLab, in the order of `LANDMARKS`

The list may also lie in final_release_version. What is silent in the source and our reading: which detector made the
boxes (a method gets them as they are), and that photos are upright after their EXIF orientation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from bfm.restricted_pickle import load_npy_object
from eval.now_region import LANDMARKS, NOW_RADIUS, face_region
from eval.obj_mesh import read_obj
from eval.picked_points import read_pp
from eval.protocol import Damaged, Sample, sample_or_damage
from eval.seven_landmarks import check_handedness, check_size
from face3d.io import read_image

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
PHOTOS, SUBJECTS = 352, 20

_LIST = "imagepathsvalidation.txt"
_RELEASES = ("NoW_Dataset/final_release_version", "final_release_version", ".")
_OFF_SCAN_MM = 20.0  # a landmark farther from the scan belongs to another scan or frame
_LICENCE = "NoW needs an account: now.is.tue.mpg.de; eval/now.py shows the layout"


class Photo(NamedTuple):
    """One line of the list."""

    subject: str
    challenge: str
    file: str

    @property
    def name(self) -> str:
        """As in the list and in the record."""
        return f"{self.subject}/{self.challenge}/{self.file}"


class FaceScan(NamedTuple):
    """What is measured of a scan: its vertices in the face region, and its seven landmarks; mm."""

    points_mm: Float[np.ndarray, "N 3"]
    seven_mm: Float[np.ndarray, "7 3"]


class Now:
    """The folder in its published layout; any part of the list, photo by photo.

    `radius_factor`: 1.4 for NoW, 1.2 for the Stirling challenge's region. Raises FileNotFoundError that names a part of
    the layout that is missing as a whole, ValueError for a list of another form. Single photos, boxes, scans and
    landmarks that are missing or damaged are named by `sample` and `scan`.
    """

    def __init__(self, folder: Path, radius_factor: float = NOW_RADIUS) -> None:
        self.name = "NoW validation" + ("" if radius_factor == NOW_RADIUS else f", region by {radius_factor:g}")
        self.folder, self.radius_factor = folder, radius_factor
        self.release = next((folder / part for part in _RELEASES if (folder / part / "iphone_pictures").is_dir()), None)
        if self.release is None:
            raise FileNotFoundError(f"no {_RELEASES[0]}/iphone_pictures in {folder}. {_LICENCE}")
        lists = [place / _LIST for place in (folder, self.release) if (place / _LIST).is_file()]
        if not lists:
            raise FileNotFoundError(f"no {_LIST} in {folder} (the test set has no public scans). {_LICENCE}")
        self.photos = read_list(lists[0])
        for part in ("scans", "scans_lmks_onlypp"):
            if not (folder / part).is_dir():
                raise FileNotFoundError(f"no {part} in {folder}: a download of its own beside the photos. {_LICENCE}")

    def sample(self, photo: Photo) -> Sample:
        """The photo, upright, with the published box; FileNotFoundError, ValueError where one is missing or damaged."""
        assert self.release is not None
        image = read_image(self.release / "iphone_pictures" / photo.name)
        box_file = (self.release / "detected_face" / photo.name).with_suffix(".npy")
        return Sample(photo.name, image, read_box(box_file, image.shape[1], image.shape[0]), photo)

    def samples(self) -> Iterator[Sample | Damaged]:
        """The photos of the list."""
        for photo in self.photos:
            yield sample_or_damage(photo.name, self.sample, photo)

    def scan(self, subject: str) -> FaceScan:
        """The face region of a person's scan.

        FileNotFoundError; ValueError where the mesh or its landmarks are damaged, not in mm, mirrored, or apart.
        """
        mesh_file, landmark_file = self._one("scans", subject, "obj"), self._one("scans_lmks_onlypp", subject, "pp")
        vertices, points = read_obj(mesh_file).vertices, read_pp(landmark_file)
        if len(points) < len(LANDMARKS):
            raise ValueError(f"{landmark_file}: expected {len(LANDMARKS)} points, got {len(points)}")
        seven_mm = points[: len(LANDMARKS)]
        check_size(seven_mm, str(landmark_file))
        check_handedness(seven_mm, str(landmark_file))
        off_mm = float(cKDTree(vertices).query(seven_mm)[0].max())
        if off_mm > _OFF_SCAN_MM:
            raise ValueError(f"{landmark_file}: a landmark lies {off_mm:.0f} mm off the scan {mesh_file.name}")
        return FaceScan(vertices[face_region(seven_mm, self.radius_factor).inside(vertices)], seven_mm)

    def _one(self, part: str, subject: str, suffix: str) -> Path:
        place = self.folder / part / subject
        files = sorted(file for file in place.glob(f"*.{suffix}") if not file.name.startswith("."))
        if not files:
            raise FileNotFoundError(f"no .{suffix} in {place}")
        if len(files) > 1:
            raise ValueError(f"{place}: expected one .{suffix}, found {[file.name for file in files]}")
        return files[0]


def read_list(path: Path) -> list[Photo]:
    """The photos of a list, each once. ValueError names the first line of another form."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} names no photos")
    photos = []
    for line in lines:
        parts = line.split("/")
        if len(parts) != 3 or parts[1] not in CHALLENGES or ".." in parts or not Path(parts[2]).suffix:
            raise ValueError(f"{path}: {line!r} is not SUBJECT/CHALLENGE/NAME.jpg with one of {', '.join(CHALLENGES)}")
        photos.append(Photo(*parts))
    if len(set(photos)) < len(photos):
        raise ValueError(f"{path} names {len(photos) - len(set(photos))} photos twice")
    return photos


def read_box(path: Path, width_px: int, height_px: int) -> Float[np.ndarray, " 4"]:
    """A detected face [x0, y0, x1, y1] in pixels; nothing in the file's pickle is executed.

    FileNotFoundError; ValueError where it is not a dictionary of left, top, right and bottom with its centre in the
    photo.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such box: {path}")
    content = load_npy_object(path.read_bytes(), path)
    try:
        box_px = np.array([float(content[side]) for side in ("left", "top", "right", "bottom")])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: expected a dictionary of left, top, right and bottom ({error!r})") from error
    size, centre = box_px[2:] - box_px[:2], (box_px[2:] + box_px[:2]) / 2
    if not (np.isfinite(box_px).all() and (size > 0).all()):
        raise ValueError(f"{path}: {box_px.tolist()} is not a box")
    if not ((centre >= 0).all() and (centre < [width_px, height_px]).all()):
        raise ValueError(f"{path}: {box_px.tolist()} lies outside the photo of {width_px} x {height_px} px")
    return box_px
