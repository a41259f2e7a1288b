"""AFLW2000-3D's dense protocols: figures by hand, meshes of a model in 300W-LP's own files, the command, the page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.aflw2000 import Aflw2000
from eval.aflw2000_dense import dense_nme_percent, reconstruction_percent
from eval.dense_points import counted_points
from eval.dense_truth import dense_truths
from eval.protocol import Damaged, Prediction, run
from eval.published import TABLES
from face3d.metrics import nme_percent
from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays
from tests.mini_300wlp import KnownMeshes, converted, measured, turned, write_photos
from tests.official_files import landmark_vertices, toy

SQUARE = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0]])
EYES = np.array([[-4.0, 0, 0], [4, 0, 0]])


# What the formulas give


def test_dense_by_hand() -> None:
    moved = SQUARE + np.array([[3.0, 0, 4], [3, 0, -4], [3, 0, 4], [3, 0, -4]])
    assert dense_nme_percent(moved, SQUARE) == pytest.approx(50.0)  # 5 of sqrt(10 x 10)
    assert nme_percent(moved, SQUARE) == pytest.approx(30.0)
    assert dense_nme_percent(SQUARE * [1, 1, 0], SQUARE + [0, 0, 9]) == 0


def test_dense_does_not_see_a_depth_offset(rng) -> None:
    truth, predicted = rng.normal(size=(2, 50, 3))
    expected = dense_nme_percent(predicted, truth)
    assert dense_nme_percent(predicted + [0, 0, 1e3], truth) == pytest.approx(expected)
    assert dense_nme_percent(predicted, truth - [0, 0, 1e3]) == pytest.approx(expected)
    assert dense_nme_percent(predicted + [0.1, 0, 0], truth) != pytest.approx(expected)


def test_reconstruction_by_hand() -> None:
    """Distances from the first point sum to 16 on both sides: scale 1, where least squares would take 64 / 68."""
    truth = np.array([[0.0, 0, 0], [4, 0, 0], [-4, 0, 0], [0, 4, 0], [0, -4, 0]])
    predicted = np.array([[0.0, 0, 0], [3, 0, 0], [-3, 0, 0], [0, 5, 0], [0, -5, 0]])
    assert reconstruction_percent(predicted, truth, EYES) == pytest.approx(10.0)  # mean of 0, 1, 1, 1, 1; eyes 8 apart


def test_reconstruction_does_not_see_a_similarity_but_a_mirror(rng) -> None:
    truth = rng.normal(size=(40, 3))
    predicted = truth + 0.1 * rng.normal(size=(40, 3))
    expected = reconstruction_percent(predicted, truth, EYES)
    assert 0 < expected < 5
    moved = 7.3 * predicted @ turned(3).T + [50, -20, 1e3]
    assert reconstruction_percent(moved, truth, EYES) == pytest.approx(expected)
    assert reconstruction_percent(truth * [1, 1, -1], truth, EYES) > 5 * expected
    assert reconstruction_percent(predicted, truth, EYES / 2) == pytest.approx(2 * expected)


def test_points_that_span_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="span no area"):
        dense_nme_percent(SQUARE, SQUARE * [1, 0, 1])
    for points in ((SQUARE * 0, SQUARE, EYES), (SQUARE, SQUARE * 0, EYES), (SQUARE, SQUARE, EYES * 0)):
        with pytest.raises(ValueError, match="coincide"):
            reconstruction_percent(*points)


# Meshes of the labels' own model


@pytest.fixture
def arrays() -> MorphableArrays:
    return toy()


@pytest.mark.parametrize("norm", [1.0, 0.9])
def test_the_labels_own_meshes(tmp_path: Path, arrays: MorphableArrays, norm: float) -> None:
    meshes = write_photos(tmp_path / "a", arrays, norm)
    truths = dense_truths(converted(tmp_path / "a"), None, MorphableModel(arrays))
    samples = list(Aflw2000(tmp_path / "a", dense=truths).samples())
    for sample in samples:
        truth = meshes[sample.name][truths.points.vertices]
        offset = sample.truth.dense.points_px - truth  # depth counts from somewhere else
        np.testing.assert_allclose(offset - offset.mean(0) * [0, 0, 1], 0, atol=2e-3)
        assert sample.truth.dense.landmark_nme_percent < 1e-3
    same = {name: Prediction(vertices_px=mesh, triangles=arrays.triangles) for name, mesh in meshes.items()}
    scores = measured(tmp_path / "a", truths, same)
    assert set(scores) == {"dense/bfm", "dense-2d/bfm", "reconstruction/bfm", "truth-landmarks/bfm"}
    assert max(scores.values()) < 2e-3
    moved = {name: replace(one, vertices_px=meshes[name] + [3, -4, 77]) for name, one in same.items()}
    scores = measured(tmp_path / "a", truths, moved)
    sizes = [float(np.sqrt(np.prod(np.ptp(one.truth.dense.points_px[:, :2], axis=0)))) for one in samples]
    assert scores["dense/bfm"] == pytest.approx(np.mean([500 / size for size in sizes]), abs=2e-3)
    assert scores["dense-2d/bfm"] == pytest.approx(scores["dense/bfm"], abs=2e-3)
    assert scores["reconstruction/bfm"] < 2e-3


def test_scores_are_put_into_bins_of_yaw(tmp_path: Path, arrays: MorphableArrays) -> None:
    meshes = write_photos(tmp_path / "a", arrays)
    truths = dense_truths(converted(tmp_path / "a"), None, MorphableModel(arrays))
    worse = {name: mesh + [0 if name == "image00000.jpg" else 5, 0, 0] for name, mesh in meshes.items()}
    predictions = {name: Prediction(vertices_px=mesh, triangles=arrays.triangles) for name, mesh in worse.items()}
    bins = run(Aflw2000(tmp_path / "a", dense=truths), KnownMeshes(predictions)).summary["dense/bfm"]
    assert bins["counts"] == (1, 0, 1) and bins["upto_30"] < 2e-3 < 1 < bins["above_60"]
    assert bins["of_samples"] == pytest.approx(bins["above_60"] / 2, abs=2e-3)


def test_labels_of_another_model_are_refused(tmp_path: Path, arrays: MorphableArrays) -> None:
    write_photos(tmp_path / "a", arrays)
    write_photos(tmp_path / "other", toy(identity=4))
    own = MorphableModel(arrays)
    truths = dense_truths(converted(tmp_path / "other"), None, own)
    damaged = next(Aflw2000(tmp_path / "a", dense=truths).samples())
    assert isinstance(damaged, Damaged) and damaged.name == "image00000.jpg"
    assert re.search("image00000.mat: expected Shape_Para with the 4 .* got 5 values", damaged.problem)
    label = scipy.io.loadmat(tmp_path / "a" / "image00000.mat")
    truths = dense_truths(converted(tmp_path / "a"), None, own)
    with pytest.raises(ValueError, match="m.mat: expected Exp_Para .* got nothing"):
        truths.of_photo({name: value for name, value in label.items() if name != "Exp_Para"}, "m.mat")
    with pytest.raises(ValueError, match=r"m.mat: .* NME off pt3d_68: .* not the model that the labels were made with"):
        truths.of_photo({**label, "Shape_Para": label["Shape_Para"] / 1000}, "m.mat")


def test_a_model_that_does_not_tell_its_unit_is_refused(tmp_path: Path, arrays: MorphableArrays) -> None:
    arrays.save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="does not tell what Shape_Para counts in: .*convert Model_Shape.mat"):
        dense_truths(tmp_path / "m.npz", None, MorphableModel(arrays))
    for sigma in ((1.0, 2.0), (1.0, 1.0, 0.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="identity_sigma, expected 5 numbers > 0"):
            replace(arrays, meta=replace(arrays.meta, identity_sigma=sigma)).validate()


def test_listed_points(tmp_path: Path, arrays: MorphableArrays) -> None:
    model = MorphableModel(arrays)
    (tmp_path / "p.txt").write_text("5.0e+00\n7 9 9\n 195")  # as numpy.savetxt writes; twice counts twice
    assert counted_points(model, tmp_path / "p.txt").vertices.tolist() == [5, 7, 9, 9, 195]
    np.save(tmp_path / "p.npy", np.array([[4, 3], [2, 1]], np.uint16))
    assert counted_points(model, tmp_path / "p.npy").vertices.tolist() == [4, 3, 2, 1]
    for text, message in (
        ("1 2 3 196", "from 1 to 196, but 'toy' has 196 vertices; PRN's face_ind.txt counts pixels"),
        ("-1 2 3 4", "from -1 to 4"),
        ("1 2 3.5 4", "expected at least 4, whole numbers"),
        ("1 2 nan 4", "expected at least 4, whole numbers"),
        ("1 2 3", "got 3 values"),
        ("v 1 2 3", "could not convert"),
    ):
        (tmp_path / "p.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            counted_points(model, tmp_path / "p.txt")
    (tmp_path / "broken.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="broken.npy: .*expected whole numbers"):
        counted_points(model, tmp_path / "broken.npy")
    with pytest.raises(FileNotFoundError, match=r"no .*q.txt: expected whole numbers"):
        counted_points(model, tmp_path / "q.txt")


def test_points_that_count_where_none_are_listed(arrays: MorphableArrays) -> None:
    ball = counted_points(MorphableModel(arrays))
    assert "NoW's ball" in ball.said and 0 < len(ball.vertices) < len(arrays.mean)
    named = replace(arrays, meta=replace(arrays.meta, region_names=("skin", "neck")))
    regions = counted_points(MorphableModel(named))
    assert "skin" in regions.said and "neck" not in regions.said
    np.testing.assert_array_equal(regions.vertices, np.flatnonzero(arrays.vertex_region == 0))


# The command


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(commands.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_the_command_and_the_page(tmp_path: Path, arrays: MorphableArrays) -> None:
    meshes = write_photos(tmp_path / "a", arrays)
    (tmp_path / "p").mkdir()
    for name, mesh in meshes.items():
        points = mesh[landmark_vertices(arrays)]
        content = {"landmarks_px/all": points, "vertices_px": mesh + [6, 0, 0], "triangles": arrays.triangles}
        np.savez(tmp_path / "p" / f"{Path(name).stem}.npz", **content)
    (tmp_path / "points.txt").write_text(" ".join(map(str, range(20, 120))))
    common = ("aflw2000", "--data", tmp_path / "a", "--method", "files", "--predictions", tmp_path / "p", "--dense")
    bfm = ("--bfm", converted(tmp_path / "a"), "--dense-points", tmp_path / "points.txt")
    output = invoke(*common, *bfm, "--json", tmp_path / "b.json")
    assert "meshes against bfm" in output and "100 vertices listed in points.txt" in output
    result = json.loads((tmp_path / "b.json").read_text())
    assert result["dense"]["truth"] == "bfm" and result["dense"]["count"] == 100
    assert all(sample["reconstruction/bfm"] < 2e-3 < sample["dense/bfm"] for sample in result["samples"].values())
    assert result["floor"]["summary"]["dense/bfm"]["of_samples"] > result["summary"]["dense/bfm"]["of_samples"]
    output = invoke(
        "aflw2000", "--data", tmp_path / "a", "--method", "mean-face", "--dense", "--json", tmp_path / "f.json"
    )
    assert "meshes against face3d-fit" in output and "compares with no published figure" in output
    for file, said in (("b.json", "PRN's 43,867"), ("f.json", "For orientation only")):
        invoke("report", tmp_path / file, "-o", tmp_path / "r.html")
        page = (tmp_path / "r.html").read_text(encoding="utf-8").replace("&#x27;", "'")
        assert "Dense, NME in %, truth: " in page and said in page and "DSFNet#9" in page


def test_without_dense_nothing_is_said_of_meshes(tmp_path: Path, arrays: MorphableArrays) -> None:
    write_photos(tmp_path / "a", arrays)
    common = ("aflw2000", "--data", tmp_path / "a", "--method", "mean-face")
    output = invoke(*common, "--json", tmp_path / "n.json")
    result = json.loads((tmp_path / "n.json").read_text())
    assert "meshes" not in output and "dense" not in result
    assert not [name for name in result["summary"] if name.startswith(("dense", "reconstruction", "truth"))]
    with pytest.raises(ValueError, match="--bfm and --dense-points are for the dense scores"):
        invoke(*common, "--dense-points", tmp_path / "n.json")


def test_published_figures_say_what_sets_them_apart() -> None:
    for score in ("dense", "dense-2d", "reconstruction"):
        ours, fitted = (TABLES[f"AFLW2000-3D sparse/{score}/{truth}"] for truth in ("bfm", "face3d-fit"))
        assert ours.rows == fitted.rows and "vertices" in ours.caveat and "fitted" in fitted.caveat
