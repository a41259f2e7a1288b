"""The texture of a face from a photo: what is seen, what its mirror image shows, and the rest filled in smoothly.

All in numpy and OpenCV, for one photo at a time. Vertices are in the photo's pixels (x, y, depth; smaller is nearer).
"""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from face3d.compiled import compiled
from face3d.morphable import MorphableModel
from face3d.rasterise_numba import NumpyFragments, depth_numpy, interpolate_numpy, rasterise_numpy

OBSERVED, MIRRORED, INPAINTED = 0, 1, 2
"""Values of `Texture.source`."""

_WINDOW = 256  # pixels of the picture in which visibility is decided, whatever the photo's size
_TOLERANCE = 0.015  # of the mesh's size in the photo: nearer surfaces than this do not hide
_GRAZING, _FACING = 0.15, 0.45  # cosine to the camera: from nothing is taken, to all is taken (half at 0.3)
_RIM, _INSIDE = 1.0, 6.0  # pixels of the window from the outline: background may bleed in, certainly does not
_SHOWN = (0.3, 0.7)  # how surely the photo shows the face: from nothing is taken, to all is taken
_USUAL = 0.15  # of the usual light in what is filled in, at every step away from what is known
_FILL_SIZE = 64  # the filled-in colours are smooth: this many texels a side hold them


class Texture(NamedTuple):
    """A UV image (texel centres at u (S - 1), v (S - 1)) and where its colours come from."""

    image: UInt8[np.ndarray, "S S 3"]
    observed: Bool[np.ndarray, "S S"]
    source: UInt8[np.ndarray, "S S"]  # OBSERVED in the photo, MIRRORED from the other half of the face, INPAINTED


class _Layout(NamedTuple):
    """What of a model's UV layout does not change from photo to photo."""

    triangles: Int32[np.ndarray, "F 3"]
    texels: NumpyFragments
    symmetric: bool
    albedo: Float32[np.ndarray, "S S 3"]  # of the mean face, 0 to 255


_layouts: WeakKeyDictionary[MorphableModel, dict[int, _Layout]] = WeakKeyDictionary()


def visibility(
    vertices_px: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], size_hw: tuple[int, int]
) -> Bool[np.ndarray, " V"]:
    """Whether each vertex is in the photo, faces the camera and is not hidden by the mesh.

    Decided on a picture of 256 pixels across the part of the mesh in the photo, so the photo's size does not matter.

    Raises:
        ValueError: vertices that are not finite, or triangles that are not this mesh's.
    """
    points = _columns(vertices_px)
    faces = np.ascontiguousarray(triangles, np.int32)
    return _look(points, faces, size_hw, _towards_camera(points, faces))[0]


def extract_texture(
    image: UInt8[np.ndarray, "H W 3"],
    vertices_px: Float[np.ndarray, "V 3"],
    model: MorphableModel,
    size: int = 512,
    shown: Float32[np.ndarray, " N"] | None = None,
) -> Texture:
    """The photo's colours in the model's UV image.

    A texel takes the photo where its surface is visible, not grazing (softly between cosines of 0.15 and 0.45) and not
    at the outline, where a fit that is a pixel off shows the background; the mirrored texel where only that is seen
    and the UV layout is symmetric (u to 1 - u); and elsewhere, also outside the UV layout, the mean face's albedo in
    the light around it: lips, brows and eyes are there where nobody saw them. Where nothing is seen, the albedo itself.
    ``shown`` tells how surely the photo shows the face at each vertex (`face3d.parse_shown.shown_share`): nothing is
    taken below 0.3, all above 0.7.

    Raises:
        ValueError: the model has no UV coordinates, another number of vertices or of ``shown``, or vertices are not
            finite.
    """
    layout, points = _layout(model, size), _columns(vertices_px)
    if points.shape[1] != model.vertex_count:
        raise ValueError(f"got {points.shape[1]} vertices; the model {model.meta.name!r} has {model.vertex_count}")
    if shown is not None and shown.shape != (model.vertex_count,):
        raise ValueError(f"shown is of shape {shown.shape}; expected a value for each of {model.vertex_count} vertices")
    seen = _vertex_weights(points, layout.triangles, (image.shape[0], image.shape[1]), shown)
    photo, weight = _sample_photo(image, points, seen, layout)
    if layout.symmetric:
        mirror, mirror_weight = cv2.flip(photo, 1), (1.0 - weight) * cv2.flip(weight, 1)
    else:
        mirror, mirror_weight = photo, np.zeros_like(weight)
    known, observed = weight + mirror_weight, weight >= 0.5
    source = np.where(known >= 0.5, np.uint8(MIRRORED), np.uint8(INPAINTED))
    source[observed] = OBSERVED
    colours = cv2.blendLinear(photo, mirror, weight, mirror_weight)
    filled = _continuation(np.asarray(colours, np.uint8), known, layout.albedo)
    texture = cv2.blendLinear(colours, filled, known, 1.0 - known)
    return Texture(np.asarray(texture, np.uint8), observed, source)


