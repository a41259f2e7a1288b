"""The tensor door without pose guidance: the pose is regressed by a network, not solved from landmarks.

crops, mirrored crops -> pose regressor: pose -> upright crops -> regressors: identity, expression -> mesh
This is the "without PGN" of the ablation of Liu et al., "Unsupervised 3D face reconstruction with pose guidance" (ACCV
2020); everything else is as in face3d.reconstruct.
"""

from dataclasses import asdict
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.camera import project
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pose_regressor import PoseRegressor, PoseRegressorConfig
from face3d.networks.regressor import Regressor, RegressorConfig
from face3d.networks.upright import Upright, upright_crops
from face3d.reconstruct import CROP_FACTOR, PASSES, FaceEstimate, Look, StoredNetworks, regressor_config
from face3d.types import ScaledOrthography, Similarity

Kind = TypeVar("Kind", bound="UnguidedNetworks")


class UnguidedNetworks(StoredNetworks):
    """Pose regressor and regressors over one morphable model: the counterpart of `face3d.reconstruct.FaceNetworks`.

    Of an estimate, the landmarks and the position map are the mesh's own (the map at the model's UV grid). Nothing
    tells how sure they are: all confidences are 1, all log variances 0, and every detection is taken for a face.
    """

    pose_part = "pose_regressor"
    grid: Tensor

    def __init__(self, pose_regressor: PoseRegressor, regressor: Regressor, model: MorphableModel) -> None:
        """ValueError for a model without a square UV grid."""
        super().__init__()
        self.pose_regressor, self.regressor, self.model = pose_regressor, regressor, model
        self.crop_size, self.crop_factor, self.passes = pose_regressor.config.crop_size, CROP_FACTOR, PASSES
        self.least_confidence = 0.0
        self.register_buffer("grid", square_grid(model), persistent=False)

    @classmethod
    def empty(cls: type[Kind], network: dict[str, Any], model: MorphableModel) -> Kind:
        """As of any kind."""
        pose = build_pose_regressor(pose_regressor_config(network["pose_regressor"]), model)
        return cls(pose, build_unguided_regressor(regressor_config(network["regressor"])), model)

    def describe(self) -> dict[str, Any]:
        """The configuration that `load` reads, as JSON values."""
        return {"pose_regressor": asdict(self.pose_regressor.config), "regressor": asdict(self.regressor.config)}

    def look(self, crops: Float[Tensor, "B 3 S S"]) -> Look:
        """The mesh's landmarks, as `forward` gives them."""
        estimate = self(crops)
        return Look(estimate.landmarks_px, estimate.landmarks_confidence)

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> FaceEstimate:
        """Faces of crops in [0,1]; `crop_size` pixels wide, made with `crop_factor` around the landmarks' box."""
        pose = self.pose_regressor.both_ways(crops)
        identity, expression = self.regressor(self.seen(crops, pose), no_points(crops))
        vertices_mm = self.model.vertices(identity, expression)
        vertices_px = project(vertices_mm, pose)
        landmarks_px = self.model.landmarks_of(vertices_px)
        position_map_px = vertices_px[:, self.grid].permute(0, 3, 1, 2)
        return FaceEstimate(
            position_map_px=position_map_px,
            position_log_variance=torch.zeros_like(position_map_px[:, 0]),
            landmarks_px=landmarks_px,
            landmarks_confidence=torch.ones_like(landmarks_px[..., 0]),
            identity=identity,
            expression=expression,
            vertices_mm=vertices_mm,
            pose=pose,
            vertices_px=vertices_px,
        )

    def seen(self, crops: Float[Tensor, "B 3 S S"], pose: ScaledOrthography) -> Upright:
        """The faces upright, by the regressed pose."""
        placed = Similarity(*pose[:2], torch.nn.functional.pad(pose.translation_px, (0, 1)))
        config = self.regressor.config
        return upright_crops(crops, placed, self.pose_regressor.middle_mm, config.crop_size, config.half_mm)


def no_points(crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 0 3"]:
    """What the regressors get in place of points that a PGN found."""
    return crops.new_zeros(len(crops), 0, 3)


def build_pose_regressor(config: PoseRegressorConfig, model: MorphableModel) -> PoseRegressor:
    """A fresh pose regressor. It starts with the mean face, frontal, as large as `CROP_FACTOR` makes it in its crop."""
    landmarks_mm = model.landmarks_of(model.mean[None])[0]
    extent_mm = (landmarks_mm.amax(0) - landmarks_mm.amin(0))[:2].max()
    return PoseRegressor(config, landmarks_mm.mean(0), config.crop_size / (CROP_FACTOR * float(extent_mm)))


def build_unguided_regressor(config: RegressorConfig) -> Regressor:
    """Fresh regressors that see the upright face alone."""
    return Regressor(config, points=0)


def square_grid(model: MorphableModel) -> Int[Tensor, "N N"]:
    """The model's UV grid. ValueError where it has none, or one that is not square."""
    if model.grid is None or model.grid.shape[0] != model.grid.shape[1]:
        shape = None if model.grid is None else tuple(model.grid.shape)
        raise ValueError(
            f"the morphable model's UV grid is {shape}: these networks need a square one, as the embedded model's "
            "(`python -m bfm build`)"
        )
    return model.grid.long()


def pose_regressor_config(values: dict[str, Any]) -> PoseRegressorConfig:
    """A pose regressor's configuration from its JSON form."""
    return PoseRegressorConfig(**{**values, "backbone": BackboneConfig(**values["backbone"])})
