"""From a photo or a video to a textured 3D face: offline, without a form, a compiler or a download.

    import face3d
    faces = face3d.reconstruct("photo.jpg")     # largest face first, [] where there is none
    faces[0].save("face.glb")
    video = face3d.reconstruct_video("clip.mp4")  # .tracks: one face each, the one seen longest first
    forward_px = face3d.flow("frame1.png", "frame2.png").forward_px

types              shapes, units and frames; every convention in one place
geometry, camera, image, mesh, pose, morphable     the differentiable mathematics
rasterise, render, shading, texture                pictures of meshes, and textures from pictures
networks, detect, reconstruct                      what is learned
pipeline, reconstruction, overlay, export, io, cli from a photo to files
video, face_track, tracking, smoothing, video_io   faces followed through a video
keyframes, consistency, refine                     a face made better on its own frames
warping, flow_*, optical_flow                      optical flow between two frames, and its files

Importing face3d is cheap: torch is loaded when a public name is first used.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from face3d._version import __version__

if TYPE_CHECKING:
    from face3d.face_track import FaceTrack as FaceTrack
    from face3d.morphable import MorphableModel as MorphableModel
    from face3d.optical_flow import FlowEstimator as FlowEstimator
    from face3d.optical_flow import OpticalFlow as OpticalFlow
    from face3d.optical_flow import flow as flow
    from face3d.pipeline import Reconstructor as Reconstructor
    from face3d.pipeline import reconstruct as reconstruct
    from face3d.reconstruction import Reconstruction as Reconstruction
    from face3d.video import VideoReconstruction as VideoReconstruction
    from face3d.video import reconstruct_video as reconstruct_video

_HOMES = {
    "reconstruct": "face3d.pipeline",
    "Reconstructor": "face3d.pipeline",
    "Reconstruction": "face3d.reconstruction",
    "reconstruct_video": "face3d.video",
    "VideoReconstruction": "face3d.video",
    "FaceTrack": "face3d.face_track",
    "MorphableModel": "face3d.morphable",
    "flow": "face3d.optical_flow",
    "FlowEstimator": "face3d.optical_flow",
    "OpticalFlow": "face3d.optical_flow",
}

__all__ = [
    "FaceTrack",
    "FlowEstimator",
    "MorphableModel",
    "OpticalFlow",
    "Reconstruction",
    "Reconstructor",
    "VideoReconstruction",
    "__version__",
    "flow",
    "reconstruct",
    "reconstruct_video",
]


class _Package(ModuleType):
    """The package, where a public name stays what it is when a module of the same name is imported."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'face3d' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # `import face3d.reconstruct` would replace the function `face3d.reconstruct` by the module.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_HOMES})


sys.modules[__name__].__class__ = _Package
