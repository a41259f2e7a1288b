"""`python -m train.prepare albedo`: mean and components of skin colour, learned from fitted colour photos.

For every photo the colours at the visible vertices are divided by the light that explains them best (spherical
harmonics, in turns with the mean); unseen vertices are filled from the other half of the face, then from the mean. Then
principal components. Vertex colours: as fine as the mesh.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from face3d.mesh import vertex_normals
from face3d.morphable_file import MorphableArrays
from face3d.rasterise_numba import rasterise_numpy
from face3d.shading import estimate_light, shade
from train.photos import Photos, load_photos
from train.profiling import Pose, apparent_yaw_deg, project

FRAMES_A_PERSON = 8
LARGEST_YAW_DEG = 35.0
SKIN_RGB = (0.76, 0.57, 0.48)  # mean skin in sRGB: the light takes what is left of brightness and tint
SIDEWAYS = (0.6, 0.9)  # 1 - cosine to the camera, from where on frontal photos show hair and what is behind
FOREHEAD_MM, EARS_MM, NECK_MM = (45.0, 75.0), (45.0, 25.0), (-118.0, -130.0)  # y, z, y: likewise, in the mean head
log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """Per photo: colours (N,V,3) in 0..1, visible (N,V), unit normals in the model frame turned to the camera
    (N,V,3)."""

    colours: torch.Tensor
    visible: torch.Tensor
    normals: torch.Tensor


def colour_rows(photos: Photos) -> np.ndarray:
    """Rows of colour photos that look roughly at the camera, a few a person."""
    rows: list[int] = []
    taken: dict[str, int] = {}
    for row, person in enumerate(photos.persons):
        frontal = abs(apparent_yaw_deg(photos.rotation[row])) < LARGEST_YAW_DEG
        if taken.get(person, 0) >= FRAMES_A_PERSON or not frontal:
            continue
        image = np.asarray(photos.images[row][::4, ::4]).astype(np.int16)
        if np.abs(image[..., 0] - image[..., 2]).mean() > 4:
            rows.append(row)
            taken[person] = taken.get(person, 0) + 1
    return np.array(rows)


def see(model: MorphableArrays, photos: Photos, rows: np.ndarray) -> Seen:
    """Colours, visibility and normals of the fitted meshes in their photos."""
    colours, visible, normals = [], [], []
    triangles = model.triangles
    for row in rows:
        shape = model.mean + np.tensordot(photos.identity[row], model.identity_basis, 1)
        shape = shape + np.tensordot(photos.expression[row], model.expression_basis, 1)
        pose = Pose(photos.rotation[row], float(photos.scale[row]), photos.translation_px[row])
        placed = project(shape, pose).astype(np.float32)
        photo = np.asarray(photos.images[row])
        fragments = rasterise_numpy(placed, triangles, photo.shape[:2])
        normal = vertex_normals(torch.from_numpy(shape)[None].float(), torch.from_numpy(triangles).long())[0]
        facing = normal @ torch.from_numpy(pose.rotation).float().T
        at = np.rint(placed[:, :2]).astype(int).clip(0, photo.shape[0] - 1)
        front = placed[:, 2] < fragments.depth[at[:, 1], at[:, 0]] + 3 * pose.scale
        sampled = cv2.remap(photo, placed[:, :1].copy(), placed[:, 1:2].copy(), cv2.INTER_LINEAR)[:, 0]
        colours.append(torch.from_numpy(sampled).float() / 255)
        visible.append(torch.from_numpy(front) & (facing[:, 2] < -0.25))
        normals.append(facing)
    return Seen(torch.stack(colours), torch.stack(visible), torch.stack(normals))


def unlit(seen: Seen, mean: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """Colours (N,V,3) with each photo's light divided out; the light is estimated on visible skin."""
    albedo = mean.expand_as(seen.colours)
    light = estimate_light(albedo, seen.normals, seen.colours, seen.visible & skin)
    shading = shade(torch.ones_like(albedo), seen.normals, light).clamp_min(0.25)
    return (seen.colours / shading).clamp(0, 1)


def learn_albedo(
    model: MorphableArrays, photos: Photos, components: int = 25, rounds: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V,3) and components (A,V,3), one standard deviation each, sRGB."""
    rows = colour_rows(photos)
    seen = see(model, photos, rows)
    assert model.symmetry is not None
    mirror = torch.from_numpy(model.symmetry).long()
    names = list(model.meta.region_names)
    skin = torch.from_numpy(np.isin(model.vertex_region, [names.index("skin"), names.index("nose")]))
    goal = torch.tensor(SKIN_RGB)
    mean = goal.expand_as(seen.colours[0])
    for _ in range(rounds):
        albedo = unlit(seen, mean, skin)
        weight = seen.visible[..., None].float()
        mean = (albedo * weight).sum(0) / weight.sum(0).clamp_min(1)
        rare = weight.sum(0) < 20
        mean = torch.where(rare, mean[skin].median(0).values * 0.8, mean)
        mean = (mean + mean[mirror]) / 2
        mean = mean * (goal / mean[skin].mean(0))
    other = seen.visible[:, mirror] & ~seen.visible
    filled = torch.where(other[..., None], albedo[:, mirror], albedo)
    filled = torch.where((seen.visible | other)[..., None], filled, mean.expand_as(filled))
    centred = (filled - mean).flatten(1)
    _, deviation, axes = torch.linalg.svd(centred, full_matrices=False)
    basis = axes[:components] * (deviation[:components, None] / len(rows) ** 0.5)
    share = 100 * float((deviation[:components] ** 2).sum() / (deviation**2).sum())
    log.info("albedo of %d photos: %.0f %% of the variance in %d components", len(rows), share, components)
    basis = basis.unflatten(1, (-1, 3))
    mean, basis = without_hair(mean, basis, model, skin)
    return mean.clamp(0, 1).numpy(), basis.numpy()


def without_hair(
    mean: torch.Tensor, basis: torch.Tensor, model: MorphableArrays, skin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The skin's usual colour where photos show hair, collars and what is behind the head: on ears and neck, on skin
    (V,) that does not face the camera of a frontal photo, above the forehead, around the ears and below the chin."""
    names = list(model.meta.region_names)
    outside = np.isin(model.vertex_region, [names.index(name) for name in ("ears", "neck") if name in names])
    head = torch.from_numpy(model.mean)
    sideways = 1 - vertex_normals(head[None].float(), torch.from_numpy(model.triangles).long())[0, :, 2]
    ramps = ((sideways, SIDEWAYS), (head[:, 1], FOREHEAD_MM), (head[:, 2], EARS_MM), (head[:, 1], NECK_MM))
    each = [((values - start) / (end - start)).clamp(0, 1) for values, (start, end) in ramps]
    doubt = torch.where(torch.from_numpy(outside), 1.0, torch.stack(each).amax(0) * skin)[:, None]
    usual = 0.97 * mean[skin].median(0).values
    return mean + doubt * (usual - mean), basis + doubt * (basis[:, skin].mean(1, keepdim=True) - basis)


def save_albedo(model_path: Path, photos_dir: Path, out: Path) -> None:
    """Learn the albedo and write it as npz (`albedo_mean`, `albedo_basis`) for `python -m bfm build --albedo`."""
    mean, basis = learn_albedo(MorphableArrays.load(model_path), load_photos(photos_dir))
    np.savez(out, albedo_mean=mean.astype(np.float32), albedo_basis=basis.astype(np.float32))
