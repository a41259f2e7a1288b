"""eval.realy: known errors by region, the published evaluation's own figures, and the layout in small and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.distance import Surface
from eval.point_to_plane import surface_normals
from eval.protocol import Prediction, Record
from eval.realy import Realy, find_photos, read_scales
from eval.realy_errors import REGIONS, RegionMesh, global_alignment, merged, region_errors, regional_alignment
from eval.realy_keypoints import keypoints_of, place_keypoints, read_keypoints
from eval.realy_run import face_of_prediction, run_realy, summarise
from tests.mini_florence import a_move, toy_face, write_obj
from tests.mini_realy import (
    MM_PER_UNIT,
    ROWS,
    KnowsPosed,
    compact,
    keyed,
    knows,
    published_rows,
    there,
    toy_keypoints,
    toy_regions,
    toy_scan,
    write_realy,
)

# Of the toy model's people 4 and 5 against its scan 3 (48 rows, keypoints between vertices), by REALY's own main.py.
PUBLISHED = {
    4: {"nose": 0.0458444, "mouth": 0.1795882, "forehead": 0.0822618, "cheek": 0.0839800},
    5: {"nose": 0.0414646, "mouth": 0.1222767, "forehead": 0.0855306, "cheek": 0.0693535},
}


def truth_of(seed: int = 3, rows: int = ROWS, at_vertices: bool = True):
    """Keypoints of the topology, the scan's own, and its regions."""
    keypoints, scan = toy_keypoints(rows, at_vertices), toy_scan(seed, rows)
    return keypoints, scan, {name: compact(region) for name, region in toy_regions(scan).items()}


@pytest.mark.parametrize("seed", sorted(PUBLISHED))
def test_errors_are_those_of_the_published_evaluation(seed: int) -> None:
    keypoints, scan, regions = truth_of(3, 48, at_vertices=False)
    face = keyed(there(toy_scan(seed, 48), a_move(9.0)), keypoints)
    found = region_errors(face, regions, keypoints.of(scan.vertices))
    assert found == pytest.approx(PUBLISHED[seed], rel=1e-4)


def test_the_truth_moved_has_no_error() -> None:
    keypoints, scan, regions = truth_of()
    found = region_errors(keyed(there(scan, a_move(9.0)), keypoints), regions, keypoints.of(scan.vertices))
    assert max(found.values()) < 1e-5


def test_the_error_is_the_roughness_of_the_scan() -> None:
    """Every point of the regions lies 0.5 mm beside the face, in or out."""
    keypoints, scan, regions = truth_of()
    surface, rng = Surface(scan.vertices, scan.triangles), np.random.default_rng(0)
    for name, region in regions.items():
        normals, _ = surface_normals(surface, surface.closest(region.vertices))
        offset = 0.5 / MM_PER_UNIT * rng.choice([-1.0, 1.0], (len(normals), 1))
        regions[name] = RegionMesh(region.vertices + offset * normals, region.triangles)
    found = region_errors(keyed(there(scan, a_move(9.0)), keypoints), regions, keypoints.of(scan.vertices))
    for error in found.values():
        assert error * MM_PER_UNIT == pytest.approx(0.5, rel=0.05)


def test_each_region_is_aligned_by_itself() -> None:
    """A nose set 3 mm forward as a whole has nearly its own shape; the similarity of the seven hardly sees it."""
    keypoints, scan, regions = truth_of()
    nose = np.unique(toy_regions(scan)["nose"].triangles)
    vertices = scan.vertices.copy()
    vertices[nose] += [0.0, 0.0, 3.0 / MM_PER_UNIT]
    face = keyed(scan._replace(vertices=vertices), keypoints)
    found = region_errors(face, regions, keypoints.of(scan.vertices))
    assert found["nose"] * MM_PER_UNIT < 1.0
    plain = np.linalg.norm(vertices[nose] - scan.vertices[nose], axis=1).mean() * MM_PER_UNIT
    assert plain == pytest.approx(3.0)


