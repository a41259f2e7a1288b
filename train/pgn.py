"""Stage `pgn`: the shared encoder and the pose guidance network, from views with exact labels.

`--extra` names a folder of photos (`python -m train.prepare photos`), of which views are drawn while training, or
folders of ready views (`turned`, `synthetic`); `--extra MODEL.npz` names another morphable model than the embedded one.
`--weights` of stage pgn or single: training starts from there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from face3d.checkpoint import load_weights
from face3d.losses import gaussian_nll, opening_difference, point_distance
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig
from face3d.networks.pgn import Pgn, PgnConfig, PositionMap
from train.config import Inputs, OptimiserConfig, TrainConfig
from train.fresh import Mix, choose_batches, choose_held_out
from train.supervision import OPENINGS, Supervisor, landmark_uv, mean_map
from train.task import Batch, BatchSource

EMBEDDED_MODEL = Path("face3d/assets/face3d_model.npz")
VALIDATION_VIEWS = 600


@dataclass(frozen=True)
class PgnTrainConfig(TrainConfig):
    """Network and weights of the losses."""

    network: PgnConfig = field(default_factory=PgnConfig)
    mix: Mix = Mix()
    landmark_weight: float = 1.0
    map_weight: float = 0.5
    likelihood_weight: float = 0.1
    map_shape_weight: float = 0.02  # per millimetre, of the map with its pose taken out
    closure_weight: float = 1.0  # of the openings of eyes and mouth
    depth_weight: float = 0.5  # of depth against x and y


FAST = PgnTrainConfig(batch_size=32, optimiser=OptimiserConfig(learning_rate=2.5e-3, ema_decay=0.998))
PAPER = PgnTrainConfig(
    name="paper",
    network=PgnConfig(BackboneConfig("resnet50"), 256, 64, 7, (128, 128, 64, 32, 16)),
    batch_size=64,
    precision="bf16-mixed",
    steps=200_000,
    optimiser=OptimiserConfig(learning_rate=5e-4, ema_decay=0.9998),
)
CONFIGS: dict[str, TrainConfig] = {"fast": FAST, "paper": PAPER}


def split_extra(inputs: Inputs) -> tuple[Path, tuple[Path, ...]]:
    """The morphable model's file and the folders of views among the extra inputs."""
    models = [path for path in inputs.extra if path.suffix == ".npz"]
    folders = tuple(path for path in inputs.extra if path.is_dir())
    if not folders:
        raise ValueError(
            "nothing to train on: make photos with `python -m train.prepare photos` (or ready views with `turned`) and "
            "pass --extra FOLDER"
        )
    return (models[0] if models else EMBEDDED_MODEL), folders


def pgn_state(path: Path) -> dict[str, Tensor]:
    """The PGN's part of weights of stage pgn, single or multi. ValueError: they are of another stage, or hold none."""
    state, meta = load_weights(path)
    if meta.get("stage") not in ("pgn", "single", "multi"):
        raise ValueError(f"{path} is of stage {meta.get('stage')!r}: expected weights of stage 'pgn' or 'single'")
    if "pgn" not in meta.get("network", {}):
        raise ValueError(f"{path} holds no PGN, its pose is regressed: expected weights of stage 'pgn'")
    if meta["stage"] == "pgn":
        return state
    return {name.removeprefix("pgn."): value for name, value in state.items() if name.startswith("pgn.")}


def start(pgn: Pgn, state: dict[str, Tensor]) -> None:
    """Load weights to train further. Those of a PGN from before the refiner: the refiner starts fresh."""
    if not any(name.startswith("refiner.") for name in state):
        fresh = {name: value for name, value in pgn.state_dict().items() if name.startswith("refiner.")}
        state = {**state, **fresh}
    pgn.load_state_dict(state)


