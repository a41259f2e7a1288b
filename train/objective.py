"""What several frames of one person must agree on: each frame redrawn with the skin of every other looks like itself.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020): photometric consistency on census
transformed pictures (L_p, or on plain colours, L_p-), flow consistency (L_f) and semantic consistency (L_s), over all
ordered pairs of frames. The flow network and the parser are frozen; gradients go through the redrawn picture to shape,
expression and pose.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.losses import flow_consistency, semantic_consistency
from face3d.losses_flow import census_loss, rgb_loss
from face3d.texture_swap import View, look, ordered_pairs, swap_texture

Flow = Callable[[Float[Tensor, "N 2 3 H W"]], Float[Tensor, "N 2 H W"]]
"""Two pictures -> flow in pixels from the first to the second."""

Parser = Callable[[Float[Tensor, "N 3 H W"]], Float[Tensor, "N C H W"]]
"""Pictures -> probabilities of classes."""


@dataclass(frozen=True)
class ConsistencyWeights:
    """Weights of the losses between frames; what has none is not computed."""

    census: float = 1.0
    rgb: float = 0.0
    flow: float = 0.1  # a pixel of flow
    semantic: float = 1.0


class SwappedPairs(NamedTuple):
    """All ordered pairs of K frames of B people, pair after pair: N = K (K - 1) B."""

    frame: Float[Tensor, "N 3 H W"]
    swapped: Float[Tensor, "N 3 H W"]
    mask: Bool[Tensor, "N H W"]


def swap_all(
    frames: Float[Tensor, "B K 3 H W"],
    vertices_px: Float[Tensor, "B K V 3"],
    triangles: Int[Tensor, "F 3"],
    counted: Bool[Tensor, " F"] | None = None,
) -> SwappedPairs:
    """Every frame redrawn with the skin of every other; pixels in [0, 1], vertices in the frames' pixels and depth.

    Each frame is rasterised once. `counted` are the triangles of the masks. ValueError for less than two frames."""
    count = frames.shape[1]
    if count < 2:
        raise ValueError(f"got {count} frame a person; consistency needs at least 2")
    size_hw = (frames.shape[-2], frames.shape[-1])
    views: list[View] = [look(vertices_px[:, k], triangles, size_hw) for k in range(count)]
    found = [swap_texture(frames[:, j], views[i], views[j], triangles, counted) for i, j in ordered_pairs(count)]
    own = torch.cat([frames[:, i] for i, _ in ordered_pairs(count)])
    return SwappedPairs(own, torch.cat([pair.image for pair in found]), torch.cat([pair.mask for pair in found]))


def consistency_losses(
    pairs: SwappedPairs, weights: ConsistencyWeights, flow: Flow | None = None, parser: Parser | None = None
) -> dict[str, Float[Tensor, " N"]]:
    """Each loss of every pair, weighted. A pair that shares nothing costs nothing.

    Flow and parser see the redrawn picture with the frame itself around it, so that no edge of the mask misleads them.
    ValueError where a weight is set whose network is not given."""
    missing = [
        name for name, network in (("flow", flow), ("semantic", parser)) if getattr(weights, name) and not network
    ]
    if missing:
        raise ValueError(f"a weight is set for {' and '.join(missing)}: give the network, or set the weight to 0")
    losses: dict[str, Tensor] = {}
    if weights.census:
        losses["census"] = weights.census * census_loss(pairs.frame, pairs.swapped, pairs.mask)
    if weights.rgb:
        losses["rgb"] = weights.rgb * rgb_loss(pairs.frame, pairs.swapped, pairs.mask)
    shown = torch.where(pairs.mask[:, None], pairs.swapped, pairs.frame)
    if weights.flow and flow is not None:
        found = flow(torch.stack([pairs.frame, shown], 1))
        losses["flow"] = weights.flow * flow_consistency(found, pairs.mask)
    if weights.semantic and parser is not None:
        with torch.no_grad():
            target = parser(pairs.frame)
        losses["semantic"] = weights.semantic * semantic_consistency(parser(shown), target, pairs.mask)
    return losses
