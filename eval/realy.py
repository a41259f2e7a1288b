"""REALY: 100 scans with four regions each, from frontal photos and from side views.

Chai et al., ECCV 2022; the data is given with Headspace (www-users.york.ac.uk/~np7/research/Headspace) on request.
Layout of the download, with one file of github.com/czh-98/REALY beside it:

    REALY_HIFI3D_keypoints/N.obj                             N from 1 to 100: 85 points, "v x y z", no faces needed
    REALY_scan_region/N/nose.obj, mouth.obj, forehead.obj, cheek.obj     the scan's regions, in the keypoints' frame
    REALY_image/crop_image_frontal_512x512/N.jpg             the frontal photos
    REALY_image/crop_image_*/N_K.jpg                         side views: the one other such folder, or `images`
    metrical_scale.txt                                       data/metrical_scale.txt of the repository: mm in a unit of
                                                             scan N, 100 lines

No boxes are published. What is silent in the source and our reading: the name of the folder of side views.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from eval.boxes import whole_photo
from eval.now_region import LANDMARKS
from eval.obj_mesh import read_obj, read_obj_points
from eval.protocol import Damaged, Sample, sample_or_damage
from eval.realy_errors import KEYPOINTS, REGIONS, RegionMesh, RegionName
from eval.seven_landmarks import check_handedness, check_size
from face3d.io import read_image

BENCHMARK = "REALY"
View = Literal["front", "side"]
SCANS = 100

_OFF_SCAN_MM = 20.0  # a keypoint farther from the regions belongs to another scan or frame
_PHOTO = re.compile(r"(\d+)(_\w+)?\.(jpg|jpeg|png)", re.IGNORECASE)
_LICENCE = "REALY comes with Headspace, on request; eval/realy.py shows the layout"


class Photo(NamedTuple):
    """A photo of a scan."""

    scan: int
    path: Path

    @property
    def name(self) -> str:
        """As in the record."""
        return self.path.name


class Scan(NamedTuple):
    """The four regions and 85 keypoints of a scan in one frame, and the millimetres in its unit."""

    regions: dict[RegionName, RegionMesh]
    keypoints: Float[np.ndarray, "85 3"]
    mm_per_unit: float


class Realy:
    """The folder in its published layout, or a part of the scans and photos.

    `images`: a folder of photos in place of the published one of the view; the name tells both. FileNotFoundError names
    a part of the layout that is missing as a whole, ValueError scales or photo names of another form. Single scans that
    are missing or damaged are told by `scan`, photos by `sample`.
    """

    def __init__(self, folder: Path, view: View = "front", images: Path | None = None) -> None:
        self.folder, self.view = folder, view
        self.name = f"{BENCHMARK}, {view}" + (f", photos of {images.name}" if images is not None else "")
        for part in ("REALY_HIFI3D_keypoints", "REALY_scan_region"):
            if not (folder / part).is_dir():
                raise FileNotFoundError(f"no {part} in {folder}. {_LICENCE}")
        self.mm_per_unit = read_scales(folder / "metrical_scale.txt")
        self.photos = find_photos(images or _photo_folder(folder / "REALY_image", view))

    def sample(self, photo: Photo) -> Sample:
        """The photo, of which no box is published. ValueError where it is damaged."""
        image = read_image(photo.path)
        return Sample(photo.name, image, whole_photo(image), photo)

    def samples(self) -> Iterator[Sample | Damaged]:
        """The photos of the view."""
        for photo in self.photos:
            yield sample_or_damage(photo.name, self.sample, photo)

    def keypoints(self, number: int) -> Float[np.ndarray, "85 3"]:
        """The 85 points of a scan, in its unit. FileNotFoundError, ValueError for another count."""
        path = self.folder / "REALY_HIFI3D_keypoints" / f"{number}.obj"
        points = read_obj_points(path)
        if points.shape != (KEYPOINTS, 3):
            raise ValueError(f"{path}: expected {KEYPOINTS} points, got {len(points)}")
        return points

    def scan(self, number: int) -> Scan:
        """A scan; FileNotFoundError, ValueError where it is damaged, not a face in mm, mirrored, or of two frames."""
        if not 1 <= number <= len(self.mm_per_unit):
            raise ValueError(f"metrical_scale.txt has no line for scan {number}")
        points, mm_per_unit = self.keypoints(number), float(self.mm_per_unit[number - 1])
        what = f"keypoints of scan {number} by metrical_scale.txt"
        check_size(points[list(LANDMARKS)] * mm_per_unit, what)
        check_handedness(points[list(LANDMARKS)], what)
        regions = {name: self._region(number, name) for name in REGIONS}
        vertices = np.concatenate([region.vertices for region in regions.values()])
        off_mm = float(cKDTree(vertices).query(points[list(LANDMARKS)])[0].max()) * mm_per_unit
        if off_mm > _OFF_SCAN_MM:
            raise ValueError(f"scan {number}: a keypoint lies {off_mm:.0f} mm off the regions")
        return Scan(regions, points, mm_per_unit)

    def _region(self, number: int, name: RegionName) -> RegionMesh:
        mesh = read_obj(self.folder / "REALY_scan_region" / str(number) / f"{name}.obj")
        return RegionMesh(mesh.vertices, mesh.triangles)

    def mean_keypoints(self) -> Float[np.ndarray, "85 3"]:
        """Mean of the keypoints of the scans that have photos; they share a frame. FileNotFoundError, ValueError."""
        known = []
        for number in sorted({photo.scan for photo in self.photos}):
            try:
                known.append(self.keypoints(number))
            except (FileNotFoundError, ValueError):
                continue  # the scan's photos are left out with this reason
        if not known:
            raise FileNotFoundError(f"no keypoints in {self.folder / 'REALY_HIFI3D_keypoints'} for any photo's scan")
        return np.mean(known, axis=0)


def read_scales(path: Path) -> Float[np.ndarray, " N"]:
    """Millimetres in a unit of scan 1, 2, ... FileNotFoundError; ValueError for anything but positive numbers."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path.name} in {path.parent}: copy data/metrical_scale.txt of github.com/czh-98/REALY"
        )
    try:
        values = np.array(path.read_text(encoding="utf-8").split(), np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: expected a number a line ({error})") from error
    if not len(values) or not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"{path}: expected positive numbers, one a scan")
    return values


def find_photos(folder: Path) -> list[Photo]:
    """Photos N.jpg or N_K.jpg of a folder, by N. FileNotFoundError; ValueError names a file of another name."""
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"no photos in {folder}. {_LICENCE}")
    photos = []
    for path in files:
        match = _PHOTO.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path} is not named after its scan, N.jpg or N_K.jpg")
        photos.append(Photo(int(match.group(1)), path))
    return sorted(photos)


def _photo_folder(folder: Path, view: View) -> Path:
    """The one folder of cropped photos of a view."""
    found = sorted(path for path in folder.glob("crop_image_*") if path.is_dir())
    chosen = [path for path in found if ("frontal" in path.name) == (view == "front")]
    if len(chosen) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(
            f"expected one folder of {view} photos (front: crop_image_frontal_512x512) in {folder}, found {names}; "
            f"--images names another. {_LICENCE}"
        )
    return chosen[0]