def test_regions_are_aligned_without_scale() -> None:
    """Only the seven keypoints give the size: they say it is right, so a larger nose stays larger."""
    keypoints, scan, regions = truth_of()
    truth = keypoints.of(scan.vertices)
    surface = Surface(scan.vertices, scan.triangles)
    move = regional_alignment(surface, truth, 1.05 * regions["nose"].vertices, 1.05 * truth, "nose")
    assert move.scale == 1.0
    np.testing.assert_allclose(move.rotation @ move.rotation.T, np.eye(3), atol=1e-9)


def test_the_order_of_vertices_does_not_matter() -> None:
    keypoints, scan, regions = truth_of()
    truth, rng = keypoints.of(scan.vertices), np.random.default_rng(0)
    face = keyed(toy_scan(4), keypoints)
    plain = region_errors(face, regions, truth)
    order = rng.permutation(len(face.vertices))
    other = face._replace(vertices=face.vertices[order], triangles=np.argsort(order)[face.triangles])
    mixed = {}
    for name, region in regions.items():
        order = rng.permutation(len(region.vertices))
        mixed[name] = RegionMesh(region.vertices[order], np.argsort(order)[region.triangles])
    assert region_errors(other, mixed, truth) == pytest.approx(plain, rel=1e-3)


def test_global_alignment_recovers_a_similarity() -> None:
    keypoints, scan, _ = truth_of()
    truth, move = keypoints.of(scan.vertices), a_move(9.0)
    found = global_alignment(move.apply(truth), truth)
    assert found.scale * move.scale == pytest.approx(1.0)
    np.testing.assert_allclose(found.apply(move.apply(truth)), truth, atol=1e-9)


def test_equal_vertices_are_one() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [9, 9, 9]])
    found = merged(RegionMesh(corners, np.array([[0, 1, 2], [3, 4, 5]])))
    assert found.vertices.shape == (4, 3) and found.triangles.shape == (2, 3)
    np.testing.assert_array_equal(found.vertices[found.triangles], corners[[[0, 1, 2], [3, 4, 5]]])


def test_keypoints_are_placed_on_any_topology() -> None:
    """On another mesh of the same surface they lie where they lay."""
    coarse, fine = toy_face(3, 24), toy_face(3, 97)
    truth = toy_keypoints().of(toy_face(3, ROWS).vertices)
    places = [place_keypoints(mean, 0.1 * truth + 5.0) for mean in (coarse, fine)]
    found = [keypoints.of(mean.vertices) for keypoints, mean in zip(places, (coarse, fine), strict=True)]
    assert np.linalg.norm(found[0] - found[1], axis=1).max() < 3.0
    np.testing.assert_allclose(found[1][:68], fine.landmarks, atol=1.0)


def test_published_keypoint_files_are_read(tmp_path: Path) -> None:
    keypoints = toy_keypoints(at_vertices=False)
    rows = [[int(index), weights[0], weights[1]] for index, weights in zip(*keypoints[1:], strict=True)]
    path = tmp_path / "FACE3D.txt"
    path.write_text(json.dumps(rows))
    vertices = toy_face(3, ROWS).vertices
    np.testing.assert_allclose(read_keypoints(path, keypoints.triangles).of(vertices), keypoints.of(vertices))
    for content in ("{", json.dumps(rows[:68]), json.dumps([[10**6, 1, 0]] * 85)):
        path.write_text(content)
        with pytest.raises(ValueError, match="FACE3D.txt"):
            read_keypoints(path, keypoints.triangles)


def test_keypoints_of_another_mesh_are_refused(folder: Path, tmp_path: Path) -> None:
    keypoints, path = toy_keypoints(), tmp_path / "other.txt"
    rows = published_rows(keypoints)
    path.write_text(json.dumps(rows))
    data = Realy(folder)
    np.testing.assert_array_equal(keypoints_of(KnowsPosed.model, path, data).triangle, keypoints.triangle)
    path.write_text(json.dumps([[len(keypoints.triangles) - 1 - row[0], *row[1:]] for row in rows]))
    with pytest.raises(ValueError, match="other.txt: a keypoint lies .* another mesh"):
        keypoints_of(KnowsPosed.model, path, data)