class PgnTask:
    """Encoder and PGN against exact position maps."""

    def __init__(self, config: PgnTrainConfig, inputs: Inputs, device: torch.device) -> None:
        self.config = config
        self.model_path, self.folders = split_extra(inputs)
        morphable = MorphableModel.load(self.model_path)
        size = config.network.map_size
        pgn = Pgn(config.network, mean_map(morphable, size), landmark_uv(morphable))
        if inputs.weights:
            start(pgn, pgn_state(inputs.weights[0]))
        self.model = pgn
        self.supervisor = Supervisor(morphable, size).to(device)
        self.device = device
        self.held_out: Batch | None = None

    def train_data(self) -> BatchSource:
        """Random augmented views."""
        config, size = self.config, self.config.network.crop_size
        return choose_batches(self.model_path, self.folders, size, config.batch_size, mix=config.mix)

    def train_step(self, model: torch.nn.Module, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """Distances of landmarks and texels, and the likelihood of the texels, in units of half the crop."""
        half = self.config.network.crop_size / 2
        crops = batch["crop"].float().div(255).contiguous(memory_format=torch.channels_last)
        maps, _ = model(crops)
        target = self.supervisor(batch, self.config.network.crop_size)
        solid = (~batch["flat"]).float()[:, None]  # 2D pseudo-labels teach x and y of the landmarks only
        axes = torch.tensor([1.0, 1.0, self.config.depth_weight], device=crops.device) / half
        scale = torch.cat([axes[:2].expand(len(crops), -1), axes[2] * solid], dim=1)[:, None]
        ones = torch.ones(len(crops), target.landmarks_px.shape[1], device=crops.device)
        found = self.model.read(maps.position_px).transpose(1, 2)
        landmark = point_distance(found * scale, target.landmarks_px * scale, ones).mean()
        closure = opening_difference(found * scale, target.landmarks_px * scale, OPENINGS).mean()
        texels = maps.position_px.flatten(2).transpose(1, 2) * scale
        goal = target.map_px.flatten(2).transpose(1, 2) * scale
        weight = self.supervisor.texel_weight * solid
        texel = point_distance(texels, goal, weight).mean()
        likelihood = gaussian_nll(texels, goal, maps.log_variance.flatten(1), weight).mean()
        shape = (self._shape_distance_mm(maps, batch) * solid[:, 0]).mean()
        config = self.config
        loss = config.landmark_weight * landmark + config.map_weight * texel + config.likelihood_weight * likelihood
        loss = loss + config.map_shape_weight * shape + config.closure_weight * closure
        parts = {"landmark": landmark, "texel": texel, "likelihood": likelihood, "closure": closure}
        return {"loss": loss, **parts, "shape_mm": shape}

    def _shape_distance_mm(self, maps: PositionMap, batch: Batch) -> Float[Tensor, " B"]:
        points_px = torch.cat([maps.position_px.flatten(2), self.model.read(maps.position_px)], 2).transpose(1, 2)
        return self.supervisor.shape_distance_mm(points_px, self.supervisor.true_shapes_mm(batch))

    def _validation(self) -> Batch:
        if self.held_out is None:
            held_out = choose_held_out(self.model_path, self.folders, self.config.network.crop_size, VALIDATION_VIEWS)
            self.held_out = {name: value.to(self.device) for name, value in held_out.items()}
        return self.held_out

    def validate(self, model: Pgn) -> Mapping[str, float]:
        """Landmark error in % of the face's size on held-out people, in three bins of yaw."""
        batch = self._validation()
        target = self.supervisor(batch, self.config.network.crop_size)
        chunks = batch["crop"].float().div(255).split(100)
        maps = [model(chunk)[0] for chunk in chunks]
        whole = PositionMap(torch.cat([m.position_px for m in maps]), torch.cat([m.log_variance for m in maps]))
        found = model.landmarks(whole)[0]
        shape_mm = self._shape_distance_mm(whole, batch)
        error = 100 * (found - target.landmarks_px)[..., :2].norm(dim=-1).mean(1) / target.size_px
        facing = batch["rotation"][:, :, 2]
        yaw = torch.rad2deg(torch.atan2(facing[:, 0], -facing[:, 2])).abs()
        bins = {"frontal": yaw <= 30, "half": (yaw > 30) & (yaw <= 60), "profile": yaw > 60}
        closure = 100 * opening_difference(found, target.landmarks_px, OPENINGS) / target.size_px
        figures = {"nme": error.mean(), "shape_mm": shape_mm.mean(), "closure": closure.mean()}
        figures = {name: float(value) for name, value in figures.items()}
        return {**figures, **{name: float(error[rows].mean()) for name, rows in bins.items()}}

    def pictures(self, model: Pgn) -> Mapping[str, np.ndarray]:
        """Held-out crops with the landmarks found."""
        crops = self._validation()["crop"][:24]
        points = model.landmarks(model(crops.float().div(255))[0])[0].cpu().numpy()
        tiles = []
        for crop, marks in zip(crops.permute(0, 2, 3, 1).cpu().numpy(), points, strict=True):
            tile = np.ascontiguousarray(crop)
            for x, y, _ in marks:
                cv2.circle(tile, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
            tiles.append(tile)
        rows = [np.concatenate(tiles[i : i + 8], 1) for i in range(0, len(tiles) - len(tiles) % 8, 8)]
        return {"landmarks": np.concatenate(rows)} if rows else {}

    def describe(self) -> dict[str, Any]:
        """The network's configuration."""
        return {"pgn": asdict(self.config.network)}


def task(config: PgnTrainConfig, inputs: Inputs, device: torch.device) -> PgnTask:
    """The stage for `python -m train pgn`."""
    return PgnTask(config, inputs, device)
