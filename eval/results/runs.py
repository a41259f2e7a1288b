"""Runs that the README's table is made from: read, told apart, and stored without their samples."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from eval.report import embedded_sha256, read_json

_FACES = ("reconstruct.safetensors", "detector.safetensors", "face3d_model.npz")
_OTHERS = {
    "flow": ("flow.safetensors",),
    "clips": ("flow.safetensors",),
    "face parser": ("parser.safetensors", "face3d_model.npz"),
}
_SAMPLES = ("samples", "pairs", "pictures", "meshes", "confusion")
_NAMES = {
    "shape": "shape",
    "model": "model",
    "dlib faces": "dlib",
    "identity on LFW": "identity",
    "eyes": "eyes",
    "face parser": "parser",
    "clips-shape": "clips_shape",
    "scan-protocols": "scan_protocols",
}
_PARTS = {"shape": "scan", "clips-shape": "people"}
_LAYOUTS = ("chairs", "sintel", "middlebury", "generated")


class Figures(NamedTuple):
    """One JSON. `name` says which of the table's runs it is, `command` what made it."""

    path: Path
    name: str
    command: str
    content: dict[str, Any]

    def number(self, *keys: str) -> float | None:
        """A figure by the names that lead to it; None where it does not apply. ValueError where it is not there."""
        value: Any = self.content
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{self.path} has no {'/'.join(keys)}: measure it again with this version")
            value = value[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{self.path}: {'/'.join(keys)} is not a number: measure it again with this version")
        return value

    def text(self, decimals: int, *keys: str) -> str:
        """A figure as the table shows it, `-` where it does not apply."""
        value = self.number(*keys)
        return "-" if value is None else f"{value:.{decimals}f}"

    def count(self, *keys: str) -> int:
        """A whole number that must be there."""
        value = self.number(*keys)
        if not isinstance(value, int):
            raise ValueError(f"{self.path}: {'/'.join(keys)} is not a whole number")
        return value

    def scored(self, *part: str) -> int:
        """How many samples of the run, or of a part of it, were not left out."""
        content = self.content
        for key in part:
            content = content.get(key, {})
        total = "pairs_in_all" if "pairs_in_all" in content else "samples_in_all"
        return self.count(*part, total) - len(content.get("left_out", {}))

    def changed_files(self) -> list[str]:
        """The embedded files that the run was measured with and that have changed since."""
        weights = self.content.get("weights")
        if not isinstance(weights, dict) or weights.get("file") != "embedded":
            return []
        used = _OTHERS.get(str(self.content.get("benchmark")), _FACES)
        if self.content.get("together") == "refined":
            used = (*used, *_OTHERS["flow"])
        then, now = self.content.get("environment", {}).get("embedded_sha256", {}), embedded_sha256()
        return [name for name in used if then.get(name) != now.get(name)]


def read_figures(path: Path) -> Figures:
    """A run of the table. FileNotFoundError; ValueError: not a run's JSON, none of the table's, or without command."""
    content = read_json(path)
    command = content.get("command")
    if not isinstance(command, str):
        raise ValueError(f"{path} does not say which command made it: measure it again with `python -m eval`")
    return Figures(path, _name_of(path, content), command, content)


def read_all(paths: Iterable[Path]) -> dict[str, Figures]:
    """Runs by name. ValueError where two files are of the same."""
    runs: dict[str, Figures] = {}
    for path in paths:
        run = read_figures(path)
        if run.name in runs:
            raise ValueError(f"{runs[run.name].path} and {path} are both runs of {run.name}: give one of them")
        runs[run.name] = run
    return runs


def stored(runs: Iterable[Figures], folder: Path) -> dict[Path, bytes]:
    """What is kept of runs in `folder`: `NAME.json` each, without samples, from which the same table comes."""
    return {
        folder / f"{run.name}.json": (json.dumps(_without_samples(run.content), indent=1) + "\n").encode()
        for run in runs
    }


def _without_samples(content: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if key not in _SAMPLES}
    return {key: _without_samples(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _name_of(path: Path, content: dict[str, Any]) -> str:
    benchmark, method = str(content.get("benchmark")), content.get("method", "face3d")
    if benchmark in _PARTS:
        method = content.get(_PARTS[benchmark], {}).get("method")
    if benchmark == "AFLW2000-3D sparse" and method == "face3d" and content.get("split") == "current":
        return f"aflw2000_{content.get('crop')}"
    if benchmark in _NAMES and method == "face3d":
        return _NAMES[benchmark]
    if benchmark == "clips-shape" and method == "face3d, refined":
        return "clips_shape_refined"
    if benchmark == "flow" and content.get("layout") in _LAYOUTS and method in ("face3d", "dis"):
        return f"flow_{content['layout']}_{method}"
    if benchmark == "clips" and method in ("face3d", "dis"):
        return f"clips_{method}"
    raise ValueError(f"{path} is a run of {benchmark!r} by {method}, which the table has no row for")
