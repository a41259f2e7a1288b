"""eval.kept: what a run keeps of its samples, and the error meshes of the shape benchmarks."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.error_mesh import read_error_mesh
from eval.kept import TILE_PX, Keeping, overlay
from eval.mean_face import MeanFace
from eval.people import GeneratedPeople
from eval.protocol import Prediction, Sample, run
from eval.scan_shape import ScanShape
from face3d.morphable import MorphableModel
from tests.fake_networks import noise_photo


@pytest.fixture
def model() -> MorphableModel:
    return MorphableModel.random(0)


def test_every_sample_leaves_its_files_and_the_figures_stay(model: MorphableModel, tmp_path: Path) -> None:
    people = GeneratedPeople(model, count=2)
    keeping = Keeping(people, tmp_path / "p", tmp_path / "m")
    kept, plain = (run(benchmark, MeanFace(model)).summary["all"] for benchmark in (keeping, people))
    assert kept == plain
    references = keeping.references(tmp_path / "json" / "run.json")
    assert references["pictures"].keys() == references["meshes"].keys() == {"person 000", "person 001"}
    for entry in (*references["pictures"].values(), *references["meshes"].values()):
        content = (tmp_path / "json" / entry["file"]).resolve().read_bytes()  # from the JSON's folder
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    picture = Image.open(io.BytesIO((tmp_path / "p" / "0000_person_000.jpg").read_bytes()))
    assert picture.format == "JPEG" and picture.width > 2 * TILE_PX


def test_nothing_is_kept_without_a_folder(model: MorphableModel, tmp_path: Path) -> None:
    keeping = Keeping(GeneratedPeople(model, count=1))
    run(keeping, MeanFace(model))
    assert keeping.references(tmp_path / "run.json") == {} and not list(tmp_path.iterdir())


def test_error_mesh_of_a_person_has_the_error_of_the_table(model: MorphableModel, tmp_path: Path) -> None:
    people = GeneratedPeople(model, count=1)
    keeping = Keeping(people, meshes=tmp_path)
    (record,) = run(keeping, MeanFace(model)).records
    (file,) = tmp_path.iterdir()
    mesh = read_error_mesh(file.read_bytes())
    assert np.nanmean(mesh.error_mm) == pytest.approx(record.scores["error_mm"], rel=1e-5)
    np.testing.assert_array_equal(np.isfinite(mesh.error_mm), people.face)


def test_error_mesh_of_the_scan_lies_on_it(data_dir: Path, model: MorphableModel) -> None:
    benchmark = ScanShape(data_dir / "scans" / "lee_perry_smith", model)
    sample = next(iter(benchmark.samples()))
    mesh = benchmark.error_mesh(sample, MeanFace(model).predict(sample.image, sample.box_px))
    measured = np.isfinite(mesh.error_mm)
    assert measured.any() and not measured.all()
    np.testing.assert_array_equal(measured, benchmark.scan.region.inside(mesh.vertices_mm))
    assert 0.1 < np.median(mesh.error_mm[measured]) < 10.0


def test_overlay_shows_truth_and_face_even_beyond_the_photo(model: MorphableModel) -> None:
    box_px = np.array([-20.0, 30.0, 60.0, 110.0])
    sample = Sample("s", noise_photo(), box_px, None)
    prediction = MeanFace(model).predict(sample.image, box_px)
    truth_px = prediction.landmarks_px["3dmm"][:, :2] + 5.0
    pictures = [overlay(sample, *said) for said in ((prediction, truth_px), (prediction, None), (Prediction(), None))]
    assert len({picture.shape for picture in pictures}) == 1
    differences = [np.abs(pictures[0].astype(int) - other.astype(int)).max() for other in pictures[1:]]
    assert min(differences) > 50
