"""Stage `multi`: the regressors learn from several frames of one person that must agree with one another.

Takes `--weights` of stage `single` (what is trained further), of `flow` and of `parser` where their losses have a
weight, else the embedded ones; and `--extra` with the shards of `python -m train.prepare people`, else it makes them of
the videos in `--data`. A folder of `python -m train.prepare photos` among `--extra` puts views with exact shapes, and
the losses of stage `single` (those that its weights were trained with), beside the people of each step, so that the
regressors do not forget the shape; and it adds the errors of stage `single` on held-out views to the figures.

Weights of stage `single` may be without pose guidance (its `--config regressed_pose`): then the pose of each frame is
regressed, and its regressor learns too.
"""

import copy
import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from face3d.checkpoint import load_weights
from face3d.consistency import SwappedPairs, counted_triangles, swap_all
from face3d.flow_adjustment import Adjustment, AdjustmentConfig, Flow, compare_frames, solve
from face3d.losses import coefficient_prior, identity_disagreement, point_distance, weighted_mean
from face3d.losses_flow import census_distance
from face3d.morphable import MorphableModel
from face3d.networks_file import is_unguided
from face3d.optical_flow import forward_flow, load_flow_network
from face3d.parse import FaceParser
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.config import change as changed
from train.mixed_batches import PeopleAndViews, beside, views_of
from train.multi_inputs import complete_inputs as complete_inputs
from train.objective import ConsistencyWeights, Parser, consistency_losses
from train.people_batches import PHOTO_SHARE, NobodyHeldOut, PeopleBatches, held_out_people
from train.people_networks import PeopleNetworks, PersonEstimate
from train.people_panel import people_panel
from train.pgn import EMBEDDED_MODEL
from train.single import SingleTask, SingleTrainConfig
from train.task import Batch, BatchSource
from train.term_gradients import gradient_norms, identity_cut
from train.unguided_networks import UnguidedPeople
from train.weights_files import by_stage

log = logging.getLogger(__name__)
PICTURED = 6
VIEW_WEIGHTS = (
    "landmark_weight",
    "shape_weight",
    "neutral_weight",
    "closure_weight",
    "prior_weight",
)  # of stage single's losses
BALANCED_ON = 8  # held-out people on whom the terms of the loss are weighed, with as many views as they have frames


@dataclass(frozen=True)
class MultiTrainConfig(TrainConfig):
    """Frames a person, and weights of the losses; those between frames are in `consistency`.

    Weights are balanced by gradients (figures `gradient/...`), not by values: docs/training.md."""

    frames: int = 2
    least_yaw_gap_deg: float = 10.0
    pool: int = 256  # tracks of each kind in memory, of which batches are drawn
    photo_share: float = PHOTO_SHARE  # of the samples, people with photos; the rest are videos
    consistency: ConsistencyWeights = field(default_factory=ConsistencyWeights)
    landmark_weight: float = 5.0
    prior_weight: float = 0.03  # identity; expression 0.8 of it. Of the mean; Deng et al. (2019): 3e-4 of a sum over 80
    agreement_weight: float = 0.01  # of how far frames of one person differ in identity, as a share of its own length
    hold_expression: bool = False  # the losses between frames teach the identity alone; with pose guidance only
    adjustment_weight: float = 0.0  # of the distance to the shapes that explain the flow between frames best
    adjustment: AdjustmentConfig = field(default_factory=AdjustmentConfig)
    pseudo_label_weight: float = 0.0  # of the distance to the shapes in shards of `python -m train.prepare refined`
    views_weight: float = 0.2  # of stage single's loss on views; without photos among --extra there are none
    views_batch: int = 16
    validation_people: int = 24


ALL = MultiTrainConfig(batch_size=8, steps=5000, optimiser=OptimiserConfig(learning_rate=2e-4, ema_decay=0.998))


def _only(name: str, **weights: float) -> MultiTrainConfig:
    chosen = replace(ConsistencyWeights(census=0.0, rgb=0.0, flow=0.0, semantic=0.0), **weights)
    return replace(ALL, name=name, consistency=chosen)


_RESIDUAL = replace(ALL, name="residual", consistency=replace(ALL.consistency, residual_flow=1.5))
_SOLVED_FOR = replace(
    _only("solved_for"), landmark_weight=0.5, prior_weight=1e-4, agreement_weight=0.0, views_weight=2.0
)
CONFIGS: dict[str, TrainConfig] = {
    "fast": ALL,
    "all": replace(ALL, name="all"),
    "no_pairs": replace(_only("no_pairs"), agreement_weight=0.0),
    "rgb": _only("rgb", rgb=1.0),
    "census": _only("census", census=1.0),
    "census_flow": _only("census_flow", census=1.0, flow=ALL.consistency.flow),
    "census_semantic": _only("census_semantic", census=1.0, semantic=ALL.consistency.semantic),
    "residual": _RESIDUAL,
    "held": replace(_RESIDUAL, name="held", hold_expression=True),
    "adjusted": replace(
        _SOLVED_FOR, name="adjusted", frames=4, batch_size=4, least_yaw_gap_deg=20.0, adjustment_weight=30.0
    ),
    "pseudo_labels": replace(_SOLVED_FOR, name="pseudo_labels", batch_size=16, pseudo_label_weight=3.0),
}


