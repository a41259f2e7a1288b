"""Errors of the meshes, codes and landmarks that a method gives for the frames of one clip.

per_vertex_mm          mesh with expression, mean of the frames          FaceWarehouse's (eval.facewarehouse)
neutral_mm             mesh without it, mean of the frames               the same of the identity alone
pooled_neutral_mm      mean of the frames' neutral meshes                the same of what the clip tells together
point_to_plane_mm      that mean, scan to face, ICP with scale           Florence's `mvf` (eval.florence_metrics)
identity_spread        standard deviation of the coefficients in a clip, in those of the prior; 0 is steady
landmark_jitter_percent/SET    how the landmarks move against the true ones, in % of the face's size
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from eval.alignment import align_points
from eval.florence_metrics import FaceMesh, mean_face_of, mvf
from eval.now_region import LANDMARKS, face_region
from eval.protocol import Prediction
from eval.scan import HeadScan
from eval.scan_shape import scan_error
from face3d.metrics import box_size_px, landmark_box_px

_SEVEN = list(LANDMARKS)


def errors_of_meshes(
    predictions: Sequence[Prediction],
    neutral: FaceMesh,
    vertices_mm: Float[np.ndarray, "T V 3"],
    face: Bool[np.ndarray, " V"],
) -> dict[str, float]:
    """The four mesh errors over the face's vertices in mm of the truth.

    Raises ValueError for a prediction without meshes and landmarks, or of another topology.
    """
    pairs = [_meshes(prediction, neutral.vertices.shape) for prediction in predictions]
    with_expression = [per_vertex_mm(pair[0], truth, face) for pair, truth in zip(pairs, vertices_mm, strict=True)]
    pooled = pooled_face([_neutral_face(prediction) for prediction in predictions])
    return {
        "per_vertex_mm": float(np.mean(with_expression)),
        "neutral_mm": float(np.mean([per_vertex_mm(pair[1], neutral.vertices, face) for pair in pairs])),
        "pooled_neutral_mm": per_vertex_mm(pooled.vertices, neutral.vertices, face),
        "point_to_plane_mm": mvf(pooled, neutral).error,
    }


def error_of_scan(predictions: Sequence[Prediction], scan: HeadScan, neutral: FaceMesh) -> dict[str, float]:
    """Scan-to-mesh distance as in eval.scan_shape, mean of the frames and pooled, and the pooled point-to-plane one.

    Raises ValueError for a prediction without a neutral mesh with landmarks.
    """
    single = [scan_error(scan, prediction) for prediction in predictions]
    pooled = pooled_face([_neutral_face(prediction) for prediction in predictions])
    mean = Prediction(neutral_mm=pooled.vertices, triangles=pooled.triangles, model_landmarks_mm=pooled.landmarks)
    errors = {f"single_{key}": float(np.mean([each[key] for each in single])) for key in ("median_mm", "mean_mm")}
    errors |= {f"pooled_{key}": scan_error(scan, mean)[key] for key in ("median_mm", "mean_mm")}
    return errors | {"point_to_plane_mm": mvf(pooled, neutral).error}


def per_vertex_mm(
    predicted_mm: Float[np.ndarray, "V 3"], truth_mm: Float[np.ndarray, "V 3"], face: Bool[np.ndarray, " V"]
) -> float:
    """Mean distance of corresponding vertices of the face after the best similarity, in mm of the truth."""
    source, target = (mesh[face].astype(np.float64) for mesh in (predicted_mm, truth_mm))
    return float(np.linalg.norm(align_points(source, target).apply(source) - target, axis=1).mean())


def pooled_face(faces: list[FaceMesh]) -> FaceMesh:
    """The mean of the faces, each moved onto the first by the best similarity of its face region.

    Raises ValueError where their topologies differ.
    """
    first = faces[0]
    if any(face.vertices.shape != first.vertices.shape for face in faces):
        raise ValueError(
            f"the faces of a clip have {[len(face.vertices) for face in faces]} vertices: they have no mean"
        )
    region = face_region(first.landmarks[_SEVEN]).inside(first.vertices)
    moves = [align_points(face.vertices[region], first.vertices[region]) for face in faces]
    moved = [
        FaceMesh(move.apply(face.vertices), face.triangles, move.apply(face.landmarks))
        for move, face in zip(moves, faces, strict=True)
    ]
    return mean_face_of(moved)


def identity_spread(predictions: Sequence[Prediction]) -> float:
    """Standard deviation over the frames of each identity coefficient, mean of them; NaN where there are none."""
    identities = [prediction.identity for prediction in predictions if prediction.identity is not None]
    if len(identities) < len(predictions):
        return float("nan")
    return float(np.std(np.array(identities, np.float64), axis=0).mean())


def landmark_jitter_percent(predicted_px: Float[np.ndarray, "T 68 _"], truth_px: Float[np.ndarray, "T 68 _"]) -> float:
    """How much predicted landmarks move against the true ones, 100 s / size.

    s is the root mean square over frames and landmarks of the error in x and y less each landmark's mean of it in the
    clip; size is the mean over the frames of sqrt(w h) of the true landmarks' box.
    """
    error = predicted_px[..., :2].astype(np.float64) - truth_px[..., :2]
    change = error - error.mean(0)
    return float(100.0 * np.sqrt((change**2).sum(-1).mean()) / box_size_px(landmark_box_px(truth_px)).mean())


def _neutral_face(prediction: Prediction) -> FaceMesh:
    mesh, triangles, landmarks = prediction.neutral_mm, prediction.triangles, prediction.model_landmarks_mm
    if mesh is None or triangles is None or landmarks is None:
        raise ValueError("a prediction needs neutral_mm, triangles and model_landmarks_mm to be measured on clips")
    return FaceMesh(mesh.astype(np.float64), triangles, landmarks.astype(np.float64))


def _meshes(
    prediction: Prediction, shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V 3"]]:
    """The meshes with expression and without."""
    if (mesh := prediction.vertices_mm) is None or mesh.shape != shape:
        raise ValueError(
            f"expected vertices_mm {shape} of the clips' model, got {None if mesh is None else mesh.shape}"
        )
    if (neutral := prediction.neutral_mm) is None or neutral.shape != shape:
        got = None if neutral is None else neutral.shape
        raise ValueError(f"expected neutral_mm {shape} of the clips' model, got {got}")
    return mesh, neutral
