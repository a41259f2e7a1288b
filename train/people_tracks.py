"""From a video, or from photos of one person, to tracks: sharp frames of one face in many poses, labelled by our own
networks.

sampled frames -> detections -> tracks by overlap -> networks -> thresholds -> frames spread over yaw and pitch -> crops
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from face3d.checkpoint import asset_path
from face3d.detect import Detector, overlaps
from face3d.geometry import euler_deg_from_rotation
from face3d.image import crop_transform, square_around, transform_points, warp
from face3d.morphable import MorphableModel
from face3d.pipeline import FaceDetector, Networks, pick_device
from face3d.reconstruct import FaceNetworks
from train.people_folders import Source, read_frames

JPEG_QUALITY = 92
WINDOW = 300  # sampled frames whose faces are held in memory: a minute; tracks end there
CHUNK = 16  # faces that go through the networks together
CUT_FACTOR = 2.4  # side of what is kept of a frame over the detection's
LEAST_OVERLAP = 0.3  # of the boxes of one face in two sampled frames
LONGEST_GAP = 3  # sampled frames that a face may be missing in
SHOT_CHANGE = 0.55  # part of the colour histogram that another shot changes
SHARPNESS_PX = 128  # side of the crop that is judged


@dataclass(frozen=True)
class TrackConfig:
    """What is kept: `size` px crops of `crop_factor` times the landmarks' box; every `every`-th frame is looked at
    (None: five a second); up to `most_tracks` faces a minute of a video, and `most_frames` frames of each, if
    `least_frames` remain; of photos, two.

    A frame is kept whose landmarks' box has `least_face_px` in the source, whose landmarks have the mean confidence
    `least_confidence`, and which is sharper than `least_sharpness` and, in a video, than half of the track's median."""

    size: int = 224
    crop_factor: float = 1.6
    every: int | None = None
    most_frames: int = 24
    most_tracks: int = 3
    least_frames: int = 5
    least_face_px: float = 40.0
    least_confidence: float = 0.3
    least_sharpness: float = 0.006


class Frame(NamedTuple):
    """A crop (JPEG) of the source's frame `number`: landmarks in the crop's pixels, angles as AFLW2000's, `face_px` the
    larger side of the landmarks' box in the source, `sharpness` the Laplacian's variance over the brightness's own."""

    jpeg: bytes
    number: int
    landmarks_px: Float[np.ndarray, "68 3"]
    confidence: Float[np.ndarray, " 68"]
    pitch_deg: float
    yaw_deg: float
    roll_deg: float
    sharpness: float
    face_px: float
    T_crop_from_frame: Float[np.ndarray, "3 3"]


class Track(NamedTuple):
    """Frames of one face, in the order of the source."""

    key: str
    source: Source
    frames: list[Frame]


class _Sighting(NamedTuple):
    """A detection: the cut-out around it, and its box in the frame."""

    number: int
    box_px: np.ndarray
    cut: np.ndarray
    T_cut_from_frame: np.ndarray


class _Labels(NamedTuple):
    """What the networks say of a cut-out, in its pixels."""

    landmarks_px: np.ndarray
    confidence: np.ndarray
    euler_deg: np.ndarray


@dataclass(frozen=True)
class OpenFinder:
    """Opens a `TrackFinder` in whichever process calls it; `weights` of stage `single` (None: the embedded ones)."""

    config: TrackConfig = TrackConfig()
    weights: Path | None = None
    device: str | None = None

    def __call__(self) -> "TrackFinder":
        """FileNotFoundError, ValueError: as of `face3d.Reconstructor`."""
        device = pick_device(self.device)
        model = MorphableModel.load(asset_path("face3d_model.npz"))
        networks = FaceNetworks.load(self.weights or asset_path("reconstruct.safetensors"), model, device)
        return TrackFinder(Detector(None, device), networks, self.config, device)


