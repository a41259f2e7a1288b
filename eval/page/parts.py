"""Tables of the page: figures beside published ones, and where the figures come from."""

from collections.abc import Sequence
from typing import Any

from eval.page.figures import Row, Table, readable
from eval.page.markup import Markup, element, join
from eval.page.runs import PageFile

_COLUMNS = {
    "upto_30": "≤ 30°",
    "upto_60": "30–60°",
    "above_60": "> 60°",
    "of_bins": "mean of bins",
    "of_samples": "mean of photos",
    "median_mm": "median mm",
    "mean_mm": "mean mm",
    "std_mm": "std mm",
    "below_mean_face_percent": "below mean face %",
}
_WHOLE = frozenset({"count", "points", "faces", "found", "photos"})


def figure_table(table: Table) -> Markup:
    """A table with its title and remarks; in each column the least published value is underlined."""
    noted = any(row.note for row in table.rows)
    least = {name: _least_published(table.rows, name) for name in table.columns}
    head = [element("th", ""), *(element("th", _COLUMNS.get(name, readable(name))) for name in table.columns)]
    head += [element("th", "measured on, or source", class_="note", style="text-align: left")] if noted else []
    rows = []
    for place, row in enumerate(table.rows):
        starts = row.kind == "published" and (place == 0 or table.rows[place - 1].kind != "published")
        cells = [_cell(row, name, least[name]) for name in table.columns]
        cells += [element("td", row.note, class_="note")] if noted else []
        style = f"{row.kind} first-published" if starts else row.kind
        rows.append(element("tr", element("th", row.label, scope="row"), *cells, class_=style))
    drawn = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    remarks = (
        [element("ul", *(element("li", said) for said in table.remarks), class_="remarks")] if table.remarks else []
    )
    return join([element("h3", table.title), *remarks, element("div", drawn, class_="scroll")])


def _least_published(rows: Sequence[Row], column: str) -> float | None:
    known = [value for row in rows if row.kind == "published" and (value := row.values.get(column)) is not None]
    return min(known, default=None)


def _cell(row: Row, column: str, least: float | None) -> Markup:
    value = row.values.get(column)
    if value is None:
        return element("td", "–", class_="soft")
    text = f"{value:.0f}" if column in _WHOLE or (column == "value" and value == int(value)) else f"{value:.2f}"
    return element("td", text, class_="best" if row.kind == "published" and value == least else None)


def origin(files: Sequence[PageFile]) -> Markup:
    """Of each file: commit, machine, versions, weights and checksums."""
    parts = [element("h2", "Origin of the figures")]
    for file in files:
        facts = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in _facts(file)]
        drawn = element("div", element("table", element("tbody", *facts), class_="facts"), class_="scroll")
        parts += [element("h3", file.path.name), drawn]
    return element("section", *parts, id="origin")


def _facts(file: PageFile) -> list[tuple[str, Markup | str]]:
    environment = file.environment
    left_out = [f"{run.benchmark}: {len(run.left_out)} of {run.in_all}" for run in file.runs if run.in_all]
    facts: list[tuple[str, Markup | str]] = [
        ("commit", _code(environment.get("commit") or "unknown")),
        ("weights", _weights(file)),
        ("left out", "; ".join(left_out) or "–"),
        (
            "machine",
            ", ".join(_said(environment, name) for name in ("system", "processor") if name in environment) or "–",
        ),
        ("cores, CUDA", f"{_said(environment, 'cores')}, {environment.get('cuda') or 'none'}"),
        ("Python", _said(environment, "python")),
        ("packages", _listed(environment.get("packages"))),
        ("this JSON", _code(f"SHA-256 {file.sha256}")),
    ]
    return facts


def _weights(file: PageFile) -> Markup | str:
    """File and checksum; for the embedded ones, the checksums that the run's version of face3d was shipped with."""
    if not file.weights:
        return "none"
    name, checksum = file.weights.get("file", "unknown"), file.weights.get("sha256")
    if checksum:
        return join([name, " ", _code(f"SHA-256 {checksum}")])
    embedded = file.environment.get("embedded_sha256")
    if not isinstance(embedded, dict) or not embedded:
        return f"{name}, checksum not recorded"
    lines = [part for key, value in embedded.items() for part in (element("br"), _code(f"{key} SHA-256 {value}"))]
    return join([name, *lines])


def _code(text: Any) -> Markup:
    return element("code", str(text))


def _said(environment: dict[str, Any], name: str) -> str:
    return str(environment.get(name, "unknown"))


def _listed(packages: Any) -> str:
    if not isinstance(packages, dict):
        return "unknown"
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())
