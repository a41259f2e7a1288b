"""Stage `single`: identity and expression regressed from one image; encoder and PGN stay frozen, pose is closed-form.

Needs `--weights` of stage `pgn`, or of stage `single` to train its regressors further (both, to train them further for
another PGN), and photos or views as `--extra` (as stage `pgn`). New regressors' encoder starts as the PGN's.

`--config regressed_pose` is the same without pose guidance: a pose regressor learns with the regressors
(face3d.unguided). `--weights` of stage `pgn` are then where both encoders start, and may be left out; those of stage
`single` of this kind are trained further.

`--config landmarks` and `landmarks_regressed_pose` learn from the 68 landmarks alone, as step 2 of the paper does (Liu
et al., ACCV 2020): what several frames then bring is not known before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from face3d.camera import project
from face3d.losses import coefficient_prior, opening_difference, point_distance
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pose_regressor import PoseRegressorConfig
from face3d.networks.regressor import RegressorConfig
from face3d.reconstruct import FaceNetworks, build_regressor
from train.augment import LIGHT
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.fresh import Mix, choose_batches, choose_held_out
from train.pgn import VALIDATION_VIEWS, split_extra
from train.single_networks import SingleNetworks, ViewEstimate, go_on, in_use, trained_pgn
from train.supervision import OPENINGS, Supervisor
from train.task import Batch, BatchSource
from train.unguided_networks import UnguidedViewEstimate, UnguidedViews, unguided_views


@dataclass(frozen=True)
class SingleTrainConfig(TrainConfig):
    """Regressor and weights of the losses; the PGN's size comes with its weights."""

    regressor: RegressorConfig = field(default_factory=RegressorConfig)
    pose_regressor: PoseRegressorConfig | None = None  # None: the pose is that of the PGN's landmarks
    mix: Mix = Mix(photo=0.0, turned=0.35, other_face=1.0, uses=4.0)  # exact shapes only: fits are cautious
    landmark_weight: float = 1.0
    shape_weight: float = 0.1  # per millimetre
    neutral_weight: float = 0.1  # per millimetre, of the shape without expression: who it is, not what they do
    closure_weight: float = 0.2  # per millimetre, of the openings of eyes and mouth
    prior_weight: float = 3e-4  # identity; expression 0.8 of it (Deng et al. 2019)


FAST = SingleTrainConfig(batch_size=64, optimiser=OptimiserConfig(learning_rate=1.5e-3, ema_decay=0.998))
PAPER = SingleTrainConfig(
    name="paper",
    regressor=RegressorConfig(hidden=1024, backbone=BackboneConfig("resnet50"), crop_size=192),
    batch_size=64,
    precision="bf16-mixed",
    steps=100_000,
    optimiser=OptimiserConfig(learning_rate=3e-4, ema_decay=0.9998),
)
REGRESSED_POSE = replace(FAST, name="regressed_pose", pose_regressor=PoseRegressorConfig())
LANDMARKS = replace(FAST, name="landmarks", shape_weight=0.0, neutral_weight=0.0, closure_weight=0.0, prior_weight=3e-3)
LANDMARKS_REGRESSED_POSE = replace(LANDMARKS, name="landmarks_regressed_pose", pose_regressor=PoseRegressorConfig())
CONFIGS: dict[str, TrainConfig] = {
    config.name: config for config in (FAST, PAPER, REGRESSED_POSE, LANDMARKS, LANDMARKS_REGRESSED_POSE)
}


def networks_of(
    config: SingleTrainConfig, weights: tuple[Path, ...], morphable: MorphableModel
) -> SingleNetworks | UnguidedViews:
    """The networks to train. ValueError: weights are missing, or of another stage or kind."""
    if config.pose_regressor is not None:
        return unguided_views(config.pose_regressor, config.regressor, weights, morphable)
    if not weights:
        raise ValueError("stage single starts from a trained PGN: pass --weights runs/pgn/weights.safetensors")
    pgn = trained_pgn(weights[0])
    regressor = build_regressor(config.regressor, pgn)
    if not go_on(regressor, "regressor", FaceNetworks, weights) and config.regressor.backbone == pgn.config.backbone:
        regressor.encoder.load_state_dict(pgn.encoder.state_dict())
    return SingleNetworks(pgn.requires_grad_(False), regressor, morphable)


