"""From a video to the faces in it: followed, one shape a person, expression and pose in every frame.

The first pass sees every frame once and keeps only numbers: faces are followed around their last landmarks, and the
detector is asked now and then. The second pass needs no pictures: one identity a track, closed-form poses, smoothing.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from face3d import overlay
from face3d.crops import as_array, crop_around, network_crops, transform_batch
from face3d.export import format_of
from face3d.face_track import FaceTrack as FaceTrack
from face3d.face_track import Portrait, Refinement, Sighting, about_model, build_track, parameter_files
from face3d.io import replace_files
from face3d.keyframes import KeyframePool
from face3d.morphable import MorphableModel
from face3d.optical_flow import flow_of_pairs
from face3d.pipeline import CHUNK, SMALLEST_PHOTO_PX, Reconstructor, default_reconstructor
from face3d.refine import refine_sightings
from face3d.region import cut_region
from face3d.tracking import PictureSummary, Tracker, TrackingOptions, picture_change, summarise
from face3d.video_io import FrameSource, VideoLike, VideoWriter

Progress = Callable[[int], None]
"""Called after every frame with the number of frames done."""

Refining = Callable[[int, int], None]
"""Called with the number of tracks that are refined, and that of all."""

OVERLAY_SIDE_PX = 1920
"""Larger frames are shrunk in overlay videos."""

_OFF_CENTRE = 0.1  # of the crop's side: a face that lies farther off, or has another size, is cropped again
_BETTER = 1.02  # times the confidence of a portrait that replaces another


@dataclass(frozen=True, eq=False, repr=False)
class VideoReconstruction:
    """The faces of a video."""

    tracks: tuple[FaceTrack, ...]
    """One a face that is followed without interruption by a cut; most frames first. Empty where there is no face."""
    frame_count: int
    """Frames that were read."""
    rate_hz: float | None
    """Frames a second, where the video says so."""
    image_size_hw: tuple[int, int]
    """Height and width of the frames."""
    cuts: tuple[int, ...]
    """Frames that are the first of a new shot."""
    model: MorphableModel
    """The morphable model that the faces come from."""

    def __repr__(self) -> str:
        return f"VideoReconstruction({self.frame_count} frames, {len(self.tracks)} tracks, {len(self.cuts)} cuts)"

    def in_frame(self, frame: int | np.integer) -> list[FaceTrack]:
        """The tracks in a frame, largest face first."""
        there = [track for track in self.tracks if frame in track]
        return sorted(there, key=lambda track: -float(track.scale[track.frames == frame][0]))

    def overlay(
        self, frame: int | np.integer, picture: UInt8[np.ndarray, "H W 3"], largest_side_px: int = OVERLAY_SIDE_PX
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of a frame with its meshes drawn over it. ValueError for a picture of another size."""
        if picture.shape[:2] != self.image_size_hw:
            raise ValueError(
                f"the picture is {picture.shape[1]} x {picture.shape[0]}, the video {self.image_size_hw[1]} x "
                f"{self.image_size_hw[0]}: pass the same frames"
            )
        there = self.in_frame(frame)
        triangles = there[0].triangles if there else np.zeros((0, 3), np.int32)
        meshes = [(track.vertices_px(frame), triangles, overlay.OPACITY * track.fade) for track in there]
        return overlay.draw_faces(picture, meshes, largest_side_px)

    def write_overlay(self, frames: VideoLike, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
        """Write an .mp4 of the same frames, read once more, with the meshes over them.

        Raises ValueError for other frames and another extension, OSError where it cannot be written; nothing is left
        behind then.
        """
        source = FrameSource(frames)
        with VideoWriter(path, self.rate_hz or source.rate_hz) as writer:
            for index, picture in enumerate(source):
                writer.write(self.overlay(index, picture))
                if progress is not None:
                    progress(index + 1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters of all tracks as ``.json`` or ``.npz`` (no pickle); docs/usage.md lists the keys.

        Raises ValueError for another extension (meshes: `FaceTrack.save`), OSError where nothing can be written.
        """
        path = Path(path)
        if format_of(path) not in ("json", "npz"):
            raise ValueError(f"{path.name}: a video is saved as .json or .npz; save the mesh of one of its tracks")
        about = {
            "frame_count": self.frame_count,
            "rate_hz": self.rate_hz,
            "image_size_hw": self.image_size_hw,
            "cuts": np.array(self.cuts, np.int32),
        }
        replace_files(parameter_files(path, about | about_model(self.model), self.tracks))


def reconstruct_video(
    frames: VideoLike,
    model: Reconstructor | None = None,
    smooth: bool = True,
    options: TrackingOptions | None = None,
    progress: Progress | None = None,
    refine: bool = False,
    refining: Refining | None = None,
) -> VideoReconstruction:
    """The faces of a video: tracks with one identity each, expression and pose in every frame.

    Args:
        frames: a video file, a folder of images (in the order of their names), or frames one after the other, as
            (H, W, 3) uint8 RGB arrays, paths or PIL images. They are read as a stream.
        model: loaded networks; None takes the embedded ones.
        smooth: take the jitter out of expression, pose and landmarks (`face3d.smoothing`).
        options: how faces are followed; None takes the defaults.
        progress: called after each frame with the number of frames done.
        refine: improve each track on its own pictures (`face3d.refine`), some seconds a track.
        refining: called after each of these tracks.

    Raises FileNotFoundError, ValueError or TypeError, with the frame's number, for what cannot be read; ValueError
    for a video without any frame. A video without a face has no tracks.
    """
    source = FrameSource(frames)
    reconstructor = default_reconstructor() if model is None else model
    first_pass = _FirstPass(reconstructor, options or TrackingOptions(), keep_keyframes=refine)
    for index, frame in enumerate(source):
        first_pass.see(index, frame)
        if progress is not None:
            progress(index + 1)
    if refine:
        first_pass.refine(refining)
    return first_pass.result(source.rate_hz, smooth)


class _Seen(NamedTuple):
    """What the networks say of a face: pixels of the frame."""

    landmarks_px: np.ndarray
    landmarks_confidence: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    vertices_px: np.ndarray


class _FirstPass:
    """Follows the faces from frame to frame and keeps what the networks say of them."""

    def __init__(self, reconstructor: Reconstructor, options: TrackingOptions, keep_keyframes: bool = False) -> None:
        self._model, self._networks = reconstructor.model, reconstructor.networks
        self._detector, self._device = reconstructor.detector, reconstructor.device
        self._options, self._tracker = options, Tracker(options)
        self._sightings: dict[int, list[Sighting]] = {}
        self._portraits: dict[int, tuple[float, Portrait]] = {}
        self._keyframes: dict[int, KeyframePool] | None = {} if keep_keyframes else None
        self._refinements: dict[int, Refinement] = {}
        self._before: PictureSummary | None = None
        self._cuts: list[int] = []
        self._size_hw = (0, 0)
        self._count = 0

    def see(self, index: int, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next frame."""
        self._count, self._size_hw = index + 1, (frame.shape[0], frame.shape[1])
        is_cut = self._is_cut(frame)
        if is_cut:
            self._cuts.append(index)
        self._tracker.begin(index, is_cut)
        expected = self._tracker.expected()
        seen = self._look(frame, list(expected.values()))
        followed = {track: face for track, face in zip(expected, seen, strict=True) if face is not None}
        for track in self._tracker.follow({track: face.landmarks_px for track, face in followed.items()}):
            self._note(index, frame, track, followed[track])
        if self._tracker.wants_detection() and min(self._size_hw) >= SMALLEST_PHOTO_PX:
            self._search(index, frame)

    def refine(self, refining: Refining | None) -> None:
        """Improve what was seen of the tracks that will be kept."""
        assert self._keyframes is not None
        kept = self._kept()
        flow = flow_of_pairs(self._device)
        for number, track in enumerate(kept):
            self._sightings[track], self._refinements[track] = refine_sightings(
                self._sightings[track], self._keyframes[track].kept, self._model, flow
            )
            if refining is not None:
                refining(number + 1, len(kept))

    def result(self, rate_hz: float | None, smooth: bool) -> VideoReconstruction:
        """The second pass."""
        tracks = [
            build_track(
                number,
                self._sightings[track],
                self._portraits[track][1],
                self._size_hw,
                self._model,
                smooth,
                self._refinements.get(track),
                rate_hz,
            )
            for number, track in enumerate(self._kept())
        ]
        return VideoReconstruction(
            tracks=tuple(tracks),
            frame_count=self._count,
            rate_hz=rate_hz,
            image_size_hw=self._size_hw,
            cuts=tuple(self._cuts),
            model=self._model,
        )

    def _kept(self) -> list[int]:
        """The tracks that are long enough, longest first."""
        least = min(self._options.least_frames, self._count)
        kept = [track for track, sightings in self._sightings.items() if len(sightings) >= least]
        return sorted(kept, key=lambda track: (-len(self._sightings[track]), track))

    def _is_cut(self, frame: np.ndarray) -> bool:
        before, self._before = self._before, summarise(frame)
        return before is not None and picture_change(before, self._before) >= self._options.cut

    def _search(self, index: int, frame: np.ndarray) -> None:
        """Detect; what lies on no face in sight, and has landmarks, goes on an old track or begins a new one."""
        boxes_px = np.asarray(self._detector(frame).boxes_px, np.float64).reshape(-1, 4)
        around = [box.reshape(2, 2) for box in boxes_px[self._tracker.is_new(boxes_px)]]
        for _ in range(self._networks.passes - 1):
            around = self._first_look(frame, around)
        found = [face for face in self._look(frame, around) if face is not None]
        for track, face in zip(self._tracker.admit([face.landmarks_px for face in found]), found, strict=True):
            if track is not None:
                self._note(index, frame, track, face)

    @torch.inference_mode()
    def _first_look(self, frame: np.ndarray, around: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Landmarks of the faces about these points, without those that are no faces."""
        better: list[np.ndarray] = []
        for start in range(0, len(around), CHUNK):
            T_crop_from_frame = self._crop_transforms(around[start : start + CHUNK])
            look = self._networks.look(self._crops(frame, T_crop_from_frame))
            points = transform_batch(np.linalg.inv(T_crop_from_frame), look.landmarks_px)
            sure = self._sure(as_array(look.landmarks_confidence))
            better += [face for face, is_sure in zip(points, sure, strict=True) if is_sure]
        return better

    def _look(self, frame: np.ndarray, around: Sequence[np.ndarray]) -> list[_Seen | None]:
        """The face about each set of points, None where there is none; faces off the middle are cropped again."""
        seen: list[_Seen | None] = []
        for start in range(0, len(around), CHUNK):
            chunk = list(around[start : start + CHUNK])
            faces = self._estimate(frame, chunk)
            moved = [
                i for i, face in enumerate(faces) if face is not None and self._is_off(chunk[i], face.landmarks_px)
            ]
            if moved:
                again = self._estimate(frame, [faces[i].landmarks_px for i in moved])  # type: ignore[union-attr]
                for i, face in zip(moved, again, strict=True):
                    faces[i] = face
            seen += faces
        return seen

    @torch.inference_mode()
    def _estimate(self, frame: np.ndarray, around: Sequence[np.ndarray]) -> list[_Seen | None]:
        T_crop_from_frame = self._crop_transforms(around)
        T_frame_from_crop = np.linalg.inv(T_crop_from_frame)
        estimate = self._networks(self._crops(frame, T_crop_from_frame))
        confidence = as_array(estimate.landmarks_confidence)
        rows = zip(
            transform_batch(T_frame_from_crop, estimate.landmarks_px),
            confidence,
            as_array(estimate.identity),
            as_array(estimate.expression),
            transform_batch(T_frame_from_crop, estimate.vertices_px),
            strict=True,
        )
        return [_Seen(*row) if sure else None for row, sure in zip(rows, self._sure(confidence), strict=True)]

    def _is_off(self, around: np.ndarray, landmarks_px: np.ndarray) -> bool:
        """Whether the crop about ``around`` is another one than that about the landmarks found in it."""
        used, right = self._crop_transforms([around, landmarks_px])
        size = self._networks.crop_size
        middle = np.array([(size - 1) / 2, (size - 1) / 2, 1])
        shift = np.abs(used @ np.linalg.inv(right) @ middle - middle)[:2].max() / size
        return bool(shift > _OFF_CENTRE or abs(np.log(used[0, 0] / right[0, 0])) > _OFF_CENTRE)

    def _note(self, index: int, frame: np.ndarray, track: int, face: _Seen) -> None:
        sighting = Sighting(index, *face[:4])
        self._sightings.setdefault(track, []).append(sighting)
        if self._keyframes is not None:
            self._keyframes.setdefault(track, KeyframePool(self._model)).see(frame, sighting)
        confidence = float(face.landmarks_confidence.mean())
        if track not in self._portraits or confidence > _BETTER * self._portraits[track][0]:
            self._portraits[track] = confidence, Portrait(index, cut_region(frame, face.vertices_px))

    def _sure(self, confidence: Float32[np.ndarray, "B 68"]) -> Bool[np.ndarray, " B"]:
        return confidence.mean(axis=1) >= self._networks.least_confidence

    def _crop_transforms(self, around: Sequence[np.ndarray]) -> Float[np.ndarray, "B 3 3"]:
        factor, size = self._networks.crop_factor, self._networks.crop_size
        return np.stack([crop_around(points, factor, size) for points in around])

    def _crops(self, frame: np.ndarray, T_crop_from_frame: np.ndarray) -> Any:
        return network_crops(
            [frame] * len(T_crop_from_frame), T_crop_from_frame, self._networks.crop_size, self._device
        )
