"""Shards of people made from a random morphable model: stage multi is tested on them."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

from face3d.morphable import MorphableModel
from tests.toy_views import FRONTAL
from train.people_shards import FORMAT, VERSION
from train.profiling import view_of

SIZE = 96


def write_shards(folder: Path, model: MorphableModel, people: int = 4, frames: int = 3, photo_people: int = 0) -> Path:
    """Noise pictures of frontal faces in the layout of `train.prepare people`; every second person is held out, the
    last `photo_people` come with photos, the others with a video each."""
    rng = np.random.default_rng(0)
    landmarks_mm = model.landmarks_of(model.mean[None])[0].numpy()
    pose = view_of(landmarks_mm, FRONTAL, SIZE)
    landmarks_px = pose.scale * landmarks_mm @ FRONTAL.T + np.array([*pose.translation_px, 0.0])
    folder.mkdir()
    with tarfile.open(folder / "people-000000.tar", "w") as archive:
        for person in range(people):
            told = [
                {"landmarks_px": landmarks_px.tolist(), "confidence": [0.5] * 68, "yaw_deg": 12.0 * at}
                for at in range(frames)
            ]
            description = {"format": FORMAT, "version": VERSION, "person": f"p{person}", "frames": told}
            description["held_out"] = person % 2 == 1
            description["source"] = "photos:photos" if person >= people - photo_people else "video:v"
            pictures = rng.integers(0, 255, (frames, SIZE, SIZE, 3), np.uint8)
            files = {f"f{at:03d}.jpg": cv2.imencode(".jpg", p)[1].tobytes() for at, p in enumerate(pictures)}
            for name, content in {"json": json.dumps(description).encode(), **files}.items():
                entry = tarfile.TarInfo(f"p{person}__v__0.{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return folder
