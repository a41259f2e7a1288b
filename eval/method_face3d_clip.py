"""face3d on the frames of a clip together: one identity for all of them, refined by the flow between them or not."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval.protocol import Prediction
from face3d import Reconstructor
from face3d.crops import as_array
from face3d.face_track import Sighting, shared_identity
from face3d.flow_adjustment import Flow
from face3d.keyframes import KeyframePool
from face3d.refine import refine_sightings


class Face3dClip:
    """What `face3d.reconstruct_video` makes of a clip, from the true boxes in place of its tracking, not smoothed.

    With a flow the clip is refined (`face3d.refine`)."""

    def __init__(self, reconstructor: Reconstructor, flow: Flow | None = None) -> None:
        self.reconstructor, self.flow = reconstructor, flow
        self.name = f"face3d, {'shared' if flow is None else 'refined'}"

    def predict_clip(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], boxes_px: Float[np.ndarray, "T 4"]
    ) -> list[Prediction]:
        """One prediction a frame: meshes of one identity, and the PGN's landmarks."""
        faces = [
            self.reconstructor(image, boxes=box_px[None], texture=False)[0]
            for image, box_px in zip(images, boxes_px, strict=True)
        ]
        sightings = [
            Sighting(t, face.landmarks_px, face.landmarks_confidence, face.identity, face.expression)
            for t, face in enumerate(faces)
        ]
        model = self.reconstructor.model
        if self.flow is not None:
            pool = KeyframePool(model)
            for image, face in zip(images, sightings, strict=True):
                pool.see(image, face)
            sightings, _ = refine_sightings(sightings, pool.kept, model, self.flow)
        device = model.mean.device
        identity = torch.from_numpy(shared_identity(sightings))[None].to(device)
        expression = torch.from_numpy(np.stack([face.expression for face in sightings])).to(device)
        meshes_mm = as_array(model.vertices(identity.expand(len(sightings), -1), expression))
        neutral_mm, landmarks_mm = as_array(model.vertices(identity)[0]), as_array(model.landmarks(identity)[0])
        return [
            Prediction(
                landmarks_px={"pgn": face.landmarks_px},
                vertices_mm=vertices_mm,
                neutral_mm=neutral_mm,
                model_landmarks_mm=landmarks_mm,
                triangles=faces[0].triangles,
                identity=as_array(identity[0]),
            )
            for face, vertices_mm in zip(sightings, meshes_mm, strict=True)
        ]
