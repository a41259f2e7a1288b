"""Which face of a frame is which of the frames before: boxes and landmarks only, no networks.

A face is followed from frame to frame around where its landmarks are expected; a detector finds new faces and lost ones
(`Tracker.wants_detection`). A cut ends all tracks. Boxes are [x0, y0, x1, y1] of the 68 landmarks, in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

_SUMMARY_PX = 32
_LEVELS = 8  # of each colour in the histogram
_REACH, _REACH_GROWTH, _LARGEST_REACH = 0.5, 0.05, 1.5
"""A lost face is found again this many sides off the way it was on, more with every frame, at most the last."""
_SIZE_RATIO = 2.0  # between a lost face and the one found


@dataclass(frozen=True)
class TrackingOptions:
    """How faces are followed. ValueError for values that make no sense."""

    detect_every: int = 10
    """Frames between searches for new faces; every frame is searched while no face is in sight or one is lost."""
    lost_for: int = 30
    """Frames for which a lost face is looked for where it was last, or was going; then its track ends."""
    least_frames: int = 5
    """Tracks seen in fewer frames are dropped (those of shorter videos are not)."""
    most_overlap: float = 0.5
    """Boxes with a larger share of the smaller one in common are of one face."""
    cut: float = 0.12
    """Change of the picture (`picture_change`) from which it is a cut: in 24 talking-head clips at most 0.07 (0.11 with
    two of three frames left out), from one of them to another at least 0.14."""

    def __post_init__(self) -> None:
        if self.detect_every < 1 or self.lost_for < 0 or self.least_frames < 1:
            raise ValueError(f"{self}: expected detect_every >= 1, lost_for >= 0 and least_frames >= 1")
        if not (0 < self.most_overlap <= 1 and self.cut > 0):
            raise ValueError(f"{self}: expected 0 < most_overlap <= 1 and cut > 0")


@dataclass
class _Known:
    """A face that is followed or lost."""

    points_px: np.ndarray  # (68, 3) where last seen
    frame: int  # when last seen
    velocity_px: np.ndarray = field(default_factory=lambda: np.zeros(2))  # a frame, of the landmarks' mean

    def expected_px(self) -> Float[np.ndarray, "68 3"]:
        moved: np.ndarray = self.points_px.copy()
        moved[:, :2] += self.velocity_px
        return moved


class Tracker:
    """The faces of a video, frame after frame.

    For every frame: `begin`; look at the faces of `expected` and pass what was found to `follow`; then, where
    `wants_detection`, pass the landmarks of detections that `is_new` to `admit`.
    """

    def __init__(self, options: TrackingOptions) -> None:
        self.options = options
        self._known: dict[int, _Known] = {}
        self._count = 0  # of tracks so far
        self._frame = -1
        self._searched: int | None = None  # the last frame that was searched

    def begin(self, frame: int, is_cut: bool) -> None:
        """Go on to a frame; a cut ends all tracks."""
        self._frame = frame
        kept = {} if is_cut else self._known
        self._known = {t: face for t, face in kept.items() if frame - face.frame <= self.options.lost_for + 1}

    def expected(self) -> dict[int, Float[np.ndarray, "68 3"]]:
        """Where the landmarks of each face seen in the frame before are expected, at constant velocity."""
        return {t: face.expected_px() for t, face in self._known.items() if face.frame == self._frame - 1}

    def follow(self, seen: Mapping[int, np.ndarray]) -> list[int]:
        """Take over the landmarks (68, 3) of expected faces; returns the tracks that go on.

        Those not in ``seen`` are lost. Of two that have run into one face, the one that is farther (in sides)
        from where it was expected is lost as well.
        """
        expected = self.expected()
        surprise = {t: _distance(expected[t], points) / _side(expected[t]) for t, points in seen.items()}
        going_on: list[int] = []
        for track in sorted(seen, key=lambda t: (surprise[t], t)):
            others = np.array([box_of(seen[t]) for t in going_on]).reshape(-1, 4)
            if not self._same_face(box_of(seen[track]), others).any():
                going_on.append(track)
                velocity_px = _centre(seen[track]) - _centre(self._known[track].points_px)
                self._known[track] = _Known(seen[track], self._frame, velocity_px)
        return sorted(going_on)

    def wants_detection(self) -> bool:
        """Whether this frame is to be searched: no face is in sight, one is lost, or it is time again."""
        in_sight = [face.frame == self._frame for face in self._known.values()]
        due = self._searched is None or self._frame - self._searched >= self.options.detect_every
        if due or not in_sight or not all(in_sight):
            self._searched = self._frame
            return True
        return False

    def is_new(self, boxes_px: Float[np.ndarray, "N 4"]) -> Bool[np.ndarray, " N"]:
        """Which boxes lie on none of the faces in sight."""
        in_sight = self._boxes_in_sight()
        return np.array([not self._same_face(box, in_sight).any() for box in boxes_px], bool)

    def admit(self, found: Sequence[np.ndarray]) -> list[int | None]:
        """The track of each found face, landmarks (68, 3): a lost one that it is near to, else a new one.

        None for one that turns out to lie on a face in sight.
        """
        tracks: list[int | None] = [None] * len(found)
        lost = {t: face for t, face in self._known.items() if face.frame < self._frame}
        near = sorted(
            (d, t, i) for t, face in lost.items() for i, p in enumerate(found) if (d := self._gap(face, p)) <= 1
        )
        for _, track, i in near:
            if tracks[i] is None and track in lost and self._see(track, found[i]):
                tracks[i] = track
                del lost[track]
        for i, points in enumerate(found):
            if tracks[i] is None and self._see(self._count, points):
                tracks[i] = self._count
                self._count += 1
        return tracks

    def _see(self, track: int, points_px: np.ndarray) -> bool:
        if not self.is_new(box_of(points_px)[None])[0]:
            return False
        self._known[track] = _Known(points_px, self._frame)
        return True

    def _gap(self, face: _Known, points_px: np.ndarray) -> float:
        """Distance of a found face from a lost one, over the largest that is believed; infinite for another size."""
        sides = [_side(face.points_px), _side(points_px)]
        if max(sides) > _SIZE_RATIO * min(sides):
            return float("inf")
        missed = self._frame - face.frame
        reach = min(_REACH + _REACH_GROWTH * missed, _LARGEST_REACH) * float(np.mean(sides))
        way, offset = missed * face.velocity_px, _centre(points_px) - _centre(face.points_px)
        along = float(np.clip(way @ offset / max(way @ way, 1e-9), 0, 1))  # the nearest point between here and there
        return float(np.linalg.norm(offset - along * way)) / reach

    def _boxes_in_sight(self) -> Float[np.ndarray, "N 4"]:
        boxes = [box_of(face.points_px) for face in self._known.values() if face.frame == self._frame]
        return np.array(boxes, np.float64).reshape(-1, 4)

    def _same_face(self, box: np.ndarray, boxes: np.ndarray) -> Bool[np.ndarray, " N"]:
        return shared(box, boxes) > self.options.most_overlap


def box_of(points_px: Float[np.ndarray, "N C"]) -> Float[np.ndarray, " 4"]:
    """The box [x0, y0, x1, y1] of points."""
    xy = points_px[:, :2].astype(np.float64)
    return np.concatenate([xy.min(axis=0), xy.max(axis=0)])


def shared(box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """The area that a box has in common with each of the others, as a share of the smaller one's."""
    common = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return common / np.maximum(np.minimum(areas, np.prod(box[2:] - box[:2])), 1e-9)


