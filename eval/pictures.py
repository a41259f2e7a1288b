"""Sheets of pictures: a grid of squares, saved as PNG below a size that a repository can carry."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from face3d.image import crop_transform, square_around, warp
from face3d.io import replace_files

MOST_BYTES = 400_000
_PAPER = 245
_GAP = 4


def sheet(tiles: Sequence[UInt8[np.ndarray, "S S 3"]], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    """Equal squares in rows of `columns`, on light paper. ValueError where there is none."""
    if not tiles:
        raise ValueError("a sheet needs at least one tile")
    side = tiles[0].shape[0] + _GAP
    rows = -(-len(tiles) // columns)
    picture = np.full((rows * side + _GAP, columns * side + _GAP, 3), _PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * side + _GAP, (index % columns) * side + _GAP
        picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return picture


def square_tile(
    image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"], side: int, factor: float = 1.9
) -> UInt8[np.ndarray, "S S 3"]:
    """The part of the photo about a box."""
    centre, width = square_around(box_px.reshape(2, 2), factor)
    return warp(image, crop_transform(centre, width, side), (side, side))


def save_png(path: Path, picture: UInt8[np.ndarray, "H W 3"], most_bytes: int = MOST_BYTES) -> int:
    """Write a PNG of at most `most_bytes`: full colour if it fits, else 256 colours, else smaller. Returns its size."""
    image = Image.fromarray(picture)
    content = _encode(image)
    if len(content) > most_bytes:
        content = _encode(image.quantize(256))
    while len(content) > most_bytes:
        image = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)
        content = _encode(image.quantize(256))
    replace_files({path: content})
    return len(content)


def _encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
