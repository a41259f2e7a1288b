"""`python -m train.prepare photos`: labelled photos -> upright patches with the fitted model, kept in one folder for
training.

The folder holds `images.npy` (N,S,S,3) uint8 and `fits.npz` with identity, expression, rotation, scale, translation_px
(in the patch), inside_px, rms_mm, names, persons. `inside_px` [x0, y0, x1, y1] is the part of the patch that shows the
photo; beyond it, the photo is mirrored at its edge.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bfm.landmarks import INNER, align_similarity, population_landmarks_mm
from face3d.image import crop_transform, transform_points, warp
from face3d.morphable import MorphableModel
from face3d.types import ScaledOrthography
from train.fit import Fit, fit_points, point_basis
from train.folders import load_folder
from train.labels import labelled_images, person_of, read_labels
from train.mediapipe_tie import Tie, gaps, neutral_faces, settle, shut, tie, tied_basis
from train.profiling import apparent_yaw_deg, turn

PATCH = 192
PATCH_FACTOR = 1.75  # of the larger side of the box around all labelled points
RMS_LIMIT_MM = 4.0
BLINK_STD = 1.0
SIGMA_MM = 5.0  # neighbouring pseudo-landmarks err together, so each of them counts for little
LARGE_YAW_DEG, LARGE_YAW_GAIN = 31.0, 0.31  # see `true_yaw_deg`
log = logging.getLogger(__name__)


class Photos(NamedTuple):
    """Patches and their fits, arrays as in the module's text; `images` is a read-only memory map."""

    images: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    translation_px: np.ndarray
    inside_px: np.ndarray
    rms_mm: np.ndarray
    names: np.ndarray
    persons: np.ndarray


def load_photos(folder: Path) -> Photos:
    """Open a folder that `build_photos` wrote. FileNotFoundError; ValueError for one of an earlier version."""
    fields = load_folder(folder, "fits.npz", "photos")
    missing = set(Photos._fields) - set(fields)
    if missing:
        raise ValueError(
            f"{folder}/fits.npz lacks {sorted(missing)}: make it again with `python -m train.prepare photos`"
        )
    return Photos(**fields)


class _Patch(NamedTuple):
    """The square around a face, the points (478,2) in it, and the part of it that shows the photo."""

    image: np.ndarray
    points_px: np.ndarray
    inside_px: np.ndarray


def _patch(image: np.ndarray, points: np.ndarray) -> _Patch:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    side = float(PATCH_FACTOR * (high - low).max())
    transform = crop_transform((low + high) / 2, side, PATCH)
    corners = np.array([[-0.5, -0.5], [image.shape[1] - 0.5, image.shape[0] - 0.5]])
    inside_px = transform_points(transform, corners).ravel().astype(np.float32)
    patch = warp(image, transform, (PATCH, PATCH), border="reflect")
    return _Patch(patch, transform_points(transform, points[:, :2]), inside_px)


def _frontal(landmarks: np.ndarray) -> np.ndarray:
    """Up to 1500 labels whose face looks at the camera (nose tip midway between the sides of the oval)."""
    sides = landmarks[:, [234, 454], 0]
    middle = (landmarks[:, 4, 0] - sides[:, 0]) / (sides[:, 1] - sides[:, 0])
    return landmarks[np.abs(middle - 0.5) < 0.06][:1500]


def population_centre(model: MorphableModel, bfm68: Path) -> torch.Tensor:
    """Coefficients (K+E,) of the average person in photos; the model's own mean has a broader jaw than 300W-LP's.

    Ridge least squares on the 68 landmarks of 3DDFA's parameter mean, brought to ours by the inner 51 (1 mm noise), by
    identities alone: what is an expression in that mean would be one of every face."""
    corners = model.triangles[model.landmark_triangles]
    basis = point_basis(model, corners, model.landmark_barycentric)
    own = basis.mean.double().numpy()
    population = population_landmarks_mm(bfm68)
    goal = torch.from_numpy(align_similarity(population[INNER], own[INNER], population) - own).float()
    design = basis.identity.flatten(1)
    identity = torch.linalg.solve(design @ design.T + torch.eye(len(design)), design @ goal.flatten())
    return torch.cat([identity, torch.zeros(len(model.expression_std))])


def tie_to_average(model: MorphableModel, bfm68: Path, frontal: np.ndarray) -> tuple[Tie, torch.Tensor]:
    """Where labels (N,478,3) lie on the average person in photos, and that person's coefficients."""
    centre = population_centre(model, bfm68)
    average_mm = model.vertices(centre[None, : model.identity_count])[0].numpy()
    tied = settle(model, tie(model.arrays(), average_mm, frontal), centre, frontal, SIGMA_MM)
    neutral = neutral_faces(model, tied, centre, frontal, SIGMA_MM)
    return settle(model, tied, centre, neutral, SIGMA_MM), centre


