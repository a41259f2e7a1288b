"""REALY in small, in the published layout: faces of a toy model cut into four regions, in units of 9 mm."""

from pathlib import Path

import numpy as np
from PIL import Image

from eval.alignment import Alignment
from eval.florence_metrics import FaceMesh
from eval.protocol import Found, Prediction
from eval.realy_errors import REGIONS, Face, RegionMesh, RegionName
from eval.realy_keypoints import Keypoints, place_keypoints
from face3d.morphable import MorphableModel
from tests.mini_florence import GREY_STEP, Knows, a_move, toy_face, write_obj

MM_PER_UNIT = 9.0
ROWS = 40
_CENTRES = {"nose": [*range(27, 36)], "mouth": [*range(48, 68)], "forehead": [*range(17, 27), *range(36, 48)]}


def toy_regions(face: FaceMesh) -> dict[RegionName, RegionMesh]:
    """Every triangle within the face goes to the nearest of nose, mouth and forehead, or else to the cheek."""
    centres = face.vertices[face.triangles].mean(1)
    landmarks = [face.landmarks[places] for places in _CENTRES.values()]
    distance = np.stack([np.linalg.norm(centres[:, None] - points, axis=2).min(1) for points in landmarks])
    nearest = np.where(distance.min(0) < 12.0 / MM_PER_UNIT, distance.argmin(0), 3)
    near_face = np.linalg.norm(centres - face.landmarks[30], axis=1) < 75.0 / MM_PER_UNIT
    chosen = {name: (nearest == number) & near_face for number, name in enumerate(REGIONS)}
    return {name: RegionMesh(face.vertices, face.triangles[inside]) for name, inside in chosen.items()}


def toy_scan(seed: int, rows: int = ROWS) -> FaceMesh:
    """A person of the toy model in REALY's unit."""
    return toy_face(seed, rows).scaled(1.0 / MM_PER_UNIT)


def toy_keypoints(rows: int = ROWS, at_vertices: bool = True) -> Keypoints:
    """The 85 on the toy model: its 68 landmarks, and 17 places beside the nose and on the cheeks.

    At vertices the truth has no error; between them, the vertices nearest to the keypoints are led a little astray.
    """
    mean = toy_face(3, rows)
    rng = np.random.default_rng(0)
    cheeks = mean.landmarks[30] + rng.uniform([-45, -35, -30], [45, 35, 0], (17, 3))
    found = place_keypoints(mean, np.concatenate([mean.landmarks, cheeks]))
    if not at_vertices:
        return found
    return found._replace(weights=np.eye(3)[found.weights.argmax(1)])


def keyed(face: FaceMesh, keypoints: Keypoints) -> Face:
    return Face(face.vertices, face.triangles, keypoints.of(face.vertices))


def there(face: FaceMesh, move: Alignment) -> FaceMesh:
    return face._replace(vertices=move.apply(face.vertices), landmarks=move.apply(face.landmarks))


def prediction_of(face: FaceMesh) -> Prediction:
    """A face without expression: its mesh is the neutral one too."""
    return Prediction(
        vertices_mm=face.vertices,
        neutral_mm=face.vertices,
        triangles=face.triangles,
        model_landmarks_mm=face.landmarks,
    )


class KnowsPosed(Knows):
    """Answers with a mesh in the topology of the toy model, in mm."""

    model = MorphableModel.random(0, ROWS, ROWS)

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return prediction_of(self.faces[round(float(image.mean()) / GREY_STEP)])

    def find(self, image: np.ndarray) -> list[Found]:
        return [Found(box, self.predict(image, box)) for box in (np.array([0.0, 0, 30, 30]),) if image.mean() > 20]


def knows() -> KnowsPosed:
    return KnowsPosed({number: there(toy_scan(number), a_move(MM_PER_UNIT)) for number in (1, 2)})


def published_rows(keypoints: Keypoints) -> list[list[float]]:
    """What a published file of keypoints holds."""
    return [[int(index), *weights[:2].tolist()] for index, weights in zip(*keypoints[1:], strict=True)]


def compact(region: RegionMesh) -> RegionMesh:
    """Only the vertices that triangles use."""
    used, index = np.unique(region.triangles, return_inverse=True)
    return RegionMesh(region.vertices[used], index.reshape(-1, 3))


def write_realy(folder: Path, scans: dict[int, FaceMesh], keypoints: Keypoints) -> Path:
    """Scans with four regions and 85 points, a frontal photo and two side views each."""
    for part in ("REALY_HIFI3D_keypoints", "REALY_image/crop_image_frontal_512x512", "REALY_image/crop_image_sides"):
        (folder / part).mkdir(parents=True)
    for number, scan in scans.items():
        lines = ["v {:.7f} {:.7f} {:.7f}".format(*point) for point in keypoints.of(scan.vertices)]
        (folder / "REALY_HIFI3D_keypoints" / f"{number}.obj").write_text("\n".join(lines) + "\n")
        for name, region in toy_regions(scan).items():
            write_obj(folder / "REALY_scan_region" / str(number) / f"{name}.obj", *compact(region))
        for name in (f"frontal_512x512/{number}", f"sides/{number}_0", f"sides/{number}_1"):
            photo = folder / "REALY_image" / f"crop_image_{name}.jpg"
            Image.new("RGB", (64, 64), (GREY_STEP * number,) * 3).save(photo)
    (folder / "metrical_scale.txt").write_text(f"{MM_PER_UNIT:.18e}\n" * 100)
    return folder
