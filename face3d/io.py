"""Photos in, files out: every accepted kind of photo becomes (H, W, 3) uint8 RGB; files appear whole or not at all."""

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray
"""A path, a PIL image, or an (H, W, 3) uint8 RGB array (also grey, RGBA and 16-bit ones)."""

MAX_PIXELS = 64_000_000
"""Larger photos are refused: what keeps `face3d reconstruct` below 900 MB of memory."""

MAX_SIDE_PX = 32_766
"""Longer sides are refused: OpenCV cannot warp them."""

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_INVERSE = {6: 8, 8: 6}  # every other orientation is undone by itself
_STRIP_ROWS = 256


def read_image(source: ImageLike) -> UInt8[np.ndarray, "H W 3"]:
    """Read a photo as (H, W, 3) uint8 RGB, upright (EXIF orientation applied), first frame of an animation.

    Grey is repeated, alpha is laid over white, CMYK and palettes are converted, 16 bits become 8. An array that is
    already (H, W, 3) uint8 is returned as it is, not copied.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, not an image, a truncated one, an array of the wrong type or shape, or one too large.
        TypeError: neither path, PIL image nor array.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image")
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    raise TypeError(f"image is a {type(source).__name__}: pass a path, a PIL image or an (H, W, 3) uint8 RGB array")


def png_bytes(image: UInt8[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W"]) -> bytes:
    """The RGB or grey image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Write files beside their final names, then rename all: an error leaves no partial file behind.

    Missing folders are created. The last of ``files`` is renamed last, so let it be the one that refers to the others.

    Raises:
        OSError: (PermissionError, ...) a folder cannot be written; the message says which.
    """
    waiting: dict[Path, Path] = {}
    target = Path()
    try:
        for target, content in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            waiting[part] = target
            part.write_bytes(content)
        for part, target in list(waiting.items()):
            os.replace(part, target)
            del waiting[part]
    except OSError as error:
        message = f"cannot write {target} ({error.strerror}): choose a folder that can be written"
        raise OSError(error.errno, message) from error
    finally:
        for part in waiting:
            _remove(part)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # its folder cannot even be read: the file was never made


def _from_file(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the photos in it")
    if not path.exists():
        raise FileNotFoundError(f"no such photo: {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; the limit is checked here
            image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {_limit()}") from error
    except Exception as error:  # decoders raise anything on broken data
        raise ValueError(f"{path} is not an image that can be read (JPEG, PNG, WebP, TIFF, ...): {error}") from error
    with image:
        return _from_pil(image, str(path))


def _from_pil(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    _check_size(image.height, image.width, name)
    if image.mode == "F":
        raise ValueError(f"{name} holds floats (mode F): convert it to 8-bit RGB first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return _pixels(image, _orientation(image))
    except Exception as error:  # decoders raise anything on broken data
        raise ValueError(f"{name} cannot be decoded, is it cut short? ({error}); save or download it again") from error


def _pixels(image: Image.Image, orientation: int) -> UInt8[np.ndarray, "H W 3"]:
    """The upright pixels, 8-bit RGB."""
    if image.mode.startswith("I"):  # I;16 and its byte orders; I holds 16-bit greys in 32 bits
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return np.ascontiguousarray(_turned(_from_array(grey), orientation))
    if image.has_transparency_data:
        return _over_white(_strips(image.convert("RGBA"), orientation))
    return _strips(image if image.mode == "RGB" else image.convert("RGB"), orientation)


def _strips(image: Image.Image, orientation: int) -> np.ndarray:
    """Upright pixels, filled in strip by strip: Pillow's own conversion and turning need three times the memory."""
    size = image.size if orientation in _SIDEWAYS else image.size[::-1]
    pixels = np.zeros((*size, len(image.getbands())), np.uint8)
    as_stored = _turned(pixels, _INVERSE.get(orientation, orientation))
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        as_stored[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not make the photo unreadable
        return 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view that undoes the EXIF orientation (1-8; anything else leaves the pixels as they are)."""
    transposed = pixels.transpose(1, 0, 2)
    views = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: transposed,
        6: transposed[:, ::-1],
        7: transposed[::-1, ::-1],
        8: transposed[::-1],
    }
    return views.get(orientation, pixels)


def _from_array(array: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    _check_array(array)
    _check_size(array.shape[0], array.shape[1], "the array")
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 4:
        return _over_white(array)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _check_array(array: np.ndarray) -> None:
    wanted = "expected an (H, W, 3) uint8 RGB array"
    if array.dtype.kind == "f":
        problem = "with NaN " if np.isnan(array).any() else ""
        raise ValueError(f"got a {array.dtype} array {problem}of shape {array.shape}: {wanted}; "
                         "for values in [0, 1] pass (255 * image).round().astype(np.uint8)")  # fmt: skip
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"got a {array.dtype} array of shape {array.shape}: {wanted}")
    if array.size == 0:
        raise ValueError(f"got an empty array of shape {array.shape}: {wanted}")
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        raise ValueError(f"got channels first, shape {array.shape}: {wanted}; pass image.transpose(1, 2, 0)")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
        raise ValueError(f"got an array of shape {array.shape}: {wanted} (one photo; use Reconstructor.batch for many)")


def _check_size(height: int, width: int, name: str) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"{name} is empty: {width} x {height} pixels")
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE_PX:
        raise ValueError(f"{name} has {width} x {height} pixels: {_limit()}")


def _limit() -> str:
    return f"the limit is {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE_PX} pixels a side; shrink or cut it first"


def _over_white(rgba: Any) -> UInt8[np.ndarray, "H W 3"]:
    """Lay (H, W, 4) uint8 RGBA over white."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if int(alpha.min()) == 255:
        return np.ascontiguousarray(rgba[:, :, :3])
    blended = (rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)
