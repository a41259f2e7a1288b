"""Stage `multi`: the regressors learn from several frames of one person that must agree with one another.

Needs `--weights` of stage `single` (what is trained further), of `flow` and of `parser` where their losses have a
weight, and `--extra` with the shards of `python -m train.prepare people`. A folder of `python -m train.prepare photos`
among `--extra` adds the errors of stage `single` on held-out views to the figures.

Weights of stage `single` may be without pose guidance (its `--config regressed_pose`): then the pose of each frame is
regressed, and its regressor learns too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from face3d.checkpoint import load_weights
from face3d.consistency import SwappedPairs, counted_triangles, swap_all
from face3d.losses import coefficient_prior, point_distance, weighted_mean
from face3d.losses_flow import census_distance
from face3d.morphable import MorphableModel
from face3d.networks.flow import FlowNetwork
from face3d.networks_file import is_unguided
from face3d.optical_flow import load_flow_network
from face3d.parse import FaceParser
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.objective import ConsistencyWeights, Flow, Parser, consistency_losses
from train.people_batches import PeopleBatches, held_out_people
from train.people_networks import PeopleNetworks, PersonEstimate
from train.pgn import EMBEDDED_MODEL
from train.single import SingleTask, SingleTrainConfig
from train.task import Batch, BatchSource
from train.unguided_networks import UnguidedPeople


@dataclass(frozen=True)
class MultiTrainConfig(TrainConfig):
    """Frames a person, and weights of the losses; those between frames are in `consistency`."""

    frames: int = 2
    least_yaw_gap_deg: float = 10.0
    pool: int = 256  # tracks in memory, of which batches are drawn
    consistency: ConsistencyWeights = field(default_factory=ConsistencyWeights)
    landmark_weight: float = 1.0
    prior_weight: float = 3e-4  # identity; expression 0.8 of it, as in stage single
    agreement_weight: float = 0.01  # squared standard deviations by which frames of one person differ in identity
    validation_people: int = 24


ALL = MultiTrainConfig(batch_size=8, steps=5000, optimiser=OptimiserConfig(learning_rate=2e-4, ema_decay=0.998))


def _only(name: str, **weights: float) -> MultiTrainConfig:
    chosen = replace(ConsistencyWeights(census=0.0, rgb=0.0, flow=0.0, semantic=0.0), **weights)
    return replace(ALL, name=name, consistency=chosen)


CONFIGS: dict[str, TrainConfig] = {
    "fast": ALL,
    "all": replace(ALL, name="all"),
    "rgb": _only("rgb", rgb=1.0),
    "census": _only("census", census=1.0),
    "census_flow": _only("census_flow", census=1.0, flow=ALL.consistency.flow),
    "census_semantic": _only("census_semantic", census=1.0, semantic=ALL.consistency.semantic),
}


class MultiTask:
    """Regressors against the other frames of the same person."""

    def __init__(self, config: MultiTrainConfig, inputs: Inputs, device: torch.device) -> None:
        self.config, self.device = config, device
        weights = by_stage(inputs.weights)
        self.shards, photos, model_path = _sorted_extra(inputs)
        self.model = _networks(weights.get("single") or weights.get("multi"), model_path)
        self.crop_size = self.model.crop_size
        self.counted = counted_triangles(self.model.model).to(device)
        self.flow, self.parser = _frozen(config.consistency, weights, device)
        self.views = self._views(weights, photos, model_path) if photos else None
        self.held_out: Batch | None = None

    def _views(self, weights: Mapping[str, Path], photos: Path, model_path: Path) -> SingleTask:
        started = weights.get("single") or weights["multi"]
        pose = self.model.pose_regressor.config if isinstance(self.model, UnguidedPeople) else None
        inputs = Inputs(Path("."), weights=(started,), extra=(model_path, photos))
        return SingleTask(SingleTrainConfig(pose_regressor=pose), inputs, self.device)

    def train_data(self) -> BatchSource:
        """Frames of people, several a person."""
        config = self.config
        return PeopleBatches(
            self.shards, config.frames, self.crop_size, config.batch_size, config.least_yaw_gap_deg, pool=config.pool
        )

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Means of the losses over people and pairs of their frames."""
        frames = batch["frames"].float().div(255)
        found: PersonEstimate = model(frames)
        pairs = self._swap(frames, found)
        losses = consistency_losses(pairs, self.config.consistency, self.flow, self.parser)
        config = self.config
        losses["landmark"] = config.landmark_weight * self._landmark(found, batch)
        losses["prior"] = config.prior_weight * self._prior(found)
        spread = (found.own_identity - found.own_identity.mean(1, keepdim=True)).square()
        losses["agreement"] = config.agreement_weight * spread.mean((1, 2))
        means = {name: values.mean() for name, values in losses.items()}
        shared = pairs.mask.float().mean()
        return {"loss": torch.stack(list(means.values())).sum(), **means, "shared": shared}

    def _swap(self, frames: Tensor, found: PersonEstimate) -> SwappedPairs:
        return swap_all(frames, found.vertices_px, self.model.model.triangles, self.counted)

    def _landmark(self, found: PersonEstimate, batch: Batch) -> Tensor:
        """Distance (B K,) in halves of the crop to the landmarks that the data came with."""
        half = self.crop_size / 2
        placed, target = (v.flatten(0, 1)[..., :2] / half for v in (found.model_landmarks_px, batch["landmarks_px"]))
        return point_distance(placed, target, batch["confidence"].flatten(0, 1))

    def _prior(self, found: PersonEstimate) -> Tensor:
        expression = found.expression.flatten(0, 1)
        identity = coefficient_prior(found.identity, torch.ones_like(found.identity[0]))
        return identity + 0.8 * coefficient_prior(expression, self.model.model.expression_std).view(
            len(identity), -1
        ).mean(1)

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """On unseen people: census distance (0-48) of what frames share, landmarks (% of half a crop), how far their
        identities differ among frames and among people (standard deviations)."""
        if self.held_out is None:
            config = self.config
            self.held_out = held_out_people(self.shards, config.frames, self.crop_size, config.validation_people)
        figures = self._people_figures(model, {name: v.to(self.device) for name, v in self.held_out.items()})
        if self.views is not None:
            figures |= self.views.validate(model)
        return figures

    def _people_figures(self, model: nn.Module, batch: Batch) -> dict[str, float]:
        frames = batch["frames"].float().div(255)
        found: PersonEstimate = model(frames)
        pairs = self._swap(frames, found)
        distance = census_distance(pairs.frame, pairs.swapped)
        census = weighted_mean(distance.flatten(1), pairs.mask.flatten(1).float())
        own = found.own_identity
        return {
            "census_distance": float(census.mean()),
            "landmark_percent": 100 * float(self._landmark(found, batch).mean()),
            "among_frames": float(own.std(1).mean()),
            "among_people": float(found.identity.std(0).mean()),
        }

    @torch.no_grad()
    def pictures(self, model: nn.Module) -> Mapping[str, np.ndarray]:
        """Unseen people: frame, the same with the skin of the other frame, what is compared."""
        if self.held_out is None:
            return {}
        frames = self.held_out["frames"][:6].to(self.device).float().div(255)
        pairs = self._swap(frames, model(frames))
        shown = torch.where(pairs.mask[:, None], pairs.swapped, pairs.frame)
        error = census_distance(pairs.frame, pairs.swapped)[:, None].expand(-1, 3, -1, -1) / 48 * pairs.mask[:, None]
        rows = torch.cat([pairs.frame, pairs.swapped, shown, error], 3)[: len(frames)]
        return {"swapped": (255 * rows).byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()}

    def describe(self) -> dict[str, Any]:
        """The networks' configurations, as stage single."""
        return self.model.describe()


