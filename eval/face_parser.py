"""The face parser on generated people, whose meshes say what each pixel shows, and on real photos, for the eye.

The people are those of eval.people, unseen and drawn by eval's own camera, light and backdrop; they have no hair, and
nothing lies over them, so the class of occluders does not occur. The crop is the square of `CROP_FACTOR` times the
true landmarks' box, as large as the parser's.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval.contact_sheet import Photo, photo_sources
from eval.people import GeneratedPeople, Person
from eval.pictures import save_png, sheet
from face3d.crops import crop_around
from face3d.image import transform_points, warp
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel
from face3d.parse import CROP_FACTOR, FaceParser
from face3d.parse_labels import coloured, confusion, intersection_over_union, rasterised_classes, region_classes
from face3d.pipeline import Reconstructor

_COLUMNS = 6


def score_parser(parser: FaceParser, model: MorphableModel, people: int) -> dict[str, Any]:
    """IoU of each class over all pixels of `people` photos, their mean over the classes that occur, and how many pixels
    of each class were taken for which. ValueError: a model with a region that is no class."""
    drawn = GeneratedPeople(model, people)
    classes = region_classes(drawn.model.region_names)[drawn.model.vertex_region.numpy()]
    counts = np.zeros((0, 0), np.int64)
    for sample in drawn.samples():
        truth: Person = sample.truth
        crop, T_crop_from_photo = _crop(sample.image, sample.box_px, parser.crop_size)
        placed = transform_points(T_crop_from_photo, truth.vertices_px)
        labels, _ = rasterised_classes(placed, drawn.triangles, classes, parser.crop_size)
        found = confusion(parse(parser, crop), torch.from_numpy(labels)[None])
        counts = found if not counts.size else counts + found
    return {"summary": {**intersection_over_union(counts), "people": people}, "confusion": counts.tolist()}


def parse(parser: FaceParser, crop: UInt8[np.ndarray, "S S 3"]) -> UInt8[torch.Tensor, "1 S S"]:
    """The likeliest class of each pixel."""
    with torch.inference_mode():
        return parser(_tensor(crop).float() / 255).argmax(1).to(torch.uint8).cpu()


def parser_sheets(data: Path, output: Path, parser: FaceParser, reconstructor: Reconstructor) -> dict[str, int]:
    """Real faces beside what the parser finds in them, a sheet for each kind of photos that is there; sizes in bytes by
    file name."""
    written: dict[str, int] = {}
    for name, photos in photo_sources(data).items():
        tiles = [tile for crop in _crops(photos, reconstructor, parser.crop_size) for tile in _tiles(parser, crop)]
        if tiles:
            written[f"{name}_parsed.png"] = save_png(output / f"{name}_parsed.png", sheet(tiles, _COLUMNS))
    return written


def _crops(photos: Iterable[Photo], reconstructor: Reconstructor, size: int) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    """The largest face of each photo, or the one that a box is given of."""
    for image, boxes in photos:
        for face in reconstructor(image, boxes=boxes, texture=False)[:1]:
            yield _crop(image, landmark_box_px(face.landmarks_px[:, :2].astype(np.float64)), size)[0]


def _tiles(parser: FaceParser, crop: UInt8[np.ndarray, "S S 3"]) -> list[UInt8[np.ndarray, "S S 3"]]:
    return [crop, coloured(_tensor(crop), parse(parser, crop))[0]]


def _tensor(crop: UInt8[np.ndarray, "S S 3"]) -> UInt8[torch.Tensor, "1 3 S S"]:
    return torch.from_numpy(crop).permute(2, 0, 1)[None]


def _crop(
    image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"], size: int
) -> tuple[UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "3 3"]]:
    T_crop_from_photo = crop_around(box_px.reshape(2, 2), CROP_FACTOR, size)
    return warp(image, T_crop_from_photo, (size, size)), T_crop_from_photo
