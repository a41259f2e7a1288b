"""`python -m train.prepare flow`: unseen generated scenes as files, for `python -m eval flow --layout generated`.

The scenes are of pictures and people that are not trained on, always the same; three frames each (previous, first,
second), or the left and right of a stereo pair. Real frames, of clips that are not trained on, have no flow: they are
for `python -m eval clips`.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from face3d.flow_files import write_flo, write_kitti_disparity
from face3d.io import png_bytes, replace_files
from train.face_clips import FaceClips
from train.flow_data import Folders
from train.flow_folders import find_clips, read_run
from train.flow_scenes import HELD_OUT_SEED, FlowScenes, Scene, StereoScene, StereoScenes
from train.flow_textures import at_most

FRAMES = 3


def write_scenes(kind: str, out: Path, count: int, size: int, extra: tuple[Path, ...]) -> None:
    """Write `count` scenes of a kind (scenes, faces, stereo, clips), of `size` x `size` pixels, as `out/0000/...`."""
    cv2.setNumThreads(0)
    folders, size_hw = Folders(extra), (size, size)
    if kind == "clips":
        write_clips(out, count, size, folders.videos)
        return
    for index in range(count):
        folder, seed = out / f"{index:04d}", HELD_OUT_SEED + index
        if kind == "stereo":
            write_pair(folder, replace(StereoScenes(size_hw, 1, folders.videos), held_out=True).scene(seed))
        elif kind == "faces":
            clips = FaceClips(folders.model, size, FRAMES, 1, folders.photos, folders=folders.videos, held_out=True)
            write_scene(folder, clips.clip(seed).scene)
        else:
            write_scene(folder, FlowScenes(size_hw, FRAMES, 1, folders.videos, held_out=True).scene(seed))


def write_clips(out: Path, count: int, longest_px: int, folders: tuple[Path, ...]) -> None:
    """`count` times three frames in a row of the unseen clips in turn, whole, no side longer than `longest_px`.

    ValueError: the folders have no unseen clip that can be read."""
    clips = [clip for clip in find_clips(folders).clips if clip.held_out]
    if not clips:
        raise ValueError(f"no held-out clips in {[str(folder) for folder in folders]}: name folders with --extra")
    for index in range(count):
        clip = clips[index % len(clips)]
        frames = read_run(clip, np.random.default_rng(HELD_OUT_SEED + index), FRAMES, FRAMES)
        names = ("previous", "first", "second")
        pictures = {name: png_bytes(at_most(frame, longest_px)) for name, frame in zip(names, frames, strict=True)}
        replace_files({out / f"{index:04d}" / f"{name}.png": content for name, content in pictures.items()})


def write_scene(folder: Path, scene: Scene) -> None:
    """The last three frames of a scene, and flow and occlusion from the last but one to the last."""
    names = ("previous", "first", "second")
    frames = dict(zip(names, scene.frames[-FRAMES:], strict=True))
    occluded = np.where(scene.occluded_forward[-1], np.uint8(255), np.uint8(0))
    pictures = {**frames, "occluded": occluded}
    replace_files({folder / f"{name}.png": png_bytes(picture) for name, picture in pictures.items()})
    write_flo(folder / "flow.flo", scene.flow_forward_px[-1])


def write_pair(folder: Path, scene: StereoScene) -> None:
    """The first moment of a stereo scene: both pictures, the left one's disparity, and that of what both show."""
    pictures = {"left": scene.frames[0], "right": scene.frames[1]}
    replace_files({folder / f"{name}.png": png_bytes(picture) for name, picture in pictures.items()})
    disparity, hidden = scene.disparity_left_px[0], scene.hidden_left[0]
    write_kitti_disparity(folder / "visible.png", disparity, ~hidden)
    write_kitti_disparity(folder / "disparity.png", disparity, np.ones_like(hidden))
