"""`python -m eval results F.json ... --readme README.md`: the README's table, made from runs."""

from pathlib import Path
from typing import Annotated

import typer

from eval import tables


def results(
    files: Annotated[list[Path], typer.Argument(help="What benchmarks wrote with --json.")],
    readme: Annotated[Path | None, typer.Option(help="Replace the table between its two markers.")] = None,
    store: Annotated[Path | None, typer.Option(help="Keep each run here without its samples, as NAME.json.")] = None,
) -> None:
    """The README's table from runs; rows of which there is no run stay as they are. Without --readme it is shown."""
    from eval.results.runs import read_all, stored
    from eval.results.table import rows_between, table_of, with_table
    from face3d.io import replace_files

    runs = read_all(files)
    text = None if readme is None else _read(readme)
    before = {} if text is None else rows_between(text)
    table = table_of(runs, before)
    for run in runs.values():
        if changed := run.changed_files():
            tables.say(f"{run.path} was measured with other embedded files: {', '.join(changed)}")
    if store is not None:
        replace_files(stored(runs.values(), store))
        tables.say(f"wrote {len(runs)} runs into {store}")
    if readme is None or text is None:
        typer.echo("\n".join(table.lines))
    else:
        _tell_unknown(before, table.lines)
        replace_files({readme: with_table(text, table).encode("utf-8")})
        tables.say(f"wrote {readme}: {len(table.lines) - 2 - len(table.kept)} rows from {len(runs)} runs")
    for label in table.kept:
        tables.say(f"kept as it was, no run of it: {label}")
    for label in table.missing:
        tables.say(f"no run of: {label}")


def _read(readme: Path) -> str:
    if not readme.is_file():
        raise FileNotFoundError(f"no {readme}: expected the README that holds the table")
    return readme.read_text(encoding="utf-8")


def _tell_unknown(before: dict[str, str], lines: list[str]) -> None:
    """Raises ValueError for rows between the markers that no run can make: they would be lost."""
    from eval.results.rows import ROWS

    lost = sorted(before.keys() - {row.label for row in ROWS})
    if lost:
        raise ValueError(f"rows between the markers that no run makes; move them below: {'; '.join(lost)}")
