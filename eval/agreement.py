"""Do several real frames of one person agree? Nothing is known of these faces, so nothing tells how right they are.

census_distance    of a frame to itself, redrawn with the skin of another frame of the same person (0-48; I_(j->i) of
                   Liu et al., ACCV 2020), over what both show; mean of all ordered pairs
identity_spread    standard deviation of the identity's coefficients over the frames, in those of the prior
still_jitter_px    how the mesh's 68 landmarks tremble where the face stands still: root mean square about the mean, in
                   pixels of a crop of 224, over takes of one frame with a hand that shakes and a sensor's noise

Each frame is reconstructed alone. A face that is always the mean one agrees with itself: read these beside the errors
of `shape` and `clips-shape`, and beside the spread across people.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval.people_tracks import Kind, Track
from eval.protocol import LeftOut, Prediction
from face3d.consistency import counted_triangles, swap_all
from face3d.image import transform_points, warp
from face3d.losses import weighted_mean
from face3d.losses_flow import census_distance
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel

TAKES = 8
SHAKE_PX, ZOOM, ROLL_DEG, NOISE = 1.5, 0.015, 1.0, 4.0  # largest shift, zoom and roll of a take; noise in grey levels
_CROP_PX = 224.0
Predict = Callable[[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, " 4"]], Prediction]


def score_agreement(
    tracks: Sequence[Track],
    predict: Predict,
    model: MorphableModel,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Any]:
    """Figures of each track, and their means for people of videos and of photos apart; who has no score is named."""
    counted = counted_triangles(model)
    samples: dict[str, dict[str, float]] = {}
    codes: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for index in progress(range(len(tracks))):
        track = tracks[index]
        boxes_px = landmark_box_px(track.landmarks_px)
        found = [predict(frame, box) for frame, box in zip(track.frames, boxes_px, strict=True)]
        identities = np.stack([_known(prediction.identity) for prediction in found])
        try:
            census = swapped_census(track, found, model, counted)
        except LeftOut as reason:
            left_out[track.name] = str(reason)
            continue
        samples[track.name] = {
            "census_distance": census,
            "identity_spread": float(identities.std(0).mean()),
            "still_jitter_px": still_jitter_px(track, predict),
        }
        codes[track.name] = identities.mean(0)
    kinds: tuple[Kind, ...] = ("videos", "photos")
    return {
        "benchmark": "agreement of frames",
        "left_out": left_out,
        "summary": {kind: summary for kind in kinds if (summary := _summary(kind, tracks, samples, codes))},
        "samples": samples,
    }


def _summary(
    kind: Kind, tracks: Sequence[Track], samples: dict[str, dict[str, float]], codes: dict[str, np.ndarray]
) -> dict[str, float]:
    names = [track.name for track in tracks if track.kind == kind and track.name in samples]
    if not names:
        return {}
    means = {figure: float(np.mean([samples[name][figure] for name in names])) for figure in samples[names[0]]}
    across = float(np.stack([codes[name] for name in names]).std(0).mean())
    return {"people": len(names), **means, "spread_across_people": across}


def swapped_census(track: Track, found: Sequence[Prediction], model: MorphableModel, counted: torch.Tensor) -> float:
    """Mean census distance (0-48) between the frames and themselves with the skin of each other frame, of pairs that
    share some. LeftOut: none does."""
    device = model.mean.device
    frames = torch.from_numpy(np.stack(track.frames)).permute(0, 3, 1, 2)[None].float().div(255).to(device)
    placed = torch.from_numpy(np.stack([_known(p.vertices_px) for p in found]))[None].float().to(device)
    pairs = swap_all(frames, placed, model.triangles, counted)
    shared = pairs.mask.flatten(1).float()
    distance = weighted_mean(census_distance(pairs.frame, pairs.swapped).flatten(1), shared)
    seen = shared.sum(1) > 0
    if not bool(seen.any()):
        raise LeftOut("no two frames show any skin in common")
    return float(distance[seen].mean())


def still_jitter_px(track: Track, predict: Predict) -> float:
    """How the mesh's landmarks tremble over takes of the track's middle frame, in pixels of a crop of 224."""
    middle = len(track.frames) // 2
    image, landmarks_px = track.frames[middle], track.landmarks_px[middle]
    rng = np.random.default_rng(17)
    points = []
    for _ in range(TAKES):
        T_take_from_frame = _shaken(image.shape[0], rng)
        taken = warp(image, T_take_from_frame, image.shape[:2], border="replicate")
        noisy = (taken + rng.normal(0, NOISE, taken.shape)).round().clip(0, 255).astype(np.uint8)
        found = predict(noisy, landmark_box_px(transform_points(T_take_from_frame, landmarks_px)))
        mesh_px = np.asarray(found.landmarks_px["3dmm"], np.float64)[:, :2]
        points.append(transform_points(np.linalg.inv(T_take_from_frame), mesh_px))
    stacked = np.stack(points)
    offset = stacked - stacked.mean(0)
    return float(np.sqrt((offset**2).sum(-1).mean()) * _CROP_PX / image.shape[0])


def _shaken(size: int, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A small shift, zoom and roll about the middle of the frame."""
    angle, zoom = np.radians(rng.uniform(-ROLL_DEG, ROLL_DEG)), np.exp(rng.uniform(-ZOOM, ZOOM))
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (size - 1) / 2)
    T = np.eye(3)
    T[:2, :2], T[:2, 2] = linear, middle - linear @ middle + rng.uniform(-SHAKE_PX, SHAKE_PX, 2)
    return T


def _known(values: Float[np.ndarray, "*n"] | None) -> Float[np.ndarray, "*n"]:
    if values is None:
        raise ValueError("agreement needs identity and vertices_px of every prediction, as face3d gives them")
    return values
