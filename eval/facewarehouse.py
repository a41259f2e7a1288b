"""FaceWarehouse: 180 meshes, 9 people by 20 expressions, each against what a method says of its photo; mm.

Two errors, under two names, after the best similarity onto the true mesh (so scale is free, and mm are the truth's):

    per-vertex      mean distance of corresponding vertices: only for meshes of FaceWarehouse's own topology
    closest-point   mean distance of the true face's vertices to the predicted surface, after ICP with scale

Published figures (MoFA, FML, Deep3D, PGN) are per-vertex over MoFA's own correspondence between the Basel model and a
subdivided FaceWarehouse mesh, which is not public. `closest-point` is smaller by nature: never set it beside them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval.alignment import Alignment, IcpResult, align_points, icp
from eval.distance import Surface
from eval.now_region import LANDMARKS, face_region
from eval.obj_mesh import ObjMesh, read_obj
from eval.protocol import Damaged, Prediction, Record, Sample, sample_or_damage
from eval.seven_landmarks import OUTER_EYES_MM, check_head, seven_of
from face3d.io import read_image
from face3d.metrics import landmark_box_px

PEOPLE, EXPRESSIONS, PHOTO_LANDMARKS = 9, 20, 74
STEADY = LANDMARKS[:5]
"""Eye corners and nose base: what hardly moves with an expression, and all that NoW's face region needs."""
_QUAD_TRIANGLES = ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))
_LICENCE = "FaceWarehouse needs a licence: ask at kunzhou.net/zjugaps/facewarehouse; layout: eval/facewarehouse.py"


class Truth(NamedTuple):
    """A true mesh in mm, with its expression; `face` are the vertices that are measured."""

    vertices_mm: Float[np.ndarray, "V 3"]
    polygons: Int[np.ndarray, "P 4"]
    landmarks_mm: Float[np.ndarray, "5 3"]
    face: Int[np.ndarray, " N"]


