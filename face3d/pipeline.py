"""From a photo to its faces: detect, crop, run the networks, bring the results back to the photo."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from face3d.camera import transform_pose
from face3d.checkpoint import asset_path
from face3d.crops import as_array, crop_around, network_crops, transform_batch
from face3d.detect import Detector
from face3d.io import ImageLike, read_image
from face3d.morphable import MorphableModel
from face3d.networks_file import load_networks
from face3d.reconstruction import Reconstruction
from face3d.region import cut_region

Boxes = Sequence | np.ndarray
"""N boxes [x0, y0, x1, y1] in photo pixels: an (N, 4) array or a list of lists."""

CHUNK = 16
"""Faces that go through the networks together."""

SMALLEST_PHOTO_PX = 16
"""No face fits in a photo with a shorter side."""

FARTHER_PX = 192
"""Longer side of a photo that is looked at once more, half of what the detector takes."""

_SMALLEST_BOX_PX = 4.0
_INSIDE = 0.1  # part of a given box that must lie in the photo


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces: tight boxes of the 68 landmarks with scores, as `face3d.detect.Detector` does."""

    def __call__(self, image: np.ndarray) -> Any:
        """Detections with ``boxes_px`` (N, 4) and ``scores`` (N,) of an (H, W, 3) uint8 photo."""


@runtime_checkable
class Networks(Protocol):
    """What `face3d.reconstruct.FaceNetworks` offers: crops in, faces in the frame of their crops out."""

    crop_size: int
    crop_factor: float
    passes: int
    least_confidence: float  # mean over the landmarks; detections below it are no faces

    def look(self, crops: Tensor) -> Any:
        """Only `landmarks_px` (B, 68, 3) and `landmarks_confidence` (B, 68), to judge a crop and to crop again."""

    def __call__(self, crops: Tensor) -> Any:
        """FaceEstimate of (B, 3, crop_size, crop_size) crops in [0, 1]."""


class _Face(NamedTuple):
    """A face that waits for the networks."""

    photo_index: int  # in the batch
    photo: np.ndarray
    box: np.ndarray
    score: float
    detected: bool  # not given by the caller


