"""How surely a photo shows the face itself at each vertex, not what lies over it: hands, collars, the background."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from face3d.crops import as_array, crop_around
from face3d.image import transform_points, warp
from face3d.metrics import landmark_box_px
from face3d.morphable import MorphableModel
from face3d.networks.parser import CLASSES
from face3d.parse import CROP_FACTOR, FaceParser

_BROWS = slice(17, 27)  # of the 68 landmarks


@torch.inference_mode()
def shown_share(
    image: UInt8[np.ndarray, "H W 3"],
    landmarks_px: Float[np.ndarray, "68 _"],
    vertices_px: Float[np.ndarray, "V 3"],
    model: MorphableModel,
    parser: FaceParser,
) -> Float32[np.ndarray, " V"]:
    """How likely each vertex's place in the photo shows the face, in [0, 1], by the parser; whether the mesh hides it
    is not asked.

    The parser takes hair, necks and clothes for one class, background. Above the brows that is kept, for it mostly is
    the person's hair, elsewhere it is not; the neck of a model that has such a region is never shown.

    Raises:
        ValueError: landmarks that are not finite or coincide.
    """
    T_crop_from_image = crop_around(landmark_box_px(landmarks_px).reshape(2, 2), CROP_FACTOR, parser.crop_size)
    crop = warp(image, T_crop_from_image, (parser.crop_size, parser.crop_size), border="replicate")
    probabilities = as_array(parser(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)[0])
    occluder, background = (probabilities[CLASSES.index(name)] for name in ("occluder", "background"))
    x, y = transform_points(T_crop_from_image, vertices_px)[:, :2].astype(np.float32).T
    covers = np.stack([occluder, occluder + background], axis=-1)
    sampled = cv2.remap(covers, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 2)
    covered = np.where(_may_have_hair(model), sampled[:, 0], sampled[:, 1])
    covered[_neck(model)] = 1.0
    return (1.0 - covered).clip(0.0, 1.0).astype(np.float32)


def _may_have_hair(model: MorphableModel) -> Bool[np.ndarray, " V"]:
    """Vertices above the brows of the mean face (y up)."""
    brows = model.landmarks_of(model.mean[None])[0, _BROWS, 1].max()
    return (model.mean[:, 1] > brows).cpu().numpy()


def _neck(model: MorphableModel) -> Bool[np.ndarray, " V"]:
    if "neck" not in model.region_names:
        return np.zeros(model.vertex_count, bool)
    return (model.vertex_region == model.region_names.index("neck")).cpu().numpy()
