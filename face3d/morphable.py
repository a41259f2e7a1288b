"""The morphable model: coefficients to vertices, landmarks and albedo, and back.

`vertices = mean + identity @ identity_basis + expression @ expression_basis` in millimetres, in the model frame
(x to the image's right when the face looks at the camera, y up, z out of the face). Identity and albedo coefficients
are in standard deviations; expression coefficients are blendshape weights or standard deviations.
Linear model: Blanz and Vetter, SIGGRAPH 1999, equations 1-2; posterior mean in `project`: Albrecht et al. 2013, eq. 5.
"""

import os
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from face3d.morphable_file import ModelMeta, MorphableArrays, Storage
from face3d.morphable_toy import toy_arrays


class Coefficients(NamedTuple):
    """Identity (standard deviations) and expression (weights or standard deviations) of B faces."""

    identity: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]


class MorphableModel(nn.Module):
    """A linear face model on any device: `MorphableModel.load(path).to("cuda")`.

    Its arrays are buffers that stay out of `state_dict`: weights files never carry the model. Names, shapes and units
    are those of `face3d.morphable_file`, indices are int64; `uv`, `symmetry`, `grid` and the albedo may be None.
    """

    mean: Tensor
    identity_basis: Tensor
    identity_std: Tensor
    expression_basis: Tensor
    expression_std: Tensor
    triangles: Tensor
    landmark_triangles: Tensor
    landmark_barycentric: Tensor
    vertex_region: Tensor
    albedo_mean: Tensor | None
    albedo_basis: Tensor | None
    uv: Tensor | None
    symmetry: Tensor | None
    grid: Tensor | None
    meta: ModelMeta

    def __init__(self, arrays: MorphableArrays) -> None:
        """Take over validated arrays. ValueError names the wrong field."""
        super().__init__()
        self.meta = arrays.validate().meta
        present = arrays.fields()
        for name in MorphableArrays.__dataclass_fields__:
            if name != "meta":
                self.register_buffer(name, _tensor(present.get(name)), persistent=False)
        self._register_landmark_bases()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MorphableModel":
        """Read a `face3d-morphable-1` file; errors as in `MorphableArrays.load`."""
        return cls(MorphableArrays.load(path))

    @classmethod
    def random(
        cls, seed: int, rows: int = 12, columns: int = 12, identity: int = 6, expression: int = 4
    ) -> "MorphableModel":
        """A small random face-like model on a UV grid, the same for the same seed: tests need no real model."""
        return cls(toy_arrays(seed, rows, columns, identity, expression))

    def arrays(self) -> MorphableArrays:
        """The model as numpy arrays (float32, int32, uint8)."""
        names = [name for name in MorphableArrays.__dataclass_fields__ if name != "meta"]
        present = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return MorphableArrays(meta=self.meta, **{name: _array(name, value) for name, value in present.items()})

    def save(self, path: str | os.PathLike[str], bases: Storage = "float32") -> None:
        """Write a `face3d-morphable-1` file; float32 gives the same model back, float16 and int8 are smaller."""
        self.arrays().save(path, bases)

    @property
    def vertex_count(self) -> int:
        """V."""
        return self.mean.shape[0]

    @property
    def identity_count(self) -> int:
        """K."""
        return self.identity_basis.shape[0]

    @property
    def expression_count(self) -> int:
        """E."""
        return self.expression_basis.shape[0]

    @property
    def albedo_count(self) -> int:
        """A, 0 where the model has no albedo."""
        return 0 if self.albedo_basis is None else self.albedo_basis.shape[0]

    @property
    def landmark_count(self) -> int:
        """68, or 0 where the model has no landmarks."""
        return self.landmark_triangles.shape[0]

    @property
    def expression_names(self) -> tuple[str, ...] | None:
        """One name an expression, or None where they are principal components."""
        return self.meta.expression_names

    @property
    def region_names(self) -> tuple[str, ...]:
        """What the values of `vertex_region` mean."""
        return self.meta.region_names

    def vertices(
        self, identity: Float[Tensor, "B K1"], expression: Float[Tensor, "B E1"] | None = None
    ) -> Float[Tensor, "B V 3"]:
        """Vertices in mm. Fewer coefficients than the model has count as zeros; more raise ValueError."""
        return _combine(self.mean, (self.identity_basis, self.expression_basis), identity, expression)

    def landmarks(
        self, identity: Float[Tensor, "B K1"], expression: Float[Tensor, "B E1"] | None = None
    ) -> Float[Tensor, "B 68 3"]:
        """The 68 landmarks of `vertices(identity, expression)` in mm, without computing the vertices."""
        self._require_landmarks()
        bases = self._landmark_identity, self._landmark_expression
        return _combine(self._landmark_mean, bases, identity, expression)

    def landmarks_of(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B 68 3"]:
        """The 68 landmarks on given vertices, in whatever frame the vertices are."""
        self._require_landmarks()
        return self._on_landmarks(vertices)

    def albedo(self, coefficients: Float[Tensor, "B A1"]) -> Float[Tensor, "B V 3"]:
        """Colours a vertex in sRGB, nominally 0..1 (not clipped). ValueError where the model has no albedo."""
        if self.albedo_mean is None or self.albedo_basis is None:
            raise ValueError(f"the model {self.meta.name!r} has no albedo; use one whose file holds 'albedo_mean'")
        return self.albedo_mean + _weighted(coefficients, self.albedo_basis, "albedo")

    def project(self, vertices: Float[Tensor, "B V 3"], regularisation: float = 0.0) -> Coefficients:
        """Coefficients c of the model's mesh nearest to `vertices` (mm, model frame), in float64 inside.

        Minimises `|vertices - mean - c basis|^2 + regularisation^2 |c / std|^2`: `regularisation` is the standard
        deviation in mm of the noise assumed on every coordinate, so c is the posterior mean; 0 is least squares.
        """
        std = torch.cat([torch.ones_like(self.identity_std), self.expression_std]).double()
        basis = torch.cat([self.identity_basis, self.expression_basis]).flatten(1).double() * std[:, None]
        residual = (vertices - self.mean).flatten(1).double()
        gram = basis @ basis.T + regularisation**2 * torch.eye(len(basis), dtype=basis.dtype, device=basis.device)
        # Unit diagonal: the cut of dependent directions must not depend on how far each component moves.
        size = gram.diagonal().clamp_min(1e-30).sqrt()
        inverse = torch.linalg.pinv(gram / torch.outer(size, size), rtol=1e-10, hermitian=True)
        scaled = (residual @ basis.T / size) @ inverse / size * std
        identity, expression = scaled.to(vertices.dtype).split([self.identity_count, self.expression_count], dim=1)
        return Coefficients(identity, expression)

    def sample(self, seed: int, count: int = 1) -> Coefficients:
        """`count` random faces of the prior, the same for the same seed: blendshape weights within 0..1."""
        generator = torch.Generator().manual_seed(seed)
        identity = torch.randn(count, self.identity_count, generator=generator).to(self.mean)
        expression = torch.randn(count, self.expression_count, generator=generator).to(self.mean) * self.expression_std
        if self.meta.expression_kind == "blendshape":
            expression = expression.abs().clamp(max=1.0)
        return Coefficients(identity, expression)

    def _register_landmark_bases(self) -> None:
        """Barycentric interpolation is linear: the landmarks are a small linear model of their own."""
        self.register_buffer("_landmark_vertices", self.triangles[self.landmark_triangles], persistent=False)
        for name in ("identity", "expression"):
            basis = self._on_landmarks(getattr(self, f"{name}_basis"))
            self.register_buffer(f"_landmark_{name}", basis, persistent=False)
        self.register_buffer("_landmark_mean", self._on_landmarks(self.mean[None])[0], persistent=False)

    _landmark_vertices: Int[Tensor, "L 3"]
    _landmark_mean: Float[Tensor, "L 3"]
    _landmark_identity: Float[Tensor, "K L 3"]
    _landmark_expression: Float[Tensor, "E L 3"]

    def _on_landmarks(self, points: Tensor) -> Tensor:
        weights = self.landmark_barycentric.to(points.dtype)
        return (points[:, self._landmark_vertices] * weights[..., None]).sum(dim=2)

    def _require_landmarks(self) -> None:
        if not self.landmark_count:
            raise ValueError(f"the model {self.meta.name!r} has no 68 landmarks; convert it with `--landmarks FILE`")


def _combine(mean: Tensor, bases: tuple[Tensor, Tensor], identity: Tensor, expression: Tensor | None) -> Tensor:
    """The linear model over all vertices or over the landmarks; `bases` are identity and expression."""
    points = mean + _weighted(identity, bases[0], "identity")
    return points if expression is None else points + _weighted(expression, bases[1], "expression")


def _weighted(coefficients: Tensor, basis: Tensor, name: str) -> Tensor:
    """`coefficients @ basis` over the first components, (B,k) x (K,V,3) -> (B,V,3)."""
    count = coefficients.shape[1]
    if count > len(basis):
        raise ValueError(f"{count} {name} coefficients were given, but the model has {len(basis)} {name} components")
    return (coefficients @ basis[:count].flatten(1)).unflatten(1, basis.shape[1:])


def _tensor(array: np.ndarray | None) -> Tensor | None:
    """Floats as float32, integers as int64 (what indexing needs)."""
    if array is None:
        return None
    return torch.from_numpy(array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64))


def _array(name: str, tensor: Tensor) -> np.ndarray:
    """The inverse of `_tensor`, in the types of the file."""
    array = tensor.detach().cpu().numpy()
    if tensor.is_floating_point():
        return array.astype(np.float32)
    return array.astype(np.uint8 if name == "vertex_region" else np.int32)
