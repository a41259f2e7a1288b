"""`python -m eval results`: the README's table from runs, byte for byte; what is stored of them; messages."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.__main__ import app
from eval.command_line import command_line
from eval.report import embedded_sha256, write_json
from eval.results.rows import ROWS
from eval.results.runs import read_all
from eval.results.table import BEGIN, END, rows_between, table_of, with_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STORED = sorted((ROOT / "docs" / "results").glob("*.json"))
COMMANDS = sorted(set(re.findall(r"`python -m eval ([^`]+)`", "".join(rows_between(README).values()))))
HEAD = "| | figure | command |\n|---|---|---|\n"


def bins(*values: float | None) -> dict[str, Any]:
    names = ("upto_30", "upto_60", "above_60", "of_bins", "of_samples")
    return {**dict(zip(names, values, strict=True)), "counts": [2, 0, 1]}


def aflw2000() -> dict[str, Any]:
    summary: dict[str, Any] = {f"{points}/original": bins(2.534, None, 5.758, 4.1, 3.386) for points in ("3dmm", "pgn")}
    summary |= {f"{points}/reannotated": bins(2.0, 3.0, 4.0, 3.0, 2.5) for points in ("3dmm", "pgn")}
    summary |= {f"pose/{angle}": {"mae_deg": 2.96, "count": 2} for angle in ("pitch", "yaw", "roll")}
    run = {"method": "face3d", "crop": "gt", "samples_in_all": 3, "left_out": {}, "summary": summary}
    return {
        "benchmark": "AFLW2000-3D sparse",
        "split": "current",
        **run,
        "samples": {"image00002.jpg": {"yaw_deg": 1.0}},
    }


def flow(method: str, epe_px: float) -> dict[str, Any]:
    summary = {"epe_px": {"of_pairs": epe_px, "of_pixels": 9.0}}
    run = {"layout": "chairs", "method": method, "pairs_in_all": 5, "left_out": {"a": "broken"}, "summary": summary}
    return {"benchmark": "flow", **run, "pairs": {}}


def dlib(more: int) -> dict[str, Any]:
    found = {"faces": 18, "found": 17, "without_annotation": more, "false_alarms_on_dogs": 0}
    return {"benchmark": "dlib faces", "summary": found, "detector_alone": {**found, "without_annotation": 4}}


def eyes() -> dict[str, Any]:
    found = {"faces": 200, "shut": 74, "open_mm": 7.74, "shut_mm": 2.21, "true_open_mm": 7.61, "true_shut_mm": 1.98}
    return {"benchmark": "eyes", "summary": {"generated people": {"pgn": found, "3dmm": {**found, "shut_mm": 3.36}}}}


RUNS = {
    "a.json": ("python -m eval aflw2000 --data DATA", aflw2000()),
    "b.json": ("python -m eval flow --data DATA --layout chairs --method face3d", flow("face3d", 2.894)),
    "c.json": ("python -m eval flow --data DATA --layout chairs", flow("dis", 3.431)),
    "d.json": ("python -m eval dlib --data DATA", dlib(0)),
    "e.json": ("python -m eval eyes", eyes()),
}
BLOCK = (
    HEAD + "| AFLW2000-3D, box of the truth: 68-point NME %, yaw <= 30 / 30-60 / > 60, mean of the photos "
    "| 3 photos: mesh 2.53 / - / 5.76, **3.39**; PGN 2.53 / - / 5.76, 3.39 | `python -m eval aflw2000 --data DATA` |\n"
    "| the same against the re-annotated labels "
    "| mesh 2.00 / 3.00 / 4.00, 2.50; PGN 2.00 / 3.00 / 4.00, 2.50 | |\n"
    "| the same, mean error of pitch, yaw, roll | 3.0, 3.0, 3.0 degrees (2 photos) | |\n"
    "| dlib's example faces | 17 of 18 found, nothing else, nothing on the photo of dogs "
    "(the detector alone: 17 of 18 found, 4 more, nothing on the photo of dogs) | `python -m eval dlib --data DATA` |\n"
    "| opening of lids in mm, of people whose eyes are open / shut "
    "| 74 of 200 people: mesh 7.7 / 3.4, PGN 7.7 / 2.2; truth 7.6 / 2.0 | `python -m eval eyes` |\n"
    "| optical flow, FlyingChairs: mean end-point error | 4 pairs: 2.89 px; DIS 3.43 px "
    "| `python -m eval flow --data DATA --layout chairs --method face3d` (DIS: `--method dis`) |\n"
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, (command, content) in RUNS.items():
        write_json(tmp_path / name, {"weights": {"file": "embedded"}, **content, "command": command})
    return [tmp_path / name for name in RUNS]


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# A\n\nbefore\n\n{BEGIN}\n{END}\n\nafter | x\n", encoding="utf-8")
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["results", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_table_is_written_between_the_markers(files: list[Path], readme: Path) -> None:
    told = " ".join(run(*files, "--readme", readme).split())  # lines break where the path is long
    assert "6 rows from 5 runs" in told and "no run of: generated people" in told
    written = readme.read_text(encoding="utf-8")
    assert written == f"# A\n\nbefore\n\n{BEGIN}\n{BLOCK}{END}\n\nafter | x\n"
    run(*reversed(files), "--readme", readme)
    assert readme.read_text(encoding="utf-8") == written


def test_table_is_shown_without_a_readme(files: list[Path]) -> None:
    assert run(*files).startswith(BLOCK)


def test_stored_runs_make_the_same_table(files: list[Path], readme: Path, tmp_path: Path) -> None:
    run(*files, "--store", tmp_path / "s")
    stored = sorted((tmp_path / "s").iterdir())
    assert [file.stem for file in stored] == ["aflw2000_gt", "dlib", "eyes", "flow_chairs_dis", "flow_chairs_face3d"]
    assert "samples" not in json.loads(stored[0].read_text())
    assert run(*stored).startswith(BLOCK)
    before = [file.read_bytes() for file in stored]
    run(*stored, "--store", tmp_path / "s")
    assert [file.read_bytes() for file in stored] == before


def test_rows_without_a_run_stay(files: list[Path], readme: Path) -> None:
    row = "| generated people, error a vertex | 2.13 mm | by hand |"
    readme.write_text(f"{BEGIN}\n{HEAD}{row}\n| dlib's example faces | old | |\n{END}", encoding="utf-8")
    assert "kept as it was, no run of it: generated people" in run(*files, "--readme", readme)
    assert readme.read_text(encoding="utf-8").count(row) == 1 and "old" not in readme.read_text(encoding="utf-8")


def test_a_part_that_a_run_lacks_is_a_row_without_a_run(tmp_path: Path) -> None:
    names = ("per_vertex_mm", "neutral_mm", "pooled_neutral_mm", "identity_spread", "identity_spread_across_people")
    jitters = ("landmark_jitter_percent/3dmm", "landmark_jitter_percent/pgn")
    summary = {name: {"mean": 1.0, "std": 0.0, "count": 3} for name in (*names, *jitters)}
    people = {"method": "face3d", "samples_in_all": 3, "left_out": {}, "summary": summary}
    content = {"benchmark": "clips-shape", "frames": 8, "people": people, "people_floor": people}
    write_json(tmp_path / "c.json", {**content, "command": "python -m eval clips-shape --data DATA"})
    shown = run(tmp_path / "c.json")
    assert "| 3 people, 8 frames: 1.00 / 1.00 / 1.00 mm; mean face 1.00 / 1.00 / 1.00 mm |" in shown
    assert "no run of: clip of the scan" in shown
    refined = {**content, "people": {**people, "method": "face3d, refined"}}
    write_json(tmp_path / "r.json", {**refined, "command": "python -m eval clips-shape --data DATA --together refined"})
    shown = run(tmp_path / "r.json")
    assert "with expression / neutral | 1.00 / 1.00 mm |" in shown and "no run of: the same clip, refined" in shown
    shared = {**content, "people": {**people, "method": "face3d, shared"}}
    write_json(tmp_path / "s.json", {**shared, "command": "python -m eval clips-shape --data DATA --together shared"})
    with pytest.raises(ValueError, match="by face3d, shared, which the table has no row for"):
        run(tmp_path / "s.json")


def test_other_embedded_files_are_told(tmp_path: Path) -> None:
    files = {**embedded_sha256(), "detector.safetensors": "0", "flow.safetensors": "0"}
    at = {"command": "python -m eval dlib --data DATA", "environment": {"embedded_sha256": files}}
    write_json(tmp_path / "d.json", {"weights": {"file": "embedded"}, **dlib(0), **at})
    assert "other embedded files: detector.safetensors\n" in run(tmp_path / "d.json").replace(
        "embedded \n", "embedded "
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"command": None}, "does not say which command made it"),
        ({"benchmark": "stereo"}, "a run of 'stereo' by dis, which the table has no row for"),
        ({"method": "mean face"}, "a run of 'flow' by mean face, which the table has no row for"),
        ({"format": "x"}, "has format 'x': expected what"),
        ({"method": "face3d"}, "are both runs of flow_chairs_face3d"),
        ({"pairs_in_all": 6}, "has 4 pairs, .*c.json has 5"),
        ({"summary": {}}, "c.json has no summary/epe_px/of_pairs: measure it again"),
        ({"summary": {"epe_px": {"of_pairs": "2"}}}, "summary/epe_px/of_pairs is not a number"),
    ],
)
def test_what_a_file_lacks_is_said(files: list[Path], readme: Path, changed: dict[str, Any], message: str) -> None:
    content = json.loads(files[2].read_text()) | changed
    files[2].write_text(json.dumps(content))
    before = readme.read_text()
    with pytest.raises(ValueError, match=message):
        run(*files, "--readme", readme)
    assert readme.read_text() == before


def test_missing_files_are_said(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no .*none.json: expected what `python -m eval BENCHMARK --json FILE`"):
        run(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="no .*none.md: expected the README"):
        run(*files, "--readme", tmp_path / "none.md")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", f"expected {BEGIN} once in the README, found it 0 times"),
        (f"{BEGIN}{END}{END}", f"expected {END} once in the README, found it 2 times"),
        (f"{END}{BEGIN}", "stands before"),
        (f"{BEGIN}\nwords\n{END}", "expected a table that begins with"),
        (f"{BEGIN}\n{HEAD}| a | b |\n{END}", "not a row of three cells"),
        (f"{BEGIN}\n{HEAD}| a | b | c |\n{END}", "rows between the markers that no run makes; move them below: a"),
    ],
)
def test_a_readme_of_another_form_is_refused(files: list[Path], readme: Path, text: str, message: str) -> None:
    readme.write_text(text)
    with pytest.raises(ValueError, match=message):
        run(*files, "--readme", readme)
    assert readme.read_text() == text


def test_commands_are_told_without_paths_of_the_machine() -> None:
    given = [
        "shape",
        "--data=/home/a/data",
        "--weights",
        "runs/a/w.safetensors",
        "--people",
        "8",
        "--json",
        "/x/y.json",
    ]
    assert command_line(given) == "python -m eval shape --data DATA --weights w.safetensors --people 8"
    assert (
        command_line(["now", "--metrical", "--data", "d", "--meshes=m"]) == "python -m eval now --metrical --data DATA"
    )


def test_a_run_records_its_command(tmp_path: Path) -> None:
    flow_data = tmp_path / "pairs"
    (flow_data / "a").mkdir(parents=True)
    photo = (ROOT / "face3d" / "assets" / "astronaut.jpg").read_bytes()
    for name in ("first.png", "second.png"):
        (flow_data / "a" / name).write_bytes(photo)
    arguments = ["-m", "eval", "clips", "--data", str(flow_data), "--json", str(tmp_path / "c.json")]
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    assert json.loads((tmp_path / "c.json").read_text())["command"] == "python -m eval clips --data DATA"


def test_the_readme_has_the_rows_that_runs_make() -> None:
    assert list(rows_between(README)) == [row.label for row in ROWS]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_table_exist(command: str) -> None:
    """With --help: the options are parsed, an unknown one fails, nothing is measured."""
    result = CliRunner().invoke(app, [*shlex.split(command), "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, result.output


def test_the_readme_is_what_the_stored_runs_make() -> None:
    runs = read_all(STORED)
    assert with_table(README, table_of(runs, rows_between(README))) == README
    assert all(file.stat().st_size < 60_000 for file in STORED)
    assert [file.stem for file in STORED] == sorted(runs)
