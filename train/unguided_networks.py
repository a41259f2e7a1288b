"""The networks without pose guidance while they learn: the pose regressor learns with the others.

No gradient goes through the place of the upright crops: the pose learns from where the mesh lies alone.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.camera import project
from face3d.checkpoint import load_weights
from face3d.morphable import MorphableModel
from face3d.networks.pose_regressor import PoseRegressorConfig
from face3d.networks.regressor import RegressorConfig
from face3d.types import ScaledOrthography
from face3d.unguided import UnguidedNetworks, build_pose_regressor, build_unguided_regressor, no_points
from train.people_networks import PersonEstimate, shared_shape
from train.single_networks import go_on, trained_pgn


class UnguidedViewEstimate(NamedTuple):
    """What a training step needs of each view; the pose is regressed, in the crop."""

    identity: Float[Tensor, "B I"]
    expression: Float[Tensor, "B E"]
    pose: ScaledOrthography

    def pose_of(self, landmarks_mm: Float[Tensor, "B L 3"]) -> ScaledOrthography:
        """The pose, whatever the landmarks."""
        return self.pose


class UnguidedViews(UnguidedNetworks):
    """`UnguidedNetworks` whose forward stops at the coefficients and the pose. The same weights, by the same names."""

    @property
    def map_size(self) -> int:
        """Texels along a side of every second row and column of the model's UV grid."""
        return (self.grid.shape[0] + 1) // 2

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> UnguidedViewEstimate:  # type: ignore[override]
        """Views in crops in [0,1], in the precision of the run; all but the networks' layers in float32."""
        pose = self.pose_regressor(crops)
        with torch.no_grad(), torch.autocast(crops.device.type, enabled=False):
            upright = self.seen(crops, pose)
        identity, expression = self.regressor(upright, no_points(crops))
        return UnguidedViewEstimate(identity, expression, pose)


class UnguidedPeople(UnguidedNetworks):
    """`UnguidedNetworks` whose forward takes several frames a person, and single views beside them. The same weights,
    by the same names."""

    def train(self, mode: bool = True) -> "UnguidedPeople":
        """As any module's, but the normalisation of both encoders stays in eval mode: a few frames of few people would
        spoil its statistics."""
        super().train(mode)
        for part in (self.pose_regressor, self.regressor):
            part.encoder.eval()
            part.squeeze.eval()
        return self

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "B K 3 S S"], views: Float[Tensor, "N 3 S S"] | None = None
    ) -> PersonEstimate | tuple[PersonEstimate, UnguidedViewEstimate]:
        """People in crops in [0,1], and what is estimated of the views where there are any. The poses in the precision
        of the run, the rest in float32; `landmarks_px` are the mesh's own and all confidences 1."""
        people, count = frames.shape[:2]
        crops = frames.flatten(0, 1) if views is None else torch.cat([frames.flatten(0, 1), views])
        pose = self.pose_regressor(crops)
        with torch.autocast(frames.device.type, enabled=False):
            with torch.no_grad():
                upright = self.seen(crops, pose)
            identity, expression = self.regressor(upright, no_points(crops))
            person = self._person(UnguidedViewEstimate(identity, expression, pose), people, count)
        if views is None:
            return person
        rest = (values[people * count :] for values in (identity, expression, *pose))
        return person, UnguidedViewEstimate(next(rest), next(rest), ScaledOrthography(*rest))

    def _person(self, found: UnguidedViewEstimate, people: int, count: int) -> PersonEstimate:
        """The first `people` times `count` crops as frames, person after person, with the shape that they share."""
        total = people * count
        pose = ScaledOrthography(*(values[:total] for values in found.pose))
        own, expression = (v[:total].unflatten(0, (people, count)) for v in (found.identity, found.expression))
        confidence = torch.ones(people, count, self.model.landmark_count, device=own.device)
        identity, vertices_mm = shared_shape(self.model, own, expression, confidence)
        vertices_px = project(vertices_mm, pose)
        landmarks_px = self.model.landmarks_of(vertices_px).unflatten(0, (people, count))
        vertices_px = vertices_px.unflatten(0, (people, count))
        return PersonEstimate(
            own, identity, expression, pose, vertices_px, landmarks_px, landmarks_px.detach(), confidence
        )


def unguided_views(
    pose: PoseRegressorConfig, shape: RegressorConfig, paths: tuple[Path, ...], model: MorphableModel
) -> UnguidedViews:
    """Networks to train: of weights without pose guidance, what has these configurations; else both encoders start as
    that of a PGN among the weights, if they are alike, or fresh. ValueError for weights that hold neither."""
    networks = UnguidedViews(build_pose_regressor(pose, model), build_unguided_regressor(shape), model)
    contents = {path: load_weights(path)[1].get("network", {}) for path in paths}
    for path, network in contents.items():
        if not {"pgn", UnguidedViews.pose_part} & set(network):
            raise ValueError(f"{path} holds neither a PGN nor a pose regressor: expected weights of stage 'pgn'")
    guides = [trained_pgn(path) for path, network in contents.items() if "pgn" in network][:1]
    for name, part in (("pose_regressor", networks.pose_regressor), ("regressor", networks.regressor)):
        if go_on(part, name, UnguidedNetworks, paths):
            continue
        for pgn in guides:
            if part.config.backbone == pgn.config.backbone:
                part.encoder.load_state_dict(pgn.encoder.state_dict())
    return networks
