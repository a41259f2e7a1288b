"""Several frames of one person through the networks of one: a shared identity, expression and pose of each frame.

Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV 2020), step 3: encoder and PGN are frozen and
give the pose; the regressors learn.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.camera import project
from face3d.morphable import MorphableModel
from face3d.reconstruct import FaceNetworks
from face3d.types import ScaledOrthography
from train.single_networks import ViewEstimate


class PersonEstimate(NamedTuple):
    """B people in K frames each, in the pixels of the crops."""

    own_identity: Float[Tensor, "B K I"]  # as each frame alone gives it
    identity: Float[Tensor, "B I"]  # shared: their mean, weighted by the landmarks' confidence
    expression: Float[Tensor, "B K E"]
    pose: ScaledOrthography  # of the B K frames, person after person
    vertices_px: Float[Tensor, "B K V 3"]
    model_landmarks_px: Float[Tensor, "B K L 3"]
    landmarks_px: Float[Tensor, "B K L 3"]  # the PGN's, without gradient
    landmarks_confidence: Float[Tensor, "B K L"]


class PeopleNetworks(FaceNetworks):
    """`FaceNetworks` whose forward takes several frames a person, and single views beside them. The same weights, by
    the same names. With `hold_expression` no gradient goes from `vertices_px` to the expressions, which each frame has
    for itself: they would give way to what differs between pictures before the identity learns from it."""

    hold_expression = False

    def train(self, mode: bool = True) -> "PeopleNetworks":
        """As any module's, but the frozen part stays in eval mode, and with it the normalisation of the regressors'
        encoder, whose statistics a few frames of few people would spoil."""
        super().train(mode)
        self.pgn.eval()
        self.regressor.encoder.eval()
        self.regressor.squeeze.eval()
        return self

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "B K 3 S S"], views: Float[Tensor, "N 3 S S"] | None = None
    ) -> PersonEstimate | tuple[PersonEstimate, ViewEstimate]:
        """People in crops in [0,1], and what is estimated of the views where there are any. The frozen networks run in
        the precision of the run, the rest in float32."""
        people, count = frames.shape[:2]
        crops = frames.flatten(0, 1) if views is None else torch.cat([frames.flatten(0, 1), views])
        with torch.no_grad():
            maps, _ = self.pgn(crops)
        with torch.autocast(frames.device.type, enabled=False):
            with torch.no_grad():
                found_px, deviation_px = self.pgn.landmarks(maps)
                seen = self.seen(crops, maps, found_px, deviation_px)
            identity, expression = self.regressor(*seen)
            every = ViewEstimate(identity, expression, found_px, deviation_px)
            person = self._person(ViewEstimate(*(values[: people * count] for values in every)), people)
        if views is None:
            return person
        return person, ViewEstimate(*(values[people * count :] for values in every))

    def _person(self, found: ViewEstimate, people: int) -> PersonEstimate:
        """Frames, person after person, with the shape that they share."""
        own, expression, confidence = (
            values.unflatten(0, (people, -1))
            for values in (found.identity, found.expression, self._confidence(found.deviation_px))
        )
        identity, vertices_mm = shared_shape(self.model, own, expression, confidence)
        landmarks_mm = self.model.landmarks_of(vertices_mm)
        pose = self.pose(landmarks_mm, found.landmarks_px, found.deviation_px)
        placed_landmarks_px = project(landmarks_mm, pose)
        if self.hold_expression:
            vertices_mm = shared_shape(self.model, own, expression.detach(), confidence)[1]
            pose = self.pose(self.model.landmarks_of(vertices_mm), found.landmarks_px, found.deviation_px)
        placed = (project(vertices_mm, pose), placed_landmarks_px, found.landmarks_px)
        vertices_px, landmarks_px, found_px = (values.unflatten(0, (people, -1)) for values in placed)
        return PersonEstimate(own, identity, expression, pose, vertices_px, landmarks_px, found_px, confidence)


def shared_shape(
    model: MorphableModel,
    own: Float[Tensor, "B K I"],
    expression: Float[Tensor, "B K E"],
    confidence: Float[Tensor, "B K L"],
) -> tuple[Float[Tensor, "B I"], Float[Tensor, "BK V 3"]]:
    """The mean of the frames' identities, weighted by their landmarks' confidence, and all frames' vertices (mm) with
    it."""
    share = confidence.mean(2, keepdim=True)
    identity = (own * share).sum(1) / share.sum(1)
    return identity, model.vertices(identity.repeat_interleave(own.shape[1], 0), expression.flatten(0, 1))
