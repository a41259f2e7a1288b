"""The tensor door: crops in, faces in the frame of their crops out. Differentiable, batched, on any device.

crops, mirrored crops -> encoder -> PGN: UV position map, confidence -> 3D landmarks -> upright crops
                      upright crops, points -> regressors: identity, expression -> 3DMM landmarks
                                            -> closed-form pose -> mesh
"""

import os
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from face3d.camera import project
from face3d.checkpoint import load_weights
from face3d.morphable import MorphableModel
from face3d.networks.backbone import BackboneConfig, fuse_norms
from face3d.networks.pgn import Pgn, PgnConfig, PositionMap
from face3d.networks.refiner import RefinerConfig
from face3d.networks.regressor import RegressedCoefficients, Regressor, RegressorConfig
from face3d.networks.upright import Upright, upright_crops
from face3d.pose import pose_from_landmarks, similarity_procrustes
from face3d.types import ScaledOrthography, Similarity

CROP_FACTOR = 1.25
"""Side of the crop over the larger side of the landmarks' box; chosen on dlib's 18 labelled faces, of what is trained
(1.2 to 1.65)."""
PASSES = 2
LEAST_CONFIDENCE = 0.22  # mean over the landmarks: crops of anything but faces lie below, those of LFW above 0.35
SHAPE_TEXELS = 13  # texels along a side of the map that the regressor sees
_MM_PER_CM = 10.0
Kind = TypeVar("Kind", bound="StoredNetworks")
Guided = TypeVar("Guided", bound="FaceNetworks")


class FaceEstimate(NamedTuple):
    """Faces in their crops: pixels with centres at integers, third column depth in pixels (0 at the model's origin)."""

    position_map_px: Float[Tensor, "B 3 N N"]
    position_log_variance: Float[Tensor, "B N N"]
    landmarks_px: Float[Tensor, "B L 3"]
    landmarks_confidence: Float[Tensor, "B L"]
    identity: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]
    vertices_mm: Float[Tensor, "B V 3"]
    pose: ScaledOrthography
    vertices_px: Float[Tensor, "B V 3"]


class Look(NamedTuple):
    """A first look at crops: landmarks (crop px, depth px) and their confidence in (0, 1)."""

    landmarks_px: Float[Tensor, "B L 3"]
    landmarks_confidence: Float[Tensor, "B L"]


class StoredNetworks(nn.Module):
    """Networks over one morphable model that are read from a weights file; the kinds differ in where the pose comes
    from."""

    pose_part: ClassVar[str]
    """Name of the network that the pose comes from, in the description of a weights file."""

    model: MorphableModel

    @classmethod
    def load(
        cls: type[Kind], path: str | os.PathLike[str], model: MorphableModel, device: torch.device | str = "cpu"
    ) -> Kind:
        """Networks from a weights file of stage `single` or `multi`, ready for use.

        Raises as `read`.
        """
        networks = cls.read(path, model)
        fuse_norms(networks)
        return networks.to(device).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def read(cls: type[Kind], path: str | os.PathLike[str], model: MorphableModel) -> Kind:
        """The same on the CPU, as they were trained: to be trained further.

        Raises FileNotFoundError; ValueError for a damaged file, one of another kind, or one that was trained with
        another morphable model.
        """
        state, meta = load_weights(str(path))
        network = meta.get("network", {})
        if "regressor" not in network:
            raise ValueError(
                f"{path} holds no regressors (stage {meta.get('stage')!r}): expected weights of stage 'single'"
            )
        config = regressor_config(network["regressor"])
        if (config.identity, config.expression) != (model.identity_count, model.expression_count):
            raise ValueError(
                f"{path} was trained with {config.identity} identity and {config.expression} expression coefficients, "
                f"the morphable model has {model.identity_count} and {model.expression_count}: "
                "give the model it was trained with"
            )
        if cls.pose_part not in network:
            raise ValueError(
                f"{path} holds {' and '.join(network)}, no {cls.pose_part}: expected weights whose pose comes from a "
                f"{cls.pose_part}"
            )
        networks = cls.empty(network, model)
        networks.load_state_dict(state)
        return networks

    @classmethod
    def empty(cls: type[Kind], network: dict[str, Any], model: MorphableModel) -> Kind:
        """Networks of a configuration that `describe` gave; their weights are about to be loaded."""
        raise NotImplementedError


