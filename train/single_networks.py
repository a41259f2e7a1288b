"""The networks of one picture while the regressors learn: encoder and PGN frozen, no mirror image."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.checkpoint import load_weights
from face3d.networks.pgn import Pgn
from face3d.networks.pose_regressor import PoseRegressor
from face3d.networks.regressor import Regressor
from face3d.pose import pose_from_landmarks
from face3d.reconstruct import FaceNetworks, StoredNetworks, empty_pgn, pgn_config
from face3d.types import ScaledOrthography
from face3d.unguided import UnguidedNetworks
from train.config import as_dict
from train.pgn import pgn_state


class ViewEstimate(NamedTuple):
    """What a training step needs of each view; landmarks are the PGN's, in the crop, without gradient."""

    identity: Float[Tensor, "B I"]
    expression: Float[Tensor, "B E"]
    landmarks_px: Float[Tensor, "B L 3"]
    deviation_px: Float[Tensor, "B L"]

    def pose_of(self, landmarks_mm: Float[Tensor, "B L 3"]) -> ScaledOrthography:
        """Pose in the crop of a model's landmarks, in closed form."""
        return pose_from_landmarks(landmarks_mm, self.landmarks_px, self.deviation_px.square().reciprocal())


class SingleNetworks(FaceNetworks):
    """`FaceNetworks` whose forward stops at the coefficients. The same weights, by the same names."""

    @property
    def map_size(self) -> int:
        """Texels along a side of the position map."""
        return self.pgn.config.map_size

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


def in_use(model: nn.Module) -> FaceNetworks | UnguidedNetworks:
    """Networks that are in training, as photos go through them."""
    if isinstance(model, UnguidedNetworks):
        return UnguidedNetworks(model.pose_regressor, model.regressor, model.model).eval()
    assert isinstance(model, FaceNetworks)
    return FaceNetworks(model.pgn, model.regressor, model.model).eval()


def trained_pgn(path: Path) -> Pgn:
    """The PGN of weights of stage pgn or single. ValueError where they are of another stage, or hold none."""
    state = pgn_state(path)
    pgn = empty_pgn(pgn_config(load_weights(path)[1]["network"]["pgn"]))
    pgn.load_state_dict(state)
    return pgn


def go_on(part: Regressor | PoseRegressor, name: str, kind: type[StoredNetworks], paths: tuple[Path, ...]) -> bool:
    """Load `part`, called `name`, of the first weights of a kind that have any of its configuration, to train it
    further; whether there are such weights."""
    for path in paths:
        state, meta = load_weights(path)
        network = meta.get("network", {})
        if kind.pose_part in network and network.get(name) == as_dict(part.config):
            own = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
            part.load_state_dict({key.removeprefix(f"{name}."): value for key, value in own.items()})
            return True
    return False
