"""The tables that commands show in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from eval.floor import reduction_percent

if TYPE_CHECKING:
    from eval.flow_benchmark import PairRun
    from eval.protocol import Run
    from eval.scan_protocols_run import Row

_MOST_PAIRS = 20
_MOST_LEFT_OUT = 20
_LABELS = {"original": "original labels", "reannotated": "re-annotated labels"}
_DENSE = {"dense": "dense", "dense-2d": "dense, x and y", "reconstruction": "reconstruction"}
_CONSOLE = Console()
_ERRORS = Console(stderr=True)


def say(text: str) -> None:
    """A line on the terminal."""
    _CONSOLE.print(text, markup=False)


def complain(text: str) -> None:
    """A line on the error stream."""
    _ERRORS.print(f"error: {text}", markup=False)


def progress(steps: Iterable[int]) -> Iterable[int]:
    """The same steps, with a bar where the error stream is a terminal."""
    return track(steps, "measuring", console=_ERRORS, transient=True, disable=not _ERRORS.is_terminal)


def _rounded(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def show_figures(title: str, figures: Mapping[str, Any]) -> None:
    """One figure a row."""
    table = Table(title=title, show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), _rounded(value))
    _CONSOLE.print(table)


def show_aflw2000(ours: "Run", floor: "Run") -> None:
    """NME by yaw for each landmark and label set, pose errors, and what was left out."""
    scored = sum(record.problem is None for record in ours.records)
    title = f"{ours.benchmark}, {ours.crop} crop, {scored} of {len(ours.records)} photos, NME %"
    for labels, words in _LABELS.items():
        bins = {
            f"{run.method} {name.removesuffix(f'/{labels}')}": summary
            for run in (ours, floor)
            for name, summary in run.summary.items()
            if name.endswith(f"/{labels}")
        }
        if bins:
            show_bins(f"{title}, {words}", bins)
    _show_dense(ours, floor)
    poses = {name: mae for name, mae in ours.summary.items() if name.startswith("pose/")}
    if poses:
        figures = {name[5:]: f"{mae['mae_deg']:.2f} of {mae['count']}" for name, mae in poses.items()}
        show_figures("pose MAE, degrees", figures)
    _show_left_out(ours)


def _show_dense(ours: "Run", floor: "Run") -> None:
    """The dense scores by yaw, a table for each truth; nothing where none were asked for."""
    for truth in dict.fromkeys(name.partition("/")[2] for name in ours.summary if name.startswith("truth-landmarks/")):
        rows = {
            f"{run.method} {words}": run.summary[f"{name}/{truth}"]
            for name, words in _DENSE.items()
            for run in (ours, floor)
            if f"{name}/{truth}" in run.summary
        }
        rows[f"{truth} at 68 points"] = ours.summary[f"truth-landmarks/{truth}"]
        plain = {name: {key: row[key] for key in row if key != "balanced_curve"} for name, row in rows.items()}
        show_bins(f"meshes against {truth}: NME %; reconstruction % of the outer eye distance", plain)


def show_bins(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """NME by yaw, a row each; and the share of photos below each error where bins of equal size could be drawn."""
    table = Table(Column("", no_wrap=True), title=title)
    for column in ("<= 30", "30-60", "> 60", "mean of\nbins", "mean of\nphotos"):
        table.add_column(column, min_width=5)
    table.add_column("photos", no_wrap=True)
    for name, bins in rows.items():
        figures = [bins[key] for key in ("upto_30", "upto_60", "above_60", "of_bins", "of_samples")]
        table.add_row(name, *map(_rounded, figures), "/".join(str(count) for count in bins["counts"]))
    _CONSOLE.print(table)
    curves = {name: bins["balanced_curve"] for name, bins in rows.items() if "balanced_curve" in bins}
    for name, curve in curves.items():
        shares = ", ".join(f"{threshold} % {100 * share:.1f}" for threshold, share in curve.items())
        say(f"{name}, equal bins, % of photos with an NME of at most: {shares}")


def show_shape(ours: "Run", floor: "Run", people: "Run | None") -> None:
    """Scan-to-mesh errors by yaw beside the mean face's, and errors on generated people where there are any."""
    table = Table(title=f"{ours.benchmark}, {ours.crop} crop, mm")
    for column in ("", "median", "mean", "mean face median", "mean face mean", "median below it"):
        table.add_column(column)
    for name, error in ours.summary.items():
        base = floor.summary[name]
        below = f"{reduction_percent(error['median_mm'], base['median_mm']):.1f} %"
        figures = (error["median_mm"], error["mean_mm"], base["median_mm"], base["mean_mm"])
        table.add_row(name, *(f"{figure:.3f}" for figure in figures), below)
    _CONSOLE.print(table)
    _show_left_out(ours)
    if people is None:
        return
    table = Table(title=f"{people.benchmark}, mm a vertex")
    for column in ("", "error", "mean face", "below it", "people"):
        table.add_column(column)
    for name, row in people.summary.items():
        errors = (f"{row['error_mm']:.3f}", f"{row['mean_face_mm']:.3f}")
        table.add_row(name, *errors, f"{row['below_mean_face_percent']:.1f} %", str(row["count"]))
    _CONSOLE.print(table)
    _show_left_out(people)