def test_figures_are_the_published_ones() -> None:
    records = [Record(str(k), {f"{name}_mm": float(k) for name in (*REGIONS, "all")}) for k in (1, 2, 6)]
    assert summarise(records)["nose"] == {"mean": 3.0, "median": 2.0, "std": pytest.approx(np.sqrt(7)), "count": 3}
    assert np.isnan(summarise(records[:1])["all"]["std"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_realy(tmp_path / "realy", {1: toy_scan(1), 2: toy_scan(2)}, toy_keypoints())


@pytest.mark.parametrize(("view", "photos"), [("front", 2), ("side", 4)])
def test_a_method_that_knows_the_faces(folder: Path, view, photos: int) -> None:
    run = run_realy(Realy(folder, view), knows(), toy_keypoints())
    assert len(run.records) == photos and run.summary["scans"] == 2
    for name in (*REGIONS, "all"):
        assert run.summary[name]["count"] == photos and run.summary[name]["mean"] < 1e-4


def test_other_faces_have_errors_in_mm(folder: Path) -> None:
    faces = {1: toy_scan(2), 2: toy_scan(1)}
    data = Realy(folder)
    run = run_realy(data, KnowsPosed(faces), toy_keypoints())
    scan = data.scan(1)
    expected = region_errors(keyed(faces[1], toy_keypoints()), scan.regions, scan.keypoints)
    scores = run.records[0].scores
    assert scores["nose_mm"] == pytest.approx(expected["nose"] * MM_PER_UNIT)
    assert scores["all_mm"] == pytest.approx(np.mean([scores[f"{name}_mm"] for name in REGIONS]))
    assert 0.1 < scores["all_mm"] < 5.0


def no_region(folder: Path) -> None:
    (folder / "REALY_scan_region/2/mouth.obj").unlink()


def nan_region(folder: Path) -> None:
    path = folder / "REALY_scan_region/2/mouth.obj"
    path.write_text(path.read_text().replace("v ", "v nan ", 1))


def no_keypoints(folder: Path) -> None:
    (folder / "REALY_HIFI3D_keypoints/2.obj").unlink()


def keypoints_68(folder: Path) -> None:
    path = folder / "REALY_HIFI3D_keypoints/2.obj"
    path.write_text("\n".join(path.read_text().splitlines()[:68]))


def keypoints_elsewhere(folder: Path) -> None:
    path = folder / "REALY_HIFI3D_keypoints/2.obj"
    points = np.array([line.split()[1:] for line in path.read_text().splitlines()], float) + 5.0
    path.write_text("".join("v {} {} {}\n".format(*point) for point in points))


def mirrored(folder: Path) -> None:
    path = folder / "REALY_HIFI3D_keypoints/2.obj"
    points = np.array([line.split()[1:] for line in path.read_text().splitlines()], float) * [-1, 1, 1]
    path.write_text("".join("v {} {} {}\n".format(*point) for point in points))


def scales_in(unit: float):
    def write(folder: Path) -> None:
        (folder / "metrical_scale.txt").write_text(f"{MM_PER_UNIT}\n{MM_PER_UNIT * unit}\n")

    return write


def one_scale(folder: Path) -> None:
    (folder / "metrical_scale.txt").write_text(f"{MM_PER_UNIT}\n")


def broken_photo(folder: Path) -> None:
    (folder / "REALY_image/crop_image_frontal_512x512/2.jpg").write_bytes(b"no photo")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_region, "mouth.obj"),
        (nan_region, "not finite"),
        (no_keypoints, "2.obj"),
        (keypoints_68, "expected 85 points"),
        (keypoints_elsewhere, "off the regions"),
        (mirrored, "mirrored axes"),
        (scales_in(0.001), "metres"),
        (scales_in(1 / 25.4), "inches"),
        (one_scale, "no line for scan 2"),
        (broken_photo, "2.jpg"),
    ],
)
def test_a_damaged_scan_is_left_out_and_counted(folder: Path, damage, named: str) -> None:
    damage(folder)
    run = run_realy(Realy(folder), knows(), toy_keypoints())
    assert [record.problem is None for record in run.records] == [True, False]
    assert named in (run.records[1].problem or "")
    assert run.summary["photos_left_out"] == 1 and run.summary["scans"] == 1


