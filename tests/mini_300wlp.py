"""300W-LP's model files with photos of AFLW2000-3D's layout whose true meshes are known, from the files alone."""

from pathlib import Path

import numpy as np
import scipy.io
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from bfm.convert import convert
from eval.aflw2000 import Aflw2000
from eval.aflw2000_pose import rotation_3ddfa
from eval.dense_truth import DenseTruths
from eval.protocol import Prediction, run
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from tests.official_files import landmark_vertices, write_model_shape

YAWS = (10.0, -75.0)


def turned(seed: int) -> np.ndarray:
    """A random rotation."""
    return Rotation.random(random_state=seed).as_matrix()


def write_photos(folder: Path, arrays: MorphableArrays, norm: float = 1.0) -> dict[str, np.ndarray]:
    """300W-LP's model files and two photos; the true mesh of each in 0-based pixels, computed from these files alone.

    `norm`: of the shape basis; below 1 where the vertices are a part of the Basel Face Model's, as 300W-LP's are.
    """
    folder.mkdir()
    path = write_model_shape(folder, arrays)
    shape, expression = ({**scipy.io.loadmat(folder / name)} for name in (path.name, "Model_Exp.mat"))
    shape["w"] = norm * shape["w"]
    scipy.io.savemat(path, {key: value for key, value in shape.items() if not key.startswith("__")})
    meshes = {}
    for index, yaw in enumerate(YAWS):
        generator = np.random.default_rng(index)
        shape_para = shape["sigma"] * generator.normal(size=shape["sigma"].shape)
        exp_para = generator.normal(size=(len(arrays.expression_basis), 1))
        flat = shape["mu_shape"] + expression["mu_exp"] + shape["w"] @ shape_para + expression["w_exp"] @ exp_para
        angles = np.deg2rad([-12.0, yaw, 7.0])
        pose = np.array([[*angles, 230.0, 215.0, -90.0, 1.3e-3]])
        upright = 1.3e-3 * flat.reshape(-1, 3) @ rotation_3ddfa(angles).T + [230.0, 215.0, -90.0]
        flipped = upright * [1, -1, 1] + [0, 451, 0]  # MATLAB's: y down, from 1
        points = flipped[landmark_vertices(arrays)].T
        label = {"pt3d_68": points, "Pose_Para": pose, "Shape_Para": shape_para, "Exp_Para": exp_para}
        scipy.io.savemat(folder / f"image{index:05d}.mat", label)
        Image.fromarray(np.full((450, 450, 3), 90, np.uint8)).save(folder / f"image{index:05d}.jpg")
        meshes[f"image{index:05d}.jpg"] = (flipped - [1, 1, 0]) * [1, 1, -1]
    return meshes


class KnownMeshes:
    """What is said of each photo is known before."""

    name = "known"

    def __init__(self, predictions: dict[str, Prediction]) -> None:
        self.predictions = predictions

    def of_sample(self, sample, crop) -> Prediction:
        return self.predictions[sample.name]


def measured(folder: Path, truths: DenseTruths, predictions: dict[str, Prediction]) -> dict[str, float]:
    """Mean of the photos of each dense score."""
    summary = run(Aflw2000(folder, dense=truths), KnownMeshes(predictions)).summary
    return {name: bins["of_samples"] for name, bins in summary.items() if name.endswith(f"/{truths.name}")}


def converted(folder: Path) -> Path:
    convert(folder / "Model_Shape.mat").save(folder / "model.npz")
    return folder / "model.npz"


def landmarks_on(model: MorphableModel, vertices: np.ndarray) -> np.ndarray:
    return model.landmarks_of(torch.from_numpy(vertices)[None])[0].numpy()
