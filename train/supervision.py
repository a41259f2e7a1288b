"""Exact targets of a batch of views: the UV position map and the 68 landmarks in the crop."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bfm.landmarks import MIRROR_68
from face3d.camera import project
from face3d.geometry import apply_similarity
from face3d.losses import point_distance
from face3d.morphable import MorphableModel
from face3d.pose import similarity_procrustes
from face3d.types import ScaledOrthography
from train.task import Batch

REGION_WEIGHT = {"skin": 1.0, "neck": 0.05, "ears": 0.3, "inner_mouth": 0.3}
FEATURE_WEIGHT = 2.0  # brows, eyes, nose, lips

OPENINGS = ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65))
"""Of the 68 landmarks: upper and lower lids, and the inner borders of the lips."""


class Targets(NamedTuple):
    """Crop pixels and depth: `map_px` (B,3,N,N), `landmarks_px` (B,68,3), and the face's size (B,) in pixels."""

    map_px: Float[Tensor, "B 3 N N"]
    landmarks_px: Float[Tensor, "B L 3"]
    size_px: Float[Tensor, " B"]


class Supervisor(nn.Module):
    """Turns coefficients and poses into targets; holds the model restricted to the map's texels and the landmarks."""

    mean: Tensor
    basis: Tensor
    texel_weight: Tensor
    mirror_68: Tensor

    def __init__(self, model: MorphableModel, map_size: int) -> None:
        super().__init__()
        texels = texel_vertices(model, map_size)
        self.map_size = map_size
        corners = model.triangles[model.landmark_triangles]
        weights = model.landmark_barycentric[..., None]

        def gather(values: Tensor) -> Tensor:
            return torch.cat([values[..., texels, :], (values[..., corners, :] * weights).sum(-2)], dim=-2)

        self.register_buffer("mean", gather(model.mean), persistent=False)
        basis = torch.cat([gather(model.identity_basis), gather(model.expression_basis)])
        self.register_buffer("basis", basis.flatten(1), persistent=False)
        names = model.meta.region_names
        values = torch.tensor([REGION_WEIGHT.get(name, FEATURE_WEIGHT) for name in names])
        self.register_buffer("texel_weight", values[model.vertex_region.long()][texels], persistent=False)
        self.register_buffer("mirror_68", torch.from_numpy(MIRROR_68), persistent=False)

    def forward(self, batch: Batch, crop_size: int) -> Targets:
        """Targets of a batch; mirrored samples are mirrored after projection."""
        points = self.shapes_mm(batch["identity"], batch["expression"])
        pose = ScaledOrthography(batch["rotation"], batch["scale"], batch["translation_px"])
        placed = project(points, pose)
        count = self.map_size**2
        maps = placed[:, :count].transpose(1, 2).unflatten(2, (self.map_size, self.map_size))
        landmarks = placed[:, count:]
        flipped = batch["flipped"]
        flip = torch.tensor([-1.0, 1.0, 1.0], device=maps.device)
        shift = torch.tensor([crop_size - 1.0, 0.0, 0.0], device=maps.device)
        maps = torch.where(
            flipped[:, None, None, None], (maps * flip[:, None, None] + shift[:, None, None]).flip(3), maps
        )
        landmarks = torch.where(flipped[:, None, None], (landmarks * flip + shift)[:, self.mirror_68], landmarks)
        extent = landmarks[..., :2].amax(1) - landmarks[..., :2].amin(1)
        return Targets(maps, landmarks, extent.prod(1).sqrt())

    def shapes_mm(self, identity: Tensor, expression: Tensor) -> Float[Tensor, "B N 3"]:
        """Texels and landmarks of coefficients, model frame."""
        flat = torch.cat([identity, expression], dim=1) @ self.basis
        return self.mean + flat.unflatten(1, (-1, 3))

    def true_shapes_mm(self, batch: Batch) -> Float[Tensor, "B N 3"]:
        """The shapes that the crops show: mirrored where the crop is."""
        shape = self.shapes_mm(batch["identity"], batch["expression"])
        size, count = self.map_size, self.map_size**2
        flip = torch.tensor([-1.0, 1.0, 1.0], device=shape.device)
        texels = shape[:, :count].unflatten(1, (size, size)).flip(2).flatten(1, 2) * flip
        mirrored = torch.cat([texels, (shape[:, count:] * flip)[:, self.mirror_68]], dim=1)
        return torch.where(batch["flipped"][:, None, None], mirrored, shape)

    def shape_distance_mm(self, shape: Float[Tensor, "B N 3"], target: Float[Tensor, "B N 3"]) -> Float[Tensor, " B"]:
        """Weighted mean distance after the best similarity."""
        marks = shape.shape[1] - len(self.texel_weight)
        weight = torch.cat([self.texel_weight, torch.ones(marks, device=shape.device)])
        weights = weight.expand(len(shape), -1)
        aligned = apply_similarity(shape, similarity_procrustes(shape, target, weights))
        return point_distance(aligned, target, weights)


def texel_vertices(model: MorphableModel, map_size: int) -> Tensor:
    """(N*N,) vertex of each texel; the model's grid must hold the map as a subset."""
    if model.grid is None or (model.grid.shape[0] - 1) % (map_size - 1) or model.grid.shape[0] != model.grid.shape[1]:
        shape = None if model.grid is None else tuple(model.grid.shape)
        raise ValueError(
            f"the model's UV grid is {shape}; a map of {map_size} texels needs a square one of k*{map_size - 1}+1"
        )
    step = (model.grid.shape[0] - 1) // (map_size - 1)
    return model.grid[::step, ::step].reshape(-1).long()


def landmark_uv(model: MorphableModel) -> Float[Tensor, "L 2"]:
    """Places of the 68 landmarks in UV."""
    if model.uv is None:
        raise ValueError("the morphable model has no uv; build the embedded model with `python -m bfm build`")
    corners = model.uv[model.triangles[model.landmark_triangles]]
    return (corners * model.landmark_barycentric[..., None]).sum(1)


def mean_map(model: MorphableModel, map_size: int, crop_factor: float = 1.42) -> Float[Tensor, "3 N N"]:
    """Map of the mean face, frontal and centred in a crop of `crop_factor`, in units of half the crop."""
    corners = model.triangles[model.landmark_triangles]
    points = (model.mean[corners] * model.landmark_barycentric[..., None]).sum(1)
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    centre = torch.cat([(low + high) / 2, torch.zeros(1)])
    placed = (model.mean[texel_vertices(model, map_size)] - centre) * torch.tensor([1.0, -1.0, -1.0])
    return (placed * (2 / (crop_factor * float((high - low).max())))).T.unflatten(1, (map_size, map_size))
