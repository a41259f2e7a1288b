"""eval.now: known errors on scans that were moved and roughened; the published layout in small, whole and damaged."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.distance import Surface
from eval.florence_metrics import FaceMesh
from eval.now import CHALLENGES, FaceScan, Now, read_box, read_list
from eval.now_region import LANDMARKS, STIRLING_RADIUS, face_region
from eval.now_run import run_now, scan_to_mesh, summarise
from eval.picked_points import read_pp
from eval.point_to_plane import surface_normals
from eval.protocol import Crop, LeftOut, Prediction, Sample
from face3d.morphable import MorphableModel
from tests.mini_florence import Knows, a_move, moved, toy_face
from tests.mini_now import RELEASE, write_box, write_now, write_pp, write_scan

KINDS = CHALLENGES[:2]


def scan_of(face: FaceMesh, factor: float = 1.4) -> FaceScan:
    seven = face.landmarks[list(LANDMARKS)]
    return FaceScan(face.vertices[face_region(seven, factor).inside(face.vertices)], seven)


def rough(face: FaceMesh, noise_mm: float) -> FaceMesh:
    """A scan of the face: points on the surface, moved along the normals by normal noise. No triangles' corners."""
    rng = np.random.default_rng(0)
    surface = Surface(face.vertices, face.triangles)
    weights = rng.dirichlet(np.ones(3), (6, len(face.triangles)))
    points = (weights[..., None] * face.vertices[face.triangles]).sum(2).reshape(-1, 3)
    normals, _ = surface_normals(surface, surface.closest(points))
    points += rng.normal(0.0, noise_mm, (len(points), 1)) * normals
    return FaceMesh(points, np.array([[0, 1, 2]]), face.landmarks)


@pytest.fixture(scope="module")
def face() -> FaceMesh:
    return toy_face(3, 48)


def test_the_scan_moved_has_the_error_of_its_noise_and_the_move_is_recovered(face: FaceMesh) -> None:
    move = a_move()
    found = scan_to_mesh(scan_of(rough(face, 0.5)), moved(face, move, landmark_noise=2.0))
    assert found.distance.mean() == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.05)
    assert np.median(found.distance) == pytest.approx(0.5 * 0.6745, rel=0.05)
    assert found.distance.std() == pytest.approx(0.5 * np.sqrt(1 - 2 / np.pi), rel=0.05)
    assert found.alignment.scale * move.scale == pytest.approx(1.0, abs=5e-3)
    np.testing.assert_allclose(found.alignment.rotation @ move.rotation, np.eye(3), atol=5e-3)
    np.testing.assert_allclose(found.alignment.apply(move.apply(face.vertices)), face.vertices, atol=0.5)


def test_metrical_sees_a_wrong_size_and_non_metrical_does_not(face: FaceMesh) -> None:
    scan = scan_of(face)
    larger, moved_only = moved(face, a_move(1.05)), moved(face, a_move(1.0))
    assert scan_to_mesh(scan, larger).distance.mean() < 1e-6
    assert scan_to_mesh(scan, moved_only, metrical=True).distance.mean() < 1e-6
    metrical = scan_to_mesh(scan, larger, metrical=True)
    assert metrical.alignment.scale == 1.0 and metrical.distance.mean() > 0.3


def test_the_order_of_vertices_does_not_matter(face: FaceMesh) -> None:
    other = toy_face(4, 48)
    errors = [scan_to_mesh(scan_of(other), moved(face, a_move(), seed)).distance.mean() for seed in (1, 2)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4) and errors[0] > 0.5


