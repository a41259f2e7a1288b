"""Results of any system in files: what is read, what is refused and with which words, what is exported and scored."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from eval.method_files import FromFiles
from eval.methods import Choice
from eval.prediction_file import prediction_bytes, read_prediction
from eval.predictions_folder import Exported, export
from eval.protocol import Found, LeftOut, Prediction, Record, Sample, run
from eval.report import run_as_dict
from face3d.checkpoint import asset_path
from face3d.geometry import rotation_from_euler_deg
from face3d.metrics import landmark_box_px, nme_percent
from face3d.morphable_file import MorphableArrays
from tests.fake_networks import noise_photo


@pytest.fixture(scope="module")
def arrays() -> MorphableArrays:
    return MorphableArrays.load(asset_path("face3d_model.npz"))


@pytest.fixture(scope="module")
def mean_mm(arrays: MorphableArrays) -> np.ndarray:
    corners = arrays.mean[arrays.triangles[arrays.landmark_triangles]]
    return (corners * arrays.landmark_barycentric[..., None]).sum(1).astype(np.float64)


def in_photo(points_mm: np.ndarray, yaw: float = 20.0, roll: float = 10.0) -> np.ndarray:
    """Points of a turned face in the middle of a photo of 160 x 120 px."""
    import torch

    rotation = rotation_from_euler_deg(torch.tensor([[5.0, yaw, roll]], dtype=torch.float64))[0].numpy()
    return (points_mm - points_mm.mean(0)) @ rotation.T * 0.4 + [80.0, 60.0, 0.0]


class Faces:
    """A benchmark of three photos of the mean face."""

    name = "three faces"

    def __init__(self, mean_mm: np.ndarray) -> None:
        self.truth = [in_photo(mean_mm, yaw) for yaw in (-50.0, 0.0, 50.0)]

    def samples(self):
        for index, truth in enumerate(self.truth):
            yield Sample(f"image{index}.jpg", noise_photo(seed=index), landmark_box_px(truth), truth)

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        return {name: float(nme_percent(p, sample.truth)) for name, p in prediction.landmarks_px.items()}

    def summarise(self, records: list[Record]) -> dict[str, float]:
        return {"mean": float(np.mean([value for record in records for value in record.scores.values()]))}


@pytest.fixture
def faces(mean_mm: np.ndarray) -> Faces:
    return Faces(mean_mm)


def write_landmarks(folder: Path, faces: Faces, change: Callable[[np.ndarray], np.ndarray] = lambda p: p) -> Path:
    for index, truth in enumerate(faces.truth):
        np.savetxt(folder / f"image{index}.txt", change(truth), fmt="%.6f")
    return folder


def first_problem(folder: Path, faces: Faces) -> str:
    problem = run(faces, FromFiles(folder)).records[0].problem
    assert problem is not None
    return problem


def test_landmarks_in_text_are_scored(tmp_path: Path, faces: Faces) -> None:
    result = run(faces, FromFiles(write_landmarks(tmp_path, faces)))
    assert result.summary["mean"] == pytest.approx(0.0, abs=1e-3)
    for file in tmp_path.iterdir():
        file.write_text(file.read_text().replace(" ", ", "))
    assert run(faces, FromFiles(tmp_path)).summary["mean"] == pytest.approx(0.0, abs=1e-3)


def test_a_missing_file_is_counted_and_the_run_goes_on(tmp_path: Path, faces: Faces) -> None:
    (write_landmarks(tmp_path, faces) / "image1.txt").unlink()
    result = run_as_dict(run(faces, FromFiles(tmp_path)))
    assert result["left_out"] == {"image1.jpg": "no file image1 (.npz, .obj, .ply, .txt)"}
    assert result["samples_in_all"] == 3 and len(result["samples"]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:67], r"image0.txt: .* is \(67, 3\), expected \(68, 2\) or \(68, 3\)"),
        (lambda p: np.where(np.arange(68)[:, None] == 3, np.nan, p), "1 of 68 points are not finite"),
        (lambda p: p * [-1, 1, 1] + [160, 0, 0], "mirrored, .* is x mirrored"),
        (lambda p: p * [1, -1, 1] + [0, 120, 0], "mirrored, .* does y count upwards"),
        (lambda p: p / [160, 120, 1], "parts of the photo's width and height"),
        (lambda p: p[:, :1], r"is \(68, 1\)"),
    ],
)
def test_landmarks_that_cannot_be_measured(tmp_path: Path, faces: Faces, change, words: str) -> None:
    faces.truth = faces.truth[1:]  # the frontal one first: mirrored profiles cannot be told
    folder = write_landmarks(tmp_path, faces, change)
    with pytest.raises(LeftOut, match=words):
        FromFiles(folder).of_sample(next(faces.samples()), "gt")


def test_text_that_is_no_numbers(tmp_path: Path, faces: Faces) -> None:
    (write_landmarks(tmp_path, faces) / "image0.txt").write_text("x y\n")
    assert "image0.txt cannot be read" in first_problem(tmp_path, faces)


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_a_mesh_of_the_embedded_topology_has_landmarks(
    tmp_path: Path, faces: Faces, arrays: MorphableArrays, mean_mm: np.ndarray, suffix: str
) -> None:
    trimesh.Trimesh(arrays.mean, arrays.triangles, process=False).export(tmp_path / f"image0.{suffix}")
    prediction = FromFiles(tmp_path).of_sample(next(faces.samples()), "gt")
    assert prediction.model_landmarks_mm is not None and prediction.neutral_mm is not None
    np.testing.assert_allclose(prediction.model_landmarks_mm, mean_mm, atol=1e-3)
    write_landmarks(tmp_path, faces)  # the same name: they belong together
    assert set(FromFiles(tmp_path).of_sample(next(faces.samples()), "gt").landmarks_px) == {"landmarks"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v / 25.4, "as if in inches"),
        (lambda v: v / 1000, "as if in metres"),
        (lambda v: v * [-1, 1, 1], "mirrored axes"),
        (lambda v: v * [1, 1, -1], "mirrored axes"),
        (lambda v: v * np.where(np.arange(len(v)) == 7, np.nan, 1)[:, None], "1 of 60 points are not finite|1 vert"),
        (lambda v: v[:50], "names vertex"),
        (lambda v: v[:0], "0 vertices"),
    ],
)
def test_meshes_that_cannot_be_measured(tmp_path: Path, faces: Faces, mean_mm: np.ndarray, change, words: str) -> None:
    """A mesh of another topology, its landmarks named by the user."""
    vertices = change(np.concatenate([mean_mm, mean_mm[:1]]))
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["f 1 2 3"]
    (tmp_path / "image0.obj").write_text("\n".join(lines))
    (tmp_path / "landmark_vertices.txt").write_text("\n".join(map(str, range(68))))
    assert pytest.raises(LeftOut, FromFiles(tmp_path).of_sample, next(faces.samples()), "gt").match(words)


def test_turned_meshes_are_not_mirrored(tmp_path: Path, faces: Faces, mean_mm: np.ndarray) -> None:
    turned = mean_mm * [1, -1, -1]
    (tmp_path / "image0.npz").write_bytes(prediction_bytes(Prediction(neutral_mm=turned, model_landmarks_mm=turned)))
    FromFiles(tmp_path).of_sample(next(faces.samples()), "gt")


def test_arrays_come_back_as_they_were(tmp_path: Path, mean_mm: np.ndarray, arrays: MorphableArrays) -> None:
    said = Prediction(
        {"a": in_photo(mean_mm), "b/c": mean_mm[:, :2]}, neutral_mm=arrays.mean, triangles=arrays.triangles
    )
    (tmp_path / "face.npz").write_bytes(prediction_bytes(said))
    back = read_prediction(tmp_path / "face.npz")
    assert set(back.landmarks_px) == {"a", "b/c"} and back.euler_deg is None
    np.testing.assert_array_equal(back.landmarks_px["a"], said.landmarks_px["a"])
    assert back.neutral_mm is not None and back.neutral_mm.dtype == arrays.mean.dtype


def test_unknown_arrays_and_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", vertices=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"unknown arrays \['vertices'\]; known are landmarks_px/NAME, vertices_px"):
        read_prediction(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", landmarks_px=np.array([{}], object))
    with pytest.raises(ValueError, match=r"b.npz cannot be read: .*allow_pickle=False"):
        read_prediction(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"c.npz cannot be read"):
        read_prediction(tmp_path / "c.npz")


def test_of_several_faces_the_overlapping_one_is_scored(tmp_path: Path, faces: Faces) -> None:
    write_landmarks(tmp_path, faces, lambda p: p + [500, 0, 0])
    with pytest.raises(LeftOut, match="not found by the detector"):
        FromFiles(tmp_path).of_sample(next(faces.samples()), "detector")
    np.savetxt(tmp_path / "image0_face2.txt", faces.truth[0])
    assert run(faces, FromFiles(tmp_path), "detector").records[0].scores["landmarks"] == pytest.approx(0.0)


def test_folders_without_predictions(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no predictions in"):
        FromFiles(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder of predictions"):
        FromFiles(tmp_path / "nothing")


class Shifted:
    """Landmarks that miss the truth by a pixel; it does not find the second photo's face."""

    name = "shifted"

    def __init__(self, faces: Faces) -> None:
        self.faces = {noise_photo(seed=i).tobytes(): truth + [1, 0, 0] for i, truth in enumerate(faces.truth)}

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return Prediction({"own": self.faces[image.tobytes()].astype(np.float32)})

    def find(self, image: np.ndarray) -> list[Found]:
        box = landmark_box_px(self.faces[image.tobytes()])
        return [] if image.tobytes() == noise_photo(seed=1).tobytes() else [Found(box, self.predict(image, box))]


