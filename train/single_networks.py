"""The networks of one picture while the regressors learn: encoder and PGN frozen, no mirror image."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.reconstruct import FaceNetworks


class ViewEstimate(NamedTuple):
    """What a training step needs of each view; landmarks are the PGN's, in the crop, without gradient."""

    identity: Float[Tensor, "B I"]
    expression: Float[Tensor, "B E"]
    landmarks_px: Float[Tensor, "B L 3"]
    deviation_px: Float[Tensor, "B L"]


class SingleNetworks(FaceNetworks):
    """`FaceNetworks` whose forward stops at the coefficients. The same weights, by the same names."""

    def train(self, mode: bool = True) -> "SingleNetworks":
        """As any module's, but the frozen part stays in eval mode."""
        super().train(mode)
        self.pgn.eval()
        return self

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> ViewEstimate:  # type: ignore[override]
        """Views in crops in [0,1], in the precision of the run; all but the networks' layers in float32."""
        with torch.no_grad():
            maps, _ = self.pgn(crops)
            with torch.autocast(crops.device.type, enabled=False):
                found_px, deviation_px = self.pgn.landmarks(maps)
                seen = self.seen(crops, maps, found_px, deviation_px)
        identity, expression = self.regressor(*seen)
        return ViewEstimate(identity, expression, found_px, deviation_px)