def _centre(points_px: np.ndarray) -> np.ndarray:
    centre: np.ndarray = points_px[:, :2].mean(axis=0)
    return centre


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(_centre(a) - _centre(b)))


def _side(points_px: np.ndarray) -> float:
    return float(np.ptp(points_px[:, :2], axis=0).max())


@dataclass(frozen=True, eq=False)
class PictureSummary:
    """What `picture_change` compares: the picture at 32 x 32 pixels, and how often each of 512 colours occurs."""

    thumbnail: Float32[np.ndarray, "32 32 3"]
    histogram: Float32[np.ndarray, " 512"]


def summarise(frame: UInt8[np.ndarray, "H W 3"]) -> PictureSummary:
    """The summary of a frame."""
    middle = cv2.resize(frame, (4 * _SUMMARY_PX, 4 * _SUMMARY_PX), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(middle, (_SUMMARY_PX, _SUMMARY_PX), interpolation=cv2.INTER_AREA)
    levels: Int[np.ndarray, "N 3"] = middle.reshape(-1, 3) // (256 // _LEVELS)
    bins = levels.astype(np.int64) @ np.array([_LEVELS**2, _LEVELS, 1])
    histogram = np.bincount(bins, minlength=_LEVELS**3) / len(bins)
    return PictureSummary(thumbnail.astype(np.float32) / 255, histogram.astype(np.float32))


def picture_change(before: PictureSummary, after: PictureSummary) -> float:
    """How different two frames are, in [0, 1]: the geometric mean of two measures, both of which a cut makes large.

    The pixels' mean difference, large also where something moves fast; and the share of pixels whose colour has no
    counterpart in the other picture, large also where the light changes.
    """
    pixels = float(np.abs(before.thumbnail - after.thumbnail).mean())
    colours = float(np.abs(before.histogram - after.histogram).sum()) / 2
    return (pixels * colours) ** 0.5
