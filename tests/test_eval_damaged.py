"""What each benchmark does with damaged data: the sample is left out, named with file and reason, and counted.

Truth, a row a benchmark; the numbers are the tests below, elsewhere means the test file of the benchmark:

                    NoW             REALY           Florence    FaceWarehouse   AFLW2000-3D
    missing photo   elsewhere       (any number)    here        here            here
    broken photo    elsewhere       elsewhere       here        here            here
    missing truth   elsewhere       elsewhere       here        here            here
    NaN             elsewhere       elsewhere       here        here            here
    empty mesh      elsewhere       here            here        here            here (no points)
    wrong count     here            elsewhere       here        here            here
    another unit    elsewhere       elsewhere       here        here            here (outside the photo)
    mirrored axes   elsewhere       elsewhere       here        here            (labels of profiles are)
    other version   elsewhere: refused as a whole, by test_*layout* and test_*lists* of each benchmark

One of the 2000 published labels of AFLW2000-3D has its nose point into the head: mirrored ones cannot be told from it.
Predictions in files are checked one by one in `test_eval_method_files.py`; here, that the run goes on without them.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import methods
from eval.aflw2000 import Aflw2000
from eval.facewarehouse import FaceWarehouse
from eval.florence import SETTINGS, Florence
from eval.florence_run import run_florence
from eval.method_other_python import write_samples
from eval.now import Now
from eval.now_run import run_now
from eval.predictions_folder import export
from eval.protocol import Damaged, Found, Method, Prediction, Record, Run, run, whole
from eval.realy import Realy
from eval.realy_run import run_realy
from face3d.morphable import MorphableModel
from tests import mini_facewarehouse
from tests.mini_florence import GREY_STEP, Knows, a_move, moved, toy_face, write_florence, write_scan
from tests.mini_now import write_now
from tests.mini_realy import knows as knows_posed
from tests.mini_realy import toy_keypoints, toy_scan, write_realy

ROWS = 14
NOW_SCAN = "scans/FaMoS_00002_TA/natural_head_rotation.000001.obj"
REALY_REGION = "REALY_scan_region/2/mouth.obj"
FLORENCE_SCAN = "subject_02/Model/frontal1/obj/110920150402.obj"
FLORENCE_POINTS = "MICC_landmarks/subject_02/Model/frontal1/obj/110920150402.ljson"
WAREHOUSE = "Tester_17/TrainingPose/pose_4"
AFLW = "image00003"


class Aflw:
    """Says the true points, by the grey of the photo."""

    name = "knows"

    def __init__(self, folder: Path) -> None:
        whole_samples = whole(Aflw2000(folder).samples())
        self.truth = {int(sample.image[0, 0, 0]): sample.truth.original_px for sample in whole_samples}

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return Prediction({"own": self.truth[int(image[0, 0, 0])]}, euler_deg=np.zeros(3))

    def find(self, image: np.ndarray) -> list[Found]:
        return []


def faces(scale: float) -> dict:
    return {number: moved(toy_face(number, ROWS), a_move(scale)) for number in (1, 2)}


def write_aflw(folder: Path) -> Path:
    folder.mkdir()
    x, y = np.random.default_rng(0).uniform(20, 80, (2, 68))
    for index in range(1, 4):
        photo = folder / f"image{index:05d}.png"
        Image.new("RGB", (120, 100), (40 * index,) * 3).save(photo)
        photo.rename(photo.with_suffix(".jpg"))  # the grey as it is
        label = {"pt3d_68": np.stack([x, y, 0 * x]) + 1, "Pose_Para": np.zeros((1, 7))}
        savemat(folder / f"image{index:05d}.mat", label)
    return folder


def warehouse(folder: Path) -> FaceWarehouse:
    """Of 180 photos 3: what is damaged, and two of others."""
    benchmark = FaceWarehouse(folder)
    benchmark.stems = [folder / name for name in ("Tester_3/TrainingPose/pose_0", WAREHOUSE, WAREHOUSE[:-1] + "5")]
    return benchmark


class Case(NamedTuple):
    """A benchmark in small: how it is written, a method that knows the truth, how one is run, how many samples."""

    write: Callable[[Path], Path]
    method: Callable[[Path], Method]
    run: Callable[[Path, Method], Run]
    count: int


BENCHMARKS = {
    "now": Case(
        lambda folder: write_now(folder, {1: toy_face(1, ROWS), 2: toy_face(2, ROWS)}, ("selfie",)),
        lambda folder: Knows(faces(1.0)),
        lambda folder, method: run_now(Now(folder), method),
        2,
    ),
    "realy": Case(
        lambda folder: write_realy(folder, {1: toy_scan(1), 2: toy_scan(2)}, toy_keypoints()),
        lambda folder: knows_posed(),
        lambda folder, method: run_realy(Realy(folder), method, toy_keypoints()),
        2,
    ),
    "florence": Case(
        lambda folder: write_florence(folder, {1: toy_face(1, ROWS), 2: toy_face(2, ROWS)}),
        lambda folder: Knows(faces(0.4)),
        lambda folder, method: run_florence(Florence(folder, SETTINGS[:1]), method, "mvf", frames=1),
        2,
    ),
    "facewarehouse": Case(
        mini_facewarehouse.write_facewarehouse,
        lambda folder: mini_facewarehouse.Knows(warehouse(folder)),
        lambda folder, method: run(warehouse(folder), method),
        3,
    ),
    "aflw2000": Case(write_aflw, Aflw, lambda folder, method: run(Aflw2000(folder), method), 3),
}


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holds(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def changed(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def nan_vertex(text: str) -> str:
    return text.replace("v ", "v nan ", 1)


def scan_in(scale: float | list[float]) -> Callable[[Path], None]:
    """Florence's second scan, its mesh and its landmarks."""

    def write(folder: Path) -> None:
        face = toy_face(2, ROWS)
        write_scan(
            folder, 2, "frontal1", face._replace(vertices=face.vertices * scale, landmarks=face.landmarks * scale)
        )

    return write


