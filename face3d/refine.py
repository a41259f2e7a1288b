"""A face in a video made better on its own pictures, without labels.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020) refine on a single video by the losses
of their training; here the coefficients themselves are improved, not the networks. Over one identity a and the
expressions e_k of N keyframes, all in standard deviations, with the pose P_k in closed form from the PGN's landmarks at
every step,

    E = mean_ij L_p(I_i, I_(j->i)) + 2 mean_k |P_k l(a, e_k) - l_k|
        + 0.0003 (|a|^2 + 0.8 |e|^2) + 0.05 (|a - a_0|^2 + |e - e_0|^2)

I_(j->i) is keyframe i with the skin of keyframe j (`face3d.consistency`), L_p the census loss; l_k the PGN's landmarks,
x and y in halves of the crop, weighted by confidence; a_0, e_0 what the networks said; squares are means over
coefficients. A third of the pairs is held out: where they do not agree better afterwards (by 1 %), nothing
is changed.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from face3d.camera import project
from face3d.consistency import counted_triangles, swap_all
from face3d.crops import as_array
from face3d.face_track import Refinement, Sighting, shared_identity
from face3d.keyframes import Keyframe, turn_deg
from face3d.losses import point_distance
from face3d.losses_flow import census_loss
from face3d.morphable import MorphableModel
from face3d.pose import landmark_precision, pose_from_landmarks

STEPS = 12
"""Steps of a refinement for which nobody says another number."""

LEAST_TURN_DEG = 10.0
"""Keyframes that all see a face from directions closer than this tell nothing of its shape."""

Pairs = list[tuple[int, int]]
Progress = Callable[[int], None]
"""Called after every step with the number of steps done."""

_RATE, _BETAS = 0.05, (0.8, 0.95)
_LANDMARK, _PRIOR, _STAY = 2.0, 3e-4, 0.05
_LEAST_GAIN = 0.01  # of the census loss: with the true shape, chance gives up to 0.005
_CONTRAST = 0.1  # of the crops that are compared: the census then tells an edge from noise
_EXPRESSION_SHARE = 0.8  # of the identity's prior, as in training
_FADE = 4  # frames from a keyframe over which what is special to its expression fades


class Refined(NamedTuple):
    """One identity, and the expression of each keyframe."""

    identity: Float32[np.ndarray, " K"]
    expression: Float32[np.ndarray, "N E"]
    about: Refinement


class _Face(NamedTuple):
    """What is optimised, in standard deviations."""

    identity: Float[Tensor, "1 K"]
    expression: Float[Tensor, "N E"]


def refine_sightings(
    sightings: Sequence[Sighting],
    keyframes: Sequence[Keyframe],
    model: MorphableModel,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> tuple[list[Sighting], Refinement]:
    """All sightings of a track with the refined identity, and expressions moved as those of the keyframes were.

    Every frame moves by the mean of the keyframes' changes, which is what a better identity explains otherwise; frames
    less than 4 from a keyframe also by what is special to it, less with every frame. Where the refinement is not kept,
    the sightings are the same. Raises ValueError as `refine_face`.
    """
    identity = shared_identity(sightings)
    found = refine_face(keyframes, identity, model, steps, progress)
    if not found.about.kept:
        return list(sightings), found.about
    change = found.expression - np.stack([keyframe.seen.expression for keyframe in keyframes])
    frames = np.array([sighting.frame for sighting in sightings])
    shift = spread_change(frames, np.array(found.about.frames), change)
    moved = [
        face._replace(identity=found.identity, expression=face.expression + by)
        for face, by in zip(sightings, shift, strict=True)
    ]
    return moved, found.about


def refine_face(
    keyframes: Sequence[Keyframe],
    identity: Float32[np.ndarray, " K"],
    model: MorphableModel,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Refined:
    """The face on which the keyframes agree best, near to what the networks said of it; always the same.

    ``identity`` is the shared one in standard deviations; it is computed where ``model`` is. ValueError for less than
    one step and for no keyframe.
    """
    if steps < 1 or not keyframes:
        raise ValueError(f"got {steps} steps on {len(keyframes)} keyframes: a refinement takes at least one of both")
    frames = tuple(keyframe.seen.frame for keyframe in keyframes)
    expression = np.stack([keyframe.seen.expression for keyframe in keyframes])
    reason = why_not(keyframes)
    if reason is not None:
        return Refined(identity, expression, Refinement(False, reason, frames))
    problem = _Problem(keyframes, identity, model)
    trained, held_out = split_pairs(len(keyframes))
    found = problem.descend(trained, steps, progress)
    before, after = problem.compare(held_out, found)
    if not after < (1 - _LEAST_GAIN) * before:  # NaN is not
        about = Refinement(False, "held-out pairs of keyframes agree hardly better", frames, before, after)
        return Refined(identity, expression, about)
    better = as_array(found.identity[0]), as_array(found.expression * model.expression_std)
    return Refined(*better, Refinement(True, "held-out pairs of keyframes agree better", frames, before, after))


def why_not(keyframes: Sequence[Keyframe]) -> str | None:
    """What makes keyframes useless for a refinement; None where they may be of use."""
    if len(keyframes) < 2:
        return "a single frame has nothing that it could agree with"
    turn = max(turn_deg(one.view, other.view) for one, other in combinations(keyframes, 2))
    if turn < LEAST_TURN_DEG:
        return f"the head turns by {turn:.0f} degrees only: less than {LEAST_TURN_DEG:.0f} do not show its shape"
    return None


def split_pairs(count: int) -> tuple[Pairs, Pairs]:
    """The ordered pairs of so many keyframes that are optimised, and those that are held out: about a third, both ways
    round. Of two keyframes there is one pair, which is both."""
    every = list(combinations(range(count), 2))
    held_out = [(i, j) for i, j in every if (i + j) % 3 == 0] if count > 2 else every
    trained = [pair for pair in every if pair not in held_out] if count > 2 else every
    return _both_ways(trained), _both_ways(held_out)


def spread_change(
    frames: Int[np.ndarray, " T"], key_frames: Int[np.ndarray, " N"], change: Float32[np.ndarray, "N E"]
) -> Float32[np.ndarray, "T E"]:
    """The change of N keyframes for all T frames: their mean, and near a keyframe what it has beside that."""
    away = np.abs(frames[:, None] - key_frames)
    share = np.clip(1 - away / _FADE, 0, None)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    mean = change.mean(axis=0)
    return (mean + share @ (change - mean)).astype(np.float32)


class _Problem:
    """E of the module's description."""

    def __init__(
        self, keyframes: Sequence[Keyframe], identity: Float32[np.ndarray, " K"], model: MorphableModel
    ) -> None:
        device = model.mean.device

        def stacked(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(arrays)).to(device)

        seen = [keyframe.seen for keyframe in keyframes]
        self._model, self._counted = model, counted_triangles(model)
        crops = stacked([keyframe.crop for keyframe in keyframes]).permute(0, 3, 1, 2)[None]
        self._crops = crops.float() * (_CONTRAST / 255)
        self._landmarks_px = stacked([face.landmarks_px for face in seen])
        self._confidence = stacked([face.landmarks_confidence for face in seen])
        expression = stacked([face.expression for face in seen]) / model.expression_std
        self._start = _Face(torch.from_numpy(identity)[None].to(device), expression)

    def descend(self, pairs: Pairs, steps: int, progress: Progress | None) -> _Face:
        """Adam from what the networks said."""
        face = _Face(*(part.clone().requires_grad_() for part in self._start))
        optimiser = torch.optim.Adam(face, lr=_RATE, betas=_BETAS)
        for step in range(steps):
            optimiser.zero_grad()
            self._energy(face, pairs).backward()
            optimiser.step()
            if progress is not None:
                progress(step + 1)
        return _Face(*(part.detach() for part in face))

    @torch.no_grad()
    def compare(self, pairs: Pairs, found: _Face) -> tuple[float, float]:
        """Census loss of pairs at the start and with what was found, on the skin that both compare."""
        before, after = (
            swap_all(self._crops, self._place(face)[0][None], self._model.triangles, self._counted, pairs)
            for face in (self._start, found)
        )
        both = before.mask & after.mask
        losses = [float(census_loss(pair.frame, pair.swapped, both).mean()) for pair in (before, after)]
        return losses[0], losses[1]

    def _energy(self, face: _Face, pairs: Pairs) -> Float[Tensor, ""]:
        vertices_px, landmarks_px = self._place(face)
        swapped = swap_all(self._crops, vertices_px[None], self._model.triangles, self._counted, pairs)
        census = census_loss(swapped.frame, swapped.swapped, swapped.mask)
        half_px = self._crops.shape[-1] / 2
        placed, target = (points[..., :2] / half_px for points in (landmarks_px, self._landmarks_px))
        distance = point_distance(placed, target, self._confidence)
        return census.mean() + _LANDMARK * distance.mean() + self._prior(face)

    def _prior(self, face: _Face) -> Float[Tensor, ""]:
        likely = face.identity.square().mean() + _EXPRESSION_SHARE * face.expression.square().mean()
        away = [(part - start).square().mean() for part, start in zip(face, self._start, strict=True)]
        return _PRIOR * likely + _STAY * torch.stack(away).sum()

    def _place(self, face: _Face) -> tuple[Float[Tensor, "N V 3"], Float[Tensor, "N 68 3"]]:
        """The mesh and its landmarks in the crops."""
        identity = face.identity.expand(len(face.expression), -1)
        vertices_mm = self._model.vertices(identity, face.expression * self._model.expression_std)
        landmarks_mm = self._model.landmarks_of(vertices_mm)
        pose = pose_from_landmarks(landmarks_mm, self._landmarks_px, landmark_precision(self._confidence))
        return project(vertices_mm, pose), project(landmarks_mm, pose)


def _both_ways(pairs: Pairs) -> Pairs:
    return pairs + [(j, i) for i, j in pairs]