class Reconstructor:
    """Everything loaded once: ``model = Reconstructor(); faces = model(image)``.

    Args:
        weights: networks that `python -m train` wrote (.safetensors); None takes the embedded ones.
        morphable_model: a model or its .npz file; None takes the embedded face3d model. It must be the one that the
            weights were trained with.
        device: "cpu", "cuda", "cuda:1", ...; None takes CUDA where there is a device, else the CPU.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an altered embedded file, weights of another model, or a device that is not there.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        morphable_model: str | os.PathLike[str] | MorphableModel | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.model = _load_model(morphable_model)
        path = asset_path("reconstruct.safetensors") if weights is None else Path(weights)
        self.networks: Networks = load_networks(path, self.model, self.device)
        self.detector: FaceDetector = Detector(None, self.device)
        self._prepare()

    @classmethod
    def from_parts(
        cls, networks: Networks, detector: FaceDetector, model: MorphableModel, device: str | torch.device = "cpu"
    ) -> "Reconstructor":
        """A reconstructor of given networks, detector and model, already on the device."""
        self = cls.__new__(cls)
        self.device, self.model = pick_device(device), model
        self.networks, self.detector = networks, detector
        self._prepare()
        return self

    def __call__(self, image: ImageLike, boxes: Boxes | None = None, texture: bool = True) -> list[Reconstruction]:
        """The faces of one photo, largest first; [] where there is none.

        Args:
            image: path, PIL image, or (H, W, 3) uint8 RGB array.
            boxes: [x0, y0, x1, y1] of each face in pixels, tight about its 68 landmarks (brows to chin): no detection.
            texture: False keeps no pixels of the photo, and `Reconstruction.texture` is None.

        Raises ValueError or FileNotFoundError for a photo that cannot be read, ValueError for a box outside the photo.
        """
        return self.batch([image], None if boxes is None else [boxes], texture)[0]

    def batch(
        self, images: Sequence[ImageLike], boxes: Sequence[Boxes | None] | None = None, texture: bool = True
    ) -> list[list[Reconstruction]]:
        """The faces of several photos: one list a photo, as `__call__` gives it; faces share passes of the networks."""
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"got boxes for {len(boxes)} photos, but {len(images)} photos")
        results: list[list[Reconstruction]] = [[] for _ in images]
        waiting: list[_Face] = []
        for index, image in enumerate(images):
            waiting += self._find(index, read_image(image), None if boxes is None else boxes[index])
            while len(waiting) >= CHUNK:
                self._reconstruct(waiting[:CHUNK], results, texture)
                del waiting[:CHUNK]
        if waiting:
            self._reconstruct(waiting, results, texture)
        return [sorted(faces, key=lambda face: -_area(face.box)) for faces in results]

    def _prepare(self) -> None:
        arrays = self.model.arrays()
        self._triangles, self._uv = arrays.triangles, arrays.uv

    def _find(self, index: int, photo: UInt8[np.ndarray, "H W 3"], boxes: Boxes | None) -> list[_Face]:
        if boxes is not None:
            return [_Face(index, photo, box, 1.0, False) for box in checked_boxes(boxes, photo.shape[:2])]
        if min(photo.shape[:2]) < SMALLEST_PHOTO_PX:
            return []
        return [
            _Face(index, photo, np.asarray(box, np.float64), float(score), True)
            for box, score in zip(*self._detect(photo), strict=True)
        ]

    def _detect(self, photo: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in the photo and scores. Where nothing is found, once more from farther away: a face that fills the
        photo, seen from behind its cheek or half in the dark, is more easily told when it is small. The detector alone
        would take more for a face then; the landmarks judge that."""
        found = self.detector(photo)
        shrink = FARTHER_PX / max(photo.shape[:2])
        if len(found.scores) or shrink >= 1:
            return found.boxes_px, found.scores
        width, height = (max(1, round(shrink * side)) for side in photo.shape[1::-1])
        found = self.detector(np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
        ratio = np.tile([photo.shape[1] / width, photo.shape[0] / height], 2)
        return (np.asarray(found.boxes_px, np.float64) + 0.5) * ratio - 0.5, found.scores

    @torch.inference_mode()
    def _reconstruct(self, faces: list[_Face], results: list[list[Reconstruction]], texture: bool) -> None:
        """Run the networks on up to CHUNK faces, and add each to the results of its photo.

        Detections are cropped again around their landmarks; boxes that the caller gave are taken as they are. The
        networks' confidence is a second opinion on detections, at every look: what has no landmarks is no face."""
        around = [face.box.reshape(2, 2) for face in faces]
        for _ in range(self.networks.passes - 1 if any(face.detected for face in faces) else 0):
            T_crop_from_photo = np.stack([self._crop_transform(points) for points in around])
            look = self.networks.look(self._crops(faces, T_crop_from_photo))
            moved = transform_batch(np.linalg.inv(T_crop_from_photo), look.landmarks_px)
            around = [new if face.detected else old for face, old, new in zip(faces, around, moved, strict=True)]
            sure = self._sure(faces, look)
            faces, around = [faces[i] for i in sure], [around[i] for i in sure]
            if not faces:
                return
        T_crop_from_photo = np.stack([self._crop_transform(points) for points in around])
        estimate = self.networks(self._crops(faces, T_crop_from_photo))
        reconstructions = self._in_photo(faces, estimate, np.linalg.inv(T_crop_from_photo), texture)
        for i in self._sure(faces, estimate):
            results[faces[i].photo_index].append(reconstructions[i])

    def _sure(self, faces: list[_Face], seen: Any) -> list[int]:
        """Which of the faces the caller gave, or have landmarks that the networks are sure enough of."""
        confidence = as_array(seen.landmarks_confidence).mean(axis=1)
        return [
            i for i, face in enumerate(faces) if not face.detected or confidence[i] >= self.networks.least_confidence
        ]

    def _crop_transform(self, points_px: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "3 3"]:
        return crop_around(points_px, self.networks.crop_factor, self.networks.crop_size)

    def _crops(self, faces: list[_Face], T_crop_from_photo: Float[np.ndarray, "B 3 3"]) -> Float[Tensor, "B 3 S S"]:
        photos = [face.photo for face in faces]
        return network_crops(photos, T_crop_from_photo, self.networks.crop_size, self.device)

    def _in_photo(
        self, faces: list[_Face], estimate: Any, T_photo_from_crop: Float[np.ndarray, "B 3 3"], texture: bool
    ) -> list[Reconstruction]:
        T = torch.from_numpy(T_photo_from_crop).to(estimate.pose.rotation)
        pose = transform_pose(estimate.pose, T)
        vertices_px = transform_batch(T_photo_from_crop, estimate.vertices_px)
        landmarks_px = transform_batch(T_photo_from_crop, estimate.landmarks_px)
        rotation, translation_px = as_array(pose.rotation), as_array(pose.translation_px)
        vertices_mm, confidence = as_array(estimate.vertices_mm), as_array(estimate.landmarks_confidence)
        identity, expression = as_array(estimate.identity), as_array(estimate.expression)
        return [
            Reconstruction(
                box=face.box,
                score=face.score,
                vertices_mm=vertices_mm[i],
                vertices_px=vertices_px[i],
                triangles=self._triangles,
                landmarks_px=landmarks_px[i],
                landmarks_confidence=confidence[i],
                rotation=rotation[i],
                scale=float(pose.scale[i]),
                translation_px=translation_px[i],
                identity=identity[i],
                expression=expression[i],
                uv=self._uv,
                image_size_hw=(face.photo.shape[0], face.photo.shape[1]),
                model=self.model,
                region=cut_region(face.photo, vertices_px[i], keep_pixels=texture),
            )
            for i, face in enumerate(faces)
        ]


def reconstruct(image: ImageLike, boxes: Boxes | None = None, texture: bool = True) -> list[Reconstruction]:
    """The faces of a photo with the embedded model, loaded at the first call: see `Reconstructor.__call__`."""
    return default_reconstructor()(image, boxes, texture)


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or CUDA where there is one, else the CPU. ValueError for one that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: use 'cpu', 'cuda' or 'cuda:N'") from error
    if picked.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (picked.index or 0) >= count:
            raise ValueError(f"device {str(picked)!r} is not there: torch sees {count} CUDA devices; use device='cpu'")
    return picked


def checked_boxes(boxes: Boxes, size_hw: tuple[int, ...]) -> Float[np.ndarray, "N 4"]:
    """Given boxes as an (N, 4) array. ValueError where one is malformed, tiny, or hardly inside the photo."""
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"boxes must be numbers [[x0, y0, x1, y1], ...], got {boxes!r}") from error
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes have shape {array.shape}: expected (N, 4), [[x0, y0, x1, y1], ...] in pixels")
    for box in array:
        _check_box(box, size_hw)
    return array