def _layout(model: MorphableModel, size: int) -> _Layout:
    """The layout at this size, computed once a model."""
    if model.uv is None:
        raise ValueError(f"the model {model.meta.name!r} has no 'uv'; a texture needs one whose file holds it")
    known = _layouts.setdefault(model, {})
    if size not in known:
        triangles = model.triangles.cpu().numpy().astype(np.int32)
        uv = model.uv.cpu().numpy()
        texels = rasterise_numpy(np.column_stack([uv * (size - 1), np.zeros_like(uv[:, 0])]), triangles, (size, size))
        known[size] = _Layout(triangles, texels, _is_symmetric(model), _albedo_image(model, triangles, texels))
    return known[size]


def _is_symmetric(model: MorphableModel) -> bool:
    """Whether a vertex's mirror image lies at 1 - u in the UV layout."""
    if model.uv is None or model.symmetry is None:
        return False
    mirrored = model.uv[model.symmetry.long()]
    error = torch.stack([mirrored[:, 0] - (1.0 - model.uv[:, 0]), mirrored[:, 1] - model.uv[:, 1]])
    return bool(error.abs().max() < 2e-3)


def _albedo_image(
    model: MorphableModel, triangles: Int32[np.ndarray, "F 3"], texels: NumpyFragments
) -> Float32[np.ndarray, "S S 3"]:
    """The mean albedo of every texel, its mean where there is no surface; grey for a model without albedo."""
    if model.albedo_mean is None:
        return np.full((*texels.triangle.shape, 3), 128.0, np.float32)
    colours = 255.0 * model.albedo_mean.clamp(0.02, 1.0).cpu().numpy().astype(np.float32)
    image = interpolate_numpy(colours, triangles, texels)
    image[texels.triangle < 0] = colours.mean(axis=0)
    return np.ascontiguousarray(image, np.float32)


def _columns(vertices_px: Float[np.ndarray, "V 3"]) -> Float32[np.ndarray, "3 V"]:
    """x, y and depth as rows, which numpy reduces many times faster; ValueError where one is not finite."""
    columns = np.ascontiguousarray(vertices_px.T, np.float32)
    if not np.isfinite(columns).all():
        raise ValueError(f"{(~np.isfinite(columns)).any(axis=0).sum()} vertices are not finite: check the pose")
    return columns


def _add_normals(points: Any, triangles: Any, normals: Any) -> None:
    """Sum of the normals, twice their area long, of the faces around each vertex (compiled)."""
    for face in range(triangles.shape[0]):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ux, uy, uz = points[0, b] - points[0, a], points[1, b] - points[1, a], points[2, b] - points[2, a]
        vx, vy, vz = points[0, c] - points[0, a], points[1, c] - points[1, a], points[2, c] - points[2, a]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            normals[0, vertex] += x
            normals[1, vertex] += y
            normals[2, vertex] += z


def _take_least(weights: Any, triangles: Any, least: Any) -> None:
    """The least weight among each vertex and its neighbours (compiled)."""
    for face in range(triangles.shape[0]):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        smallest = min(weights[a], weights[b], weights[c])
        for vertex in (a, b, c):
            least[vertex] = min(least[vertex], smallest)


