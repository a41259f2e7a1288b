"""The NoW validation set in small, in the published layout: photos told by their grey, faces of a toy model."""

from pathlib import Path

import numpy as np
from PIL import Image

from eval.florence_metrics import FaceMesh
from eval.now_region import LANDMARKS
from tests.mini_florence import GREY_STEP

RELEASE = Path("NoW_Dataset/final_release_version")


def write_pp(path: Path, points: np.ndarray) -> None:
    """As MeshLab writes picked points: the first point stands in the ninth line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = ['<DateTime time="10:00:00" date="2018-05-01"/>', '<User name="a"/>', '<DataFileName name="scan.obj"/>']
    lines = ["<!DOCTYPE PickedPoints>", "<PickedPoints>", " <DocumentData>", *(f"  {line}" for line in head)]
    lines += ['  <templateName name=""/>', " </DocumentData>"]
    for name, (x, y, z) in enumerate(points):
        lines.append(f' <point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{name}"/>')
    path.write_text("\n".join([*lines, "</PickedPoints>", ""]))


def write_coloured_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """A scan with a colour a vertex, `v x y z r g b`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [f"v {x:.6f} {y:.6f} {z:.6f} 0.8 0.6 0.5" for x, y, z in vertices]
    path.write_text("\n".join([*points, *("f {} {} {}".format(*(face + 1)) for face in triangles)]) + "\n")


def write_box(path: Path, box_px: tuple[int, int, int, int]) -> None:
    """The dictionary that the data set pickles into an .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    box = dict(zip(("left", "top", "right", "bottom"), box_px, strict=True))
    np.save(path, np.array(box, object), allow_pickle=True)


def write_scan(folder: Path, person: str, scan: FaceMesh) -> None:
    write_coloured_obj(folder / "scans" / person / "natural_head_rotation.000001.obj", scan.vertices, scan.triangles)
    write_pp(folder / "scans_lmks_onlypp" / person / "landmarks.pp", scan.landmarks[list(LANDMARKS)])


def write_now(folder: Path, scans: dict[int, FaceMesh], challenges: tuple[str, ...]) -> Path:
    """Every person with one photo of each kind, whose grey says who it is."""
    lines = []
    for number, scan in scans.items():
        write_scan(folder, f"FaMoS_{number:05d}_TA", scan)
        for index, challenge in enumerate(challenges):
            name = f"FaMoS_{number:05d}_TA/{challenge}/IMG_{index:04d}"
            photo = folder / RELEASE / "iphone_pictures" / f"{name}.jpg"
            photo.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (GREY_STEP * number,) * 3).save(photo)
            write_box(folder / RELEASE / "detected_face" / f"{name}.npy", (0, 0, 30, 30))
            lines.append(f"{name}.jpg")
    (folder / "imagepathsvalidation.txt").write_text("\n".join(lines) + "\n")
    return folder
