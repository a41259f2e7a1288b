"""Files of optical flow and disparity: Middlebury .flo, KITTI's 16-bit PNG, PFM.

Arrays are float32, rows top down, flow (H,W,2) with x right and y down in pixels. Every reader checks the whole file:
a damaged, truncated or foreign one raises ValueError with what was got, what was expected and what to do. Writers put
the file in its place whole or not at all.
"""

import re
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from face3d.io import MAX_PIXELS, replace_files

UNKNOWN_FLOW_PX = 1e9
"""Middlebury: a component of this size or more says that the flow of the pixel is unknown."""

_FLO_MAGIC = b"PIEH"  # the little-endian bytes of the float 202021.25
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PFM_HEADER = re.compile(rb"(PF|Pf)\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[0-9.]+(?:[eE][-+]?\d+)?)[ \t]?\r?\n")
_AGAIN = "download or write it again"


class KnownFlow(NamedTuple):
    """Flow in pixels, and where it is known; zero elsewhere."""

    flow_px: Float32[np.ndarray, "H W 2"]
    valid: Bool[np.ndarray, "H W"]


class KnownDisparity(NamedTuple):
    """Disparity in pixels, and where it is known; zero elsewhere. The match of (x, y) is (x - disparity, y)."""

    disparity_px: Float32[np.ndarray, "H W"]
    valid: Bool[np.ndarray, "H W"]


def read_flo(path: str | PathLike[str]) -> Float32[np.ndarray, "H W 2"]:
    """Read a Middlebury .flo file, values as stored: unknown flow is `UNKNOWN_FLOW_PX` or more (`known_flow`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a .flo file, or one cut short or too long.
    """
    path = Path(path)
    content = _bytes(path)
    if content[:4] != _FLO_MAGIC:
        raise ValueError(
            f"{path} starts with {content[:4]!r}, a .flo file with {_FLO_MAGIC!r}: is it flow of another format?"
        )
    if len(content) < 12:
        raise ValueError(f"{path} has {len(content)} bytes, less than the 12 of a .flo header: {_AGAIN}")
    width, height = struct.unpack("<ii", content[4:12])
    _check_size(path, width, height)
    _check_length(path, len(content), 12 + 8 * width * height, f"{width} x {height} pixels of a .flo file")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def write_flo(path: str | PathLike[str], flow_px: Float[np.ndarray, "H W 2"]) -> None:
    """Write a Middlebury .flo file, single precision. OSError where the folder cannot be written."""
    _check_flow(flow_px)
    height, width = flow_px.shape[:2]
    header = _FLO_MAGIC + struct.pack("<ii", width, height)
    replace_files({Path(path): header + np.ascontiguousarray(flow_px, "<f4").tobytes()})


def known_flow(flow_px: Float[np.ndarray, "H W 2"]) -> KnownFlow:
    """Split the values of a .flo file: what is not finite or reaches `UNKNOWN_FLOW_PX` is unknown."""
    with np.errstate(invalid="ignore"):
        valid = (np.abs(flow_px) < UNKNOWN_FLOW_PX).all(axis=2)
    return KnownFlow(np.where(valid[..., None], flow_px, 0).astype(np.float32), valid)


def read_kitti_flow(path: str | PathLike[str]) -> KnownFlow:
    """Read flow from KITTI's 16-bit RGB PNG: ``(red, green) = 64 flow + 2^15``, blue says where it is known.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, or not a 16-bit PNG of three channels.
    """
    stored = _read_png(Path(path), channels=3, kind="flow")
    valid = stored[..., 0] > 0  # OpenCV gives blue first
    flow_px = (stored[..., :0:-1].astype(np.float32) - 2**15) / 64
    return KnownFlow(np.where(valid[..., None], flow_px, np.float32(0)), valid)


def write_kitti_flow(
    path: str | PathLike[str], flow_px: Float[np.ndarray, "H W 2"], valid: Bool[np.ndarray, "H W"]
) -> None:
    """Write flow as KITTI's 16-bit PNG, rounded to 1/64 px; pixels that are not valid become zero.

    Raises:
        ValueError: valid flow that is not finite or outside of [-512, 512) px, which the format cannot hold.
        OSError: the folder cannot be written.
    """
    _check_flow(flow_px)
    stored = np.zeros((*flow_px.shape[:2], 3), np.uint16)
    codes = np.round(np.asarray(flow_px[valid], np.float64) * 64) + 2**15
    _check_codes(codes, 0, "flow within [-512, 512) px: write a .flo file")
    stored[..., 0] = valid
    stored[..., :0:-1][valid] = codes.astype(np.uint16)
    replace_files({Path(path): _png(stored)})


def read_kitti_disparity(path: str | PathLike[str]) -> KnownDisparity:
    """Read disparity from KITTI's 16-bit grey PNG: ``256 disparity``, zero where unknown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, or not a 16-bit grey PNG.
    """
    stored = _read_png(Path(path), channels=1, kind="disparity")
    return KnownDisparity(stored.astype(np.float32) / 256, stored > 0)


def write_kitti_disparity(
    path: str | PathLike[str], disparity_px: Float[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]
) -> None:
    """Write disparity as KITTI's 16-bit PNG, rounded to 1/256 px; a known one is at least 1/256.

    Raises:
        ValueError: valid disparity that is not finite, negative, or 256 px and more, which the format cannot hold.
        OSError: the folder cannot be written.
    """
    codes = np.round(np.asarray(disparity_px[valid], np.float64) * 256)
    _check_codes(codes, 0, "disparity within [0, 256) px: write a .pfm file")
    stored = np.zeros(disparity_px.shape, np.uint16)
    stored[valid] = np.maximum(codes, 1).astype(np.uint16)
    replace_files({Path(path): _png(stored)})