def test_only_the_region_is_measured(face: FaceMesh) -> None:
    """What lies outside the ball changes nothing; Stirling's ball is smaller by 1.2 to 1.4."""
    region, small = (face_region(face.landmarks[list(LANDMARKS)], factor) for factor in (1.4, STIRLING_RADIUS))
    assert small.radius == pytest.approx(region.radius * 1.2 / 1.4)
    outside = ~region.inside(face.vertices)
    grown = face._replace(vertices=face.vertices + np.where(outside[:, None], [0.0, 0.0, -30.0], 0.0))
    assert scan_to_mesh(scan_of(grown), face).distance.mean() < 1e-6
    assert len(scan_of(face, STIRLING_RADIUS).points_mm) < len(scan_of(face).points_mm)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lambda face: face._replace(vertices=face.vertices * np.nan), "not finite"),
        (lambda face: face._replace(vertices=face.vertices[:9], triangles=face.triangles[:0]), "empty mesh"),
        (lambda face: face._replace(vertices=face.vertices[:-1]), "do not fit"),
        (lambda face: face._replace(landmarks=face.landmarks[:67]), "expected"),
        (lambda face: face._replace(landmarks=face.landmarks * np.nan), "landmarks that are not finite"),
        (
            lambda face: FaceMesh(face.vertices * [-1, 1, 1], face.triangles, face.landmarks * [-1, 1, 1]),
            "mirrored axes",
        ),
        (lambda face: face.scaled(0.001), "metres"),
        (lambda face: face.scaled(1 / 25.4), "inches"),
    ],
)
def test_broken_predictions_are_named(face: FaceMesh, broken, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        scan_to_mesh(scan_of(face), broken(face), metrical=True)


def test_figures_are_pooled_over_all_distances() -> None:
    summary = summarise({"selfie": [np.array([1.0, 2.0, 9.0])], "multiview_neutral": [np.array([0.5])], "x": []})
    assert summary["all"] == {
        "median": 1.5,
        "mean": 3.125,
        "std": pytest.approx(np.std([1.0, 2.0, 9.0, 0.5])),
        "within_percent": {f"{k}_mm": 50.0 if k == 1 else 75.0 for k in range(1, 8)},
        "points": 4,
        "count": 2,
    }
    assert set(summary) == {"all", "selfie", "multiview_neutral"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_now(tmp_path / "now", {1: toy_face(1), 2: toy_face(2)}, KINDS)


def knows() -> Knows:
    return Knows({number: moved(toy_face(number), a_move()) for number in (1, 2)})


@pytest.mark.parametrize("crop", ["gt", "detector"])
def test_a_method_that_knows_the_faces(folder: Path, crop) -> None:
    run = run_now(Now(folder), knows(), crop)
    assert len(run.records) == 4 and all(record.problem is None for record in run.records)
    assert run.summary["all"]["count"] == 4 and run.summary[KINDS[1]]["count"] == 2
    assert run.summary["all"]["median"] < 1e-4
    assert run.summary["photos_left_out"] == 0 and run.summary["photos_of_the_protocol"] == 352


def test_a_method_that_repeats_one_mesh_is_measured_once_a_person(folder: Path) -> None:
    same = moved(toy_face(5), a_move())
    run = run_now(Now(folder), Knows({1: same, 2: same}))
    medians = [record.scores["median_mm"] for record in run.records]
    assert medians[0] == medians[1] != medians[2] == medians[3]


def test_predictions_that_are_there_already_are_scored(folder: Path) -> None:
    class Files:
        name = "files"

        def of_sample(self, sample: Sample, crop: Crop) -> Prediction:
            if sample.truth.challenge != KINDS[0]:
                raise LeftOut("no file")
            return knows().predict(sample.image, sample.box_px)

    run = run_now(Now(folder), Files())
    assert [record.problem for record in run.records] == [None, "no file"] * 2
    assert run.summary["all"]["median"] < 1e-4 and run.method == "files"


def photo_of(folder: Path, part: str, suffix: str) -> Path:
    return folder / RELEASE / part / f"FaMoS_00002_TA/{KINDS[0]}/IMG_0000{suffix}"


def no_photo(folder: Path) -> None:
    photo_of(folder, "iphone_pictures", ".jpg").unlink()


def broken_photo(folder: Path) -> None:
    photo_of(folder, "iphone_pictures", ".jpg").write_bytes(b"\xff\xd8 not a photo")


def no_box(folder: Path) -> None:
    photo_of(folder, "detected_face", ".npy").unlink()


def box_elsewhere(folder: Path) -> None:
    write_box(photo_of(folder, "detected_face", ".npy"), (900, 40, 990, 90))


def no_face(folder: Path) -> None:
    Image.new("RGB", (64, 48)).save(photo_of(folder, "iphone_pictures", ".jpg"))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_photo, "IMG_0000.jpg"),
        (broken_photo, "IMG_0000.jpg"),
        (no_box, "no such box"),
        (box_elsewhere, "outside the photo of 64 x 48"),
        (no_face, "not found"),
    ],
)
def test_one_damaged_photo_is_left_out_and_counted(folder: Path, damage, named: str) -> None:
    damage(folder)
    run = run_now(Now(folder), knows(), "detector")
    (left_out,) = [record for record in run.records if record.problem]
    assert left_out.name == f"FaMoS_00002_TA/{KINDS[0]}/IMG_0000.jpg" and named in (left_out.problem or "")
    assert run.summary["photos_left_out"] == 1 and run.summary["all"]["count"] == 3


