"""Stage `flow`: optical flow learned without labels, from videos and generated scenes.

`--config` names a recipe, each a row of `CONFIGS`: `photometric`, `occlusion` (the default as `fast`), then students of
teachers that `--weights` names: `ddflow`, `selflow`, `distillflow` (several teachers: their mean), `refined` (the same,
fitted to the frames first), `flow2stereo`; and `supervised`, from generated labels. `--extra` names folders of
videos or pictures, `--extra MODEL.npz` and a folder of `python -m train.prepare photos` make the drawn faces those of
photos. A student starts from its first teacher's weights where the network is the same.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from face3d.flow_picture import flow_picture
from face3d.networks.flow import DDFLOW, SELFLOW, SMALL, FlowConfig, FlowNetwork
from face3d.optical_flow import load_flow_network
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.flow_data import DataConfig, held_out, sources
from train.flow_objective import Hidden, ObjectiveConfig, hidden, supervised_loss, taught_loss, unlabelled_losses
from train.flow_pairs import Pairs, between, estimate
from train.flow_stereo import stereo_constraints
from train.flow_teachers import Teachers
from train.flow_views import VIEWS, Lesson
from train.task import Batch, BatchSource

NETWORKS: dict[str, FlowConfig] = {
    "small": SMALL,
    "small3": replace(SMALL, frames=3),
    "ddflow": DDFLOW,
    "selflow": SELFLOW,
}


@dataclass(frozen=True)
class FlowTrainConfig(TrainConfig):
    """One recipe. `views`: what the student's frames go through (train.flow_views), none without a teacher;
    `learn_from`: which of the teacher's flow counts; `refine_teachers`: it is fitted to the frames first; `labels`:
    learn from the true flow of generated scenes."""

    network: Literal["small", "small3", "ddflow", "selflow"] = "small"
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    views: tuple[str, ...] = ()
    learn_from: Literal["occluded", "confident"] = "occluded"
    refine_teachers: bool = False
    taught_weight: float = 1.0
    quadrilateral_weight: float = 0.1
    triangle_weight: float = 0.2
    rectified_weight: float = 0.1
    labels: bool = False
    validation_scenes: int = 24


_RATE = OptimiserConfig(learning_rate=4e-4, weight_decay=1e-4, ema_decay=0.999)
OCCLUSION = FlowTrainConfig(batch_size=8, optimiser=_RATE)
_TAUGHT = replace(OCCLUSION, objective=ObjectiveConfig(occlusion_from=0.0))
_STEREO = replace(OCCLUSION, data=DataConfig(scenes=0.0, stereo=True))
CONFIGS: dict[str, TrainConfig] = {
    "fast": OCCLUSION,
    "photometric": replace(OCCLUSION, name="photometric", objective=ObjectiveConfig(occlusion="none")),
    "occlusion": replace(OCCLUSION, name="occlusion"),
    "ddflow": replace(_TAUGHT, name="ddflow", views=("crop",)),
    "selflow": replace(_TAUGHT, name="selflow", views=("superpixels",)),
    "rectangles": replace(_TAUGHT, name="rectangles", views=("rectangles",)),
    "distillflow": replace(
        _TAUGHT, name="distillflow", views=("affine", "colour", "superpixels"), learn_from="confident"
    ),
    "refined": replace(
        _TAUGHT,
        name="refined",
        views=("affine", "colour", "superpixels"),
        learn_from="confident",
        refine_teachers=True,
    ),
    "stereo": replace(_STEREO, name="stereo", quadrilateral_weight=0.0, triangle_weight=0.0),
    "flow2stereo": replace(_STEREO, name="flow2stereo"),
    "flow2stereo_student": replace(
        _TAUGHT, name="flow2stereo_student", data=_STEREO.data, views=("crop", "superpixels"), learn_from="confident"
    ),
    "supervised": replace(OCCLUSION, name="supervised", labels=True),
    "paper": replace(
        OCCLUSION,
        name="paper",
        network="selflow",
        steps=300_000,
        precision="bf16-mixed",
        data=DataConfig(size=320),
        optimiser=replace(_RATE, learning_rate=1e-4, ema_decay=0.9998),
    ),
}


class FlowTask:
    """A flow network against pictures, teachers or labels."""

    def __init__(self, config: FlowTrainConfig, inputs: Inputs, device: torch.device) -> None:
        _check(config, inputs)
        self.config, self.device = config, device
        self.network = NETWORKS[config.network]
        self.frames = 4 if config.data.stereo else 2 if self.network.frames == 2 else 5
        self.between = between(self.frames, config.data.stereo)
        self.inputs = inputs
        self.model = FlowNetwork(self.network)
        networks = [load_flow_network(path) for path in inputs.weights]
        if networks:
            start(self.model, networks[0])
        self.teachers = Teachers(networks, device, config.refine_teachers) if config.views else None
        self.unseen: Batch | None = None

    def train_data(self) -> BatchSource:
        """Sequences of frames, with superpixels where a view needs them."""
        config = self.config
        return sources(config.data, self.inputs, self.frames, config.batch_size, config.labels, config.views)

    def train_step(self, model: nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Means of the losses over the pairs."""
        frames = batch["frames"].float().div(255)
        lesson = self._lesson(frames, batch.get("segments"))
        pairs = self._estimate(model, frames if lesson is None else lesson.frames)
        if self.config.labels:
            losses = {"supervised": supervised_loss(pairs, batch, self.between)}
        else:
            losses = self._unlabelled(pairs, lesson, progress)
        means = {name: values.mean() for name, values in losses.items()}
        return {"loss": torch.stack(list(means.values())).sum(), **means}

    def _unlabelled(self, pairs: Pairs, lesson: Lesson | None, progress: float) -> dict[str, Tensor]:
        config = self.config
        started = progress >= config.objective.occlusion_from
        unseen = hidden(pairs, config.objective.occlusion if started else "none")
        losses = unlabelled_losses(pairs, unseen, config.objective)
        if lesson is not None:
            losses["taught"] = config.taught_weight * taught_loss(pairs, lesson, unseen, config.learn_from)
        if config.data.stereo:
            losses |= self._stereo(pairs, unseen)
        return losses

    def _stereo(self, pairs: Pairs, unseen: Hidden) -> dict[str, Tensor]:
        config = self.config
        weights = (config.quadrilateral_weight, config.triangle_weight, config.rectified_weight)
        names = ("quadrilateral", "triangle", "rectified")
        values = stereo_constraints(pairs, unseen)
        return {name: weight * value for name, weight, value in zip(names, weights, values, strict=True) if weight}

    def _estimate(self, model: nn.Module, frames: Tensor) -> Pairs:
        return estimate(model, self.network.frames, frames, self.config.data.stereo)

    def _lesson(self, frames: Tensor, segments: Tensor | None) -> Lesson | None:
        """What the teachers see, and of it what the student is shown; None without teachers."""
        if self.teachers is None:
            return None
        mixed = self.config.precision == "bf16-mixed"
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=mixed):
            lesson = self.teachers(frames, self.config.data.stereo, segments)
        for name in self.config.views:
            lesson = VIEWS[name](lesson)
        return lesson

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """End-point error in pixels on unseen generated scenes: all, visible, occluded; of stereo disparity's too."""
        batch = self._held_out()
        figures: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for rows in torch.arange(len(batch["frames"])).split(4):
            part = {name: values[rows].to(self.device) for name, values in batch.items()}
            pairs = self._estimate(model, part["frames"].float().div(255))
            for at, (one, other) in enumerate(self.between):
                found = pairs.forward_px[at * len(rows) : (at + 1) * len(rows)]
                name, true, occluded = _truth(part, one, other, self.config.data.stereo)
                if true is not None:
                    figures.setdefault(name, []).append(((found - true).norm(dim=1).flatten(), occluded.flatten()))
        return {key: value for name, parts in figures.items() for key, value in _errors(name, parts).items()}

    def _held_out(self) -> Batch:
        if self.unseen is None:
            self.unseen = held_out(self.config.data, self.inputs, self.frames, self.config.validation_scenes)
        return self.unseen

    def pictures(self, model: nn.Module) -> Mapping[str, np.ndarray]:
        """Unseen scenes: frame, true flow, flow found."""
        if self.config.data.stereo:
            return {}
        batch = {name: values[:4].to(self.device) for name, values in self._held_out().items()}
        pairs = self._estimate(model, batch["frames"].float().div(255))
        one = self.between[0][0]
        rows = []
        for at in range(len(batch["frames"])):
            true, found = (
                flow[at].permute(1, 2, 0).cpu().numpy() for flow in (batch["flow_forward_px"][:, one], pairs.forward_px)
            )
            largest = float(np.linalg.norm(true, axis=2).max()) + 1e-3
            frame = batch["frames"][at, one].permute(1, 2, 0).cpu().numpy()
            rows.append(np.concatenate([frame, flow_picture(true, largest), flow_picture(found, largest)], 1))
        return {"flow": np.concatenate(rows)}

    def describe(self) -> dict[str, Any]:
        """The network's configuration."""
        return {"config": asdict(self.network)}


