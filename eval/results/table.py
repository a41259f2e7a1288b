"""The table as Markdown, and its place in a README: between two markers, the rest of which is left as it is."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from eval.results.rows import ROWS, Row
from eval.results.runs import Figures

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_HEAD = ("| | figure | command |", "|---|---|---|")
_BESIDE = {"dis": "DIS"}


class Table(NamedTuple):
    """Lines of the table, and the labels of the rows that were kept as they stood and that nothing is known of."""

    lines: list[str]
    kept: list[str]
    missing: list[str]


def table_of(runs: Mapping[str, Figures], before: Mapping[str, str] | None = None) -> Table:
    """Every row that has a run; the others as they stood in `before`, lines by label, where they stood there.

    Raises ValueError for a run without a figure that its row shows, and for two methods on different pairs.
    """
    table = Table(list(_HEAD), [], [])
    told: set[str] = set()
    for row in ROWS:
        run = runs.get(row.run)
        if run is not None and (not row.part or row.part in run.content):
            table.lines.append(_line(row, run, runs.get(row.beside or ""), command=row.run not in told))
            told.add(row.run)
        elif before and row.label in before:
            table.lines.append(before[row.label])
            table.kept.append(row.label)
        else:
            table.missing.append(row.label)
    return table


def _line(row: Row, run: Figures, beside: Figures | None, command: bool) -> str:
    figure = row.figure(run)
    if "pairs_in_all" in run.content:
        figure = f"{run.scored()} pair{'s' if run.scored() != 1 else ''}: {figure}"
    if beside is not None:
        if beside.scored() != run.scored():
            raise ValueError(f"{run.path} has {run.scored()} pairs, {beside.path} has {beside.scored()}")
        figure = f"{figure}; {_method(beside)} {row.figure(beside)}"
    return f"| {row.label} | {figure} | {_commands(row, run, beside) if command else ''} |".replace("|  |", "| |")


def _commands(row: Row, run: Figures, beside: Figures | None) -> str:
    """What made the data where it was made, what made the run, and which option makes the one beside it."""
    own = run.command.replace("--data DATA", f"--data {row.data}")
    commands = "; ".join(f"`{command}`" for command in (row.made_by, own) if command)
    return commands if beside is None else f"{commands} ({_method(beside)}: `--method {beside.content['method']}`)"


def _method(run: Figures) -> str:
    method = str(run.content.get("method"))
    return _BESIDE.get(method, method)


def rows_between(readme: str) -> dict[str, str]:
    """Lines of the table that stands between the markers, by label.

    Raises ValueError where a marker is not there once, or a line between them is not a row of three cells.
    """
    inside = _parts(readme)[1]
    lines = [line for line in inside.splitlines() if line.strip()]
    if lines and tuple(lines[:2]) != _HEAD:
        raise ValueError(f"between {BEGIN} and {END}: expected a table that begins with {_HEAD[0]!r}")
    rows = {}
    for line in lines[2:]:
        cells = re.fullmatch(r"\| ([^|]+) \| ([^|]+) \| ([^|]*)\|", line)
        if cells is None:
            raise ValueError(f"between {BEGIN} and {END}: not a row of three cells: {line!r}")
        rows[cells[1]] = line
    return rows


def with_table(readme: str, table: Table) -> str:
    """The text with the table between its markers. ValueError where a marker is not there once."""
    before, _, after = _parts(readme)
    return "\n".join([f"{before}{BEGIN}", *table.lines, f"{END}{after}"])


def _parts(readme: str) -> tuple[str, str, str]:
    """What stands before, between and after the markers."""
    for marker in (BEGIN, END):
        if readme.count(marker) != 1:
            raise ValueError(f"expected {marker} once in the README, found it {readme.count(marker)} times")
    before, rest = readme.split(BEGIN)
    if END not in rest:
        raise ValueError(f"{END} stands before {BEGIN} in the README")
    inside, after = rest.split(END)
    return before, inside, after