def points_in(scale: float, shift: float = 0.0) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        points = toy_face(2, ROWS).landmarks * scale + shift
        (folder / FLORENCE_POINTS).write_text(json.dumps({"LJSON": {"landmarks": {"points": points.tolist()}}}))

    return write


def mesh_in(scale: float | list[float], rows: slice = slice(None)) -> Callable[[Path], None]:
    """FaceWarehouse's mesh with its coordinates changed, or some of its vertices alone."""

    def change(text: str) -> str:
        lines = text.splitlines()
        vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)[rows] * scale
        return "\n".join(["v {} {} {}".format(*point) for point in vertices] + [x for x in lines if x[:2] != "v "])

    return changed(f"{WAREHOUSE}.obj", change)


def label(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        fields = {name: value for name, value in loadmat(folder / f"{AFLW}.mat").items() if not name.startswith("__")}
        savemat(folder / f"{AFLW}.mat", fields | change(fields))

    return write


def points_of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return label(lambda fields: {"pt3d_68": change(fields["pt3d_68"])})


VIDEO = "subject_02/Video/Indoor-Cooperative.mjpg"
DAMAGED_TRUTH = [
    ("now", changed(NOW_SCAN, lambda text: text + "f 1 2 9999\n"), "names vertex 9999 of 196"),
    ("realy", holds(REALY_REGION, "# nothing\n"), "mouth.obj: 0 vertices and 0 faces"),
    ("realy", changed(REALY_REGION, lambda text: text + "f 1 2 9999\n"), "mouth.obj: a face names vertex 9999"),
    ("florence", gone(VIDEO), "no Indoor-Cooperative.mjpg"),
    ("florence", holds(VIDEO, b"not a video"), "Indoor-Cooperative.mjpg is not a video"),
    ("florence", gone(FLORENCE_SCAN), "no .obj in"),
    ("florence", gone(FLORENCE_POINTS), "MICC_landmarks of github.com/barisgecer/GANFit"),
    ("florence", changed(FLORENCE_SCAN, nan_vertex), "110920150402.obj: 1 vertices are not finite"),
    ("florence", holds(FLORENCE_SCAN, "# nothing\n"), "110920150402.obj: 0 vertices and 0 faces"),
    ("florence", changed(FLORENCE_SCAN, lambda text: text + "f 1 2 9999\n"), "names vertex 9999 of 196"),
    ("florence", holds(FLORENCE_POINTS, "{}"), "110920150402.ljson: expected groups/LJSON"),
    ("florence", scan_in(1 / 25.4), "110920150402.ljson: outer eye corners .* as if in inches"),
    ("florence", scan_in([-1.0, 1.0, 1.0]), "110920150402.ljson: the nose points into the head: mirrored axes"),
    ("florence", points_in(1.0, 50.0), "110920150402.ljson: a landmark lies .* mm off the scan"),
    ("facewarehouse", gone(f"{WAREHOUSE}.png"), "pose_4.png"),
    ("facewarehouse", gone(f"{WAREHOUSE}.land"), "no such landmarks: .*pose_4.land"),
    ("facewarehouse", gone(f"{WAREHOUSE}.obj"), "no such mesh: .*pose_4.obj"),
    ("facewarehouse", holds(f"{WAREHOUSE}.png", b"\x89PNG nothing"), "pose_4.png"),
    ("facewarehouse", holds(f"{WAREHOUSE}.land", "73\n"), "pose_4.land: expected 74"),
    ("facewarehouse", changed(f"{WAREHOUSE}.obj", nan_vertex), "pose_4.obj: 1 vertices are not finite"),
    ("facewarehouse", holds(f"{WAREHOUSE}.obj", "# nothing\n"), "pose_4.obj: 0 vertices and 0 faces"),
    ("facewarehouse", mesh_in(1.0, slice(143)), "pose_4.obj: a face names vertex 144 of 143"),
    ("facewarehouse", holds(f"{WAREHOUSE}.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), "pose_4.obj: 3 vertices, but"),
    ("facewarehouse", changed(f"{WAREHOUSE}.obj", lambda text: text + "f 1 3 5\n"), "has other faces .* one topology"),
    ("facewarehouse", mesh_in(1 / 25.4), "pose_4.obj: outer eye corners .* give --mm-per-unit"),
    ("facewarehouse", mesh_in([-1.0, 1.0, 1.0]), "pose_4.obj: the face looks into the head: mirrored axes"),
    ("aflw2000", gone(f"{AFLW}.jpg"), "image00003.jpg"),
    ("aflw2000", gone(f"{AFLW}.mat"), "no image00003.mat"),
    ("aflw2000", holds(f"{AFLW}.jpg", b"\xff\xd8 not a photo"), "image00003.jpg"),
    ("aflw2000", holds(f"{AFLW}.mat", b"MATLAB 5.0 MAT-file"), "image00003.mat is not a .mat file"),
    ("aflw2000", points_of(lambda points: points * np.nan), "image00003.mat: pt3d_68 is not finite"),
    ("aflw2000", points_of(lambda points: points[:, :0]), r"pt3d_68 \(3, 68\), got \(3, 0\)"),
    ("aflw2000", points_of(lambda points: points[:, :67]), r"pt3d_68 \(3, 68\), got \(3, 67\)"),
    (
        "aflw2000",
        points_of(lambda points: points * 25.4),
        "image00003.mat: the middle of pt3d_68, .* is not in 120 x 100",
    ),
    ("aflw2000", label(lambda fields: {"Pose_Para": fields["Pose_Para"] * np.nan}), "Pose_Para is not finite"),
]


@pytest.fixture(scope="module")
def whole_data(tmp_path_factory) -> Callable[[str], Path]:
    """Each benchmark, written once."""
    folder = tmp_path_factory.mktemp("whole")

    def written(name: str) -> Path:
        return folder / name if (folder / name).is_dir() else BENCHMARKS[name].write(folder / name)

    return written


@pytest.fixture
def copy_of(whole_data, tmp_path: Path) -> Callable[[str], Path]:
    """Of a benchmark, to be damaged."""
    return lambda name: shutil.copytree(whole_data(name), tmp_path / name)


def left_out_of(result: Run, count: int) -> Record:
    """The one that is left out, of so many; the others have their errors."""
    assert len(result.records) == count
    (left_out,) = [record for record in result.records if record.problem is not None]
    assert not left_out.scores and all(record.scores for record in result.records if record is not left_out)
    return left_out


@pytest.mark.parametrize("name", BENCHMARKS)
def test_whole_data_leaves_nothing_out(name: str, whole_data) -> None:
    case, folder = BENCHMARKS[name], whole_data(name)
    assert not [record.problem for record in case.run(folder, case.method(folder)).records if record.problem]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGED_TRUTH)
def test_damaged_truth_leaves_out_its_sample(name: str, damage, words: str, copy_of) -> None:
    case, folder = BENCHMARKS[name], copy_of(name)
    damage(folder)
    left_out = left_out_of(case.run(folder, case.method(folder)), case.count)
    assert re.search(words, left_out.problem or ""), left_out.problem


class Breaks:
    """A method whose predictions of the second subject, or of one photo, are damaged."""

    def __init__(self, method: Method, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.method, self.name, self.change = method, method.name, change

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return self._broken(image, self.method.predict(image, box_px))

    def find(self, image: np.ndarray) -> list[Found]:
        return [found._replace(prediction=self._broken(image, found.prediction)) for found in self.method.find(image)]

    def _broken(self, image: np.ndarray, prediction: Prediction) -> Prediction:
        first = image[0, 0].tolist()
        if abs(first[0] - 2 * GREY_STEP) > 2 and first != [26, 41, 0]:  # the colour of WAREHOUSE's photo
            return prediction
        names = ("vertices_mm", "neutral_mm", "model_landmarks_mm")
        meshes = {name: mesh for name in names if (mesh := getattr(prediction, name)) is not None}
        points = {name: self.change(points) for name, points in prediction.landmarks_px.items()}
        changed = {name: self.change(mesh) for name, mesh in meshes.items()}
        return replace(prediction, landmarks_px=points, **changed)


def no_number(points: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(points))[:, None] == 1, np.nan, points)


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * [-1.0, 1.0, 1.0]


def vertices_lost(points: np.ndarray) -> np.ndarray:
    """The 68 landmarks stay."""
    return points if len(points) == 68 else points[:-1]


def nothing(points: np.ndarray) -> np.ndarray:
    return points if len(points) == 68 else points[:0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_number, "not finite"),
        (mirrored, "mirrored axes"),
        (vertices_lost, "do not fit"),
        (nothing, "empty mesh"),
    ],
)
@pytest.mark.parametrize("name", ["now", "realy", "florence", "facewarehouse"])
def test_a_damaged_prediction_leaves_out_its_sample(name: str, change, words: str, whole_data) -> None:
    case, folder = BENCHMARKS[name], whole_data(name)
    left_out = left_out_of(case.run(folder, Breaks(case.method(folder), change)), case.count)
    assert words in (left_out.problem or "")


