"""Frames drawn from Florence's videos, as photos without a box: the same ones for the same videos, count and seed.

A frame is named by subject, setting (of which a subject has one video) and its number in the video, counted from 0:
`subject_01/PTZ-Indoor/frame_00123`. Of every video four times as many frames are drawn as are wanted, for a frame in
which no face can be measured is replaced by the next one drawn.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from eval.boxes import whole_photo
from eval.florence import Florence, Video
from eval.protocol import Damaged, Sample

_DRAWN_A_FACE = 4

Frame = tuple[int, UInt8[np.ndarray, "H W 3"]]
"""A frame's number in its video, and its picture (RGB)."""


class VideoFrames:
    """What a method is asked about for `frames` faces a video; the name tells settings, count and seed."""

    def __init__(self, data: Florence, frames: int = 5, seed: int = 0) -> None:
        self.data, self.frames, self.seed = data, frames, seed
        self.name = f"{data.name}, {', '.join(data.settings)}, {frames} frames a video, seed {seed}"

    def samples(self) -> Iterator[Sample | Damaged]:
        """All frames drawn, video by video; a video that is missing or damaged has none."""
        for video in self.data.videos:
            try:
                frames = self.of(video)
            except (FileNotFoundError, ValueError) as error:
                yield Damaged(video.name, str(error))
            else:
                yield from frames

    def of(self, video: Video) -> list[Sample]:
        """The frames drawn from one video, in the order drawn. FileNotFoundError; ValueError: not a video."""
        folder = f"subject_{video.subject:02d}/{video.setting}"
        return [
            Sample(f"{folder}/frame_{number:05d}", image, whole_photo(image), video)
            for number, image in random_frames(self.data.file_of(video), _DRAWN_A_FACE * self.frames, self.seed)
        ]


def random_frames(file: Path, count: int, seed: int) -> list[Frame]:
    """Up to `count` different frames in random order, the same for the same seed. ValueError: no video."""
    order = np.random.default_rng(seed).permutation(_frame_count(file))[:count]
    wanted = set(order.tolist())
    frames: dict[int, np.ndarray] = {}
    capture = cv2.VideoCapture(str(file))
    for index in range(int(order.max()) + 1):
        capture.grab()
        if index in wanted:
            decoded, frame = capture.retrieve()
            if not decoded:
                raise ValueError(f"{file}: frame {index} cannot be decoded")
            frames[index] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    return [(index, frames[index]) for index in order.tolist()]


def _frame_count(file: Path) -> int:
    """Counted, since motion JPEG does not say."""
    capture, count = cv2.VideoCapture(str(file)), 0
    while capture.grab():
        count += 1
    capture.release()
    if not count:
        raise ValueError(f"{file} is not a video that OpenCV can read")
    return count