def by_stage(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Weights files by their stage. ValueError for two of one stage."""
    found: dict[str, Path] = {}
    for path in paths:
        stage = str(load_weights(path)[1].get("stage"))
        if stage in found:
            raise ValueError(f"{found[stage]} and {path} are both of stage {stage!r}: pass one")
        found[stage] = path
    return found


def _networks(path: Path | None, model_path: Path) -> PeopleNetworks | UnguidedPeople:
    if path is None:
        raise ValueError("stage multi starts from stage single: pass --weights runs/single/weights.safetensors")
    morphable = MorphableModel.load(model_path)
    if is_unguided(path):
        return UnguidedPeople.read(path, morphable)
    networks = PeopleNetworks.read(path, morphable)
    networks.pgn.requires_grad_(False)
    return networks


def _frozen(
    wanted: ConsistencyWeights, weights: Mapping[str, Path], device: torch.device
) -> tuple[Flow | None, Parser | None]:
    """The flow network and the parser, of those that a loss needs."""
    missing = [s for s, weight in (("flow", wanted.flow), ("parser", wanted.semantic)) if weight and s not in weights]
    if missing:
        raise ValueError(
            f"a loss needs weights of stage {' and '.join(missing)}: pass --weights, or set its weight to 0"
        )
    flow: Flow | None = None
    if wanted.flow:
        network = load_flow_network(weights["flow"]).to(device).requires_grad_(False)
        if network.config.frames != 2:
            raise ValueError(f"{weights['flow']} is a flow network of three frames: frames that are swapped are two")
        flow = partial(_forward_px, network)
    parser: Parser | None = FaceParser(weights["parser"], device) if wanted.semantic else None
    return flow, parser


def _forward_px(network: FlowNetwork, pairs: Tensor) -> Tensor:
    return network(pairs).forward_px


def _sorted_extra(inputs: Inputs) -> tuple[tuple[Path, ...], Path | None, Path]:
    """Folders of shards, the folder of photos and the morphable model among the extra inputs."""
    folders = [path for path in inputs.extra if path.is_dir()]
    shards = tuple(folder for folder in folders if any(folder.glob("people-*.tar")))
    photos = [folder for folder in folders if (folder / "fits.npz").is_file()]
    models = [path for path in inputs.extra if path.suffix == ".npz"]
    if not shards:
        raise ValueError(
            "nothing to train on: make shards with `python -m train.prepare people` and pass --extra FOLDER"
        )
    return shards, (photos[0] if photos else None), (models[0] if models else EMBEDDED_MODEL)


def task(config: MultiTrainConfig, inputs: Inputs, device: torch.device) -> MultiTask:
    """The stage for `python -m train multi`."""
    return MultiTask(config, inputs, device)
