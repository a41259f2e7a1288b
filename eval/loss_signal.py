"""Do the losses between frames see who somebody is? Which of several identities each of them likes best.

Frames of a generated clip are redrawn with the skin of each other (`face3d.consistency`), with the expressions and
poses that face3d finds, and with one of four identities: the true one, the one found, that half the way from there to
the truth, and that of the mean face. A loss from which identity can be learned is lower for the true one than for the
mean face, and lower half the way than where it starts. Of each comparison: the share of the clips where it is so, and
Student's t of the difference over the clips (mean over its standard error: below -2 it is hardly chance), negative
where the loss is right. "adjustment" is no loss but the step that `face3d.flow_adjustment` takes from the identity
found, by the flow between all frames: errors of the neutral face before and after it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eval.clip_scores import per_vertex_mm
from eval.clips import Clip, GeneratedClips
from eval.now_region import LANDMARKS, face_region
from face3d.camera import project
from face3d.consistency import SwappedPairs, counted_triangles, swap_all
from face3d.crops import crop_around, network_crops
from face3d.flow_adjustment import compare_frames, solve
from face3d.losses import flow_consistency, semantic_consistency, without_rigid_motion
from face3d.losses_flow import census_loss, rgb_loss
from face3d.reconstruct import FaceEstimate, FaceNetworks
from face3d.types import ScaledOrthography

LEAST_YAW_GAP_DEG = 10.0
MOST_PAIRS = 8  # of a clip
ADJUSTMENT = "adjustment"
COMPARISONS = {"true_below_mean_face": ("true", "mean_face"), "half_way_below_found": ("half_way", "found")}
Network = Callable[[Tensor], Tensor]


class FrozenNetworks(NamedTuple):
    """What the losses see with: two pictures (N,2,3,H,W) to flow (N,2,H,W), pictures to probabilities of classes."""

    flow: Network
    parser: Network


@torch.inference_mode()
def score_signal(
    clips: GeneratedClips,
    networks: FaceNetworks,
    frozen: FrozenNetworks,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Any]:
    """Share of clips and t of each loss in each of COMPARISONS; clips whose frames do not turn are left out."""
    counted = counted_triangles(networks.model)
    values: list[dict[str, dict[str, float]]] = []
    for index in progress(range(clips.count)):
        clip = clips.clip(index)
        if pairs := chosen_pairs(clip.truth.euler_deg[:, 1]):
            values.append(_losses_of_identities(clip, pairs, networks, counted, frozen))
    if len(values) < 2:
        raise ValueError(f"{len(values)} of {clips.count} clips turn by {LEAST_YAW_GAP_DEG} degrees: take more clips")
    names = [name for name in values[0]["true"] if name != ADJUSTMENT]
    summary = {name: {key: _compared(values, name, *both) for key, both in COMPARISONS.items()} for name in names}
    means = {
        f"{which}_mm": float(np.mean([each[which][ADJUSTMENT] for each in values])) for which in ("found", "after")
    }
    summary[ADJUSTMENT] = {"after_below_found": {**_compared(values, ADJUSTMENT, "after", "found"), **means}}
    return {"benchmark": "signal of the losses", "clips": len(values), "summary": summary}


def chosen_pairs(yaw_deg: Float[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Ordered pairs of frames that are turned apart, spread evenly over all there are."""
    frames = range(len(yaw_deg))
    apart = [(i, j) for i in frames for j in frames if abs(yaw_deg[i] - yaw_deg[j]) >= LEAST_YAW_GAP_DEG]
    if len(apart) <= MOST_PAIRS:
        return apart
    return [apart[at] for at in np.linspace(0, len(apart) - 1, MOST_PAIRS).round().astype(int)]


def _losses_of_identities(
    clip: Clip,
    pairs: Sequence[tuple[int, int]],
    networks: FaceNetworks,
    counted: Bool[Tensor, " F"],
    frozen: FrozenNetworks,
) -> dict[str, dict[str, float]]:
    size, device = networks.crop_size, networks.model.mean.device
    T = np.stack([crop_around(points, networks.crop_factor, size) for points in clip.truth.landmarks_px])
    crops = network_crops(clip.images, T, size, device)
    estimate: FaceEstimate = networks(crops)
    share = estimate.landmarks_confidence.mean(1, keepdim=True)
    found = (estimate.identity * share).sum(0) / share.sum()
    neutral_mm = torch.from_numpy(clip.truth.neutral.vertices).float().to(device)
    true = networks.model.project(neutral_mm[None], regularisation=0.5).identity[0].to(found)
    identities = {"true": true, "found": found, "half_way": (true + found) / 2, "mean_face": torch.zeros_like(found)}
    losses = {}
    for name, identity in identities.items():
        vertices_px, _ = _placed(identity, estimate, networks)
        swapped = swap_all(crops[None], vertices_px[None], networks.model.triangles, counted, pairs)
        losses[name] = _losses(swapped, frozen)
    vertices_px, pose = _placed(found, estimate, networks)
    change = solve(compare_frames(crops[None], vertices_px[None], pose, networks.model, frozen.flow, counted))
    losses["after"] = {}
    for name, identity in (("found", found), ("after", found + change.identity[0])):
        losses[name][ADJUSTMENT] = _error_mm(identity, clip, networks)
    return losses


def _error_mm(identity: Float[Tensor, " K"], clip: Clip, networks: FaceNetworks) -> float:
    """Of the neutral face, as `eval.clip_scores` has it."""
    mesh, neutral = networks.model.vertices(identity[None], None)[0], clip.truth.neutral
    face = face_region(neutral.landmarks[list(LANDMARKS)]).inside(neutral.vertices)
    return per_vertex_mm(mesh.cpu().numpy(), neutral.vertices, face)


def _placed(
    identity: Float[Tensor, " K"], estimate: FaceEstimate, networks: FaceNetworks
) -> tuple[Float[Tensor, "T V 3"], ScaledOrthography]:
    """The frames' meshes with another identity, each in the pose that follows for it, and the poses."""
    vertices_mm = networks.model.vertices(identity.expand(len(estimate.expression), -1), estimate.expression)
    deviation_px = (1 / estimate.landmarks_confidence - 1) * (networks.crop_size / 128)
    pose = networks.pose(networks.model.landmarks_of(vertices_mm), estimate.landmarks_px, deviation_px)
    return project(vertices_mm, pose), pose


def _losses(pairs: SwappedPairs, frozen: FrozenNetworks) -> dict[str, float]:
    """The mean of each loss over the pairs."""
    shown = torch.where(pairs.mask[:, None], pairs.swapped, pairs.frame)
    flow_px = frozen.flow(torch.stack([pairs.frame, shown], 1))
    residual_px = without_rigid_motion(flow_px, pairs.depth_px, pairs.mask)
    values = {
        "rgb": rgb_loss(pairs.frame, pairs.swapped, pairs.mask),
        "census": census_loss(pairs.frame, pairs.swapped, pairs.mask),
        "semantic": semantic_consistency(frozen.parser(shown), frozen.parser(pairs.frame), pairs.mask),
        "flow": flow_consistency(flow_px, pairs.mask),
        "residual_flow": flow_consistency(residual_px, pairs.mask),
    }
    return {name: float(value.mean()) for name, value in values.items()}


def _compared(values: list[dict[str, dict[str, float]]], loss: str, better: str, worse: str) -> dict[str, float]:
    difference = np.array([each[better][loss] - each[worse][loss] for each in values])
    error = max(float(difference.std(ddof=1)) / len(difference) ** 0.5, 1e-12)
    return {"share_of_clips": float((difference < 0).mean()), "t": float(difference.mean()) / error}