def read_pfm(path: str | PathLike[str]) -> Float32[np.ndarray, "H W"] | Float32[np.ndarray, "H W 3"]:
    """Read a portable float map, grey (H,W) or colour (H,W,3), of either byte order, top row first.

    The size of the scale in the header is not applied, only its sign, as in Middlebury's own reader.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a PFM file, or one cut short or too long.
    """
    path = Path(path)
    content = _bytes(path)
    header = _PFM_HEADER.match(content)
    if header is None:
        start = content[:16]
        raise ValueError(f"{path} starts with {start!r}, a PFM file with 'PF' or 'Pf', size and scale: is it damaged?")
    width, height, channels = int(header[2]), int(header[3]), 3 if header[1] == b"PF" else 1
    _check_size(path, width, height)
    scale = _pfm_scale(path, header[4])
    expected = header.end() + 4 * width * height * channels
    _check_length(path, len(content), expected, f"{width} x {height} x {channels} values of a PFM file")
    values = np.frombuffer(content, "<f4" if scale < 0 else ">f4", offset=header.end())
    shape = (height, width, 3) if channels == 3 else (height, width)
    return values.reshape(shape)[::-1].astype(np.float32, order="C")


def write_pfm(
    path: str | PathLike[str],
    values: Float[np.ndarray, "H W"] | Float[np.ndarray, "H W 3"],
    big_endian: bool = False,
) -> None:
    """Write a portable float map, single precision. OSError where the folder cannot be written."""
    kind, scale, order = "PF" if values.ndim == 3 else "Pf", *(("1.0", ">f4") if big_endian else ("-1.0", "<f4"))
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode()
    replace_files({Path(path): header + np.ascontiguousarray(values[::-1], order).tobytes()})


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    return path.read_bytes()


def _pfm_scale(path: Path, text: bytes) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if scale == 0:
        raise ValueError(f"{path} has the scale {text!r}, expected a number other than zero: {_AGAIN}")
    return scale


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ValueError(
            f"{path} claims {width} x {height} pixels, expected 1 to {MAX_PIXELS} in all: is it damaged? {_AGAIN}"
        )


def _check_length(path: Path, length: int, expected: int, what: str) -> None:
    if length != expected:
        problem = "cut short" if length < expected else "longer than it should be"
        raise ValueError(f"{path} is {problem}: {length} bytes, expected {expected} for {what}; {_AGAIN}")


def _check_flow(flow_px: np.ndarray) -> None:
    if flow_px.ndim != 3 or flow_px.shape[2] != 2 or flow_px.size == 0:
        raise ValueError(f"got flow of shape {flow_px.shape}: expected (H, W, 2) with at least one pixel")


def _check_codes(codes: np.ndarray, least: int, expected: str) -> None:
    if not (np.isfinite(codes).all() and (codes >= least).all() and (codes < 2**16).all()):
        raise ValueError(
            f"a 16-bit PNG cannot hold these values, expected finite {expected}, or mark them as not valid"
        )


def _png(stored: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", stored)
    if not done:
        raise ValueError(f"OpenCV cannot write a PNG of shape {stored.shape}: expected at least one pixel")
    return encoded.tobytes()


def _read_png(path: Path, channels: int, kind: str) -> np.ndarray:
    """The 16-bit values of a PNG, (H,W) or (H,W,3) with blue first."""
    content = _bytes(path)
    _check_png(path, content)
    depth, colour = content[24], content[25]
    wanted = {1: 0, 3: 2}[channels]
    if (depth, colour) != (16, wanted):
        kinds = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
        got, expected = f"{depth}-bit {kinds.get(colour, 'unknown')}", f"16-bit {kinds[wanted]}"
        raise ValueError(f"{path} is a {got} PNG, expected {expected}: is it KITTI {kind}?")
    width, height = struct.unpack(">II", content[16:24])
    _check_size(path, width, height)
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape[:2] != (height, width):
        raise ValueError(f"{path} cannot be decoded as a PNG of {width} x {height} pixels: {_AGAIN}")
    return stored


def _check_png(path: Path, content: bytes) -> None:
    """Every chunk there and undamaged: decoders may give the part that they could read without a word."""
    if not content.startswith(_PNG_MAGIC):
        raise ValueError(f"{path} starts with {content[:8]!r}, a PNG with {_PNG_MAGIC!r}: is it of another format?")
    position, name = len(_PNG_MAGIC), b""
    while name != b"IEND":
        if position + 12 > len(content):
            raise ValueError(f"{path} is cut short: {len(content)} bytes without the end of a PNG; {_AGAIN}")
        (length,) = struct.unpack(">I", content[position : position + 4])
        body, end = content[position + 4 : position + 8 + length], position + 12 + length
        if content[end - 4 : end] != struct.pack(">I", zlib.crc32(body)):
            raise ValueError(f"{path} is damaged or cut short near byte {position}: wrong checksum; {_AGAIN}")
        if position == len(_PNG_MAGIC) and (body[:4] != b"IHDR" or length != 13):
            raise ValueError(f"{path} has no PNG header (IHDR), got {body[:4]!r}; {_AGAIN}")
        position, name = end, body[:4]
