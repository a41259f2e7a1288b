"""eval.facewarehouse: known errors per vertex and by closest point, and the layout in small."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.facewarehouse import EXPRESSIONS, STEADY, FaceWarehouse, has_topology, read_land
from eval.protocol import Prediction, run
from eval.seven_landmarks import check_head
from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel
from tests.mini_facewarehouse import PEOPLE, Knows, landmark_vertices, toy_model, write_facewarehouse


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_facewarehouse(tmp_path_factory.mktemp("data") / "facewarehouse")


@pytest.fixture(scope="module")
def data(folder: Path) -> FaceWarehouse:
    return FaceWarehouse(folder)


def few(data: FaceWarehouse, method: Knows) -> list[dict[str, float]]:
    """Scores of every 30th sample."""
    samples = list(data.samples())[::30]
    return [data.score(sample, method.predict(sample.image, sample.box_px)) for sample in samples]


def test_the_truth_moved_has_no_error(data: FaceWarehouse) -> None:
    result = run(data, Knows(data))
    assert len(result.records) == len(PEOPLE) * EXPRESSIONS == 180
    assert result.records[0].name == "Tester_3 pose_0" and result.records[-1].name == "Tester_150 pose_19"
    for name in ("per-vertex/mean_mm", "closest-point/mean_mm"):
        assert result.summary[f"all/{name}"]["mean"] < 1e-6
        assert result.summary[f"all/{name}"]["count"] == 180
        assert result.summary[f"neutral/{name}"]["count"] == 9


def test_error_is_the_noise(data: FaceWarehouse) -> None:
    """1 mm at every vertex; the closest point is nearer, since what lies along the surface is no error to it."""
    for scores in few(data, Knows(data, noise_mm=1.0)):
        assert scores["per-vertex/mean_mm"] == pytest.approx(1.0, abs=0.05)
        assert 0.2 < scores["closest-point/mean_mm"] < 0.7


def test_shuffled_vertices_have_no_correspondence(data: FaceWarehouse) -> None:
    for scores in few(data, Knows(data, shuffled=True)):
        assert set(scores) == {"closest-point/mean_mm"}
        assert scores["closest-point/mean_mm"] < 1e-6


def test_topology_is_told_from_the_faces(data: FaceWarehouse) -> None:
    sample = next(data.samples())
    prediction = Knows(data).predict(sample.image, sample.box_px)
    assert has_topology(prediction, sample.truth)
    other_diagonal = sample.truth.polygons[:, [[0, 1, 3], [1, 2, 3]]].reshape(-1, 3)
    for triangles, known in ((other_diagonal, True), (other_diagonal[:, ::-1] + 1, False), (other_diagonal[:0], False)):
        changed = Prediction(vertices_mm=prediction.vertices_mm, triangles=triangles % 144)
        assert has_topology(changed, sample.truth) is known
    assert not has_topology(Prediction(), sample.truth)


def test_prediction_without_a_mesh_is_named(data: FaceWarehouse) -> None:
    with pytest.raises(ValueError, match="vertices_mm"):
        data.score(next(data.samples()), Prediction())


def test_samples_are_in_millimetres_and_pixels(data: FaceWarehouse) -> None:
    sample = next(data.samples())
    np.testing.assert_allclose(sample.box_px, [10.0, 9.0, 30.0, 24.0])  # 40 x 30 pixels, y counted from below
    assert np.linalg.norm(sample.truth.landmarks_mm[0] - sample.truth.landmarks_mm[3]) == pytest.approx(85, abs=15)
    assert 40 < len(sample.truth.face) < 144


def test_a_region_of_the_users_is_taken(folder: Path) -> None:
    region = folder / "region_vertices.txt"
    region.write_text("5, 6 7\n")
    try:
        data = FaceWarehouse(folder)
        assert next(data.samples()).truth.face.tolist() == [5, 6, 7]
        assert data.summarise([])["region"] == "region_vertices.txt"
        region.write_text("144")
        with pytest.raises(ValueError, match="0 to 143"):
            FaceWarehouse(folder)
    finally:
        region.unlink()


@pytest.mark.parametrize("name", ["evaluation_people.txt", "landmark_vertices.txt"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    hidden = (folder / name).rename(folder / "hidden")
    try:
        with pytest.raises(FileNotFoundError, match=Path(name).name):
            FaceWarehouse(folder)
    finally:
        hidden.rename(folder / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evaluation_people.txt", "3 17 22", "expected 9 people"),
        ("evaluation_people.txt", "three", "expected the numbers"),
        ("landmark_vertices.txt", "1 2 3", "expected 5 vertices"),
        ("landmark_vertices.txt", "1 2 3 1 4", "mm-per-unit"),
    ],
)
def test_lists_of_another_kind_are_refused(folder: Path, name: str, content: str, message: str) -> None:
    kept = (folder / name).read_text()
    (folder / name).write_text(content)
    try:
        with pytest.raises(ValueError, match=message):
            FaceWarehouse(folder)
    finally:
        (folder / name).write_text(kept)


def test_a_wrong_unit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"none of 180 meshes .*pose_0.obj: outer eye corners .*--mm-per-unit"):
        FaceWarehouse(folder, mm_per_unit=1.0)


@pytest.mark.parametrize("content", ["", "73\n" + "0.5 0.5\n" * 73, "74\n" + "0.5 0.5\n" * 73, "74\n" + "a b\n" * 74])
def test_broken_landmarks_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.land").write_text(content)
    with pytest.raises(ValueError, match=r"a\.land"):
        read_land(tmp_path / "a.land", 40, 30)


def test_mirrored_heads_are_told_from_five_landmarks() -> None:
    model = MorphableModel.load(asset_path("face3d_model.npz"))
    people = model.sample(0, 20)
    vertices = model.vertices(people.identity, 0.5 * people.expression)
    for mesh, landmarks in zip(vertices.numpy(), model.landmarks_of(vertices).numpy(), strict=True):
        five, turned = landmarks[list(STEADY)], [1, -1, -1]
        check_head(five, mesh, "a head")
        check_head(five * turned, mesh * turned, "a head upside down")
        with pytest.raises(ValueError, match="a head: the face looks into the head"):
            check_head(five * [-1, 1, 1], mesh * [-1, 1, 1], "a head")


def test_landmark_vertices_are_five_of_the_grid() -> None:
    assert len(set(landmark_vertices().tolist())) == 5


class KnowsModel(Knows):
    model = toy_model()


@pytest.fixture
def command(folder: Path, data: FaceWarehouse, monkeypatch):
    """The command on three samples, with a method that knows the truth."""
    method = KnowsModel(data)
    few_samples = list(data.samples())[:3]
    monkeypatch.setitem(methods.METHODS, "face3d", lambda *_: method)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: method.model)
    monkeypatch.setattr(FaceWarehouse, "samples", lambda _: iter(few_samples))

    def invoke(*options: str | Path) -> str:
        arguments = ["facewarehouse", "--data", str(folder.parent), *map(str, options)]
        result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return invoke


def test_facewarehouse_command(command, tmp_path: Path) -> None:
    assert "per-vertex" in command("--json", tmp_path / "f.json")
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["samples_in_all"] == 3 and content["mm_per_unit"] == 100.0
    assert content["summary"]["all/per-vertex/mean_mm"]["mean"] < 1e-6
    assert content["floor"]["summary"]["all/closest-point/mean_mm"]["mean"] > 0.2


def test_facewarehouse_of_exported_predictions_is_the_same(command, tmp_path: Path) -> None:
    directly = command("--export", tmp_path / "e")
    assert command("--method", "files", "--predictions", tmp_path / "e") == directly
    with pytest.raises(ValueError, match="another configuration: crop: gt, asked detector"):
        command("--predictions", tmp_path / "e", "--crop", "detector")
    command("--samples", tmp_path / "s")
    assert len(json.loads((tmp_path / "s" / "samples.json").read_text())) == 3