class SingleTask:
    """Regressors against exact landmarks and shapes."""

    def __init__(self, config: SingleTrainConfig, inputs: Inputs, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model_path, self.folders = split_extra(inputs)
        morphable = MorphableModel.load(self.model_path)
        self.model = networks_of(config, inputs.weights, morphable)
        self.crop_size = self.model.crop_size
        self.supervisor = Supervisor(morphable, (self.model.map_size + 1) // 2).to(device)  # every second texel
        self.prior = morphable.expression_std.to(device)
        self.held_out: Batch | None = None

    def train_data(self) -> BatchSource:
        """Random augmented views."""
        config = self.config
        return choose_batches(self.model_path, self.folders, self.crop_size, config.batch_size, LIGHT, config.mix)

    def train_step(self, model: torch.nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Landmark loss of the placed mesh (half crops), shape after similarity (mm), prior of the coefficients."""
        crops = batch["crop"].float().div(255).contiguous(memory_format=torch.channels_last)
        return self.losses(model(crops), batch)

    def losses(self, found: ViewEstimate | UnguidedViewEstimate, batch: Batch) -> dict[str, Tensor]:
        """The losses of `train_step` of what was found in the crops of a batch."""
        identity, expression = found.identity, found.expression
        shape = self.supervisor.shapes_mm(identity, expression)
        target = self.supervisor(batch, self.crop_size)
        landmarks_mm = shape[:, -target.landmarks_px.shape[1] :]
        placed = project(landmarks_mm, found.pose_of(landmarks_mm))[..., :2] / (self.crop_size / 2)
        ones = torch.ones(placed.shape[:2], device=placed.device)
        landmark = point_distance(placed, target.landmarks_px[..., :2] / (self.crop_size / 2), ones).mean()
        truth = self.supervisor.true_shapes_mm(batch)
        distance = self.supervisor.shape_distance_mm(shape, truth).mean()
        closure = opening_difference(landmarks_mm, truth[:, -landmarks_mm.shape[1] :], OPENINGS).mean()
        neutral = self._neutral_distance_mm(identity, batch).mean()
        prior = coefficient_prior(identity, torch.ones_like(identity[0])).mean()
        prior = prior + 0.8 * coefficient_prior(expression, self.prior).mean()
        config = self.config
        loss = config.landmark_weight * landmark + config.shape_weight * distance + config.prior_weight * prior
        loss = loss + config.neutral_weight * neutral + config.closure_weight * closure
        parts = {"landmark": landmark, "shape_mm": distance, "neutral_mm": neutral, "closure_mm": closure}
        return {"loss": loss, **parts, "prior": prior}

    def _neutral_distance_mm(self, identity: Tensor, batch: Batch) -> Tensor:
        still = torch.zeros_like(batch["expression"])
        truth = self.supervisor.true_shapes_mm({**batch, "expression": still})
        return self.supervisor.shape_distance_mm(self.supervisor.shapes_mm(identity, still), truth)

    def validation_views(self) -> Batch:
        """The same views of held-out people each time."""
        if self.held_out is None:
            held_out = choose_held_out(self.model_path, self.folders, self.crop_size, VALIDATION_VIEWS)
            self.held_out = {name: value.to(self.device) for name, value in held_out.items()}
        return self.held_out

    def validate(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Errors on held-out people: landmarks of the 3DMM (% of the face's size), shape (mm) against the mean
        face's."""
        batch = self.validation_views()
        target = self.supervisor(batch, self.crop_size)
        networks = in_use(model)
        chunks = [networks(chunk) for chunk in batch["crop"].float().div(255).split(100)]
        vertices_px = torch.cat([e.vertices_px for e in chunks])
        identity, expression = (torch.cat([getattr(e, n) for e in chunks]) for n in ("identity", "expression"))
        found = self.model.model.landmarks_of(vertices_px)
        error = 100 * (found - target.landmarks_px)[..., :2].norm(dim=-1).mean(1) / target.size_px
        truth = self.supervisor.true_shapes_mm(batch)
        shapes = self.supervisor.shapes_mm(identity, expression)
        shape = self.supervisor.shape_distance_mm(shapes, truth).mean()
        closure = opening_difference(shapes[:, -found.shape[1] :], truth[:, -found.shape[1] :], OPENINGS).mean()
        mean = self.supervisor.shape_distance_mm(self.supervisor.mean.expand_as(truth), truth).mean()
        neutral = self._neutral_distance_mm(identity, batch).mean()
        mean_neutral = self._neutral_distance_mm(torch.zeros_like(identity), batch).mean()
        values = {
            "nme": error.mean(),
            "shape_mm": shape,
            "mean_face_mm": mean,
            "identity_spread": identity.std(0).mean(),
            "closure_mm": closure,
        }
        values |= {"neutral_mm": neutral, "mean_neutral_mm": mean_neutral}
        return {name: float(value) for name, value in values.items()}

    def pictures(self, model: torch.nn.Module) -> Mapping[str, np.ndarray]:
        """Nothing beyond the PGN's."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Both networks' configurations."""
        return self.model.describe()


def task(config: SingleTrainConfig, inputs: Inputs, device: torch.device) -> SingleTask:
    """The stage for `python -m train single`."""
    return SingleTask(config, inputs, device)
