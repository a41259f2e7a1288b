"""The losses between several frames of one person, redrawn with the skin of each other (`face3d.consistency`).

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020): photometric consistency on census
transformed pictures (L_p, or on plain colours, L_p-), flow consistency (L_f) and semantic consistency (L_s), over all
ordered pairs of frames. The flow network and the parser are frozen; gradients go through the redrawn picture to shape,
expression and pose.

Beyond the paper is the part of the flow that no rigid motion explains. The pose comes from a frozen network, and its
errors move a redrawn face farther than a wrong nose does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.consistency import SwappedPairs
from face3d.flow_adjustment import Flow
from face3d.losses import flow_consistency, semantic_consistency, without_rigid_motion
from face3d.losses_flow import census_loss, rgb_loss

Parser = Callable[[Float[Tensor, "N 3 H W"]], Float[Tensor, "N C H W"]]
"""Pictures -> probabilities of classes."""


@dataclass(frozen=True)
class ConsistencyWeights:
    """Weights of the losses between frames; what has none is not computed."""

    census: float = 1.0
    rgb: float = 0.0
    flow: float = 0.1  # a pixel of flow
    semantic: float = 1.0
    residual_flow: float = 0.0  # a pixel of flow that no rigid motion of the face explains


def consistency_losses(
    pairs: SwappedPairs, weights: ConsistencyWeights, flow: Flow | None = None, parser: Parser | None = None
) -> dict[str, Float[Tensor, " N"]]:
    """Each loss of every pair, weighted. A pair that shares nothing costs nothing.

    Flow and parser see the redrawn picture with the frame itself around it, so that no edge of the mask misleads them.
    ValueError where a weight is set whose network is not given."""
    flows = weights.flow or weights.residual_flow
    needed = (("flow", flows, flow), ("semantic", weights.semantic, parser))
    missing = [name for name, weight, network in needed if weight and not network]
    if missing:
        raise ValueError(f"a weight is set for {' and '.join(missing)}: give the network, or set the weight to 0")
    losses: dict[str, Tensor] = {}
    if weights.census:
        losses["census"] = weights.census * census_loss(pairs.frame, pairs.swapped, pairs.mask)
    if weights.rgb:
        losses["rgb"] = weights.rgb * rgb_loss(pairs.frame, pairs.swapped, pairs.mask)
    shown = torch.where(pairs.mask[:, None], pairs.swapped, pairs.frame)
    if flows and flow is not None:
        losses |= _flow_losses(flow(torch.stack([pairs.frame, shown], 1)), pairs, weights)
    if weights.semantic and parser is not None:
        with torch.no_grad():
            target = parser(pairs.frame)
        losses["semantic"] = weights.semantic * semantic_consistency(parser(shown), target, pairs.mask)
    return losses


def _flow_losses(
    flow_px: Float[Tensor, "N 2 H W"], pairs: SwappedPairs, weights: ConsistencyWeights
) -> dict[str, Float[Tensor, " N"]]:
    losses: dict[str, Tensor] = {}
    if weights.flow:
        losses["flow"] = weights.flow * flow_consistency(flow_px, pairs.mask)
    if weights.residual_flow:
        left = without_rigid_motion(flow_px, pairs.depth_px, pairs.mask)
        losses["residual_flow"] = weights.residual_flow * flow_consistency(left, pairs.mask)
    return losses