def show_scan_protocols(rows: "Sequence[Row]") -> None:
    """The mean face's error and the method's at each picture, and how far the mean and the worst of these are below."""
    names = list(rows[0].errors)
    table = Table(Column("", no_wrap=True), "mean face", *names, title="Lee Perry-Smith scan by every 3D protocol")
    for column in ("mean below\nmean face", "least"):
        table.add_column(column)
    for row in rows:
        below = list(row.below_mean_face_percent.values())
        errors = (f"{error:.3f}" for error in (row.mean_face, *row.errors.values()))
        shares = (f"{share:.1f} %" for share in (sum(below) / len(below), min(below)))
        table.add_row(f"{row.protocol}, {row.figure}, {row.unit}", *errors, *shares)
    _CONSOLE.print(table)


def show_meshes(ours: "Run", floor: "Run") -> None:
    """Mean and standard deviation of each error over the meshes, beside the mean face's mean."""
    asked = "largest face" if ours.crop == "largest" else f"{ours.crop} crop"
    title = f"{ours.benchmark}, {ours.method}, {asked}"
    table = Table(Column("", no_wrap=True), "mean", "std", "mean face", "count", title=title)
    for name, figure in ours.summary.items():
        if isinstance(figure, dict) and "mean" in figure:
            base = floor.summary.get(name, {}).get("mean")
            values = (f"{figure['mean']:.3f}", f"{figure['std']:.3f}", "-" if base is None else f"{base:.3f}")
            table.add_row(name, *values, str(figure["count"]))
    _CONSOLE.print(table)
    _show_left_out(ours)


def show_pooled(ours: "Run", floor: "Run") -> None:
    """Median, mean and standard deviation in mm over all distances of each group, beside the mean face's."""
    scored = sum(record.problem is None for record in ours.records)
    title = f"{ours.benchmark}, {ours.method}, {ours.crop} crop, {scored} of {len(ours.records)} photos, mm"
    columns = ("median", "mean", "std", "mean face median", "mean face mean", "photos")
    table = Table(Column("", no_wrap=True), *columns, title=title)
    for name, figure in ours.summary.items():
        if isinstance(figure, dict) and "median" in figure:
            base = floor.summary.get(name, {})
            values = (f"{figure[key]:.3f}" for key in ("median", "mean", "std"))
            under = (f"{base[key]:.3f}" if key in base else "-" for key in ("median", "mean"))
            table.add_row(name, *values, *under, str(figure["count"]))
    _CONSOLE.print(table)
    _show_left_out(ours)


def show_pairs(run: "PairRun", columns: tuple[str, ...]) -> None:
    """The figures of a few pairs one by one, those of all of them, and what was left out."""
    title = f"{run.layout}, {run.method}, {len(run.scored)} of {len(run.records)} pairs"
    if len(run.scored) <= _MOST_PAIRS:
        known = [name for name in columns if any(name in record.scores for record in run.scored)]
        table = Table(Column("", no_wrap=True), *(name.replace("_", " ") for name in known), "ms", title=title)
        for record in run.scored:
            values = (f"{record.scores[name].value:.2f}" for name in known)
            table.add_row(record.name, *values, f"{1000 * record.seconds:.0f}")
        _CONSOLE.print(table)
    table = Table("", "mean of pairs", "of pixels", title=title)
    for name, figure in run.summary().items():
        table.add_row(name.replace("_", " "), f"{figure['of_pairs']:.3f}", f"{figure['of_pixels']:.3f}")
    table.add_row("ms a pair, median", f"{1000 * run.median_seconds():.0f}", "")
    _CONSOLE.print(table)
    _show_left_out(run)


def _show_left_out(run: "Run | PairRun") -> None:
    left_out = [record for record in run.records if record.problem is not None]
    for record in left_out[:_MOST_LEFT_OUT]:
        say(f"left out: {record.name}: {record.problem}")
    if left_out:
        named = " (--json names them)" if len(left_out) > _MOST_LEFT_OUT else ""
        say(f"left out: {len(left_out)} of {len(run.records)} in all{named}")
