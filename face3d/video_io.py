"""Videos in and out: frames one after the other as (H, W, 3) uint8 RGB, and MP4 files, whole or not at all."""

import os
import re
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from face3d.io import ImageLike, read_image

VideoLike = str | os.PathLike[str] | Iterable
"""A video file, a folder of images, or photos one after the other: (H, W, 3) uint8 RGB arrays, paths or PIL images."""

USUAL_RATE_HZ = 25.0
"""Taken where a video does not say."""

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_CODEC = "mp4v"  # OpenCV's wheels have no H.264 encoder, and VP9 takes 300 ms a frame of 512 x 512


class FrameSource:
    """Frames of one size, read as they are asked for: ``for frame in FrameSource(video)``.

    Files and folders can be gone through many times, iterators once. Frames are upright where the file says how it was
    turned. Raises FileNotFoundError and ValueError at once for what is missing or no video; ValueError while frames are
    read for the first one that cannot be read or has another size, and where there is none; TypeError for other types.
    """

    rate_hz: float | None = None
    """Frames a second; None where nothing tells."""
    length: int | None = None
    """Number of frames as far as known beforehand; video files may be wrong about theirs."""

    def __init__(self, source: VideoLike) -> None:
        self.name = "the frames"
        self._images: Iterable[ImageLike] | None = None
        self._path = Path()
        if isinstance(source, (str, os.PathLike)):
            self._open(Path(source))
        else:
            self._images = _checked_iterable(source)
            self.length = len(source) if isinstance(source, Sized) else None

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        size_hw: tuple[int, ...] | None = None
        for index, frame in enumerate(self._raw()):
            if size_hw is not None and frame.shape[:2] != size_hw:
                raise ValueError(
                    f"frame {index} of {self.name} is {frame.shape[1]} x {frame.shape[0]} px, those before it "
                    f"{size_hw[1]} x {size_hw[0]}: bring all frames to one size, or pass them one by one to reconstruct"
                )
            size_hw = frame.shape[:2]
            yield frame
        if size_hw is None:
            raise ValueError(f"{self.name}: not one frame could be read; expected a video or images with at least one")

    def _open(self, path: Path) -> None:
        self.name = str(path)
        if path.is_dir():
            images = sorted((file for file in path.iterdir() if file.suffix.lower() in _PICTURES), key=_natural)
            if not images:
                raise ValueError(
                    f"{path} holds no images: expected a folder of frames ({', '.join(sorted(_PICTURES))})"
                )
            self._images, self.length = images, len(images)
            return
        if not path.exists():
            raise FileNotFoundError(f"no such video: {path}")
        self._path = path
        capture = _capture(path)
        rate_hz, length = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.rate_hz = float(rate_hz) if 0 < rate_hz < 1000 else None
        self.length = int(length) if 0 < length < 1e8 else None

    def _raw(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        if self._images is None:
            yield from _decoded(self._path)
            return
        for index, image in enumerate(self._images):
            try:
                yield read_image(image)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"frame {index} of {self.name}: {error}") from error


class VideoWriter:
    """An MP4 file (MPEG-4 part 2) of (H, W, 3) uint8 RGB frames, as a context: the file is there when it ends well.

    It is written aside and renamed; an error inside the context leaves nothing behind. Raises OSError where it cannot
    be written, ValueError for a name that does not end in .mp4.
    """

    def __init__(self, path: str | os.PathLike[str], rate_hz: float | None) -> None:
        self.path, self.rate_hz = Path(path), rate_hz or USUAL_RATE_HZ
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{self.path} is to be written as a video: name a file that ends in .mp4")
        self._part = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._count = 0

    def __enter__(self) -> "VideoWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
        except OSError as error:
            message = f"cannot write {self.path} ({error.strerror}): choose a folder that can be written"
            raise OSError(error.errno, message) from error
        return self

    def write(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append a frame, of the size of the first one; the last row or column of odd sizes is lost."""
        if self._writer is None:
            fourcc = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._part), fourcc, self.rate_hz, frame.shape[1::-1])
            if not self._writer.isOpened():
                raise OSError(f"cannot write {self.path}: OpenCV has no encoder for {_CODEC} here; leave the video out")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if self._writer is not None:
            self._writer.release()
        try:
            if kind is None:
                self._finish()
        finally:
            self._part.unlink(missing_ok=True)
        return False

    def _finish(self) -> None:
        """OpenCV does not say whether it could write: see whether the file can be read."""
        if self._count == 0:
            raise ValueError(f"no frame was given for {self.path}")
        capture = cv2.VideoCapture(str(self._part))
        complete = capture.isOpened() and round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) >= self._count
        capture.release()
        if not complete:
            raise OSError(f"{self.path} could not be written completely: is the disk full?")
        os.replace(self._part, self.path)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(f"{path} is not a video that can be read (MP4, WebM, MOV, AVI, ...), or is damaged")
    return capture


def _decoded(path: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    capture = _capture(path)
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


def _checked_iterable(source: object) -> Iterable[ImageLike]:
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise ValueError(f"got one array of shape {source.shape}: expected frames, (T, H, W, 3) or a list of (H, W, 3)")
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise TypeError(f"frames is a {type(source).__name__}: pass a video file, a folder of images, or frames")
    return source


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame_2 before frame_10."""
    parts: list[str] = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
