"""For the eye: overlays on photos and clip frames, and turning views of textured meshes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from eval.aflw2000 import Aflw2000
from eval.lfw import Lfw
from eval.pictures import save_png, sheet, square_tile
from eval.protocol import whole
from eval.scene import Textured, draw, turned_view
from face3d.io import read_image
from face3d.overlay import draw_landmarks, draw_mesh

if TYPE_CHECKING:
    from face3d import Reconstruction, Reconstructor

TILE_PX = 180
TURNS_DEG = (-75.0, -45.0, -15.0, 15.0, 45.0, 75.0)
Photo = tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "N 4"] | None]
"""A photo, and the boxes to use in place of a detection."""


def write_sheets(data: Path, output: Path, reconstructor: "Reconstructor") -> dict[str, int]:
    """All sheets of the data that is there; their sizes in bytes by file name."""
    written: dict[str, int] = {}
    for name, photos in photo_sources(data).items():
        tiles: list[np.ndarray] = []
        turning: list[np.ndarray] = []
        for image, boxes in photos:
            for face in reconstructor(image, boxes=boxes)[:1]:
                tiles += overlay_tiles(image, face)
                turning += turning_tiles(face)
        written |= _save(output, f"{name}_overlay.png", tiles, 6)
        written |= _save(output, f"{name}_turning.png", turning[: 5 * len(TURNS_DEG)], len(TURNS_DEG))
    return written


def photo_sources(data: Path) -> dict[str, Iterable[Photo]]:
    """Fifteen photos each of AFLW2000-3D, LFW and clips, as far as they are there."""
    return {
        "aflw2000": _aflw2000(data / "aflw2000"),
        "lfw": _lfw(data / "lfw", 15),
        "clips": _clips([*sorted((data / "clips").glob("*.mp4")), *sorted((data / "voxceleb2").glob("*.mp4"))], 15),
    }


def _save(folder: Path, name: str, tiles: list[np.ndarray], columns: int) -> dict[str, int]:
    return {name: save_png(folder / name, sheet(tiles, columns))} if tiles else {}


def overlay_tiles(image: UInt8[np.ndarray, "H W 3"], face: "Reconstruction") -> list[UInt8[np.ndarray, "S S 3"]]:
    """The photo about the face with landmarks, and with the mesh over it."""
    dots = square_tile(draw_landmarks(image, face.landmarks_px), face.box.astype(np.float64), TILE_PX)
    mesh = square_tile(draw_mesh(image, face.vertices_px, face.triangles), face.box.astype(np.float64), TILE_PX)
    return [dots, mesh]


def turning_tiles(face: "Reconstruction") -> list[UInt8[np.ndarray, "S S 3"]]:
    """The textured mesh seen from several yaws; [] where the model has no UV coordinates."""
    if face.texture is None or face.uv is None:
        return []
    centre = (face.vertices_mm.min(0) + face.vertices_mm.max(0)).astype(np.float64) / 2
    scale = 0.85 * TILE_PX / float(np.ptp(face.vertices_mm, axis=0).max())
    paper = np.full((TILE_PX, TILE_PX, 3), 236, np.uint8)
    colours = Textured(face.texture, face.uv)
    views = (turned_view((0.0, yaw, 0.0), centre, scale, TILE_PX) for yaw in TURNS_DEG)
    return [draw(view.project(face.vertices_mm), face.triangles, colours, paper, None) for view in views]


def _aflw2000(folder: Path) -> Iterator[Photo]:
    if folder.is_dir():
        for sample in whole(Aflw2000(folder).samples()):
            yield sample.image, sample.box_px[None]


def _lfw(folder: Path, count: int) -> Iterator[Photo]:
    if folder.is_dir():
        photos = Lfw(folder)
        for _, first, _ in photos.pairs(count, seed=1):
            yield photos.read(first), None


def _clips(files: list[Path], count: int) -> Iterator[Photo]:
    """The middle frame of clips spread over the list."""
    for index in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)) if files else []:
        capture = cv2.VideoCapture(str(files[index]))
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // 2)
        found, frame = capture.read()
        capture.release()
        if found:
            yield read_image(np.ascontiguousarray(frame[:, :, ::-1])), None
