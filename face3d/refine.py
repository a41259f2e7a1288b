"""A face in a video made better on its own pictures, without labels.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020) refine on a single video by the losses
of their training; here the coefficients themselves are improved, not the networks, by one step of a bundle adjustment.
Each of N keyframes is redrawn with the skin of each other, with the identity that the track has, and expressions as the
networks see them, posed by the PGN's landmarks. The flow between frames and redrawn frames, which the paper wants to be
zero, is explained by the change of identity, expressions and poses that is most likely (`face3d.flow_adjustment`).

A third of the pairs is held out: where what the others tell of the identity does not explain 2 % of their flow, beside
what expressions and poses explain, nothing is changed.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from face3d.camera import project
from face3d.consistency import counted_triangles
from face3d.crops import as_array
from face3d.face_track import Refinement, Sighting, shared_identity
from face3d.flow_adjustment import AdjustmentConfig, Comparison, Flow, compare_frames, solve, unexplained_px
from face3d.keyframes import Keyframe, turn_deg
from face3d.morphable import MorphableModel
from face3d.pose import landmark_precision, pose_from_landmarks
from face3d.texture_swap import ordered_pairs

LEAST_TURN_DEG = 10.0
"""Keyframes that all see a face from directions closer than this tell nothing of its shape."""

ADJUSTMENT = AdjustmentConfig(identity_ridge=0.02, expression_ridge=0.1, pose_ridge=0.01, points=512)
"""In pixels of the keyframes' crops; chosen on 80 generated clips that are in no table."""

LEAST_GAIN = 0.02
"""The share of the held-out flow that an identity must explain; likewise chosen."""

Pairs = list[tuple[int, int]]

_HELD_STILL = 1e6  # a ridge that nothing moves
_FADE = 4  # frames from a keyframe over which what is special to its expression fades


class Refined(NamedTuple):
    """One identity, and the expression of each keyframe."""

    identity: Float32[np.ndarray, " K"]
    expression: Float32[np.ndarray, "N E"]
    about: Refinement


def refine_sightings(
    sightings: Sequence[Sighting], keyframes: Sequence[Keyframe], model: MorphableModel, flow: Flow
) -> tuple[list[Sighting], Refinement]:
    """All sightings of a track with the refined identity, and expressions moved as those of the keyframes were.

    Every frame moves by the mean of the keyframes' changes, which is what a better identity explains otherwise; frames
    less than 4 from a keyframe also by what is special to it, less with every frame. Where the refinement is not kept,
    the sightings are the same. Raises ValueError as `refine_face`.
    """
    identity = shared_identity(sightings)
    found = refine_face(keyframes, identity, model, flow)
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
    keyframes: Sequence[Keyframe], identity: Float32[np.ndarray, " K"], model: MorphableModel, flow: Flow
) -> Refined:
    """The face that explains the flow between the keyframes best, near to what the networks said of it.

    ``identity`` is the shared one in standard deviations; it is computed where ``model`` is, and the flow is asked
    there (`face3d.optical_flow.forward_flow`). ValueError for no keyframe.
    """
    if not keyframes:
        raise ValueError("got no keyframes: a refinement takes at least one")
    frames = tuple(keyframe.seen.frame for keyframe in keyframes)
    expression = np.stack([keyframe.seen.expression for keyframe in keyframes])
    reason = why_not(keyframes)
    if reason is not None:
        return Refined(identity, expression, Refinement(False, reason, frames))
    compared = _compared(keyframes, identity, model, flow)
    before, after = held_out_flow_px(compared)
    if not after < (1 - LEAST_GAIN) * before:  # NaN is not
        about = Refinement(False, "the identity explains hardly more of the keyframes' flow", frames, before, after)
        return Refined(identity, expression, about)
    change = solve(compared, ADJUSTMENT)
    about = Refinement(True, "the identity explains more of the keyframes' flow", frames, before, after)
    moved = as_array(change.expression[0] * model.expression_std)
    return Refined(identity + as_array(change.identity[0]), expression + moved, about)


def why_not(keyframes: Sequence[Keyframe]) -> str | None:
    """What makes keyframes useless for a refinement; None where they may be of use."""
    if len(keyframes) < 2:
        return "a single frame has nothing that it could agree with"
    turn = max(turn_deg(one.view, other.view) for one, other in combinations(keyframes, 2))
    if turn < LEAST_TURN_DEG:
        return f"the head turns by {turn:.0f} degrees only: less than {LEAST_TURN_DEG:.0f} do not show its shape"
    return None


def held_out_flow_px(compared: Comparison) -> tuple[float, float]:
    """Flow of held-out pairs that the other pairs leave unexplained: by expressions and poses, and by identity too."""
    pairs = ordered_pairs(compared.frames)
    others, held_out = ([pairs.index(pair) for pair in part] for part in split_pairs(compared.frames))
    told, tested = compared.of_pairs(others), compared.of_pairs(held_out)
    held_still = AdjustmentConfig(_HELD_STILL, ADJUSTMENT.expression_ridge, ADJUSTMENT.pose_ridge)
    before, after = (float(unexplained_px(tested, solve(told, config))[0]) for config in (held_still, ADJUSTMENT))
    return before, after


def split_pairs(count: int) -> tuple[Pairs, Pairs]:
    """The ordered pairs of so many keyframes that are optimised, and those that are held out: about a third, both ways
    round; of two keyframes, one way and the other."""
    if count == 2:
        return [(0, 1)], [(1, 0)]
    every = list(combinations(range(count), 2))
    held_out = [(i, j) for i, j in every if (i + j) % 3 == 0]
    return _both_ways([pair for pair in every if pair not in held_out]), _both_ways(held_out)


def spread_change(
    frames: Int[np.ndarray, " T"], key_frames: Int[np.ndarray, " N"], change: Float32[np.ndarray, "N E"]
) -> Float32[np.ndarray, "T E"]:
    """The change of N keyframes for all T frames: their mean, and near a keyframe what it has beside that."""
    away = np.abs(frames[:, None] - key_frames)
    share = np.clip(1 - away / _FADE, 0, None)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    mean = change.mean(axis=0)
    return (mean + share @ (change - mean)).astype(np.float32)


@torch.inference_mode()
def _compared(
    keyframes: Sequence[Keyframe], identity: Float32[np.ndarray, " K"], model: MorphableModel, flow: Flow
) -> Comparison:
    """The flow between the keyframes, each with its expression and the pose that follows for it."""
    device = model.mean.device

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    seen = [keyframe.seen for keyframe in keyframes]
    crops = stacked([keyframe.crop for keyframe in keyframes]).permute(0, 3, 1, 2)[None].float() / 255
    identities = torch.from_numpy(identity).to(device).expand(len(seen), -1)
    vertices_mm = model.vertices(identities, stacked([face.expression for face in seen]))
    precision = landmark_precision(stacked([face.landmarks_confidence for face in seen]))
    pose = pose_from_landmarks(
        model.landmarks_of(vertices_mm), stacked([face.landmarks_px for face in seen]), precision
    )
    vertices_px = project(vertices_mm, pose)[None]
    return compare_frames(crops, vertices_px, pose, model, flow, counted_triangles(model), ADJUSTMENT.points)


def _both_ways(pairs: Pairs) -> Pairs:
    return pairs + [(j, i) for i, j in pairs]