def _check_box(box: np.ndarray, size_hw: tuple[int, ...]) -> None:
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    if not np.isfinite(box).all() or min(width, height) < _SMALLEST_BOX_PX:
        raise ValueError(
            f"box {box.tolist()} is {width:g} x {height:g} px: expected finite x0 < x1 and y0 < y1, "
            f"at least {_SMALLEST_BOX_PX:g} px apart"
        )
    inside_width = min(box[2], size_hw[1] - 0.5) - max(box[0], -0.5)
    inside_height = min(box[3], size_hw[0] - 0.5) - max(box[1], -0.5)
    if max(inside_width, 0) * max(inside_height, 0) < _INSIDE * width * height:
        raise ValueError(
            f"box {box.tolist()} lies outside the photo of {size_hw[1]} x {size_hw[0]} px: expected pixels "
            f"[x0, y0, x1, y1] with at least {_INSIDE:.0%} of the box inside"
        )


@lru_cache(maxsize=1)
def default_reconstructor() -> Reconstructor:
    """The embedded model on the default device, loaded once."""
    return Reconstructor()


def _load_model(source: str | os.PathLike[str] | MorphableModel | None) -> MorphableModel:
    if isinstance(source, MorphableModel):
        return source
    return MorphableModel.load(asset_path("face3d_model.npz") if source is None else source)


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
