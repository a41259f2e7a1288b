"""The figures of runs as tables, beside the mean face's and published ones; and the errors that charts are drawn of."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from eval.page.charts import Series
from eval.page.runs import PageRun
from eval.published import TABLES, PublishedTable

Kind = Literal["ours", "floor", "published"]
_LANDMARKS = {"3dmm": "mesh", "pgn": "PGN"}
_LABELS = {"original": "original labels", "reannotated": "re-annotated labels"}
_DENSE = {
    "dense": "Dense, NME in %",
    "dense-2d": "Dense, x and y, NME in %",
    "reconstruction": "Reconstruction, % of the outer eye distance",
}
_POSE = "pose/"
_UNITS = {"_mm": "mm", "_px": "px", "_percent": "%"}
_FLOOR_SCORE = "mean_face_mm"
_MOST_SERIES = 4


class Row(NamedTuple):
    """One line of a table; `note` says what it was measured on, or who published it."""

    label: str
    kind: Kind
    values: Mapping[str, float | None]
    note: str


class Table(NamedTuple):
    """Rows over the union of their columns; `remarks` go above it."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    remarks: list[str]


def tables_of(runs: list[PageRun]) -> list[Table]:
    """Tables of the runs of one benchmark."""
    benchmark = runs[0].benchmark
    labelled = [name for name in _LABELS if any(key.endswith(f"/{name}") for run in runs for key in run.summary)]
    if not labelled:
        variants = dict.fromkeys(run.variant for run in runs)
        return [_table(variant, [run for run in runs if run.variant == variant]) for variant in variants]
    tables = [_landmark_table(runs, name, TABLES.get(f"{benchmark}/{name}")) for name in labelled]
    tables += [_dense_table(runs, name, TABLES.get(f"{benchmark}/{name}")) for name in _dense_names(runs)]
    posed = [run for run in runs if any(key.startswith(_POSE) for key in run.summary)]
    return tables + ([_pose_table(posed, TABLES.get(f"{benchmark}/pose"))] if posed else [])


def _table(variant: str, runs: list[PageRun]) -> Table:
    """Every entry of the summaries a row; single numbers are put into a column of their own."""
    benchmark = runs[0].benchmark
    rows: list[Row] = []
    for run in runs:
        rows += _summary_rows(run, "ours", method_of(run) if len(runs) > 1 else "")
        if run.floor is not None:
            rows += _one_if_equal(_summary_rows(run.floor, "floor", run.floor.method), run.floor.method)
    published = TABLES.get(f"{benchmark}/{variant}" if variant else benchmark)
    return _finished("Figures" + (f", {variant}" if variant else ""), rows, runs, published)


def _summary_rows(run: PageRun, kind: Kind, prefix: str) -> list[Row]:
    rows = []
    for name, entry in run.summary.items():
        values = _numbers(entry) if isinstance(entry, dict) else _numbers({"value": entry})
        if values:
            label = readable(name)
            rows.append(Row(f"{prefix}, {label}" if prefix else label, kind, values, ""))
    return rows


def _one_if_equal(rows: list[Row], label: str) -> list[Row]:
    """A floor that is the same everywhere is said once."""
    same = len(rows) > 1 and all(row.values == rows[0].values for row in rows)
    return [rows[0]._replace(label=label)] if same else rows


def _landmark_table(runs: list[PageRun], labels: str, published: PublishedTable | None) -> Table:
    """NME by yaw of each set of landmarks against one set of labels."""
    rows = []
    for run, kind in _with_floors(runs):
        for name, entry in run.summary.items():
            points, _, against = name.partition("/")
            if against == labels and isinstance(entry, dict):
                label = f"{method_of(run)}, {_LANDMARKS.get(points, points)}"
                rows.append(Row(label, kind, _numbers(entry), _photos(entry)))
    return _finished(f"68 points, NME in %, {_LABELS[labels]}", rows, runs, published)


def _dense_names(runs: list[PageRun]) -> list[str]:
    """Dense scores and their truths, as `dense/bfm`, that any of the runs has."""
    names = dict.fromkeys(name for run in runs for name in run.summary)
    return [name for kind in _DENSE for name in names if name.partition("/")[0] == kind]


def _dense_table(runs: list[PageRun], name: str, published: PublishedTable | None) -> Table:
    """One score of whole meshes by yaw, against one truth."""
    kind, _, truth = name.partition("/")
    rows = []
    for run, row_kind in _with_floors(runs):
        entry = run.summary.get(name)
        if isinstance(entry, dict):
            rows.append(Row(method_of(run), row_kind, _numbers(entry), _photos(entry)))
    return _finished(f"{_DENSE[kind]}, truth: {truth}", rows, runs, published)


def _photos(entry: Mapping[str, Any]) -> str:
    counts = entry.get("counts")
    return "photos " + " / ".join(str(count) for count in counts) if isinstance(counts, list) else ""


def _pose_table(runs: list[PageRun], published: PublishedTable | None) -> Table:
    rows = []
    for run, kind in _with_floors(runs):
        errors = {name[len(_POSE) :]: entry for name, entry in run.summary.items() if name.startswith(_POSE)}
        values = {name: _number(entry.get("mae_deg")) for name, entry in errors.items() if isinstance(entry, dict)}
        count = max((entry.get("count", 0) for entry in errors.values() if isinstance(entry, dict)), default=0)
        if values:
            rows.append(Row(method_of(run), kind, values, f"{count} photos"))
    return _finished("Pose, mean absolute error in degrees", rows, runs, published)