def start(model: FlowNetwork, teacher: FlowNetwork) -> None:
    """Begin with the weights of a network of the same kind; an upsampler that it does not have stays as it is. A
    network of another kind is not looked at."""
    if replace(teacher.config, convex_upsampling=model.config.convex_upsampling) != model.config:
        return
    state = teacher.state_dict()
    model.load_state_dict({name: state.get(name, value) for name, value in model.state_dict().items()})


def _check(config: FlowTrainConfig, inputs: Inputs) -> None:
    """ValueError for a recipe that cannot be."""
    unknown = [name for name in config.views if name not in VIEWS]
    if unknown:
        raise ValueError(f"no view {unknown[0]!r} for the student; there are {', '.join(VIEWS)}.")
    if config.network not in NETWORKS:
        raise ValueError(f"no flow network {config.network!r}; there are {', '.join(NETWORKS)}.")
    if config.views and not inputs.weights:
        raise ValueError(f"recipe {config.name!r} needs a teacher: pass --weights runs/flow/weights.safetensors.")
    if config.data.stereo and NETWORKS[config.network].frames != 2:
        raise ValueError("stereo sequences have two moments: take a network of two frames, --set network=small.")
    if config.labels and config.data.stereo:
        raise ValueError("labels are those of scenes or faces, not of stereo scenes.")


def _truth(batch: Batch, one: int, other: int, stereo: bool) -> tuple[str, Tensor | None, Tensor]:
    """Name, true forward flow and occlusion of a pair; None where the pair's flow is not known."""
    if not stereo:
        return "epe", batch["flow_forward_px"][:, one], batch["occluded_forward"][:, one]
    if other - one == 2:
        return "epe", batch["flow_forward_px"][:, one], batch["occluded_forward"][:, one]
    if (one, other) in ((0, 1), (2, 3)):
        disparity = batch["disparity_left_px"][:, one // 2]
        return "disparity", torch.stack([-disparity, 0 * disparity], 1), batch["hidden_left"][:, one // 2]
    return "across", None, batch["hidden_left"]


def _errors(name: str, parts: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    error, occluded = (torch.cat(values) for values in zip(*parts, strict=True))
    figures = {name: float(error.mean()), f"{name}_visible": float(error[~occluded].mean())}
    return figures | ({f"{name}_occluded": float(error[occluded].mean())} if bool(occluded.any()) else {})


def task(config: FlowTrainConfig, inputs: Inputs, device: torch.device) -> FlowTask:
    """The stage for `python -m train flow`."""
    return FlowTask(config, inputs, device)
