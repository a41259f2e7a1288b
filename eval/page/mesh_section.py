"""Which meshes the page shows, and the section that they are turned in."""

import itertools

import numpy as np

from eval.error_mesh import ErrorMesh, read_error_mesh
from eval.page.charts import ticks
from eval.page.figures import series_of
from eval.page.gallery import ranked
from eval.page.markup import Markup, element
from eval.page.meshes import RAMP, NamedMesh, error_limit_mm
from eval.page.runs import PageRun

MOST_MESHES = 6
MESH_BYTES = 1_000_000
"""How much they may take before base64."""


def chosen_meshes(runs: list[PageRun]) -> tuple[list[NamedMesh], int]:
    """Best, median and worst mesh of the runs that kept meshes, as many as the page takes, and how many it does not."""
    offered = []
    for run in runs:
        errors = series_of([run])[0][:1]
        if run.meshes and errors:
            offered.append([(run, each) for each in ranked(run, errors[0], each=1)])
    turns = [each for turn in itertools.zip_longest(*offered) for each in turn if each is not None]
    found: list[tuple[int, NamedMesh]] = []
    left, known, beyond = MESH_BYTES, set[bytes](), 0
    for run, each in turns:
        mesh = _read_mesh(run, each.name)
        if mesh is None:
            continue
        topology = mesh.triangles.tobytes()
        cost = 8 * len(mesh.vertices_mm) + (0 if topology in known else 6 * len(mesh.triangles))
        if len(found) == MOST_MESHES or cost > left:
            beyond += 1
            continue
        left -= cost
        known.add(topology)
        title = f"{run.benchmark.removeprefix('shape: ')}, {each.name} ({each.rank})"
        found.append((runs.index(run), NamedMesh(title, mesh)))
    return [mesh for _, mesh in sorted(found, key=lambda each: each[0])], beyond


def _read_mesh(run: PageRun, name: str) -> ErrorMesh | None:
    kept = run.meshes.get(name)
    content = None if kept is None else kept.read()
    if kept is None or content is None:
        return None
    try:
        return read_error_mesh(content)
    except ValueError as error:
        raise ValueError(f"{kept.path}: {error}") from error


def mesh_section(meshes: list[NamedMesh], beyond: int) -> Markup:
    """The canvases that the viewer draws on, the colours' meaning; `beyond`: meshes that the page does not take."""
    limit = error_limit_mm([mesh for _, mesh in meshes])
    marks = [mark for mark in ticks(0.0, limit) if mark < 0.9 * limit]
    numbers = [element("span", f"{mark:g}", style=f"left: {100 * mark / limit:.1f}%") for mark in marks]
    numbers.append(element("span", f"≥ {limit:g} mm", class_="end"))
    bar = element(
        "div",
        element("div", class_="colours", style=f"background: linear-gradient(90deg, {', '.join(RAMP)})"),
        element("div", *numbers, class_="numbers"),
        class_="bar",
    )
    plain = element("label", element("input", type="checkbox", id="plain"), " without the errors")
    controls = element(
        "p", "Drag, or use the arrow keys, to turn all; a double click turns them back. ", plain, class_="controls"
    )
    note = element(
        "p",
        "Neutral meshes where the truth is known. Grey: outside the face region, not measured."
        + (f" {beyond} more would not fit on the page." if beyond else ""),
        class_="soft",
    )
    figures = [_mesh_figure(place, mesh) for place, mesh in enumerate(meshes)]
    shown = element("div", *figures, class_="meshes")
    return element("section", element("h2", "Where the meshes are wrong"), note, bar, controls, shown, id="mesh-errors")


def _mesh_figure(place: int, named: NamedMesh) -> Markup:
    measured = named.mesh.error_mm[np.isfinite(named.mesh.error_mm)]
    figures = f"median {np.median(measured):.2f} mm, mean {measured.mean():.2f} mm" if len(measured) else "not measured"
    label = f"mesh of {named.title}, to be turned"
    canvas = element("canvas", data_mesh=f"{place}", tabindex="0", role="img", aria_label=label)
    caption = element("figcaption", element("b", named.title), f": {named.mesh.what}, {figures}")
    return element("figure", canvas, caption)
