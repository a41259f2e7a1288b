"""Tracks that wait to be drawn: photos of people and videos apart, so that the share of each can be set.

People with photos can outnumber videos by far (LFW has 1,680 with two photos or more), and drawn as they come they
would be nearly all there is. A track waits whole, so that it shows other frames each time it is drawn.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LOOK_AHEAD = 4  # times the pool's size: how many tracks are read at most to find both kinds before the first is drawn


class PseudoLabels(NamedTuple):
    """The shapes of a track, identity in standard deviations, as `python -m train.prepare refined` found them."""

    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, "N E"]


class HeldTrack(NamedTuple):
    """All N frames of a track, or photos of a person: JPEGs, landmarks in their pixels, confidences, yaws."""

    person: str
    photos: bool
    jpegs: list[bytes]
    landmarks_px: Float[np.ndarray, "N 68 3"]
    confidence: Float[np.ndarray, "N 68"]
    yaw_deg: Float[np.ndarray, " N"]
    labels: PseudoLabels | None = None


class TrackPool:
    """Draws tracks at random; what was drawn makes room for the next of its kind.

    tracks: without end, with a None after each pass through all there is.
    size: most tracks of a kind that are held; a kind that has fewer is held whole.
    photo_share: how often people with photos are drawn, where both kinds are there. ValueError: it is not in [0, 1].
    """

    def __init__(self, tracks: Iterator[HeldTrack | None], size: int, photo_share: float) -> None:
        if not 0 <= photo_share <= 1:
            raise ValueError(f"photo_share is {photo_share}: expected a share from 0 to 1")
        self.tracks, self.size, self.photo_share = tracks, size, photo_share
        self.held: dict[bool, list[HeldTrack]] = {True: [], False: []}
        self.drawn: dict[bool, set[int]] = {True: set(), False: set()}  # slots whose track may go
        self.whole: set[bool] = set()  # kinds of which all tracks are held
        for _ in range(LOOK_AHEAD * size):
            if not self._read() or all(len(held) == size for held in self.held.values()):
                break

    def draw(self, rng: np.random.Generator) -> HeldTrack:
        """A track of a kind that is drawn first."""
        both = all(self.held.values())
        photos = bool(rng.random() < self.photo_share) if both else bool(self.held[True])
        held = self.held[photos]
        slot = int(rng.integers(len(held)))
        track = held[slot]
        if photos not in self.whole:
            self.drawn[photos].add(slot)
        if len(self.whole) < len(self.held):
            self._read()
        return track

    def _read(self) -> bool:
        """Take in the next track; False where a pass ends instead: a kind that still has room is then held whole."""
        track = next(self.tracks)
        if track is None:
            self.whole |= {kind for kind, held in self.held.items() if len(held) < self.size}
        else:
            self._put(track)
        return track is not None

    def _put(self, track: HeldTrack) -> None:
        """Hold a track if its kind has room, or a drawn one to give for it; else let it pass."""
        held, drawn = self.held[track.photos], self.drawn[track.photos]
        if track.photos in self.whole:
            return
        if len(held) < self.size:
            held.append(track)
        elif drawn:
            held[drawn.pop()] = track
