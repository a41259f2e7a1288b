"""`python -m train.prepare clips`: clips of people who do not exist, as folders of frames in VoxCeleb's layout.

A head turns, talks and moves before a moving background (`train.face_clips`); half of the heads wear the skin of a
photo, on another shape than the fitted one, half are drawn. What made a picture is not kept: these are videos to learn
from without labels, where videos of enough people are not at hand.
"""

import logging
from pathlib import Path

import cv2

from face3d.io import replace_files
from train.face_clips import FaceClips, HeadMotion
from train.people_tracks import jpeg_bytes

TURNING = HeadMotion(rates_deg=(8.0, 3.0, 2.0), pace=0.4, bend=0.02, most_yaw_deg=70.0, other_face=True)
FIRST_PERSON = 90_000  # idNNNNN beyond VoxCeleb's own
log = logging.getLogger(__name__)


def write_people(model: Path, photos: Path, out: Path, count: int, frames: int, size: int) -> None:
    """Write `count` clips of `frames` frames (size,size) as `out/idNNNNN/drawn/00000/0000.jpg`, ...; those that are
    there are kept. ValueError: more clips than numbers of people."""
    if count > 100_000 - FIRST_PERSON:
        raise ValueError(f"{count} people: VoxCeleb's names leave {100_000 - FIRST_PERSON} numbers for those drawn")
    cv2.setNumThreads(0)
    source = FaceClips(model, size, frames, 1, photos, motion=TURNING)
    for index in range(count):
        folder = out / f"id{FIRST_PERSON + index}" / "drawn" / "00000"
        names = [folder / f"{frame:04d}.jpg" for frame in range(frames)]
        if not all(name.is_file() for name in names):
            pictures = source.clip(index).scene.frames
            replace_files({name: jpeg_bytes(picture) for name, picture in zip(names, pictures, strict=True)})
        if index % 100 == 99:
            log.info("%d of %d clips", index + 1, count)