def expression_std(model: MorphableModel) -> torch.Tensor:
    """The model's (E,), but lids that shut all the way are nothing rare: else looks aside and down shut them too."""
    blinks = [name.startswith("eyeBlink") for name in model.expression_names or ()]
    std = model.expression_std.clone()
    std[[at for at, blink in enumerate(blinks) if blink]] = BLINK_STD
    return std


def fit_all(model: MorphableModel, tied: Tie, points_px: torch.Tensor, centre: torch.Tensor, batch: int = 256) -> Fit:
    """Fit every labelled face (N,P,2), large yaws corrected; `centre` as of `population_centre`."""
    basis, openings, std = tied_basis(model, tied), gaps(tied), expression_std(model)

    def fit(points: torch.Tensor, rotation: torch.Tensor | None = None) -> Fit:
        return fit_points(basis, std, points, SIGMA_MM, centre=centre, rotation=rotation, gaps=openings)

    fitted = _joined([fit(chunk) for chunk in points_px.split(batch)])
    return turn_far(fitted, lambda rows, rotation: fit(points_px[rows], rotation))


def true_yaw_deg(fitted_deg: float) -> float:
    """The yaw of a face whose fit to pseudo-landmarks has the given one: large yaws come out too small.

    From 206 synthetic people labelled like photos: the fits are right below 30 degrees, by 5 too small from 45 to 60
    and by 9 from 60 to 78 (medians); after this correction by 0 and 2."""
    beyond = max(0.0, abs(fitted_deg) - LARGE_YAW_DEG)
    return fitted_deg + float(np.copysign(LARGE_YAW_GAIN * beyond, fitted_deg))


def turn_far(fit: Fit, refit: Callable[[torch.Tensor, torch.Tensor], Fit]) -> Fit:
    """The fits with large yaws corrected; `refit(rows, rotation)` fits those rows with their rotation held."""
    rotation = fit.pose.rotation.numpy()
    yaw_deg = np.array([apparent_yaw_deg(r) for r in rotation])
    rows = np.flatnonzero(np.abs(yaw_deg) > LARGE_YAW_DEG)
    if not len(rows):
        return fit
    turned = np.stack([turn(rotation[row], true_yaw_deg(yaw_deg[row]), 0.0) for row in rows])
    index = torch.from_numpy(rows)
    again = refit(index, torch.from_numpy(turned).float())

    def mixed(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        return whole.index_copy(0, index, part)

    return Fit(
        mixed(fit.identity, again.identity),
        mixed(fit.expression, again.expression),
        ScaledOrthography(*(mixed(whole, part) for whole, part in zip(fit.pose, again.pose, strict=True))),
        mixed(fit.rms_mm, again.rms_mm),
    )


def _joined(parts: list[Fit]) -> Fit:
    pose = ScaledOrthography(*(torch.cat([getattr(p.pose, f) for p in parts]) for f in ScaledOrthography._fields))
    identity, expression = torch.cat([p.identity for p in parts]), torch.cat([p.expression for p in parts])
    return Fit(identity, expression, pose, torch.cat([p.rms_mm for p in parts]))


def build_photos(model_path: Path, data: Path, label_files: list[Path], bfm68: Path, out: Path, every: int = 4) -> int:
    """Cut and fit all labelled images; returns how many. Faces whose fit is worse than RMS_LIMIT_MM are left out."""
    labels = read_labels(label_files)
    landmarks = shut(labels.landmarks)
    patches, rows = [], []
    for row, image in labelled_images(data, labels, every):
        patches.append(_patch(image, landmarks[row]))
        rows.append(row)
    model = MorphableModel.load(model_path)
    tied, centre = tie_to_average(model, bfm68, _frontal(labels.landmarks[rows]))
    goal_px = torch.from_numpy(np.stack([patch.points_px for patch in patches])[:, tied.points]).float()
    fit = fit_all(model, tied, goal_px, centre)
    good = np.flatnonzero(fit.rms_mm.numpy() < RMS_LIMIT_MM)
    log.info("%d of %d faces fitted within %.1f mm", len(good), len(rows), RMS_LIMIT_MM)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "images.npy", np.stack([patches[i].image for i in good]))
    names = labels.names[np.array(rows)[good]]
    np.savez(
        out / "fits.npz",
        identity=fit.identity[good].numpy(),
        expression=fit.expression[good].numpy(),
        rotation=fit.pose.rotation[good].numpy(),
        scale=fit.pose.scale[good].numpy(),
        translation_px=fit.pose.translation_px[good].numpy(),
        inside_px=np.stack([patches[i].inside_px for i in good]),
        rms_mm=fit.rms_mm[good].numpy(),
        names=names,
        persons=np.array([person_of(str(name)) for name in names]),
    )
    return len(good)
