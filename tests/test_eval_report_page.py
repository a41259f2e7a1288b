"""eval.page: charts and tables from known numbers, and a page from runs that loads nothing and escapes everything."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.error_mesh import ErrorMesh, error_mesh_bytes, read_error_mesh
from eval.kept import Keeping
from eval.mean_face import MeanFace
from eval.page import mesh_section
from eval.page import page as page_module
from eval.page.charts import Series, ced_chart, cumulative, nice_step, ticks, yaw_chart
from eval.page.figures import series_of, tables_of
from eval.page.gallery import spread
from eval.page.markup import Markup, data_script, element
from eval.page.meshes import UNMEASURED, NamedMesh, packed, packed_errors
from eval.page.page import page_of
from eval.page.runs import read_page_file
from eval.people import GeneratedPeople
from eval.protocol import Record, Run, run
from eval.published import TABLES
from eval.report import run_as_dict, write_json
from face3d.flow_layouts import FLOW_LAYOUTS
from face3d.morphable import MorphableModel

EVIL = "<script>alert(1)</script>&\"'<img src=x onerror=y>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWIFTSHADER = ("--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
OFFLINE = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_cumulative_curve_rises_to_one(errors: list[float]) -> None:
    at, share = cumulative(np.array(errors))
    assert (np.diff(at) >= 0).all() and (np.diff(share) > 0).all()
    assert share[-1] == pytest.approx(1.0)
    assert sorted(errors) == at.tolist()


def test_cumulative_curve_of_known_errors() -> None:
    at, share = cumulative(np.array([3.0, 1.0, 2.0]), in_all=4)
    assert at.tolist() == [1.0, 2.0, 3.0] and share.tolist() == [0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match="1 of 2 errors are not finite"):
        cumulative(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="2 errors of 1"):
        cumulative(np.array([1.0, 2.0]), in_all=1)


def test_ticks_are_round() -> None:
    assert nice_step(7.3) == 2.0
    assert ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    with pytest.raises(ValueError, match="positive"):
        nice_step(0.0)


def a_series(label: str = EVIL) -> Series:
    return Series(label, "s0", (EVIL, "b", "c"), np.array([1.0, 2.0, 9.0]), 4, np.array([-95.0, 0.0, 40.0]))


def test_charts_are_well_formed_and_show_every_sample() -> None:
    curve = ElementTree.fromstring(ced_chart([a_series()], 5.0, "error <px>"))
    line = curve.find("polyline")
    assert line is not None and line.findtext("title") == EVIL
    heights = [float(point.split(",")[1]) for point in line.get("points", "").split()]
    assert heights == sorted(heights, reverse=True)  # y down: the curve rises
    dots = ElementTree.fromstring(yaw_chart([a_series()], 5.0, "error"))
    assert len(dots.findall("circle")) == 2 and len(dots.findall("polygon")) == 1  # 9 lies above the axis
    for element_ in dots.iter("circle"):
        assert 0 <= float(element_.get("cx", "-1")) <= 460


def test_markup_escapes_text_and_attributes() -> None:
    made = element("p", EVIL, element("b", "x"), class_='a"b', data_mesh="1")
    parsed = ElementTree.fromstring(made)
    assert parsed.text == EVIL and parsed.get("class") == 'a"b' and parsed.get("data-mesh") == "1"
    assert element("p", Markup("<i/>")) == "<p><i/></p>"
    script = data_script("d", {"name": "</script>"})
    assert script.count("</script>") == 1
    assert json.loads(re.sub("<.*?>", "", script)) == {"name": "</script>"}


def test_best_median_and_worst_are_taken_once() -> None:
    assert spread(100, 1) == [("best", 0), ("median", 49), ("worst", 99)]
    assert [place for _, place in spread(5, 3)] == [0, 1, 2, 3, 4]
    assert spread(1, 3) == [("best", 0)] and spread(0, 3) == []
    ranks = [rank for rank, _ in spread(15, 3)]
    assert ranks == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3


def a_mesh() -> ErrorMesh:
    vertices = np.array([[0, 0, 0], [100, 0, 0], [0, 50, 0], [0, 0, -7.0]])
    return ErrorMesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.array([0.5, 1.25, 80.0, np.nan]), "mm to <it>")


def test_packed_mesh_comes_back_within_microns() -> None:
    page = packed([NamedMesh("one", a_mesh()), NamedMesh("two", a_mesh())])
    assert len(page["triangles"]) == 1  # one list for both
    first = page["meshes"][0]
    places = np.frombuffer(base64.b64decode(first["places"]), "<u2").reshape(-1, 3)
    vertices = np.array(first["low_mm"]) + first["step_mm"] * places
    np.testing.assert_allclose(vertices, a_mesh().vertices_mm, atol=2e-3)
    assert packed_errors(a_mesh().error_mm).tolist() == [500, 1250, UNMEASURED - 1, UNMEASURED]
    assert np.frombuffer(base64.b64decode(page["triangles"][0]), "<u2").tolist() == [0, 1, 2, 0, 2, 3]
    assert page["limit_mm"] % 0.5 == 0


def test_error_mesh_file_comes_back_and_another_is_refused() -> None:
    found = read_error_mesh(error_mesh_bytes(a_mesh()))
    np.testing.assert_array_equal(found.error_mm, a_mesh().error_mm.astype(np.float32))
    assert found.what == "mm to <it>"
    broken = a_mesh()._replace(triangles=np.array([[0, 1, 4]]))
    for content in (b"text", error_mesh_bytes(broken), error_mesh_bytes(a_mesh()._replace(error_mm=np.zeros(3)))):
        with pytest.raises(ValueError, match="expected|do not fit"):
            read_error_mesh(content)


def test_published_tables_are_whole() -> None:
    for name, table in TABLES.items():
        assert table.rows and table.protocol, name
        for row in table.rows:
            assert len(row.values) == len(table.columns) and row.source, f"{name}: {row.method}"
            if table.columns[-1] in ("of_bins", "mean") and None not in row.values and len(row.values) == 4:
                assert np.mean(row.values[:3]) == pytest.approx(row.values[3], abs=0.03), f"{name}: {row.method}"  # type: ignore[arg-type]


def test_published_flow_is_of_layouts_that_are_measured() -> None:
    flow = {name.removeprefix("flow, ") for name in TABLES if name.startswith("flow, ")}
    assert flow and flow <= FLOW_LAYOUTS.keys()


def landmark_run(method: str, worst: float, crop: str = "gt") -> Run:
    """A run as eval.aflw2000 reports it: five photos, one of them left out."""
    errors = np.linspace(2.0, worst, 4)
    records = [
        Record(f"{EVIL}{k}", {"yaw_deg": 20.0 * k, "3dmm/original": float(error), "pose/yaw": float("nan")})
        for k, error in enumerate(errors)
    ]
    bins = {
        "upto_30": 2.0,
        "upto_60": 3.0,
        "above_60": float("nan"),
        "of_bins": 2.5,
        "of_samples": float(errors.mean()),
    }
    summary = {"3dmm/original": {**bins, "counts": [2, 2, 0]}, "pose/yaw": {"mae_deg": 4.0, "count": 4}}
    return Run("AFLW2000-3D sparse", method, crop, [*records, Record("lost", {}, f"not found {EVIL}")], summary)  # type: ignore[arg-type]


@pytest.fixture
def landmarks_json(tmp_path: Path) -> Path:
    path = tmp_path / "landmarks.json"
    weights = {"file": EVIL, "sha256": "0" * 64}
    floor = run_as_dict(landmark_run("mean face", 30.0))
    write_json(path, {"weights": weights, **run_as_dict(landmark_run("face3d", 6.0)), "floor": floor})
    return path


@pytest.fixture
def people_json(tmp_path: Path) -> Path:
    """A run on generated people that kept pictures and meshes."""
    model = MorphableModel.random(0)
    people = Keeping(GeneratedPeople(model, count=4), tmp_path / "kept", tmp_path / "kept")
    path = tmp_path / "people.json"
    people_run = run_as_dict(run(people, MeanFace(model))) | people.references(path)
    write_json(path, {"benchmark": "shape", "people": people_run})
    return path


def report(*arguments: Path | str) -> str:
    result = CliRunner().invoke(commands.app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


class Tags(HTMLParser):
    """All start tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_holds_everything_and_loads_nothing(landmarks_json: Path, people_json: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "report.html"
    assert "wrote" in report(landmarks_json, people_json, "-o", output)
    page = output.read_text(encoding="utf-8")
    parsed = Tags(page)
    loads = [attributes.get(name) for _, attributes in parsed.tags for name in ("src", "href") if name in attributes]
    assert loads and all(address and address.startswith(("data:", "#")) for address in loads)
    assert "http://" not in page and "https://" not in page and "@import" not in page and "url(" not in page
    assert sum(tag == "img" for tag, _ in parsed.tags) == 4  # of four people
    assert sum(tag == "canvas" for tag, _ in parsed.tags) == 3  # best, median, worst
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 4
    for said in ("DSFNet#9", "5 samples here, 2,000 in the published protocol", "4 of 5 samples scored", "0" * 64):
        assert said in parsed.text, said
    files = [read_page_file(path) for path in (landmarks_json, people_json)]
    assert page_of(files) == page  # nothing of the day or the machine in it


def test_page_escapes_what_the_files_say(landmarks_json: Path, tmp_path: Path) -> None:
    report(landmarks_json, "-o", tmp_path / "r.html")
    parsed = Tags((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img")]
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert f"not found {EVIL}" in parsed.text


def test_pictures_of_another_run_are_not_shown(people_json: Path, tmp_path: Path) -> None:
    for place, file in enumerate(sorted((tmp_path / "kept").iterdir())):
        file.write_bytes(b"another run's") if place % 2 else file.unlink()
    report(people_json, "-o", tmp_path / "r.html")
    parsed = Tags((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in parsed.tags if tag in ("img", "canvas", "script")]
    assert "No pictures of these samples are at hand" in parsed.text


def test_page_stays_small(people_json: Path, monkeypatch) -> None:
    files = [read_page_file(people_json)]
    mesh = read_error_mesh(next(iter(files[0].runs[0].meshes.values())).read() or b"")
    monkeypatch.setattr(mesh_section, "MESH_BYTES", 2 * 8 * len(mesh.vertices_mm) + 6 * len(mesh.triangles))
    monkeypatch.setattr(page_module, "PICTURE_BYTES", 1000)
    parsed = Tags(page_of(files))
    assert sum(tag == "canvas" for tag, _ in parsed.tags) == 2 and "1 more would not fit on the page" in parsed.text
    assert not [tag for tag, _ in parsed.tags if tag == "img"]


def test_published_poses_stand_below_the_pose_of_a_run(landmarks_json: Path) -> None:
    pose = next(table for table in tables_of(read_page_file(landmarks_json).runs) if table.title.startswith("Pose"))
    assert pose.columns[:4] == ("yaw", "pitch", "roll", "mean")
    rows = {row.label: row for row in pose.rows}
    assert rows["face3d"].values == {"yaw": 4.0} and rows["face3d"].kind == "ours"
    published = [row for row in pose.rows if row.kind == "published"]
    means = [row.values["mean"] for row in published]
    assert means == sorted(means, key=lambda mean: mean or 0) and None not in means
    assert rows["FSA-Net"].values == {"yaw": 4.50, "pitch": 6.08, "roll": 4.64, "mean": 5.07}
    assert rows["DSFNet-f"].note == "GitHub issue DSFNet#9" and all(row.note for row in published)
    assert "beyond 99 degrees are left out, which leaves 1,969" in " ".join(pose.remarks)


def test_runs_of_one_benchmark_share_tables_and_curves(landmarks_json: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    write_json(other, run_as_dict(landmark_run("face3d", 9.0, crop="detector")))
    runs = [one for path in (landmarks_json, other) for one in read_page_file(path).runs]
    table = tables_of(runs)[0]
    assert [row.kind for row in table.rows[:4]] == ["ours", "ours", "floor", "published"]
    assert table.rows[1].label == "face3d (no box given), mesh"
    assert table.rows[0].values["upto_30"] == 2.0 and "above_60" not in table.rows[0].values  # NaN: no such photo
    assert "face3d (no box given): the method finds the face itself" in " ".join(table.remarks)
    ours, floor, unit = series_of(runs)
    assert [len(one.errors) for one in ours] == [4, 4] and ours[0].in_all == 5
    assert floor[0].errors.max() == 30.0 and unit == "NME, %"


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[1, 2]",
        '{"format": "another"}',
        '{"format": "face3d-eval-1"}',
        '{"format": "face3d-eval-1", "summary": [1]}',
        '{"format": "face3d-eval-1", "summary": {}, "samples": {"a": "b"}}',
        '{"format": "face3d-eval-1", "summary": {}, "samples": {}, "samples_in_all": "many"}',
        '{"format": "face3d-eval-1", "summary": {}, "samples": {}, "pictures": {"a": "b.jpg"}}',
        '{"format": "face3d-eval-1", "summary": {}, "environment": 3}',
    ],
)
def test_foreign_files_are_named_and_nothing_is_written(content: str, landmarks_json: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.json"
    foreign.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"foreign\.json.*expected what `python -m eval") as refused:
        report(landmarks_json, foreign, "-o", tmp_path / "r.html")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("*r.html*"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone.json"):
        read_page_file(tmp_path / "gone.json")


def test_other_benchmarks_get_a_table_of_their_figures(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    summary = {"epe_px": {"of_pairs": 1.5, "of_pixels": 1.25}}
    pairs = {"a": {"seconds": 0.1, "epe_px": 1.0}, "b": {"seconds": 0.1, "epe_px": 2.0}}
    write_json(path, {"benchmark": "flow", "layout": "sintel", "summary": summary, "pairs": pairs, "pairs_in_all": 2})
    (flow,) = read_page_file(path).runs
    (table,) = tables_of([flow])
    assert flow.benchmark == "flow, sintel" and table.columns == ("of_pairs", "of_pixels")
    assert series_of([flow])[2] == "px"
    assert "<td>1.50</td>" in page_of([read_page_file(path)])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_draws_the_meshes_without_an_error(people_json: Path, tmp_path: Path) -> None:
    """The page, and a script that turns the meshes once and counts the pixels that are drawn on each canvas."""
    assert CHROMIUM is not None
    report(people_json, "-o", tmp_path / "report.html")
    count = """<script>addEventListener("load", () => {
      const canvases = [...document.querySelectorAll("canvas")];
      canvases[0].dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
      requestAnimationFrame(() => { document.title = "drawn " + canvases.map((canvas) => {
        const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
        const paper = copy.getContext("2d");
        paper.drawImage(canvas, 0, 0);
        return paper.getImageData(0, 0, copy.width, copy.height).data.filter((v, k) => k % 4 == 3 && v > 0).length;
      }).join(" "); });
    });</script></body>"""
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "counted.html").write_text(page.replace("</body>", count), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", *SWIFTSHADER, *OFFLINE, "--disable-sync", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0"]
    command += ["--virtual-time-budget=5000", (tmp_path / "counted.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    assert not said, said
    drawn = re.search(r"<title>drawn ([\d ]+)</title>", done.stdout)
    assert drawn is not None, done.stdout[:500] + done.stderr[-500:]
    pixels = [int(number) for number in drawn[1].split()]
    assert len(pixels) == 3 and min(pixels) > 1000