def nan_scan(folder: Path) -> None:
    face = toy_face(2)
    write_scan(folder, "FaMoS_00002_TA", face._replace(vertices=np.where(face.vertices > 50, np.nan, face.vertices)))


def empty_scan(folder: Path) -> None:
    next((folder / "scans" / "FaMoS_00002_TA").iterdir()).write_text("# nothing\n")


def no_scan(folder: Path) -> None:
    next((folder / "scans" / "FaMoS_00002_TA").iterdir()).unlink()


def scan_in(factor: float):
    def write(folder: Path) -> None:
        write_scan(folder, "FaMoS_00002_TA", toy_face(2).scaled(factor))

    return write


def mirrored_scan(folder: Path) -> None:
    face = toy_face(2)
    write_scan(
        folder, "FaMoS_00002_TA", FaceMesh(face.vertices * [-1, 1, 1], face.triangles, face.landmarks * [-1, 1, 1])
    )


def landmarks_elsewhere(folder: Path) -> None:
    seven = toy_face(2).landmarks[list(LANDMARKS)] + 50.0
    write_pp(folder / "scans_lmks_onlypp/FaMoS_00002_TA/landmarks.pp", seven)


def six_landmarks(folder: Path) -> None:
    write_pp(folder / "scans_lmks_onlypp/FaMoS_00002_TA/landmarks.pp", toy_face(2).landmarks[:6])


def second_scan(folder: Path) -> None:
    (folder / "scans/FaMoS_00002_TA/other.obj").write_text("")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (nan_scan, "not finite"),
        (empty_scan, "0 vertices"),
        (no_scan, "no .obj"),
        (scan_in(1 / 25.4), "inches"),
        (scan_in(0.001), "metres"),
        (mirrored_scan, "mirrored axes"),
        (landmarks_elsewhere, "off the scan"),
        (six_landmarks, "expected 7 points"),
        (second_scan, "expected one .obj"),
    ],
)
def test_a_damaged_scan_leaves_out_its_person(folder: Path, damage, named: str) -> None:
    damage(folder)
    run = run_now(Now(folder), knows())
    left_out = [record for record in run.records if record.problem]
    assert len(left_out) == 2 and all(named in (record.problem or "") for record in left_out)
    assert run.summary["photos_left_out"] == 2


def test_a_run_without_any_photo_is_no_run(folder: Path) -> None:
    for scan in (folder / "scans").glob("*/*.obj"):
        scan.unlink()
    with pytest.raises(ValueError, match="none of 4 photos"):
        run_now(Now(folder), knows())


def test_a_prediction_that_cannot_be_measured_is_left_out(folder: Path) -> None:
    method = knows()
    method.faces[2] = method.faces[2]._replace(vertices=method.faces[2].vertices * np.nan)
    run = run_now(Now(folder), method)
    assert [record.problem is None for record in run.records] == [True, True, False, False]


def test_a_method_that_fails_is_not_hidden(folder: Path) -> None:
    class Fails(Knows):
        def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
            raise ValueError("a fault of the method")

    with pytest.raises(ValueError, match="a fault of the method"):
        run_now(Now(folder), Fails({}))


