"""eval.scan, scan_shape, people, scene: known geometry gives known errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.alignment import Alignment
from eval.floor import reduction_percent
from eval.mean_face import MeanFace
from eval.now_region import LANDMARKS, face_region
from eval.people import GeneratedPeople
from eval.protocol import Found, Prediction, Sample, run
from eval.scan import HeadScan, sample_surface
from eval.scan_shape import YAWS_DEG, ScanShape, scan_error
from eval.scene import Light, Textured, backdrop, draw, turned_view
from face3d.geometry import rotation_from_euler_deg
from face3d.morphable import MorphableModel


@pytest.fixture
def model() -> MorphableModel:
    return MorphableModel.random(0)


@pytest.fixture(scope="module")
def scan(request) -> HeadScan:
    return HeadScan(request.getfixturevalue("data_dir") / "scans" / "lee_perry_smith")


def moved_scan(scan: HeadScan, move: Alignment, noise_mm: float = 0.0) -> Prediction:
    """The scan as a prediction, in another frame and scale, its vertices in another order."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(scan.vertices_mm))
    noise = rng.normal(0, noise_mm, (len(order), 1)) * scan_normals(scan)
    landmarks = np.zeros((68, 3))
    landmarks[list(LANDMARKS)] = move.apply(scan.landmarks_mm + rng.normal(0, 2.0, (7, 3)))
    triangles = np.argsort(order)[scan.triangles]
    vertices = move.apply((scan.vertices_mm + noise)[order])
    return Prediction(neutral_mm=vertices, triangles=triangles, model_landmarks_mm=landmarks)


def scan_normals(scan: HeadScan) -> np.ndarray:
    from face3d.mesh import vertex_normals

    vertices = torch.from_numpy(scan.vertices_mm)[None]
    return vertex_normals(vertices, torch.from_numpy(scan.triangles.astype(np.int64)))[0].numpy()


def a_move() -> Alignment:
    turn = rotation_from_euler_deg(torch.tensor([[10.0, -35.0, 5.0]], dtype=torch.float64))[0].numpy()
    return Alignment(turn, 0.37, np.array([100.0, 20.0, -50.0]))


def test_scan_against_itself_moved_is_recovered(scan: HeadScan) -> None:
    found = scan_error(scan, moved_scan(scan, a_move()))
    assert found["scale"] == pytest.approx(1 / 0.37, rel=1e-4)
    assert found["mean_mm"] < 0.01


def test_scan_error_equals_the_noise(scan: HeadScan) -> None:
    """Noise of the vertices, seen at points inside the triangles: u, v, w weights of independent noise."""
    found = scan_error(scan, moved_scan(scan, a_move(), noise_mm=0.5))
    expected = scan_error(scan, moved_scan(scan, Alignment(np.eye(3), 1.0, np.zeros(3)), noise_mm=0.5))
    assert found["mean_mm"] == pytest.approx(expected["mean_mm"], rel=0.01)
    assert 0.15 < found["mean_mm"] < 0.5 * np.sqrt(2 / np.pi)


def test_scan_is_in_millimetres_and_its_landmarks_lie_on_it(scan: HeadScan) -> None:
    assert np.linalg.norm(scan.landmarks_mm[0] - scan.landmarks_mm[3]) == pytest.approx(90.0)
    assert scan.surface().closest(scan.landmarks_mm).distance.max() < 0.05
    assert scan.face_points_mm.shape == (20_000, 3)
    assert scan.region.inside(scan.face_points_mm).all()
    assert 90 < scan.region.radius < 100


def test_scan_photos_show_the_head_and_nose_points_the_way_it_is_turned(scan: HeadScan, model: MorphableModel) -> None:
    frontal, view = scan.photo(0.0, 200)
    assert frontal.shape == (200, 200, 3)
    nose_left_eye_right_eye = view.project(scan.landmarks_mm[[4, 3, 0]])
    assert nose_left_eye_right_eye[0, 1] > nose_left_eye_right_eye[1, 1]  # y down
    assert nose_left_eye_right_eye[0, 2] < nose_left_eye_right_eye[1, 2]  # the nose is nearer
    assert nose_left_eye_right_eye[1, 0] > nose_left_eye_right_eye[2, 0]  # the left eye is at the image's right


def test_scan_benchmark_runs_with_the_mean_face(data_dir: Path, model: MorphableModel) -> None:
    benchmark = ScanShape(data_dir / "scans" / "lee_perry_smith", model)
    result = run(benchmark, MeanFace(model))
    assert list(result.summary) == [f"yaw {yaw:+.0f}" for yaw in YAWS_DEG]
    errors = {record.scores["median_mm"] for record in result.records}
    assert len(errors) == 1  # the mean face does not depend on the picture
    assert errors.pop() > 0.5


