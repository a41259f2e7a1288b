"""A few frames of a face that together show it from many sides, kept while a video goes by.

Memory is bounded: of the two that are most alike, one goes whenever there are too many.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from face3d.crops import as_array, crop_around
from face3d.face_track import Sighting
from face3d.image import transform_points, warp
from face3d.morphable import MorphableModel
from face3d.pose import landmark_precision, pose_from_landmarks

MOST = 6
"""Keyframes of a track."""

CROP_PX = 224
CROP_FACTOR = 1.5
"""Side of the crop over that of the landmarks' box: the forehead is in it."""

_SECOND_DEG = 5.0  # a turn that counts as much as 25 frames between two of them, or more
_FRAMES_APART = 25


class Keyframe(NamedTuple):
    """One frame of a face, cut out."""

    crop: UInt8[np.ndarray, "S S 3"]
    seen: Sighting  # in pixels of the crop
    view: Float32[np.ndarray, " 3"]  # unit vector in model space: where the camera looks


class KeyframePool:
    """The keyframes of one track, chosen as its frames come."""

    def __init__(self, model: MorphableModel, most: int = MOST) -> None:
        self._model, self._most = model, most
        self._kept: list[Keyframe] = []

    @property
    def kept(self) -> tuple[Keyframe, ...]:
        """The keyframes so far, in the order of their frames."""
        return tuple(self._kept)

    def see(self, picture: UInt8[np.ndarray, "H W 3"], face: Sighting) -> None:
        """The next frame of the face, in pixels of the picture."""
        T_crop_from_frame = crop_around(face.landmarks_px, CROP_FACTOR, CROP_PX)
        crop = warp(picture, T_crop_from_frame, (CROP_PX, CROP_PX))
        placed = transform_points(T_crop_from_frame, face.landmarks_px).astype(np.float32)
        self._kept.append(Keyframe(crop, face._replace(landmarks_px=placed), self._view(face)))
        if len(self._kept) > self._most:
            least = self._least_needed()
            self._kept = [keyframe for keyframe in self._kept if keyframe is not least]

    @torch.inference_mode()
    def _view(self, face: Sighting) -> Float32[np.ndarray, " 3"]:
        identity, expression, landmarks_px, confidence = (
            torch.from_numpy(part)[None]
            for part in (face.identity, face.expression, face.landmarks_px, face.landmarks_confidence)
        )
        device = self._model.mean.device
        landmarks_mm = self._model.landmarks(identity.to(device), expression.to(device)).cpu()
        return as_array(pose_from_landmarks(landmarks_mm, landmarks_px, landmark_precision(confidence)).rotation[0, 2])

    def _least_needed(self) -> Keyframe:
        """Of the two that are most alike, the one that is nearer to the others too, or less sure."""
        pair = min(combinations(self._kept, 2), key=lambda two: _apart_deg(*two))
        others = [keyframe for keyframe in self._kept if all(keyframe is not one for one in pair)]

        def worth(keyframe: Keyframe) -> float:
            alone_deg = min((_apart_deg(keyframe, other) for other in others), default=1.0)
            return alone_deg * float(keyframe.seen.landmarks_confidence.mean())

        return min(pair, key=worth)


def turn_deg(first: Float32[np.ndarray, " 3"], second: Float32[np.ndarray, " 3"]) -> float:
    """Angle between two views. Turning about the line of sight shows nothing new, and does not count."""
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def _apart_deg(first: Keyframe, second: Keyframe) -> float:
    later = min(abs(second.seen.frame - first.seen.frame) / _FRAMES_APART, 1.0)
    return turn_deg(first.view, second.view) + _SECOND_DEG * later
