"""One person's face through a video: the shape once, expression and pose for every frame."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int32

from face3d import export, overlay
from face3d.camera import project
from face3d.crops import as_array
from face3d.geometry import euler_deg_from_rotation
from face3d.gltf import GL_FROM_CAMERA, Motion, expression_targets
from face3d.io import replace_files
from face3d.morphable import MorphableModel
from face3d.pose import landmark_precision, pose_from_landmarks
from face3d.reconstruction import Reconstruction
from face3d.region import FaceRegion
from face3d.smoothing import smooth_rotations, smooth_values
from face3d.tracking import box_of
from face3d.types import ScaledOrthography
from face3d.video_io import USUAL_RATE_HZ

if TYPE_CHECKING:
    from trimesh import Trimesh
else:
    Trimesh = Any  # trimesh is loaded when a mesh is first asked for

VIDEO_FORMAT = "face3d-video-1"
_RECORDED = (
    *("frames", "identity", "expression", "rotation", "scale", "translation_px", "euler_deg"),
    *("landmarks_px", "landmarks_confidence", "portrait_frame"),
)
# The largest jitter of the networks that is believed, standard deviations.
_POSITION_NOISE_MM, _ROTATION_NOISE_RAD, _LOG_SCALE_NOISE = 1.0, 0.01, 0.004
_EXPRESSION_NOISE = 0.06  # in the model's own standard deviations


class Sighting(NamedTuple):
    """A face in one frame, as the networks see it: pixels of the frame."""

    frame: int
    landmarks_px: Float32[np.ndarray, "68 3"]
    landmarks_confidence: Float32[np.ndarray, " 68"]
    identity: Float32[np.ndarray, " K"]
    expression: Float32[np.ndarray, " E"]


class Portrait(NamedTuple):
    """The frame that shows a face best, and the part of it under the face."""

    frame: int
    region: FaceRegion


@dataclass(frozen=True)
class Refinement:
    """What became of refining a track (`face3d.refine`)."""

    kept: bool
    """Whether the track is the refined one; else it is as it would be without refinement."""
    reason: str
    """Why, in words."""
    frames: tuple[int, ...] = ()
    """The keyframes that were compared."""
    flow_before_px: float | None = None
    """Flow between held-out keyframes, in pixels of their crops, that their expressions and poses leave unexplained;
    None where nothing was tried."""
    flow_after_px: float | None = None
    """The same with the refined identity."""


@dataclass(frozen=True, eq=False, repr=False)
class FaceTrack:
    """A face in T frames of a video: ``vertices_px = scale * (rotation @ vertices_mm) + translation_px`` in each.

    Row t of the arrays belongs to frame ``frames[t]``; frames and conventions are those of `face3d.Reconstruction`.
    """

    number: int
    """Of the track in its video, from 0."""
    frames: Int32[np.ndarray, " T"]
    """Numbers of the frames that show the face, from 0, ascending; gaps where it was lost."""
    identity: Float32[np.ndarray, " K"]
    """Coefficients of the face's shape, in standard deviations: one for the whole track."""
    expression: Float32[np.ndarray, "T E"]
    """Weights of the expressions in each frame."""
    rotation: Float32[np.ndarray, "T 3 3"]
    """Model to camera axes."""
    scale: Float32[np.ndarray, " T"]
    """Pixels per millimetre."""
    translation_px: Float32[np.ndarray, "T 2"]
    """Where the model's origin lies in the frame."""
    landmarks_px: Float32[np.ndarray, "T 68 3"]
    """The 68 landmarks (300W order) in the frame, with depth, as the pose guidance network sees them."""
    landmarks_confidence: Float32[np.ndarray, "T 68"]
    """In (0, 1]."""
    image_size_hw: tuple[int, int]
    """Height and width of the frames."""
    model: MorphableModel
    """The morphable model that the meshes come from."""
    portrait: Portrait
    """The frame of highest confidence: the texture is its."""
    refinement: Refinement | None = None
    """What became of refining the track; None where that was not asked for."""
    rate_hz: float | None = None
    """Frames a second; None where the video does not tell, and `save` takes `USUAL_RATE_HZ`."""

    def __len__(self) -> int:
        return len(self.frames)

    def __contains__(self, frame: object) -> bool:
        return bool(np.any(self.frames == frame))

    def __repr__(self) -> str:
        return f"FaceTrack({self.number}: {len(self)} frames from {self.frames[0]} to {self.frames[-1]})"

    @property
    def portrait_frame(self) -> int:
        """The frame that the texture is taken from."""
        return self.portrait.frame

    @cached_property
    def euler_deg(self) -> Float32[np.ndarray, "T 3"]:
        """(pitch, yaw, roll) in degrees, with the sign of AFLW2000's Pose_Para."""
        return euler_deg_from_rotation(torch.from_numpy(self.rotation)).numpy()

    @cached_property
    def neutral_mm(self) -> Float32[np.ndarray, "V 3"]:
        """The mesh in model space without any expression."""
        return self._vertices_mm(np.zeros_like(self.expression[:1]))

    def vertices_mm(self, frame: int | np.integer) -> Float32[np.ndarray, "V 3"]:
        """The mesh of a frame in model space. KeyError where the face is not in this frame."""
        row = self._row(frame)
        return self._vertices_mm(self.expression[row : row + 1])

    def vertices_px(self, frame: int | np.integer) -> Float32[np.ndarray, "V 3"]:
        """The mesh in a frame, with depth. KeyError where the face is not in this frame."""
        row = slice(self._row(frame), self._row(frame) + 1)
        parts = (torch.from_numpy(part[row]) for part in (self.rotation, self.scale, self.translation_px))
        return project(torch.from_numpy(self.vertices_mm(frame))[None], ScaledOrthography(*parts))[0].numpy()

    def face(self, frame: int | np.integer) -> Reconstruction:
        """All about the face in one frame; only `portrait_frame` has a texture. KeyError where it is not in it."""
        row = self._row(frame)
        region = self.portrait.region
        return Reconstruction(
            box=box_of(self.landmarks_px[row]),
            score=float(self.landmarks_confidence[row].mean()),
            vertices_mm=self.vertices_mm(frame),
            vertices_px=self.vertices_px(frame),
            triangles=self.triangles,
            landmarks_px=self.landmarks_px[row],
            landmarks_confidence=self.landmarks_confidence[row],
            rotation=self.rotation[row],
            scale=float(self.scale[row]),
            translation_px=self.translation_px[row],
            identity=self.identity,
            expression=self.expression[row],
            uv=None if self.model.uv is None else as_array(self.model.uv),
            image_size_hw=self.image_size_hw,
            model=self.model,
            region=region if frame == self.portrait.frame else FaceRegion(np.eye(3), self.image_size_hw, None),
        )

    @cached_property
    def fade(self) -> Float32[np.ndarray, " V"]:
        """How strongly overlays show each vertex: 1 on the face, falling to 0 on neck and scalp."""
        landmarks_mm = self.model.landmarks_of(torch.from_numpy(self.neutral_mm)[None].to(self.model.mean.device))
        return overlay.fade_out(self.neutral_mm, as_array(landmarks_mm)[0])

    def to_trimesh(self) -> Trimesh:
        """The mesh without expression in millimetres (model space), with the texture of the best frame."""
        best = self.face(self.portrait.frame)
        return export.build_mesh(self.neutral_mm, self.triangles, best.uv, best.texture)

    def record(self) -> dict[str, Any]:
        """What `save` writes of the track into .json and .npz."""
        return {name: getattr(self, name) for name in _RECORDED}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mesh without expression (``.glb``, ``.obj``, ``.ply``), or all parameters (``.json``, ``.npz``).

        The .glb moves as in the video: its morph targets are the model's expressions, and its animation has their
        weights, the head's rotation, and its place in the picture (the first frame of the video is at time 0).
        docs/usage.md describes each format. Raises ValueError for another extension, OSError where nothing can be
        written.
        """
        path = Path(path)
        kind = export.format_of(path)
        about = {"image_size_hw": self.image_size_hw} | about_model(self.model)
        replace_files(
            parameter_files(path, about, [self])
            if kind in ("json", "npz")
            else export.mesh_files(self.to_trimesh(), path, expression_targets(self.model), self._motion)
        )

    @cached_property
    def triangles(self) -> Int32[np.ndarray, "F 3"]:
        """Vertex indices, counter-clockwise seen from outside."""
        return self.model.triangles.cpu().numpy().astype(np.int32)

    @property
    def _motion(self) -> Motion:
        """Towards the camera nobody knows where the face is: it stays in the plane of the picture."""
        middle_px = (np.array(self.image_size_hw[::-1]) - 1) / 2
        place_mm = (self.translation_px - middle_px) / self.scale[:, None]
        translation_mm = np.column_stack([place_mm, np.zeros(len(self))]) @ GL_FROM_CAMERA
        return Motion(
            self.frames / (self.rate_hz or USUAL_RATE_HZ),
            self.expression,
            GL_FROM_CAMERA @ self.rotation,
            translation_mm,
        )

    def _vertices_mm(self, expression: Float32[np.ndarray, "1 E"]) -> Float32[np.ndarray, "V 3"]:
        device = self.model.mean.device
        identity = torch.from_numpy(self.identity)[None].to(device)
        return as_array(self.model.vertices(identity, torch.from_numpy(expression).to(device)))[0]

    def _row(self, frame: int | np.integer) -> int:
        rows = np.flatnonzero(self.frames == frame)
        if len(rows) == 0:
            raise KeyError(f"track {self.number} is not in frame {frame}: it is in {len(self)} of {self.frames[0]} to "
                           f"{self.frames[-1]}")  # fmt: skip
        return int(rows[0])


def build_track(
    number: int,
    sightings: Sequence[Sighting],
    portrait: Portrait,
    image_size_hw: tuple[int, int],
    model: MorphableModel,
    smooth: bool = True,
    refinement: Refinement | None = None,
    rate_hz: float | None = None,
) -> FaceTrack:
    """One identity from all sightings, then the pose of every frame in closed form with the landmarks of that identity.

    The identity is `shared_identity`; the weight of a landmark in the pose is its `landmark_precision`. With
    ``smooth``, expression and pose are smoothed over neighbouring frames (`face3d.smoothing`); rotations on SO(3),
    scale as its logarithm.
    """
    frames = np.array([sighting.frame for sighting in sightings], np.int32)
    landmarks_px, confidence, _, expression = (np.stack(rows) for rows in list(zip(*sightings, strict=True))[1:])
    identity = shared_identity(sightings)
    precision = as_array(landmark_precision(torch.from_numpy(confidence)))
    certainty = precision.mean(axis=1)
    if smooth:
        unit = as_array(model.expression_std)
        in_units = smooth_values(frames, (expression / unit)[:, :, None], certainty, _EXPRESSION_NOISE)
        expression = in_units[:, :, 0] * unit
    rotation, scale, translation_px = _poses(model, identity, expression, landmarks_px, precision)
    if smooth:
        noise_px = _POSITION_NOISE_MM * float(np.median(scale))
        rotation = smooth_rotations(frames, rotation, certainty, _ROTATION_NOISE_RAD)
        scale = np.exp(smooth_values(frames, np.log(scale)[:, None, None], certainty, _LOG_SCALE_NOISE)[:, 0, 0])
        translation_px = smooth_values(frames, translation_px[:, None], certainty, noise_px)[:, 0]
        landmarks_px = smooth_values(frames, landmarks_px, certainty, noise_px)
    return FaceTrack(
        number=number,
        frames=frames,
        identity=identity,
        expression=expression,
        rotation=rotation,
        scale=scale,
        translation_px=translation_px,
        landmarks_px=landmarks_px,
        landmarks_confidence=confidence,
        image_size_hw=image_size_hw,
        model=model,
        portrait=portrait,
        refinement=refinement,
        rate_hz=rate_hz,
    )


def shared_identity(sightings: Sequence[Sighting]) -> Float32[np.ndarray, " K"]:
    """``sum_t c_t identity_t / sum_t c_t``, c_t the mean confidence of the landmarks in frame t, which is lower for
    small, blurred, hidden and half-turned faces."""
    weights = [sighting.landmarks_confidence.mean() for sighting in sightings]
    return np.average([sighting.identity for sighting in sightings], axis=0, weights=weights).astype(np.float32)


def about_model(model: MorphableModel) -> dict[str, Any]:
    """The entries of a parameter file that say what its coefficients mean."""
    return {"model": model.meta.name, "expression_names": model.expression_names}


def parameter_files(path: Path, about: dict[str, Any], tracks: Sequence[FaceTrack]) -> dict[Path, bytes]:
    """The .json (``tracks`` is a list) or .npz (keys ``track0_identity``, ...) of some tracks."""
    records = {track.number: track.record() for track in tracks}
    if export.format_of(path) == "json":
        listed = [{"track": number} | record for number, record in records.items()]
        return {path: export.json_bytes({"format": VIDEO_FORMAT} | about | {"tracks": listed})}
    flat = {f"track{number}_{name}": value for number, record in records.items() for name, value in record.items()}
    numbers = np.array(list(records), np.int32)
    return {path: export.npz_bytes({"format": VIDEO_FORMAT} | about | {"tracks": numbers} | flat)}


@torch.inference_mode()
def _poses(
    model: MorphableModel,
    identity: Float32[np.ndarray, " K"],
    expression: Float32[np.ndarray, "T E"],
    landmarks_px: Float32[np.ndarray, "T 68 3"],
    precision: Float32[np.ndarray, "T 68"],
) -> tuple[Float32[np.ndarray, "T 3 3"], Float32[np.ndarray, " T"], Float32[np.ndarray, "T 2"]]:
    """The pose in every frame, of the whole track at once."""
    device = model.mean.device
    repeated = torch.from_numpy(identity)[None].repeat(len(expression), 1)
    landmarks_mm = model.landmarks(repeated.to(device), torch.from_numpy(expression).to(device)).cpu()
    pose = pose_from_landmarks(landmarks_mm, torch.from_numpy(landmarks_px), torch.from_numpy(precision))
    return as_array(pose.rotation), as_array(pose.scale), as_array(pose.translation_px)