class TrackFinder:
    """Source -> its tracks; the same ones each time."""

    def __init__(
        self, detector: FaceDetector, networks: Networks, config: TrackConfig, device: torch.device | str = "cpu"
    ) -> None:
        self.detector, self.networks, self.config, self.device = detector, networks, config, device

    def __call__(self, source: Source) -> list[Track]:
        """ValueError, OSError: the source cannot be read. Of photos, all are one track."""
        frames = read_frames(source, self.config.every)
        if source.kind == "photos":
            found = [self._central(frames)]
        else:
            found = [track for first in frames for track in self._linked(chain([first], islice(frames, WINDOW - 1)))]
        is_video = source.kind != "photos"
        tracks = [self._chosen(sightings, alike=is_video) for sightings in found]
        kept = [chosen for chosen in tracks if len(chosen) >= (self.config.least_frames if is_video else 2)]
        return [Track(f"{source.key}__{number:02d}", source, chosen) for number, chosen in enumerate(kept)]

    def _boxes(self, image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "N 4"]:
        """The largest detections; those far too small are left out."""
        boxes = np.asarray(self.detector(image).boxes_px, np.float64)[: 2 * self.config.most_tracks]
        return boxes[_sides(boxes) > 0.8 * self.config.least_face_px]

    def _central(self, photos: Iterator[tuple[int, np.ndarray]]) -> list[_Sighting]:
        """Of each photo the face that it is of: the one nearest to the middle, measured in its own size."""
        sightings = []
        for number, image in photos:
            boxes = self._boxes(image)
            if len(boxes):
                middle = (np.array(image.shape[1::-1]) - 1) / 2
                off = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, axis=1) / _sides(boxes)
                sightings.append(self._cut(number, image, boxes[off.argmin()]))
        return sightings

    def _linked(self, frames: Iterator[tuple[int, np.ndarray]]) -> list[list[_Sighting]]:
        """Detections of each face in a row; the `most_tracks` with most and largest ones, in order of time."""
        tracks: list[_Linked] = []
        colours = np.empty(0)
        for step, (number, image) in enumerate(frames):
            before, colours = colours, _colours(image)
            same_shot = len(before) == 0 or 1 - np.minimum(before, colours).sum() < SHOT_CHANGE
            live = [track for track in tracks if same_shot and step - track.step <= LONGEST_GAP]
            boxes = self._boxes(image)
            for box, track in zip(boxes, _followed(boxes, live), strict=True):
                if track is None:
                    tracks.append(track := _Linked(step, []))
                track.step = step
                track.sightings.append(self._cut(number, image, box))
        tracks.sort(key=lambda track: -sum(float(_sides(seen.box_px[None])[0]) for seen in track.sightings))
        kept = [t.sightings for t in tracks[: self.config.most_tracks] if len(t.sightings) >= self.config.least_frames]
        return sorted(kept, key=lambda sightings: sightings[0].number)

    def _cut(self, number: int, image: UInt8[np.ndarray, "H W 3"], box_px: Float[np.ndarray, " 4"]) -> _Sighting:
        """Keep what lies around a box, no larger than the crops need."""
        reach = CUT_FACTOR / 2 * _sides(box_px[None])[0]
        middle, limit = (box_px[:2] + box_px[2:]) / 2, np.array(image.shape[1::-1])
        low = np.clip(np.floor(middle - reach), 0, limit - 1).astype(int)
        high = np.clip(np.ceil(middle + reach) + 1, low + 1, limit).astype(int)
        cut = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        shrunk = np.maximum(1, np.round((high - low) * min(1.0, 2 * self.config.size / (2 * reach))).astype(int))
        scale = shrunk / (high - low)
        if scale.min() < 1:
            cut = np.asarray(cv2.resize(cut, (int(shrunk[0]), int(shrunk[1])), interpolation=cv2.INTER_AREA), np.uint8)
        T_cut_from_frame = np.diag([*scale, 1.0])
        T_cut_from_frame[:2, 2] = (0.5 - low) * scale - 0.5
        return _Sighting(number, box_px, cut, T_cut_from_frame)

    def _chosen(self, sightings: list[_Sighting], alike: bool) -> list[Frame]:
        """Frames above the thresholds, spread over yaw and pitch, in order; `alike`: taken with one camera."""
        frames = []
        for start in range(0, len(sightings), CHUNK):
            some = sightings[start : start + CHUNK]
            frames += [self._frame(seen, labels) for seen, labels in zip(some, self._labels(some), strict=True)]
        config = self.config
        sure = [
            f for f in frames if f.face_px >= config.least_face_px and f.confidence.mean() >= config.least_confidence
        ]
        usual = float(np.median([frame.sharpness for frame in sure])) if sure and alike else 0.0
        sharp = [frame for frame in sure if frame.sharpness >= max(config.least_sharpness, usual / 2)]
        return [sharp[row] for row in sorted(spread(sharp, config.most_frames))]

    @torch.inference_mode()
    def _labels(self, sightings: list[_Sighting]) -> list[_Labels]:
        """Look at the detections, then again around the landmarks, as `face3d.reconstruct` does."""
        size = self.networks.crop_size
        around = [transform_points(seen.T_cut_from_frame, seen.box_px.reshape(2, 2)) for seen in sightings]
        for left in reversed(range(self.networks.passes)):
            T_crop_from_cut = [crop_transform(*square_around(p, self.networks.crop_factor), size) for p in around]
            crops = [warp(s.cut, T, (size, size)) for s, T in zip(sightings, T_crop_from_cut, strict=True)]
            tensor = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float() / 255
            seen: Any = self.networks(tensor) if left == 0 else self.networks.look(tensor)
            landmarks = seen.landmarks_px.float().cpu().numpy()
            around = [transform_points(np.linalg.inv(T), p) for T, p in zip(T_crop_from_cut, landmarks, strict=True)]
        confidence = seen.landmarks_confidence.float().cpu().numpy()
        euler_deg = euler_deg_from_rotation(seen.pose.rotation.float()).cpu().numpy()
        return [_Labels(*values) for values in zip(around, confidence, euler_deg, strict=True)]

    def _frame(self, seen: _Sighting, labels: _Labels) -> Frame:
        size = self.config.size
        T_crop_from_cut = crop_transform(*square_around(labels.landmarks_px, self.config.crop_factor), size)
        crop = warp(seen.cut, T_crop_from_cut, (size, size), border="replicate")
        T_crop_from_frame = T_crop_from_cut @ seen.T_cut_from_frame
        extent = float(np.ptp(labels.landmarks_px[:, :2], axis=0).max())
        pitch_deg, yaw_deg, roll_deg = (float(angle) for angle in labels.euler_deg)
        return Frame(
            jpeg=jpeg_bytes(crop),
            number=seen.number,
            landmarks_px=transform_points(T_crop_from_cut, labels.landmarks_px),
            confidence=labels.confidence,
            pitch_deg=pitch_deg,
            yaw_deg=yaw_deg,
            roll_deg=roll_deg,
            sharpness=sharpness(seen.cut, labels.landmarks_px),
            face_px=extent / float(np.sqrt(abs(np.linalg.det(seen.T_cut_from_frame)))),
            T_crop_from_frame=T_crop_from_frame,
        )


