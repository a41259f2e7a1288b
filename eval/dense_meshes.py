"""True meshes of AFLW2000-3D's photos, from the Basel Face Model or from a model fitted to the 68 true points.

`bfm`: the model that the labels were made with (300W-LP's, converted by `python -m bfm convert`) with the photo's
Shape_Para and Exp_Para, placed by its Pose_Para. This is what the published figures are measured against.

`face3d-fit`: face3d's model fitted to the photo's 68 points, for use where the Basel Face Model is not at hand. Away
from the points it is the prior's guess, and a method that shares the model is favoured: it compares with no published
figure.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float

from eval.aflw2000_pose import LabelledPose, true_landmarks_px
from eval.landmark_fit import LandmarkFitter
from face3d.morphable import MorphableModel

BFM, FIT = "bfm", "face3d-fit"
SAID = {
    BFM: "the labels' own Basel Face Model meshes",
    FIT: "face3d's model fitted to the 68 true points, not the Basel Face Model: compares with no published figure",
}
Label = Mapping[str, np.ndarray]
"""The arrays of a photo's .mat file."""


class TrueMeshes(Protocol):
    """A source of true meshes. Its 68 points must meet pt3d_68 within `most_nme_percent`."""

    name: str
    model: MorphableModel
    most_nme_percent: float

    def vertices_px(self, label: Label, where: str) -> Float[np.ndarray, "V 3"]:
        """The mesh in the photo, pixels with depth. ValueError, with `where`, for a label that does not fit."""
        ...


class BfmMeshes:
    """Meshes of the labels' parameters. ValueError where the model is not one of 300W-LP's with what they need."""

    name, most_nme_percent = BFM, 0.5

    def __init__(self, model: MorphableModel) -> None:
        if model.meta.identity_sigma is None:
            raise ValueError(
                f"the model {model.meta.name!r} does not tell what Shape_Para counts in: expected what `python -m bfm "
                "convert Model_Shape.mat -o model.npz` writes (again, where the file is of an older version)"
            )
        self.model, self._sigma = model, np.array(model.meta.identity_sigma)

    def vertices_px(self, label: Label, where: str) -> Float[np.ndarray, "V 3"]:
        """mean + A Shape_Para + B Exp_Para by 3DDFA's equation; A of norm 1, so that sigma divides for ours."""
        identity = _parameters(label, "Shape_Para", len(self._sigma), where) / self._sigma
        expression = _parameters(label, "Exp_Para", self.model.expression_count, where)
        return LabelledPose.read(label["Pose_Para"]).place(_vertices_mm(self.model, identity, expression))


class FittedMeshes:
    """Meshes of a model fitted to the 68 points."""

    name, most_nme_percent = FIT, np.inf

    def __init__(self, model: MorphableModel) -> None:
        self.model, self._fitter = model, LandmarkFitter(model)

    def vertices_px(self, label: Label, where: str) -> Float[np.ndarray, "V 3"]:
        """The fitted face with its expression, by the fitted pose."""
        fit = self._fitter.fit(true_landmarks_px(label))
        return fit.pose.apply(_vertices_mm(self.model, fit.identity, fit.expression))


def _parameters(label: Label, name: str, count: int, where: str) -> Float[np.ndarray, " C"]:
    values = label[name].astype(np.float64).reshape(-1) if name in label else np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        got = f"{len(values)} values" if name in label else "nothing"
        raise ValueError(f"{where}: expected {name} with the {count} finite values that the model needs, got {got}")
    return values


def _vertices_mm(
    model: MorphableModel, identity: Float[np.ndarray, " K"], expression: Float[np.ndarray, " E"]
) -> Float[np.ndarray, "V 3"]:
    both = (torch.from_numpy(values)[None].to(model.mean) for values in (identity, expression))
    return model.vertices(*both)[0].cpu().double().numpy()