def _towards_camera(
    points: Float32[np.ndarray, "3 V"], triangles: Int32[np.ndarray, "F 3"]
) -> Float32[np.ndarray, " V"]:
    """Cosine between each vertex's normal and the direction to the camera; 0 where it has no normal."""
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < points.shape[1]):
        raise ValueError(f"triangles go up to vertex {triangles.max()}, but there are {points.shape[1]} vertices")
    normals = np.zeros_like(points)
    compiled(_add_normals, "void(float32[:,::1], int32[:,::1], float32[:,::1])")(points, triangles, normals)
    length = np.sqrt(np.square(normals).sum(axis=0))
    return -normals[2] / np.maximum(length, np.float32(1e-30))


def _look(
    points: Float32[np.ndarray, "3 V"],
    triangles: Int32[np.ndarray, "F 3"],
    size_hw: tuple[int, int],
    towards_camera: Float32[np.ndarray, " V"],
) -> tuple[Bool[np.ndarray, " V"], Float32[np.ndarray, " V"]]:
    """Which vertices are seen, and their distance to the mesh's outline in the window's pixels (0 where not seen)."""
    (x, y, _), (height, width) = points, size_hw
    visible = (towards_camera > 0.0) & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    distance = np.zeros_like(towards_camera)
    if not visible.any():
        return visible, distance
    shown = points[:, visible]
    low, high = shown[:2].min(axis=1), shown[:2].max(axis=1)
    scale = (_WINDOW - 3) / max(float((high - low).max()), 1e-6)
    window = points * np.float32(scale)
    window[:2] += np.float32(1.0) - low[:, None] * np.float32(scale)
    depth = depth_numpy(window.T, triangles, (_WINDOW, _WINDOW))
    tolerance = np.float32(_TOLERANCE * max(np.ptp(window[0]), np.ptp(window[1])))
    seen = window[:, visible]
    inwards = cv2.distanceTransform(np.isfinite(depth).astype(np.uint8), cv2.DIST_L2, 3)
    column, row = np.round(seen[:2]).astype(np.int64).clip(0, _WINDOW - 1)
    distance[visible] = np.asarray(inwards, np.float32)[row, column]
    visible[visible] = seen[2] <= _farthest_around(depth, seen[:2]) + tolerance
    return visible, distance * visible


def _farthest_around(
    depth: Float32[np.ndarray, "H W"], points: Float32[np.ndarray, "2 N"]
) -> Float32[np.ndarray, " N"]:
    """The farthest of the four pixels around each point: a surface does not hide its own vertices, at any slope."""
    height, width = depth.shape
    x, y = points[0].astype(np.int64).clip(0, width - 2), points[1].astype(np.int64).clip(0, height - 2)
    return np.maximum(np.maximum(depth[y, x], depth[y, x + 1]), np.maximum(depth[y + 1, x], depth[y + 1, x + 1]))


def _vertex_weights(
    points: Float32[np.ndarray, "3 V"],
    triangles: Int32[np.ndarray, "F 3"],
    size_hw: tuple[int, int],
    shown: Float32[np.ndarray, " V"] | None,
) -> Float32[np.ndarray, " V"]:
    """How much of the photo each vertex takes: 0 next to a vertex that is not seen, so that no occluder bleeds in."""
    facing = _towards_camera(points, triangles)
    _, distance = _look(points, triangles, size_hw, facing)
    weights = _ramp(facing, _GRAZING, _FACING) * _ramp(distance, _RIM, _INSIDE)
    if shown is not None:
        weights *= _ramp(shown, *_SHOWN)
    least = weights.copy()
    compiled(_take_least, "void(float32[::1], int32[:,::1], float32[::1])")(weights, triangles, least)
    return least


def _ramp(values: Float32[np.ndarray, " V"], start: float, stop: float) -> Float32[np.ndarray, " V"]:
    """Smoothly from 0 at `start` to 1 at `stop`."""
    ramp = ((values - np.float32(start)) / np.float32(stop - start)).clip(0.0, 1.0)
    return ramp * ramp * (3 - 2 * ramp)


