"""AFLW2000-3D's labels against each other and against our conventions: what the benchmark gives without any method.

The re-annotated points, scored as a prediction of the original ones, tell what a perfect method may differ by; they
are the benchmark's own check, too: 2.81 / 3.23 / 4.10 %, mean of bins 3.38 (the papers' yaws: 3.447).

A photo's parameters (Shape_Para, Exp_Para, Pose_Para) give its 68 points by 3DDFA's equation (`eval.aflw2000_pose`)
with S = mean + A shape + B expression. With the 40 and 10 components of the 68-point basis (`bfm68`) that 3DDFA
publishes, of the 199 and 29 that the labels were made with, pt3d_68 comes out with 0.85 % NME in the mean, 1.60 % at
most.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.io import loadmat

from eval.aflw2000 import nme_by_yaw
from eval.aflw2000_arrays import LabelArrays
from eval.aflw2000_pose import LabelledPose, true_landmarks_px
from face3d.geometry import euler_deg_from_rotation, rotation_from_euler_deg
from face3d.metrics import nme_percent
from face3d.pose import pose_from_landmarks

_MM_PER_UNIT = 1e-3  # the Basel Face Model counts in micrometres


class LandmarkBasis(NamedTuple):
    """The Basel Face Model's 68 points, x, y, z of each in turn, in micrometres; y up, z out of the face."""

    mean: Float[np.ndarray, " 204"]
    shape: Float[np.ndarray, "204 40"]
    expression: Float[np.ndarray, "204 10"]

    @classmethod
    def read(cls, folder: Path) -> "LandmarkBasis":
        """u_base, w_shp_base and w_exp_base .txt of a folder. FileNotFoundError names a missing one."""
        files = [folder / f"{name}.txt" for name in ("u_base", "w_shp_base", "w_exp_base")]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"no {file}: 3DDFA's 68-point basis of the Basel Face Model is needed")
        mean, shape, expression = (np.loadtxt(file) for file in files)
        return cls(mean.ravel(), shape, expression)


class LabelledFace(NamedTuple):
    """What the .mat file of a photo says: 0-based points with depth, the model's 68 points in mm, pose."""

    landmarks_px: Float[np.ndarray, "68 3"]
    landmarks_mm: Float[np.ndarray, "68 3"]
    pose: LabelledPose

    @classmethod
    def read(cls, file: Path, basis: LandmarkBasis) -> "LabelledFace":
        """The face of one .mat file."""
        label = loadmat(file)
        flat = basis.mean + basis.shape @ label["Shape_Para"][: basis.shape.shape[1], 0]
        flat = flat + basis.expression @ label["Exp_Para"][: basis.expression.shape[1], 0]
        landmarks_mm = flat.reshape(68, 3) * _MM_PER_UNIT
        return cls(true_landmarks_px(label), landmarks_mm, LabelledPose.read(label["Pose_Para"]))

    def projected_px(self) -> Float[np.ndarray, "68 3"]:
        """The model's points in the photo, by the labelled pose."""
        return self.pose.place(self.landmarks_mm)


def score_labels(labels: Path, photos: Path, bfm68: Path) -> dict[str, Any]:
    """All checks. FileNotFoundError where the arrays, the .mat files or the basis are missing."""
    arrays = LabelArrays.read(labels)
    if arrays is None:
        raise FileNotFoundError(f"no AFLW2000-3D.pts68.npy and AFLW2000-3D-Reannotated.pts68.npy in {labels}")
    return {"reannotated_as_prediction": score_reannotated(arrays), **score_parameters(photos, bfm68)}


def score_reannotated(arrays: LabelArrays) -> dict[str, Any]:
    """NME % of the re-annotated points against the original ones, by the yaws of each split that is there."""
    nme = nme_percent(arrays.reannotated_px, arrays.original_px)
    yaws = {"current": arrays.current_yaw_deg, "paper": arrays.paper_yaw_deg}
    return {split: nme_by_yaw(nme, yaw) for split, yaw in yaws.items() if yaw is not None}


def score_parameters(photos: Path, bfm68: Path) -> dict[str, Any]:
    """NME % of the points that each photo's parameters give, and degrees between its pose and ours."""
    basis, files = LandmarkBasis.read(bfm68), sorted(photos.glob("image*.mat"))
    if not files:
        raise FileNotFoundError(f"no image*.mat in {photos}")
    faces = {file.stem: LabelledFace.read(file, basis) for file in files}
    nme = {name: float(nme_percent(face.projected_px(), face.landmarks_px)) for name, face in faces.items()}
    turn = {name: pose_difference_deg(face) for name, face in faces.items()}
    return {"parameters_nme_percent": nme, "pose_difference_deg": turn}


def pose_difference_deg(face: LabelledFace) -> float:
    """Largest difference in degrees of two poses from that of Pose_Para: of a turn, and of each angle if |yaw| < 90.

    One is `rotation_from_euler_deg` of its angles, the other what `pose_from_landmarks` finds in its projected points.
    """
    truth = torch.from_numpy(face.pose.euler_deg)[None]
    labelled = torch.from_numpy(face.pose.rotation)[None]
    mm, px = (torch.from_numpy(points)[None] for points in (face.landmarks_mm, face.projected_px()))
    found = pose_from_landmarks(mm, px).rotation
    turns = [_angle_deg(rotation, labelled) for rotation in (rotation_from_euler_deg(truth), found)]
    if abs(face.pose.euler_deg[1]) < 90.0:
        turns.append(float((euler_deg_from_rotation(found) - truth).abs().max()))
    return max(turns)


def _angle_deg(one: torch.Tensor, two: torch.Tensor) -> float:
    """Angle of the turn from one rotation to the other, by its sine: |R - S| = 2 sqrt(2) sin(angle / 2)."""
    half = torch.linalg.matrix_norm(one - two) / 8**0.5
    return float(torch.rad2deg(2 * half.clamp(max=1.0).asin()))