@pytest.mark.parametrize("missing", ["imagepathsvalidation.txt", "scans", "scans_lmks_onlypp", str(RELEASE)])
def test_a_missing_part_of_the_layout_is_named(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match="now.is.tue.mpg.de"):
        Now(folder)


@pytest.mark.parametrize(
    "line", ["IMG_0001.jpg", "A/multiview_test/IMG_0001.jpg", "../selfie/a.jpg", "A/selfie/IMG", "A/selfie/a.jpg"]
)
def test_lists_of_another_version_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "imagepathsvalidation.txt"
    path.write_text(f"A/selfie/a.jpg\n\n{line}\n")
    with pytest.raises(ValueError, match="imagepathsvalidation.txt"):
        read_list(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no photos"):
        read_list(path)


@pytest.mark.parametrize("content", [{"left": 1, "top": 2, "right": 9}, {"left": 5, "top": 2, "right": 5, "bottom": 9}])
def test_boxes_of_another_form_are_refused(tmp_path: Path, content: dict) -> None:
    np.save(tmp_path / "a.npy", np.array(content, object), allow_pickle=True)
    with pytest.raises(ValueError, match="a.npy"):
        read_box(tmp_path / "a.npy", 64, 48)
    np.save(tmp_path / "a.npy", np.zeros(4))
    with pytest.raises(ValueError, match="expected a dictionary"):
        read_box(tmp_path / "a.npy", 64, 48)


@pytest.mark.parametrize(
    "content",
    [
        "not XML",
        "<PickedPoints></PickedPoints>",
        '<PickedPoints><point x="1" y="2"/></PickedPoints>',
        '<PickedPoints><point x="1" y="nan" z="0"/></PickedPoints>',
        '<!DOCTYPE a [<!ENTITY b "c">]><PickedPoints><point x="1" y="1" z="0"/></PickedPoints>',
    ],
)
def test_broken_picked_points_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.pp").write_text(content)
    with pytest.raises(ValueError, match="a.pp"):
        read_pp(tmp_path / "a.pp")


class KnowsModel(Knows):
    model = MorphableModel.random(0)


@pytest.mark.parametrize("options", [[], ["--metrical", "--crop", "detector", "--region", "stirling"]])
def test_now_command(folder: Path, tmp_path: Path, monkeypatch, options: list[str]) -> None:
    method = KnowsModel({number: moved(toy_face(number), a_move(1.0)) for number in (1, 2)})
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)
    no_photo(folder)
    arguments = ["now", "--data", str(folder.parent), *options, "--json", str(tmp_path / "n.json")]
    result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "3 of 4 photos" in result.output and "left out" in result.output
    content = json.loads((tmp_path / "n.json").read_text())
    assert content["protocol"] == ("NoW, metrical" if options else "NoW, non-metrical")
    assert content["benchmark"] == "NoW validation" + (", region by 1.2, metrical" if options else "")
    assert content["region"] == ("stirling" if options else "now")
    assert content["summary"]["all"]["within_percent"]["1_mm"] == 100.0
    assert content["samples_in_all"] == 4 and len(content["left_out"]) == 1
    assert content["floor"]["summary"]["all"]["median"] > 0.3


def test_now_of_exported_predictions_is_the_same(folder: Path, tmp_path: Path, monkeypatch) -> None:
    method = KnowsModel({number: moved(toy_face(number), a_move(1.0)) for number in (1, 2)})
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)
    no_photo(folder)

    def output(*options: str | Path) -> str:
        arguments = ["now", "--data", str(folder.parent), *map(str, options)]
        return CliRunner().invoke(commands.app, arguments, catch_exceptions=False).output

    directly = output("--export", tmp_path / "e")
    assert "3 of 4 photos" in directly and len(list((tmp_path / "e").glob("*.npz"))) == 3
    assert output("--method", "files", "--predictions", tmp_path / "e") == directly


def test_missing_data_is_said_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "now", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1 and "iphone_pictures" in capsys.readouterr().err.replace("\n", "")