class MultiTask:
    """Regressors against the other frames of the same person."""

    def __init__(self, config: MultiTrainConfig, inputs: Inputs, device: torch.device) -> None:
        self.config, self.device = config, device
        weights = by_stage(inputs.weights)
        self.shards, photos, model_path = _sorted_extra(inputs)
        self.model = _networks(weights.get("single") or weights.get("multi"), model_path)
        if isinstance(self.model, PeopleNetworks):
            self.model.hold_expression = config.hold_expression
        elif config.hold_expression:
            raise ValueError("weights without pose guidance cannot hold expressions: --set hold_expression=false")
        self.anchor: nn.Module | None = None  # the networks at the start
        if config.adjustment_weight:
            self.anchor = copy.deepcopy(self.model).to(device).eval().requires_grad_(False)
        self.crop_size = self.model.crop_size
        self.counted = counted_triangles(self.model.model).to(device)
        self.flow, self.parser = _frozen(config, weights, device)
        self.views = self._views(weights, photos, model_path) if photos else None
        self.held_out: Batch | None = None
        self.any_held_out = True

    def _views(self, weights: Mapping[str, Path], photos: Path, model_path: Path) -> SingleTask:
        started = weights.get("single") or weights["multi"]
        pose = self.model.pose_regressor.config if isinstance(self.model, UnguidedPeople) else None
        inputs = Inputs(Path("."), weights=(started,), extra=(model_path, photos))
        config = SingleTrainConfig(
            batch_size=self.config.views_batch, regressor=self.model.regressor.config, pose_regressor=pose
        )
        return SingleTask(judged_as(config, started), inputs, self.device)

    def train_data(self) -> BatchSource:
        """Frames of people, several a person; views beside them where they have a weight."""
        config = self.config
        people = PeopleBatches(
            self.shards,
            config.frames,
            self.crop_size,
            config.batch_size,
            config.least_yaw_gap_deg,
            pool=config.pool,
            photo_share=config.photo_share,
            pseudo_labels=config.pseudo_label_weight > 0,
        )
        if self.views is None or not config.views_weight:
            return people
        return PeopleAndViews(people, self.views.train_data())

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Means of the losses over people and pairs of their frames, and over the views."""
        terms, told = self._terms(model, batch)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms, **told}

    def _terms(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted terms of the loss, and what else is told of a batch."""
        frames, views, config = batch["frames"].float().div(255), views_of(batch), self.config
        crops = (views["crop"].float().div(255),) if views else ()
        estimate = model(frames, *crops)
        found: PersonEstimate = estimate[0] if views else estimate
        losses, told = self._between_frames(frames, found)
        losses["landmark"] = config.landmark_weight * self._landmark(found, batch)
        losses["prior"] = config.prior_weight * self._prior(found)
        if config.pseudo_label_weight:
            losses["pseudo_label"] = config.pseudo_label_weight * self._to_pseudo_label(found, batch)
        losses["agreement"] = config.agreement_weight * identity_disagreement(found.own_identity)
        terms = {name: values.mean() for name, values in losses.items()}
        if views and self.views is not None:
            of_views = self.views.losses(estimate[1], views)
            terms["views"] = config.views_weight * of_views["loss"]
            told |= {f"views_{name}": of_views[name].detach() for name in ("shape_mm", "neutral_mm")}
        return terms, told

    def _between_frames(self, frames: Tensor, found: PersonEstimate) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted losses of each pair or person, and the share of the pictures that frames share."""
        config = self.config
        losses: dict[str, Tensor] = {}
        told: dict[str, Tensor] = {}
        if any(astuple(config.consistency)):
            pairs = self._swap(frames, found)
            losses = consistency_losses(pairs, config.consistency, self.flow, self.parser)
            told["shared"] = pairs.mask.float().mean()
        if self.anchor is not None and self.flow is not None:
            model, at = self.model.model, found.vertices_px.detach()
            with torch.no_grad():
                to_anchor = self.anchor(frames).identity - found.identity
            compared = compare_frames(frames, at, found.pose, model, self.flow, self.counted, config.adjustment.points)
            change = solve(compared, config.adjustment, to_anchor)
            losses["adjustment"] = config.adjustment_weight * self._to_adjust(found, change)
            told["shared"] = compared.shared.mean()
        return losses, told

    def _to_adjust(self, found: PersonEstimate, change: Adjustment) -> Tensor:
        """Mean squared distance (B,) of the identity, in standard deviations, to the one adjusted."""
        target = (found.identity + change.identity).detach()
        return (found.identity - target).square().mean(1)

    def _to_pseudo_label(self, found: PersonEstimate, batch: Batch) -> Tensor:
        """Mean squared distance (B,) of each frame's identity and expression to those in the shards, in deviations."""
        identity = (found.own_identity - batch["identity"][:, None]).square().mean((1, 2))
        expression = (found.expression - batch["expression"]) / self.model.model.expression_std
        return identity + expression.square().mean((1, 2))

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
        identities differ among frames and among people (standard deviations). Of each weighted term of the loss, on a
        few of them: its value, `term/NAME`, and how strongly it pulls at the identity, `gradient/NAME`."""
        figures = self.views.validate(model) if self.views is not None else {}
        held_out = self._held_out()
        if held_out is None:
            return figures
        batch = {name: values.to(self.device) for name, values in held_out.items()}
        figures = self._people_figures(model, batch) | dict(figures)
        few = {name: values[:: -(-len(values) // BALANCED_ON)] for name, values in batch.items()}
        return figures | self._balance(model, few)

    def _held_out(self) -> Batch | None:
        """People who are not trained on; None, with a warning, where the shards have none."""
        config, size = self.config, self.crop_size
        if self.held_out is None and self.any_held_out:
            try:
                self.held_out = held_out_people(
                    self.shards,
                    config.frames,
                    size,
                    config.validation_people,
                    photo_share=config.photo_share,
                    pseudo_labels=config.pseudo_label_weight > 0,
                )
            except NobodyHeldOut as reason:
                log.warning("%s: what is learned of people is not checked on others", reason)
                self.any_held_out = False
        return self.held_out

    def _balance(self, model: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures `term/NAME` and `gradient/NAME` of a few people and views."""
        people, views = len(batch["frames"]), 0
        if self.views is not None and self.config.views_weight:
            views = self.config.frames * people
            batch = beside(batch, {name: values[:views] for name, values in self.views.validation_views().items()})
        assert isinstance(model, PeopleNetworks | UnguidedPeople)
        with torch.enable_grad(), identity_cut(model.regressor) as identity:
            terms, _ = self._terms(model, batch)
            samples = {name: (term, views if name == "views" else people) for name, term in terms.items()}
            norms = gradient_norms(samples, identity[0])
        values = {f"term/{name}": float(term.detach()) for name, term in terms.items()}
        return values | {f"gradient/{name}": norm for name, norm in norms.items()}

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
        """A row for each of a few unseen people: what the losses see of two frames (train.people_panel)."""
        held_out = self._held_out()
        if held_out is None:
            return {}
        batch = held_out["frames"]
        frames = batch[:: -(-len(batch) // PICTURED), :2].to(self.device).float().div(255)
        found: PersonEstimate = model(frames)
        triangles = self.model.model.triangles
        pairs = swap_all(frames, found.vertices_px, triangles, self.counted, [(0, 1)])
        return {"swapped": people_panel(pairs, found.vertices_px[:, 0], triangles, self.flow, self.parser)}

    def describe(self) -> dict[str, Any]:
        """The networks' configurations, as stage single, and by which weights of losses the views judged them."""
        if self.views is None:
            return self.model.describe()
        return {**self.model.describe(), "views": {name: getattr(self.views.config, name) for name in VIEW_WEIGHTS}}


def judged_as(config: SingleTrainConfig, weights: Path) -> SingleTrainConfig:
    """The configuration with the weights of the losses that these weights of stage single were trained with, or those
    of stage multi on the way from there: what was learned from landmarks alone must not be told its shapes by the
    views. As it is where they do not say."""
    meta = load_weights(weights)[1]
    told = meta.get("config", {}) if meta.get("stage") == "single" else meta.get("network", {}).get("views", {})
    return changed(config, [f"{name}={told[name]}" for name in VIEW_WEIGHTS if name in told])


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
    config: MultiTrainConfig, weights: Mapping[str, Path], device: torch.device
) -> tuple[Flow | None, Parser | None]:
    """The flow network and the parser, of those that a loss needs."""
    wanted = config.consistency
    flows = wanted.flow or wanted.residual_flow or config.adjustment_weight
    wanted_of = {"flow": flows, "parser": wanted.semantic}
    missing = [stage for stage, weight in wanted_of.items() if weight and stage not in weights]
    if missing:
        raise ValueError(
            f"a loss needs weights of stage {' and '.join(missing)}: pass --weights, or set its weight to 0"
        )
    flow: Flow | None = None
    if flows:
        network = load_flow_network(weights["flow"]).to(device).requires_grad_(False)
        if network.config.frames != 2:
            raise ValueError(f"{weights['flow']} is a flow network of three frames: frames that are swapped are two")
        flow = forward_flow(network)
    parser: Parser | None = FaceParser(weights["parser"], device) if wanted.semantic else None
    return flow, parser


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