def test_a_face_that_is_not_found_is_left_out(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "REALY_image/crop_image_frontal_512x512/2.jpg")
    run = run_realy(Realy(folder), knows(), toy_keypoints())
    assert run.records[1].problem == "no face found"


def test_a_run_without_any_photo_is_no_run(folder: Path) -> None:
    method = KnowsPosed({number: toy_face(number, 24) for number in (1, 2)})
    with pytest.raises(ValueError, match="none of 2 photos.*other triangles"):
        run_realy(Realy(folder), method, toy_keypoints())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vertices_mm": None}, "vertices_mm"),
        ({"vertices_mm": toy_scan(1).vertices * np.nan}, "not finite"),
        ({"vertices_mm": toy_scan(1).vertices[:-1]}, "do not fit"),
        ({"vertices_mm": toy_scan(1).vertices * [-1.0, 1.0, 1.0]}, "mirrored axes"),
        ({"triangles": toy_scan(1).triangles[:-1]}, "other triangles"),
    ],
)
def test_broken_predictions_are_named(change: dict, named: str) -> None:
    fields = {"vertices_mm": toy_scan(1).vertices, "triangles": toy_scan(1).triangles} | change
    with pytest.raises(ValueError, match=named):
        face_of_prediction(Prediction(**fields), toy_keypoints())


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("REALY_HIFI3D_keypoints", "Headspace"),
        ("REALY_scan_region", "Headspace"),
        ("metrical_scale.txt", "czh-98/REALY"),
        ("REALY_image/crop_image_frontal_512x512", "crop_image_sides"),
    ],
)
def test_a_missing_part_of_the_layout_is_named(folder: Path, missing: str, named: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=named):
        Realy(folder)


def test_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "REALY_image/crop_image_more").mkdir()
    with pytest.raises(FileNotFoundError, match="crop_image_more, crop_image_sides"):
        Realy(folder, "side")
    assert len(Realy(folder, "side", folder / "REALY_image/crop_image_sides").photos) == 4
    with pytest.raises(FileNotFoundError, match="no photos"):
        find_photos(folder / "REALY_image/crop_image_more")
    write_obj(folder / "REALY_image/crop_image_more/mesh.obj", np.eye(3), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="N.jpg or N_K.jpg"):
        find_photos(folder / "REALY_image/crop_image_more")
    for content in ("nine", "9.0 -1.0", ""):
        (tmp_path / "metrical_scale.txt").write_text(content)
        with pytest.raises(ValueError, match="metrical_scale.txt"):
            read_scales(tmp_path / "metrical_scale.txt")


@pytest.mark.parametrize("with_file", [False, True])
def test_realy_command(folder: Path, tmp_path: Path, monkeypatch, with_file: bool) -> None:
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: knows())
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: KnowsPosed.model)
    (folder / "REALY_scan_region/2/nose.obj").unlink()
    arguments = ["realy", "--data", str(folder.parent), "--view", "side", "--json", str(tmp_path / "r.json")]
    if with_file:
        (tmp_path / "toy.txt").write_text(json.dumps(published_rows(toy_keypoints())))
        arguments += ["--keypoints", str(tmp_path / "toy.txt")]
    result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "2 of 4 photos left out" in result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["view"] == "side" and content["protocol"] == "REALY, side"
    assert content["keypoints"] == ("toy.txt" if with_file else "placed by eval.realy_keypoints")
    limit = 1e-4 if with_file else 0.5
    assert content["summary"]["all"]["count"] == 2 and content["summary"]["all"]["mean"] < limit
    assert content["floor"]["summary"]["all"]["mean"] > 0.1