def test_the_pictures_of_the_scan_do_not_tell_its_size(data_dir: Path, model: MorphableModel) -> None:
    folder = data_dir / "scans" / "lee_perry_smith"
    usual, larger = ScanShape(folder, model), ScanShape(folder, model, outer_eye_distance_mm=108.0)
    np.testing.assert_allclose(larger.scan.vertices_mm, 1.2 * usual.scan.vertices_mm)
    one, other = (next(shape.samples()) for shape in (usual, larger))
    assert np.abs(one.image.astype(int) - other.image).mean() < 0.1
    np.testing.assert_allclose(one.box_px, other.box_px, atol=1e-3)


def test_a_missing_scan_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="scan.npz"):
        HeadScan(tmp_path)


def test_prediction_without_a_mesh_is_named(scan: HeadScan) -> None:
    with pytest.raises(ValueError, match="neutral_mm"):
        scan_error(scan, Prediction())


class Cheat:
    """Knows the truth, and is wrong by a part of what the mean face is wrong by."""

    name = "cheat"

    def __init__(self, people: GeneratedPeople, part: float) -> None:
        self.people, self.part = people, part
        self.boxes: dict[tuple[float, ...], Sample] = {tuple(s.box_px): s for s in people.samples()}

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        truth = self.boxes[tuple(box_px)].truth.neutral_mm
        return Prediction(neutral_mm=1.3 * (truth + self.part * (self.people.mean_mm - truth)))

    def find(self, image: np.ndarray) -> list[Found]:
        return []


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_known_error_on_generated_people(model: MorphableModel, part: float) -> None:
    people = GeneratedPeople(model, count=6)
    summary = run(people, Cheat(people, part)).summary
    assert summary["all"]["count"] == 6
    tolerance = 1e-3 if part == 0 else 3.0  # a part of the error is a bit less after the best similarity
    assert summary["all"]["below_mean_face_percent"] == pytest.approx(100 * (1 - part), abs=tolerance)


def test_mean_face_is_its_own_floor(model: MorphableModel) -> None:
    summary = run(GeneratedPeople(model, count=3), MeanFace(model)).summary
    assert summary["all"]["below_mean_face_percent"] == pytest.approx(0.0, abs=1e-4)


def test_people_are_reproducible_and_differ(model: MorphableModel) -> None:
    people = GeneratedPeople(model, count=2)
    first, again, other = people.person(0), people.person(0), people.person(1)
    np.testing.assert_array_equal(first.image, again.image)
    assert np.abs(first.truth.neutral_mm - other.truth.neutral_mm).max() > 1.0
    assert abs(first.truth.yaw_deg) <= 60
    np.testing.assert_allclose((first.box_px[:2] + first.box_px[2:]) / 2, 127.5)


def test_another_topology_is_refused(model: MorphableModel) -> None:
    people = GeneratedPeople(model, count=1)
    with pytest.raises(ValueError, match="neutral mesh"):
        people.score(people.person(0), Prediction(neutral_mm=np.zeros((5, 3))))


def test_region_of_a_known_face() -> None:
    seven = np.array([[-45, 0, 0], [-15, 0, 0], [15, 0, 0], [45, 0, 0], [0, -50, 0], [-25, -80, 0], [25, -80, 0.0]])
    region = face_region(seven)
    np.testing.assert_allclose(region.centre, [0, -35, 0])
    assert region.radius == pytest.approx(98.0)


def test_surface_samples_are_uniform_by_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [10, 0, 0], [13, 0, 0], [10, 1, 0.0]])
    points = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 4000, seed=0)
    assert (points[:, 0] >= 10).mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(points[points[:, 0] < 5].mean(0), [1 / 3, 1 / 3, 0], atol=0.02)


def test_a_square_is_drawn_where_it_lies() -> None:
    vertices = np.array([[10, 10, 0], [20, 10, 0], [20, 20, 0], [10, 20, 0.0]])
    triangles = np.array([[0, 3, 1], [1, 3, 2]])
    background = np.zeros((32, 32, 3), np.uint8)
    picture = draw(vertices, triangles, np.ones((4, 3)), background, None)
    assert (picture[11:20, 11:20] == 255).all()
    assert (picture[:9] == 0).all() and (picture[:, 22:] == 0).all()
    assert draw(vertices, triangles, np.ones((4, 3)), background, Light(0.5, 0.0, 0.0)).max() == 128
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2).repeat(2, 0)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    textured = draw(vertices, triangles, Textured(ramp, uv), background, None)[15, 11:20, 0].astype(int)
    np.testing.assert_allclose(textured, 255 * np.arange(1, 10) / 10, atol=2)


def test_backdrop_and_view() -> None:
    np.testing.assert_array_equal(backdrop(3, 64), backdrop(3, 64))
    centre = np.array([1.0, 2.0, 3.0])
    view = turned_view((5.0, 40.0, -10.0), centre, 2.0, 101)
    np.testing.assert_allclose(view.project(centre[None])[0, :2], [50, 50])


def test_reduction_percent() -> None:
    assert reduction_percent(0.9, 1.2) == pytest.approx(25.0)


def test_pictures_can_be_saved(tmp_path: Path) -> None:
    Image.fromarray(backdrop(0, 32)).save(tmp_path / "a.png")