def _with_floors(runs: list[PageRun]) -> Iterable[tuple[PageRun, Kind]]:
    """The runs, then their floors, equal ones once."""
    yield from ((run, "ours") for run in runs)
    floors: list[PageRun] = []
    for run in runs:
        if run.floor is not None and all(run.floor.summary != floor.summary for floor in floors):
            floors.append(run.floor)
    yield from ((floor, "floor") for floor in floors)


def _finished(title: str, rows: list[Row], runs: list[PageRun], published: PublishedTable | None) -> Table:
    """With the published rows, and what sets them apart from these runs."""
    first = published.columns if published else ()
    columns = dict.fromkeys([*first, *(name for row in rows for name in row.values)])
    remarks: list[str] = []
    if published is not None:
        rows = rows + [
            Row(row.method, "published", dict(zip(published.columns, row.values, strict=True)), row.source)
            for row in published.rows
        ]
        remarks = [f"Published by this protocol: {published.protocol}.", *_differences(runs, published)]
    known = {name for row in rows for name, value in row.values.items() if value is not None}
    return Table(title, tuple(name for name in columns if name in known), rows, remarks)


def _differences(runs: list[PageRun], published: PublishedTable) -> list[str]:
    """In which way the runs are not what was published; what holds for all of them is said once."""
    of: dict[str, list[str]] = {}
    for run in runs:
        for difference in _differences_of(run, published):
            of.setdefault(difference, []).append(method_of(run))
    said = [text if len(who) == len(runs) else f"{', '.join(who)}: {text}" for text, who in of.items()]
    return ([published.caveat] if published.caveat else []) + said


def _differences_of(run: PageRun, published: PublishedTable) -> Iterator[str]:
    if published.samples and run.in_all != published.samples:
        yield (
            f"{run.in_all:,} samples here, {published.samples:,} in the published protocol: "
            "these figures compare in kind only."
        )
    if run.left_out:
        yield f"{len(run.left_out)} of {run.in_all} samples are left out of these figures."
    if published.box and run.crop != "gt":
        yield "the method finds the face itself, where the published ones were given the true box."


def method_of(run: PageRun) -> str:
    """The method, and whether it came to the face without a box (`detector`, `largest`)."""
    always = run.benchmark == "MICC Florence"  # its protocol gives no box
    return f"{run.method} (no box given)" if run.crop != "gt" and not always else run.method


def readable(name: str) -> str:
    """A key of the JSON for the eye."""
    points, _, labels = name.partition("/")
    if labels in _LABELS:
        return f"{_LANDMARKS.get(points, points)}, {_LABELS[labels]}"
    return name.replace("_", " ")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(entry: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: number for name, value in entry.items() if (number := _number(value)) is not None}


def error_keys(run: PageRun) -> tuple[list[str], str]:
    """Scores of the samples that are errors of one unit, the one to rank samples by first, and the unit."""
    names = list(dict.fromkeys(name for scores in run.samples.values() for name in scores))
    landmarks = [name for name in names if name.partition("/")[2] in _LABELS]
    if landmarks:
        order = list(_LABELS)
        return sorted(landmarks, key=lambda name: (order.index(name.partition("/")[2]), name))[:_MOST_SERIES], "NME, %"
    for ending, unit in _UNITS.items():
        found = [name for name in names if name.endswith(ending) and name != _FLOOR_SCORE]
        if found:
            return found[:_MOST_SERIES], unit
    return [], ""


def series_of(runs: list[PageRun]) -> tuple[list[Series], list[Series], str]:
    """Errors of the runs (of each run the first score only, where there are several runs), of the floor, their unit."""
    ours: list[Series] = []
    unit = ""
    for index, run in enumerate(runs):
        keys, unit_here = error_keys(run)
        unit = unit or unit_here
        if not keys or unit_here != unit:
            continue
        for place, key in enumerate(keys if len(runs) == 1 else keys[:1]):
            shown = readable(key.removesuffix(f"_{unit}"))
            label = shown if len(runs) == 1 else f"{method_of(run)}, {shown}"
            ours.append(_series(run, key, label, f"s{(place if len(runs) == 1 else index) % 6}"))
    return [one for one in ours if len(one.errors)], _floor_series(runs[0]), unit


def _floor_series(run: PageRun) -> list[Series]:
    keys, _ = error_keys(run)
    if not keys:
        return []
    source, key = (run.floor, keys[0]) if run.floor is not None else (run, _FLOOR_SCORE)
    series = _series(source, key, "mean face", "floor")
    return [series] if len(series.errors) else []


def _series(run: PageRun, key: str, label: str, style: str) -> Series:
    names = [name for name, scores in run.samples.items() if _finite(scores.get(key))]
    errors = np.array([run.samples[name][key] for name in names], np.float64)
    yaws = [run.samples[name].get("yaw_deg") for name in names]
    known = bool(names) and all(_finite(yaw) for yaw in yaws)
    return Series(label, style, tuple(names), errors, run.in_all, np.array(yaws, np.float64) if known else None)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
