"""The page itself: a section a benchmark, then the machine and the files that the figures come from."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eval.page.charts import Series, ced_chart, nice_step, yaw_chart
from eval.page.figures import method_of, series_of, tables_of
from eval.page.gallery import Shown, data_uri, ranked
from eval.page.markup import Markup, data_script, element, join
from eval.page.mesh_section import chosen_meshes, mesh_section
from eval.page.meshes import NamedMesh, packed
from eval.page.parts import figure_table, origin
from eval.page.runs import PageFile, PageRun

PICTURE_BYTES = 2_000_000
"""How much the pictures of a page may take before base64; what comes after is named without its picture."""

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_KEEP_PICTURES = "No pictures of these samples are at hand: the run was made without --pictures, or they were moved."


def page_of(files: Sequence[PageFile]) -> Markup:
    """The whole page of the runs of some files, those of one benchmark together."""
    groups: dict[str, list[PageRun]] = {}
    for run in (run for file in files for run in file.runs):
        groups.setdefault(run.benchmark, []).append(run)
    meshes, beyond = chosen_meshes([run for runs in groups.values() for run in runs])
    budget = _Budget(PICTURE_BYTES)
    sections = [_benchmark(name, runs, f"b{place}", budget) for place, (name, runs) in enumerate(groups.items())]
    links = [(f"b{place}", name) for place, name in enumerate(groups)]
    links += [("mesh-errors", "Meshes")] if meshes else []
    links.append(("origin", "Origin of the figures"))
    head = element(
        "header",
        element("h1", "face3d: benchmark report"),
        element("p", _summary_line(files), class_="soft"),
        element("nav", *(element("a", name, href=f"#{place}") for place, name in links)),
    )
    body = element("main", *sections, *([mesh_section(meshes, beyond)] if meshes else []), origin(files))
    return _document(head, body, _scripts(meshes))


def _document(head: Markup, body: Markup, scripts: Markup) -> Markup:
    meta = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'),
        element("link", rel="icon", href="data:,"),
        element("title", "face3d: benchmark report"),
        element("style", Markup((_HERE / "report.css").read_text(encoding="utf-8"))),
    ]
    return Markup(
        f'<!doctype html>\n<html lang="en">{element("head", *meta)}{element("body", head, body, scripts)}</html>\n'
    )


def _summary_line(files: Sequence[PageFile]) -> str:
    commits = dict.fromkeys(str(file.environment.get("commit") or "unknown") for file in files)
    runs = sum(len(file.runs) for file in files)
    return f"{runs} run{'s' * (runs != 1)} from {len(files)} file{'s' * (len(files) != 1)}; commit {', '.join(commits)}"


class _Budget:
    """Bytes that pictures may still take."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, jpeg: bytes | None) -> bytes | None:
        """The picture, or None where there is none or it does not fit any more."""
        if jpeg is None or len(jpeg) > self.left:
            return None
        self.left -= len(jpeg)
        return jpeg


def _benchmark(name: str, runs: list[PageRun], place: str, budget: _Budget) -> Markup:
    ours, floor, unit = series_of(runs)
    parts = [element("h2", name), *(element("p", _scored_line(run), class_="soft") for run in runs)]
    parts += [figure_table(table) for table in tables_of(runs)]
    if ours:
        parts.append(_charts(ours, floor, unit))
    for run in runs:
        first = series_of([run])[0][:1]
        if first and len(first[0].errors) > 1:
            parts.append(_gallery(run, first[0], unit, budget, len(runs) > 1))
    return element("section", *parts, id=place)


def _scored_line(run: PageRun) -> str:
    """How many samples were scored, and why the others were not."""
    said = f"{method_of(run)} ({run.file.name})"
    if not run.samples and not run.in_all:
        return said
    said += f": {run.scored} of {run.in_all} samples scored"
    if not run.left_out:
        return said + ", none left out."
    reasons = Counter(run.left_out.values())
    listed = "; ".join(f"{count}: {why} ({_names(run, why)})" for why, count in reasons.most_common())
    return f"{said}, {len(run.left_out)} left out: {listed}."


def _names(run: PageRun, why: str, most: int = 5) -> str:
    names = [name for name, reason in run.left_out.items() if reason == why]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _charts(ours: list[Series], floor: list[Series], unit: str) -> Markup:
    limit = _axis_limit(np.concatenate([one.errors for one in ours]))
    curves = floor + ours
    figures = [_chart("Cumulative error distribution", ced_chart(curves, limit, f"error, {unit}"), curves)]
    turned = [one for one in ours if one.yaw_deg is not None][:2]
    if turned:
        scattered = yaw_chart(turned, limit, f"error, {unit}")
        figures.append(_chart("Error by yaw; dashed: 30 and 60 degrees", scattered, turned))
    return join([element("h3", "Errors of the samples"), element("div", *figures, class_="charts")])


def _axis_limit(errors: np.ndarray) -> float:
    """A round end of the axis: the largest error, but no more than four times the middle one."""
    most = min(float(errors.max()), 4.0 * float(np.median(errors)))
    if most <= 0:
        return 1.0
    step = nice_step(most)
    return step * float(np.ceil(most / step - 1e-9))


def _chart(title: str, svg: Markup, series: Sequence[Series]) -> Markup:
    keys = [element("span", element("i", class_=f"key {one.style}"), one.label) for one in series]
    return element("figure", element("figcaption", title), svg, element("div", *keys, class_="legend"))


def _gallery(run: PageRun, errors: Series, unit: str, budget: _Budget, several: bool) -> Markup:
    shown = [each._replace(jpeg=budget.take(each.jpeg)) for each in ranked(run, errors)]
    title = "Best, median and worst samples" + (f": {method_of(run)}, {run.file.name}" if several else "")
    parts = [element("h3", title), element("p", f"By {errors.label}, {unit}.", class_="soft")]
    if any(each.jpeg is not None for each in shown):
        sides = "Left: landmarks, true ones as white rings where they are known. Right: the mesh."
        parts[1] = element("p", f"By {errors.label}, {unit}. {sides}", class_="soft")
        parts.append(element("div", *(_sample(each) for each in shown), class_="gallery"))
        return join(parts)
    listed = "; ".join(f"{rank}: {', '.join(_named(each) for each in members)}" for rank, members in _by_rank(shown))
    return join([*parts, element("p", listed), element("p", _KEEP_PICTURES, class_="soft")])


def _by_rank(shown: list[Shown]) -> Iterator[tuple[str, list[Shown]]]:
    for rank, members in itertools.groupby(shown, lambda each: each.rank):
        yield rank, list(members)


def _named(each: Shown) -> str:
    return f"{each.name} {each.error:.2f}" + ("" if each.yaw_deg is None else f" (yaw {each.yaw_deg:.0f}°)")


def _sample(each: Shown) -> Markup:
    yaw = "" if each.yaw_deg is None else f", yaw {each.yaw_deg:.0f}°"
    caption = element(
        "figcaption",
        element("span", each.rank, class_="rank"),
        ": ",
        element("b", f"{each.error:.2f}"),
        f" {each.name}{yaw}",
    )
    if each.jpeg is None:
        return element("figure", element("p", "no picture at hand", class_="soft"), caption)
    return element("figure", element("img", src=data_uri(each.jpeg), alt=f"overlay of {each.name}"), caption)


def _scripts(meshes: list[NamedMesh]) -> Markup:
    if not meshes:
        return Markup("")
    script = (_HERE / "mesh_viewer.js").read_text(encoding="utf-8")
    return join([data_script("meshes", packed(meshes)), element("script", Markup(script))])
