"""Whether a prediction can be measured: counts, finiteness, and what is told of mirrored axes and other units.

Mirrored in the photo: an affine camera is fitted from the mean face's 68 points to the 68 predicted ones; the cross
product of its rows looks along the line of sight. Where it says that the face looks away from the camera, by more than
30 degrees beyond the profile, x is mirrored or y counts upwards. None of AFLW2000's 2000 labels says so (yaws reach
beyond 100 degrees), and of those below 45 degrees of yaw, mirrored, 99.7 % do: profiles cannot be told.

In space, NoW's seven of the 68 landmarks tell (`eval.seven_landmarks`): a nose that points into the head has mirrored
axes, and outer eye corners that are not 60 to 130 mm apart another unit. A mesh without landmarks is not judged so.
"""

import numpy as np
from jaxtyping import Float

from eval.now_region import LANDMARKS
from eval.protocol import Prediction
from eval.seven_landmarks import check_handedness, check_size

EYES, MOUTH = slice(36, 48), slice(48, 68)
_AWAY = 0.5  # cosine: 60 degrees from straight away
_PARTS = 2.0  # coordinates within it are parts of a photo, not pixels of it


def check_prediction(prediction: Prediction, mean_mm: Float[np.ndarray, "68 3"]) -> None:
    """Raises ValueError, naming the array, for what cannot be measured; `mean_mm`: 68 landmarks of a mean face."""
    for name, points in prediction.landmarks_px.items():
        _check_points(points, f"landmarks_px/{name}", (2, 3))
        _check_in_photo(points, f"landmarks_px/{name}", mean_mm)
    for name in ("vertices_px", "vertices_mm", "neutral_mm"):
        _check_mesh(getattr(prediction, name), prediction.triangles, name)
    if prediction.euler_deg is not None and prediction.euler_deg.shape != (3,):
        raise ValueError(f"euler_deg is {prediction.euler_deg.shape}, expected (3,)")
    if prediction.model_landmarks_mm is not None:
        _check_points(prediction.model_landmarks_mm, "model_landmarks_mm", (3,))
        seven = prediction.model_landmarks_mm[list(LANDMARKS)]
        check_size(seven, "model_landmarks_mm")
        check_handedness(seven, "model_landmarks_mm")


def _check_points(points: np.ndarray, name: str, columns: tuple[int, ...]) -> None:
    if points.ndim != 2 or len(points) != 68 or points.shape[1] not in columns:
        wanted = " or ".join(f"(68, {count})" for count in columns)
        raise ValueError(f"{name} is {points.shape}, expected {wanted}")
    _check_finite(points, name)


def _check_finite(points: np.ndarray, name: str) -> None:
    broken = int((~np.isfinite(points)).any(1).sum())
    if broken:
        raise ValueError(f"{name}: {broken} of {len(points)} points are not finite")


def _check_mesh(vertices: np.ndarray | None, triangles: np.ndarray | None, name: str) -> None:
    if vertices is None:
        return
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise ValueError(f"{name} is {vertices.shape}, expected (V, 3) with at least one vertex")
    _check_finite(vertices, name)
    if triangles is None:
        return
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"triangles is {triangles.shape}, expected (F, 3) with at least one triangle")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(f"triangles name vertices {triangles.min()} to {triangles.max()} of {len(vertices)} of {name}")


def _check_in_photo(points_px: Float[np.ndarray, "68 _"], name: str, mean_mm: Float[np.ndarray, "68 3"]) -> None:
    if np.abs(points_px[:, :2]).max() <= _PARTS:
        raise ValueError(f"{name}: all within {_PARTS:.0f}, so parts of the photo's width and height? expected pixels")
    centred, model = points_px[:, :2] - points_px[:, :2].mean(0), mean_mm - mean_mm.mean(0)
    camera = np.linalg.lstsq(model, centred, rcond=None)[0]
    sight = np.cross(camera[:, 0], camera[:, 1])
    if sight[2] > _AWAY * np.linalg.norm(sight):
        upright = points_px[MOUTH, 1].mean() > points_px[EYES, 1].mean()
        guess = "is x mirrored" if upright else "does y count upwards"
        raise ValueError(f"{name}: mirrored, the face looks away from the camera; {guess}?")