def test_landmarks_that_are_not_finite_leave_out_their_photo(whole_data) -> None:
    case, folder = BENCHMARKS["aflw2000"], whole_data("aflw2000")
    left_out = left_out_of(case.run(folder, Breaks(case.method(folder), no_number)), case.count)
    assert left_out == Record("image00002.jpg", {}, "landmarks that are not finite: own")


def test_a_method_that_fails_is_not_hidden(whole_data) -> None:
    def fault(points: np.ndarray) -> np.ndarray:
        raise ValueError("a fault of the method")

    for name in ("facewarehouse", "aflw2000", "florence", "realy"):
        case, folder = BENCHMARKS[name], whole_data(name)
        with pytest.raises(ValueError, match="a fault of the method"):
            case.run(folder, Breaks(case.method(folder), fault))


@pytest.mark.parametrize(
    ("name", "suffix", "words"),
    [
        ("facewarehouse", ".obj", "none of 180 meshes can be used; no such mesh: .*pose_0.obj. FaceWarehouse needs"),
        ("florence", ".ljson", "none of 2 videos can be measured; subject_01 Indoor-Cooperative: no .*01.ljson"),
        ("aflw2000", ".mat", r"no image\*.jpg in .* with a .mat"),
    ],
)
def test_without_any_truth_there_is_no_run(name: str, suffix: str, words: str, copy_of) -> None:
    case, folder = BENCHMARKS[name], copy_of(name)
    method = Knows(faces(0.4))
    for file in folder.rglob(f"*{suffix}"):
        file.unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        case.run(folder, method)