class FaceWarehouse:
    """The benchmark on a folder in this layout; anything else is refused by the name of what is missing.

    Published:  Tester_N/TrainingPose/pose_0 .. pose_19 as .obj (one topology in quads, 11,510 vertices), .png (photo)
                and .land (74, then a line "x y" each, parts of the photo's width and height, y counted from below).
    By the user, text files beside the Tester_N folders, for neither is published:
        evaluation_people.txt   the numbers N of the nine people (the papers' list is asked for from MoFA's authors)
        landmark_vertices.txt   five vertices, counted from 0: outer and inner corner of the eye at the image's left,
                                inner and outer corner of the other, base of the nose (36, 39, 42, 45, 33 of the 68)
        region_vertices.txt     optional: the vertices that are measured; else those within NoW's face region

    `mm_per_unit`: millimetres in a unit of the .obj files. FaceWarehouse states no unit; the distance of the outer eye
    corners must come out between 60 and 130 mm. Raises FileNotFoundError where a part is missing as a whole, ValueError
    for lists of another kind, and where no mesh can be used; single files that are missing or damaged leave out their
    photo.
    """

    name = "FaceWarehouse"

    def __init__(self, folder: Path, mm_per_unit: float = 100.0) -> None:
        if not any(folder.glob("Tester_*")):
            raise FileNotFoundError(
                f"no Tester_N/TrainingPose (pose_0 .. pose_19 .obj, .png, .land) in {folder}. {_LICENCE}"
            )
        self.folder, self.mm_per_unit = folder, mm_per_unit
        self.people = _numbers(folder / "evaluation_people.txt", "the numbers of the nine people evaluated")
        if len(set(self.people)) != PEOPLE or len(self.people) != PEOPLE:
            raise ValueError(f"{folder / 'evaluation_people.txt'}: expected {PEOPLE} people, got {self.people}")
        self.stems = [self._stem(person, pose) for person in self.people for pose in range(EXPRESSIONS)]
        self.landmarks = self._vertices("landmark_vertices.txt")
        if len(self.landmarks) != len(STEADY):
            raise ValueError(f"{folder / 'landmark_vertices.txt'}: expected 5 vertices, got {len(self.landmarks)}")
        reference = self._reference()
        self.polygons = reference.polygons
        region = folder / "region_vertices.txt"
        self.region = self._vertices(region.name, len(reference.vertices)) if region.is_file() else None

    def _stem(self, person: int, pose: int) -> Path:
        return self.folder / f"Tester_{person}" / "TrainingPose" / f"pose_{pose}"

    def _vertices(self, name: str, count: int | None = None) -> Int[np.ndarray, " N"]:
        """Vertex numbers of a text file, all below `count`."""
        numbers = np.array(_numbers(self.folder / name, "vertex numbers, counted from 0"), np.int64)
        if not len(numbers) or numbers.min() < 0 or (count is not None and numbers.max() >= count):
            raise ValueError(f"{self.folder / name}: expected numbers from 0" + (f" to {count - 1}" if count else ""))
        return numbers

    def _reference(self) -> ObjMesh:
        """The first mesh that can be used. FileNotFoundError or ValueError, with the first reason, where none can."""
        reasons: list[FileNotFoundError | ValueError] = []
        for stem in self.stems:
            try:
                return self._mesh(stem)
            except (FileNotFoundError, ValueError) as error:
                reasons.append(error)
        raise type(reasons[0])(f"none of {len(reasons)} meshes can be used; {reasons[0]}. {_LICENCE}")

    def _mesh(self, stem: Path) -> ObjMesh:
        """In mm. FileNotFoundError; ValueError where it is damaged, not in the given unit, or mirrored."""
        file = stem.with_suffix(".obj")
        mesh = read_obj(file)
        mesh = mesh._replace(vertices=mesh.vertices * self.mm_per_unit)
        if self.landmarks.max() >= len(mesh.vertices):
            most = self.landmarks.max()
            raise ValueError(f"{file}: {len(mesh.vertices)} vertices, but landmark_vertices.txt names vertex {most}")
        five = mesh.vertices[self.landmarks]
        distance_mm = float(np.linalg.norm(five[0] - five[3]))
        if not OUTER_EYES_MM[0] <= distance_mm <= OUTER_EYES_MM[1]:
            raise ValueError(
                f"{file}: outer eye corners {distance_mm:.3g} mm apart with {self.mm_per_unit:g} mm a unit: give "
                "--mm-per-unit, or check landmark_vertices.txt"
            )
        check_head(five, mesh.vertices, str(file))
        return mesh

    def samples(self) -> Iterator[Sample | Damaged]:
        """The 180 photos, person by person; the box is the tight one of the 74 landmarks."""
        for stem in self.stems:
            yield sample_or_damage(f"{stem.parts[-3]} {stem.name}", self._sample, stem)

    def _sample(self, stem: Path) -> Sample:
        """FileNotFoundError, ValueError where the photo, its landmarks or its mesh are missing or damaged."""
        image = read_image(stem.with_suffix(".png"))
        points_px = read_land(stem.with_suffix(".land"), image.shape[1], image.shape[0])
        return Sample(f"{stem.parts[-3]} {stem.name}", image, landmark_box_px(points_px), self._truth(stem))

    def _truth(self, stem: Path) -> Truth:
        mesh = self._mesh(stem)
        if not np.array_equal(mesh.polygons, self.polygons):
            counts = f"{len(mesh.vertices)} vertices, {len(mesh.polygons)} faces"
            raise ValueError(f"{stem}.obj has other faces ({counts}) than the first mesh: expected one topology")
        landmarks_mm = mesh.vertices[self.landmarks]
        face = self.region
        if face is None:
            face = np.flatnonzero(face_region(landmarks_mm).inside(mesh.vertices))
        return Truth(mesh.vertices, mesh.polygons, landmarks_mm, face)

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """Mean errors in mm: `closest-point` always, `per-vertex` for FaceWarehouse's topology.

        ValueError where the prediction has no mesh with triangles and landmarks.
        """
        scores = {"closest-point/mean_mm": closest_point_mm(sample.truth, prediction)}
        if has_topology(prediction, sample.truth):
            scores["per-vertex/mean_mm"] = per_vertex_mm(sample.truth, prediction)
        return scores

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """Mean and standard deviation over the meshes, of all and of the neutral ones, and how many there were."""
        summary: dict[str, Any] = {"region": "region_vertices.txt" if self.region is not None else "NoW's ball"}
        neutral = [record for record in records if record.name.endswith(" pose_0")]
        for name in sorted({name for record in records for name in record.scores}):
            for group, members in (("all", records), ("neutral", neutral)):
                values = np.array([record.scores[name] for record in members if name in record.scores])
                if len(values):
                    spread = {"mean": float(values.mean()), "std": float(values.std()), "count": len(values)}
                    summary[f"{group}/{name}"] = spread
        return summary