class FaceNetworks(StoredNetworks):
    """Encoder, pose guidance network, regressors and closed-form pose over one morphable model."""

    pose_part = "pgn"
    mean_points_mm: Tensor

    def __init__(self, pgn: Pgn, regressor: Regressor, model: MorphableModel) -> None:
        super().__init__()
        self.pgn, self.regressor, self.model = pgn, regressor, model
        self.crop_size, self.crop_factor, self.passes = pgn.config.crop_size, CROP_FACTOR, PASSES
        self.least_confidence = LEAST_CONFIDENCE
        points = torch.cat([model.landmarks_of(model.mean[None])[0], model.mean[shape_vertices(model)]])
        self.register_buffer("mean_points_mm", points, persistent=False)

    @classmethod
    def empty(cls: type[Guided], network: dict[str, Any], model: MorphableModel) -> Guided:
        """As of any kind."""
        pgn = empty_pgn(pgn_config(network["pgn"]))
        return cls(pgn, build_regressor(regressor_config(network["regressor"]), pgn), model)

    def describe(self) -> dict[str, Any]:
        """The configuration that `load` reads, as JSON values."""
        return {"pgn": asdict(self.pgn.config), "regressor": asdict(self.regressor.config)}

    def look(self, crops: Float[Tensor, "B 3 S S"]) -> Look:
        """The PGN's landmarks alone, not averaged with the mirror image's: enough to judge a crop and to crop again."""
        landmarks_px, deviation_px = self.pgn.landmarks(self.position_map(crops))
        return Look(landmarks_px, self._confidence(deviation_px))

    def _confidence(self, deviation_px: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        return 1 / (1 + deviation_px * (128 / self.crop_size))

    def position_map(self, crops: Float[Tensor, "B 3 S S"]) -> PositionMap:
        """The PGN's map of crops."""
        maps: PositionMap = self.pgn(crops)[0]
        return maps

    def coefficients(self, upright: Upright, points: Float[Tensor, "B N 3"]) -> RegressedCoefficients:
        """Identity and expression from what `seen` gives."""
        coefficients: RegressedCoefficients = self.regressor(upright, points)
        return coefficients

    def maps(self, crops: Float[Tensor, "B 3 S S"]) -> PositionMap:
        """Position maps averaged over the crop and its mirror image."""
        maps = self.position_map(torch.cat([crops, crops.flip(3)]))
        position, turned = maps.position_px.chunk(2)
        turned = turned.flip(3)
        turned = torch.cat([self.crop_size - 1 - turned[:, :1], turned[:, 1:]], dim=1)
        plain, mirrored = maps.log_variance.chunk(2)
        return PositionMap((position + turned) / 2, (plain + mirrored.flip(2)) / 2)

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> FaceEstimate:
        """Faces of crops in [0,1]; `crop_size` pixels wide, made with `crop_factor` around the landmarks' box."""
        maps = self.maps(crops)
        landmarks_px, deviation_px = self.pgn.landmarks(maps)
        identity, expression = self.coefficients(*self.seen(crops, maps, landmarks_px, deviation_px))
        vertices_mm = self.model.vertices(identity, expression)
        pose = self.pose(self.model.landmarks_of(vertices_mm), landmarks_px, deviation_px)
        return FaceEstimate(
            position_map_px=maps.position_px,
            position_log_variance=maps.log_variance,
            landmarks_px=landmarks_px,
            landmarks_confidence=self._confidence(deviation_px),
            identity=identity,
            expression=expression,
            vertices_mm=vertices_mm,
            pose=pose,
            vertices_px=project(vertices_mm, pose),
        )

    def seen(
        self,
        crops: Float[Tensor, "B 3 S S"],
        maps: PositionMap,
        landmarks_px: Float[Tensor, "B L 3"],
        deviation_px: Float[Tensor, "B L"],
    ) -> tuple[Upright, Float[Tensor, "B N 3"]]:
        """What the regressors take: the faces upright, and their points as `shape_offsets_cm` gives them."""
        marks = self.mean_points_mm[: landmarks_px.shape[1]]
        placed = similarity_procrustes(
            marks.expand(len(crops), -1, -1), landmarks_px, deviation_px.square().reciprocal()
        )
        config = self.regressor.config
        upright = upright_crops(crops, placed, marks.mean(0), config.crop_size, config.half_mm)
        return upright, self.shape_offsets_cm(maps, landmarks_px, placed)

    def shape_offsets_cm(
        self, maps: PositionMap, landmarks_px: Float[Tensor, "B L 3"], placed: Similarity
    ) -> Float[Tensor, "B N 3"]:
        """Landmarks and texels with the pose `placed` of the mean face taken out, minus the mean face's, in
        centimetres of the model frame."""
        step = (maps.position_px.shape[-1] - 1) // (SHAPE_TEXELS - 1)
        texels = maps.position_px[:, :, ::step, ::step].flatten(2).transpose(1, 2)
        points_px = torch.cat([landmarks_px, texels], dim=1)
        centred = (points_px - placed.translation[:, None]) / placed.scale[:, None, None]
        return (centred @ placed.rotation - self.mean_points_mm) / _MM_PER_CM

    def pose(
        self,
        landmarks_mm: Float[Tensor, "B L 3"],
        landmarks_px: Float[Tensor, "B L 3"],
        deviation_px: Float[Tensor, "B L"],
    ) -> ScaledOrthography:
        """Pose in closed form from the model's landmarks to those of the PGN, weighted by their precision."""
        return pose_from_landmarks(landmarks_mm, landmarks_px, deviation_px.square().reciprocal())


def shape_vertices(model: MorphableModel) -> Int[Tensor, " N"]:
    """Vertices at the SHAPE_TEXELS x SHAPE_TEXELS texels that the regressor sees. ValueError for a model without a
    grid."""
    if model.grid is None or (model.grid.shape[0] - 1) % (SHAPE_TEXELS - 1):
        shape = None if model.grid is None else tuple(model.grid.shape)
        raise ValueError(
            f"the morphable model's UV grid is {shape}: these networks need k*{SHAPE_TEXELS - 1}+1 rows and columns, "
            "as the embedded model's (`python -m bfm build`)"
        )
    step = (model.grid.shape[0] - 1) // (SHAPE_TEXELS - 1)
    return model.grid[::step, ::step].reshape(-1).long()


def build_regressor(config: RegressorConfig, pgn: Pgn) -> Regressor:
    """Fresh regressors for a PGN."""
    return Regressor(config, pgn.landmark_uv.shape[0] + SHAPE_TEXELS**2)


def empty_pgn(config: PgnConfig) -> Pgn:
    """A PGN whose weights are about to be loaded."""
    return Pgn(config, torch.zeros(3, config.map_size, config.map_size), torch.zeros(68, 2))


def pgn_config(values: dict[str, Any]) -> PgnConfig:
    """A PGN's configuration from its JSON form."""
    parts = {"backbone": BackboneConfig(**values["backbone"]), "refiner": RefinerConfig(**values["refiner"])}
    return PgnConfig(**{**values, **parts, "channels": tuple(values["channels"])})


def regressor_config(values: dict[str, Any]) -> RegressorConfig:
    """A regressor's configuration from its JSON form. ValueError for one of an earlier kind, without a backbone."""
    if "backbone" not in values:
        raise ValueError(
            "these weights are of regressors without an encoder of their own, which are no more: "
            "train them again with `python -m train single --weights` and the same file"
        )
    return RegressorConfig(**{**values, "backbone": BackboneConfig(**values["backbone"])})