@pytest.mark.parametrize("crop", ["gt", "detector"])
def test_scoring_an_export_is_scoring_the_method(tmp_path: Path, faces: Faces, crop) -> None:
    directly = run(faces, Shifted(faces), crop)
    exported = run(faces, export(faces, Shifted(faces), crop, tmp_path / "e", {"method": "x"}), crop)
    assert run_as_dict(exported) == run_as_dict(directly)
    described = json.loads((tmp_path / "e" / "method.json").read_text())
    assert described["configuration"] == {"method": "x"} and described["samples"] == 3
    assert described["left_out"] == {r.name: r.problem for r in directly.records if r.problem}


def test_another_configuration_is_refused_by_what_differs(tmp_path: Path, faces: Faces) -> None:
    made = replace(Choice("mean-face"), export=tmp_path / "e")
    run(faces, made.source(faces, "gt"))
    run(faces, made.source(faces, "gt"))  # the same again replaces it
    assert isinstance(Choice("mean-face", predictions=tmp_path / "e").source(faces, "gt"), Exported)
    files = Choice("files", predictions=tmp_path / "e")
    assert files.source(faces, "gt").name == "mean face"
    for asked, words in (
        (Choice("mean-face", predictions=tmp_path / "e"), "crop: gt, asked detector"),
        (files, "crop: gt, asked detector"),
        (Choice("face-alignment", predictions=tmp_path / "e"), "method: mean-face, asked face-alignment"),
        (replace(made, method="files", predictions=tmp_path, export=None), "no predictions in"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            asked.source(faces, "detector")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "image0.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"no method.json in .*other"):
        replace(made, export=tmp_path / "other").source(faces, "gt")


def test_an_export_that_was_broken_off_is_not_scored(tmp_path: Path, faces: Faces) -> None:
    class Breaks(Shifted):
        def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(faces, Breaks(faces), "gt", tmp_path, {})
    with pytest.raises(ValueError, match="broken off"):
        Exported(tmp_path)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice("best"), "no method 'best': choose one of face3d, mean-face, files"),
        (Choice("files"), "needs --predictions"),
        (Choice("mediapipe"), "needs --python"),
        (Choice("mean-face", weights=Path("w")), "--weights go with --method face3d"),
        (Choice("mean-face", predictions=Path("p"), export=Path("e")), "leave --export out"),
    ],
)
def test_options_that_do_not_go_together(faces: Faces, choice: Choice, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choice.source(faces, "gt")