@dataclass
class _Linked:
    """A track that grows; `step` is the sampled frame in which its face was last seen."""

    step: int
    sightings: list[_Sighting]


def _followed(boxes: Float[np.ndarray, "N 4"], live: list[_Linked]) -> list["_Linked | None"]:
    """Which track each box goes on, if any: greedily, the largest overlap first."""
    followed: list[_Linked | None] = [None] * len(boxes)
    if not live or not len(boxes):
        return followed
    overlap = overlaps(boxes, np.stack([track.sightings[-1].box_px for track in live]))
    while overlap.max() > LEAST_OVERLAP:
        box, track = np.unravel_index(overlap.argmax(), overlap.shape)
        followed[box] = live[track]
        overlap[box], overlap[:, track] = 0, 0
    return followed


def spread(frames: list[Frame], count: int) -> list[int]:
    """Up to `count` rows: the sharpest, then always the one whose yaw and pitch are farthest from those there are."""
    if not frames:
        return []
    angles = np.array([[frame.yaw_deg, frame.pitch_deg] for frame in frames])
    rows = [int(np.argmax([frame.sharpness for frame in frames]))]
    far = np.full(len(frames), np.inf)
    while len(rows) < min(count, len(frames)):
        far = np.minimum(far, np.linalg.norm(angles - angles[rows[-1]], axis=1))
        far[rows] = -1
        rows.append(int(far.argmax()))
    return rows


def sharpness(image: UInt8[np.ndarray, "H W 3"], landmarks_px: Float[np.ndarray, "68 C"]) -> float:
    """Variance of the Laplacian of the face, drawn 128 px large, over the variance of its brightness.

    Above 0.01 nearly always; a Gaussian blur of 2.5 px on a face of 140 px gives 0.002 to 0.011, half of them below
    0.006."""
    T = crop_transform(*square_around(landmarks_px, 1.0), SHARPNESS_PX)
    grey = cv2.cvtColor(warp(image, T, (SHARPNESS_PX, SHARPNESS_PX), border="replicate"), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.var()), 1.0))


def jpeg_bytes(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """The RGB image as a JPEG file."""
    ok, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"an image of shape {image.shape} cannot be written as JPEG")
    return content.tobytes()


def _sides(boxes_px: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    return (boxes_px[:, 2:] - boxes_px[:, :2]).max(axis=1)


def _colours(image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, " N"]:
    """Histogram of a small version, summing to 1."""
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / small[..., 0].size
