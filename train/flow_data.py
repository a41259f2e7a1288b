"""What a flow recipe is trained on, and the unseen scenes that it is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.config import Inputs
from train.face_clips import FaceClips, held_out_clips
from train.flow_batches import Mixture, StereoPairs, WithSegments
from train.flow_folders import FrameSequences
from train.flow_scenes import FlowScenes, StereoScenes, held_out_scenes
from train.pgn import EMBEDDED_MODEL
from train.task import Batch, BatchSource


@dataclass(frozen=True)
class DataConfig:
    """Side of the square frames, and the shares of batches from generated scenes, from the videos of `--extra`, of
    drawn faces, and of left and right of stereo scenes; or stereo scenes alone, with their four frames."""

    size: int = 224
    scenes: float = 1.0
    videos: float = 0.0
    faces: float = 0.0
    stereo_pairs: float = 0.0
    stereo: bool = False


class Folders:
    """`--extra` sorted: the morphable model, folders of videos and pictures, the photos that faces are taken from."""

    def __init__(self, extra: Sequence[Path]) -> None:
        models = [path for path in extra if path.suffix == ".npz"]
        folders = [path for path in extra if path not in models]
        self.model = models[0] if models else EMBEDDED_MODEL
        photos = [folder for folder in folders if (folder / "fits.npz").is_file()]
        self.photos: Path | None = photos[0] if photos else None
        self.videos = tuple(folder for folder in folders if folder not in photos)


def sources(
    config: DataConfig, inputs: Inputs, frames: int, batch_size: int, labels: bool, views: tuple[str, ...]
) -> BatchSource:
    """Batches of sequences as a recipe wants them; with labels, of scenes or of faces alone."""
    folders, size_hw = Folders(inputs.extra), (config.size, config.size)
    if config.stereo:
        source: BatchSource = StereoScenes(size_hw, batch_size, folders.videos)
    else:
        kinds: list[tuple[float, BatchSource]] = [
            (config.scenes, FlowScenes(size_hw, frames, batch_size, folders.videos)),
            (config.videos, FrameSequences(folders.videos, size_hw, frames, batch_size)),
            (config.faces, _faces(config, folders, frames, batch_size)),
            (config.stereo_pairs, StereoPairs(StereoScenes(size_hw, batch_size, folders.videos), batch_size)),
        ]
        used = [(share, kind) for share, kind in kinds if share > 0]
        if not used or (labels and (len(used) > 1 or config.videos > 0 or config.stereo_pairs > 0)):
            wanted = "scenes or faces alone, which have labels" if labels else "a share of any"
            raise ValueError(f"the recipe's data are {config}: expected {wanted}")
        if config.stereo_pairs > 0 and frames != 2:
            raise ValueError("data.stereo_pairs are of two frames: take a network of two frames, --set network=small.")
        if config.videos > 0 and not folders.videos:
            raise ValueError("data.videos asks for videos: name their folders with --extra")
        source = used[0][1] if len(used) == 1 else Mixture(tuple(k for _, k in used), tuple(s for s, _ in used))
    return WithSegments(source) if "superpixels" in views else source


def held_out(config: DataConfig, inputs: Inputs, frames: int, count: int) -> Batch:
    """The same `count` unseen scenes each time: of faces where nothing else is trained on, else generated."""
    folders, size_hw = Folders(inputs.extra), (config.size, config.size)
    if config.stereo:
        return held_out_scenes(StereoScenes(size_hw, 1, folders.videos), count)
    if config.faces > 0 and config.scenes == config.videos == 0:
        return held_out_clips(_faces(config, folders, frames, 1), count)
    return held_out_scenes(FlowScenes(size_hw, frames, 1, folders.videos), count)


def _faces(config: DataConfig, folders: Folders, frames: int, batch_size: int) -> FaceClips:
    return FaceClips(folders.model, config.size, frames, batch_size, folders.photos, folders=folders.videos)