def test_damaged_samples_are_neither_exported_nor_written(copy_of, tmp_path: Path) -> None:
    folder = copy_of("aflw2000")
    method = Aflw(folder)
    gone(f"{AFLW}.jpg")(folder)
    benchmark = Aflw2000(folder)
    assert [isinstance(sample, Damaged) for sample in benchmark.samples()] == [False, False, True]
    export(benchmark, method, "gt", tmp_path / "e", {})
    described = json.loads((tmp_path / "e" / "method.json").read_text())
    assert described["samples"] == 3 and "image00003.jpg" in described["left_out"]["image00003.jpg"]
    write_samples(benchmark.samples(), tmp_path / "s", "gt")
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == [
        "image00001.png",
        "image00002.png",
        "samples.json",
    ]


def test_commands_say_how_many_are_left_out(copy_of, monkeypatch) -> None:
    folder = copy_of("florence")
    gone(VIDEO)(folder)
    model = MorphableModel.random(0)
    monkeypatch.setattr(methods.Choice, "morphable_model", lambda _: model)
    options = ["--variant", "mvf", "--setting", "Indoor-Cooperative", "--method", "mean-face", "--frames", "1"]
    result = CliRunner().invoke(commands.app, ["florence", "--data", str(folder), *options], catch_exceptions=False)
    said = " ".join(result.output.split())
    assert "left out: subject_02 Indoor-Cooperative: no Indoor-Cooperative.mjpg" in said
    assert "left out: 1 of 2" in said and "1 of 2 videos left out" in said
