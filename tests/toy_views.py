"""A folder of photos and of views made from a random morphable model: training stages are tested on them."""

from pathlib import Path

import numpy as np

from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from train.photos import PATCH
from train.profiling import view_of
from train.views import save_views

FRONTAL = np.diag([1.0, -1.0, -1.0])


def toy_model(folder: Path) -> Path:
    """A random model with a 25 x 25 grid, saved."""
    path = folder / "model.npz"
    MorphableModel.random(0, rows=25, columns=25).save(path)
    return path


def toy_photos(folder: Path, model: MorphableArrays, count: int = 6) -> Path:
    """Noise patches with frontal poses, in the layout of `train.prepare photos`."""
    rng = np.random.default_rng(0)
    out = folder / "photos"
    out.mkdir()
    np.save(out / "images.npy", rng.integers(0, 255, (count, PATCH, PATCH, 3), dtype=np.uint8))
    corners = model.mean[model.triangles[model.landmark_triangles]]
    pose = view_of((corners * model.landmark_barycentric[..., None]).sum(1), FRONTAL, PATCH)
    np.savez(
        out / "fits.npz",
        identity=rng.normal(0, 0.5, (count, len(model.identity_basis))).astype(np.float32),
        expression=rng.normal(0, 0.1, (count, len(model.expression_basis))).astype(np.float32),
        rotation=np.repeat(FRONTAL[None], count, 0).astype(np.float32),
        scale=np.full(count, pose.scale, np.float32),
        translation_px=np.repeat(pose.translation_px[None], count, 0).astype(np.float32),
        inside_px=np.tile(np.float32([-9.0, 10.0, PATCH - 20.5, PATCH + 3.0]), (count, 1)),
        rms_mm=np.ones(count, np.float32),
        names=np.array([f"tar/{i}" for i in range(count)]),
        persons=np.array([f"person {i // 2}" for i in range(count)]),
    )
    return out


def toy_views(folder: Path, model: MorphableArrays, count: int = 8, size: int = 64) -> Path:
    """Noise pictures with exact labels, in the layout of `train.prepare turned`; one of two people is held out."""
    rng = np.random.default_rng(1)
    corners = model.mean[model.triangles[model.landmark_triangles]]
    pose = view_of((corners * model.landmark_barycentric[..., None]).sum(1), FRONTAL, size)
    labels = {
        "identity": rng.normal(0, 0.5, (count, len(model.identity_basis))).astype(np.float32),
        "expression": rng.normal(0, 0.1, (count, len(model.expression_basis))).astype(np.float32),
        "rotation": np.repeat(FRONTAL[None], count, 0).astype(np.float32),
        "scale": np.full(count, pose.scale, np.float32),
        "translation_px": np.repeat(pose.translation_px[None], count, 0).astype(np.float32),
        "person": np.arange(count) % 2,
    }
    out = folder / "views"
    save_views(out, rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8), labels)
    return out