def _sample_photo(
    image: UInt8[np.ndarray, "H W 3"],
    points: Float32[np.ndarray, "3 V"],
    weights: Float32[np.ndarray, " V"],
    layout: _Layout,
) -> tuple[UInt8[np.ndarray, "S S 3"], Float32[np.ndarray, "S S"]]:
    """Colour and weight of every texel, from the place in the photo and the weight of every vertex."""
    part, scale, offset = _region(image, points[:2], len(layout.texels.triangle))
    values = np.column_stack([points[0] * scale[0] + offset[0], points[1] * scale[1] + offset[1], weights])
    x, y, weight = cv2.split(interpolate_numpy(values, layout.triangles, layout.texels))
    colours = cv2.remap(part, np.asarray(x), np.asarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colours, np.uint8), np.asarray(weight, np.float32).clip(0.0, 1.0)


def _region(
    image: UInt8[np.ndarray, "H W 3"], points: Float32[np.ndarray, "2 V"], size: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, " 2"], Float32[np.ndarray, " 2"]]:
    """The part of the photo under the mesh, averaged down to about the texels' pitch: p_part = p * scale + offset."""
    limit = np.array(image.shape[1::-1])
    first, last = points.min(axis=1), points.max(axis=1)
    low = np.floor(first - 2).clip(0, limit - 1).astype(np.int64)
    high = np.ceil(last + 3).clip(low + 1, limit).astype(np.int64)
    part = image[low[1] : high[1], low[0] : high[0]]
    shrink = float((last - first).max()) / size
    if shrink > 1.5:
        small = np.maximum(np.round((high - low) / shrink), 1).astype(int)
        part = np.asarray(cv2.resize(part, small.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    scale = np.array(part.shape[1::-1]) / (high - low)
    return np.ascontiguousarray(part), scale.astype(np.float32), ((0.5 - low) * scale - 0.5).astype(np.float32)


def _continuation(
    colours: UInt8[np.ndarray, "S S 3"], known: Float32[np.ndarray, "S S"], albedo: Float32[np.ndarray, "S S 3"]
) -> UInt8[np.ndarray, "S S 3"]:
    """The albedo in the light of the colours known by half or more.

    The light is their ratio to the albedo, carried over the whole image (push-pull: Gortler et al., The Lumigraph,
    1996), and farther away its upper quartile: hair and the rim that is known are darker than skin. One where
    nothing is known."""
    known = np.where(known >= 0.5, known, np.float32(0.0))
    small = (min(_FILL_SIZE, len(known)),) * 2
    weighted = cv2.multiply(colours, cv2.merge([known] * 3), dtype=cv2.CV_32F)
    shown, plain, weight = (cv2.resize(v, small, interpolation=cv2.INTER_AREA) for v in (weighted, albedo, known))
    weighted, weight = np.asarray(shown / plain, np.float32), np.asarray(weight, np.float32)
    whole = weight >= 0.5
    usual = np.percentile(weighted[whole] / weight[whole][:, None], 75, axis=0) if whole.any() else np.ones(3)
    light = _push_pull(weighted, weight, usual.astype(np.float32))
    large = cv2.resize(light, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(albedo, large, dtype=cv2.CV_8U), np.uint8)


def _push_pull(
    weighted: Float32[np.ndarray, "N N 3"], weight: Float32[np.ndarray, "N N"], usual: Float32[np.ndarray, " 3"]
) -> Float32[np.ndarray, "N N 3"]:
    """Colours where the weight is 1; mixed with the coarser level's where it is less, and a little of the usual one."""
    if len(weight) == 1:
        return weighted + (1.0 - weight)[..., None] * usual
    half = ((len(weight) + 1) // 2,) * 2
    coarse = [np.asarray(cv2.resize(v, half, interpolation=cv2.INTER_AREA), np.float32) for v in (weighted, weight)]
    mixed = np.float32(_USUAL) * (1.0 - coarse[1])
    below = _push_pull(coarse[0] + mixed[..., None] * usual, coarse[1] + mixed, usual)
    below = np.asarray(cv2.resize(below, weight.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return weighted + (1.0 - weight)[..., None] * below