def _numbers(path: Path, what: str) -> list[int]:
    """Whole numbers apart by spaces, commas or lines; lines that begin with # are comments."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: expected a text file, {what}")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    try:
        return [int(word) for word in " ".join(lines).replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"{path}: expected {what} ({error})") from error


def read_land(path: Path, width_px: int, height_px: int) -> Float[np.ndarray, "74 2"]:
    """The 74 landmarks of a .land file in pixels of the photo, y down. FileNotFoundError; ValueError: another form."""
    if not path.is_file():
        raise FileNotFoundError(f"no such landmarks: {path}")
    words = path.read_text(encoding="latin-1").split()
    try:
        values = np.array(words, np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: expected numbers ({error})") from error
    if len(values) != 1 + 2 * PHOTO_LANDMARKS or values[0] != PHOTO_LANDMARKS or not np.isfinite(values).all():
        raise ValueError(f"{path}: expected {PHOTO_LANDMARKS}, then as many points x y")
    parts = values[1:].reshape(PHOTO_LANDMARKS, 2)
    return np.stack([parts[:, 0] * width_px, (1.0 - parts[:, 1]) * height_px], axis=1)


def has_topology(prediction: Prediction, truth: Truth) -> bool:
    """Whether a prediction has FaceWarehouse's vertices in their order: as many, and no triangle outside its quads."""
    vertices, triangles = prediction.vertices_mm, prediction.triangles
    if vertices is None or triangles is None or not len(triangles) or len(vertices) != len(truth.vertices_mm):
        return False
    corners = np.concatenate([truth.polygons[:, list(triple)] for triple in _QUAD_TRIANGLES])
    known = _keys(corners[(corners >= 0).all(1)], len(vertices))
    return bool(np.isin(_keys(triangles, len(vertices)), known).all())


def _keys(triangles: Int[np.ndarray, "F 3"], count: int) -> Int[np.ndarray, " F"]:
    """One number a triangle, whatever its corners' order."""
    low, middle, high = np.sort(triangles.astype(np.int64), axis=1).T
    return (low * count + middle) * count + high


def per_vertex_mm(truth: Truth, prediction: Prediction) -> float:
    """Mean distance of corresponding vertices of the face after the best similarity on them, in mm of the truth."""
    assert prediction.vertices_mm is not None
    moved = per_vertex_alignment(truth, prediction).apply(prediction.vertices_mm[truth.face].astype(np.float64))
    return float(np.linalg.norm(moved - truth.vertices_mm[truth.face], axis=1).mean())


def per_vertex_alignment(truth: Truth, prediction: Prediction) -> Alignment:
    """The best similarity on corresponding vertices of the face."""
    assert prediction.vertices_mm is not None
    return align_points(prediction.vertices_mm[truth.face].astype(np.float64), truth.vertices_mm[truth.face])


def closest_point_mm(truth: Truth, prediction: Prediction) -> float:
    """Mean distance in mm from the true face's vertices to the predicted mesh (with expression) after ICP with scale.

    ValueError as `closest_point_fit`.
    """
    return float(closest_point_fit(truth, prediction).distance.mean())


def closest_point_fit(truth: Truth, prediction: Prediction) -> IcpResult:
    """Where ICP puts the predicted mesh (with expression), and the true vertices' distances to it in mm.

    ICP starts from the five landmarks that hardly move with an expression, those of the neutral prediction. ValueError
    where the prediction has no mesh with triangles and landmarks, or is mirrored.
    """
    mesh, triangles, landmarks = prediction.vertices_mm, prediction.triangles, prediction.model_landmarks_mm
    if mesh is None or triangles is None or landmarks is None:
        raise ValueError("a prediction needs vertices_mm, triangles and model_landmarks_mm for FaceWarehouse")
    seven_of(landmarks, "the predicted face")
    start = align_points(landmarks[list(STEADY)].astype(np.float64), truth.landmarks_mm)
    return icp(Surface(mesh, triangles), truth.vertices_mm[truth.face], start)
