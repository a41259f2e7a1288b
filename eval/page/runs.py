"""The JSON of `python -m eval BENCHMARK --json F` read back: every run in it, checked, whatever the benchmark."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eval.report import EXPECTED, read_json

_COUNTS = ("samples_in_all", "pairs_in_all")
_FLOOR = "floor"


class KeptFile(NamedTuple):
    """A file that a run kept of a sample, and the checksum that it had then."""

    path: Path
    sha256: str

    def read(self) -> bytes | None:
        """Its content; None where it is gone, or is another run's."""
        if not self.path.is_file():
            return None
        content = self.path.read_bytes()
        return content if hashlib.sha256(content).hexdigest() == self.sha256 else None


@dataclass(frozen=True)
class PageRun:
    """One method on one benchmark. `samples`: scores by name, None where one does not apply; `floor`: the mean face."""

    file: Path
    benchmark: str
    method: str
    crop: str
    variant: str
    summary: dict[str, Any]
    samples: dict[str, dict[str, float | None]]
    in_all: int
    left_out: dict[str, str]
    pictures: dict[str, KeptFile] = field(default_factory=dict)
    meshes: dict[str, KeptFile] = field(default_factory=dict)
    floor: "PageRun | None" = None

    @property
    def scored(self) -> int:
        """Samples that were not left out."""
        return self.in_all - len(self.left_out)


class PageFile(NamedTuple):
    """One JSON: what made it, and its runs."""

    path: Path
    sha256: str
    environment: dict[str, Any]
    weights: dict[str, str]
    runs: list[PageRun]


def read_page_file(path: Path) -> PageFile:
    """All runs of one JSON. FileNotFoundError, ValueError: they name the file, and say what was expected."""
    whole = read_json(path)
    content = path.read_bytes()
    reader = _Reader(path)
    runs = reader.runs(whole)
    if not runs:
        raise ValueError(f"{path} holds no run with a summary: {EXPECTED}")
    weights = {name: str(value) for name, value in reader.table(whole, "weights").items()}
    return PageFile(path, hashlib.sha256(content).hexdigest(), reader.table(whole, "environment"), weights, runs)


class _Reader:
    """Fields of one file, with their types checked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{self.path}: {name} is not {expected}; {EXPECTED}")

    def table(self, content: dict[str, Any], name: str) -> dict[str, Any]:
        value = content.get(name, {})
        if not isinstance(value, dict):
            raise self.fail(name, "an object")
        return value

    def runs(self, whole: dict[str, Any]) -> list[PageRun]:
        """The run that the file is, or those that it holds by name; a floor belongs to its run."""
        if "summary" in whole:
            return [self.run(whole, whole.get(_FLOOR))]
        parts = {name: part for name, part in whole.items() if isinstance(part, dict) and "summary" in part}
        named = [name for name in parts if not name.endswith(f"_{_FLOOR}")]
        found = [self.run(parts[name], parts.get(f"{name}_{_FLOOR}")) for name in named]
        return found or self.bare(whole)

    def bare(self, whole: dict[str, Any]) -> list[PageRun]:
        """A benchmark without samples: its figures are the numbers and lists of numbers that it holds."""
        pairs = {name: value for name, value in whole.items() if isinstance(value, list) and len(value) == 2}
        figures = {name: dict(zip(("median_mm", "mean_mm"), value, strict=True)) for name, value in pairs.items()}
        return [self.run({**whole, "summary": figures}, None)] if figures else []

    def run(self, content: dict[str, Any], floor: Any) -> PageRun:
        if floor is not None and not isinstance(floor, dict):
            raise self.fail(_FLOOR, "a run")
        samples = self.samples(content)
        left_out = {name: str(why) for name, why in self.table(content, "left_out").items()}
        in_all = next((content[name] for name in _COUNTS if name in content), len(samples) + len(left_out))
        if not isinstance(in_all, int) or in_all < len(left_out):
            raise self.fail("the number of samples in all", f"a whole number of {len(left_out)} at least")
        layout = content.get("layout")
        return PageRun(
            file=self.path,
            benchmark=str(content.get("benchmark", "benchmark")) + (f", {layout}" if layout else ""),
            method=str(content.get("method", "face3d")),
            crop=str(content.get("crop", "")),
            variant=str(content.get("variant", content.get("view", ""))),
            summary=self.table(content, "summary"),
            samples=samples,
            in_all=in_all,
            left_out=left_out,
            pictures=self.kept(content, "pictures"),
            meshes=self.kept(content, "meshes"),
            floor=None if floor is None else self.run(floor, None),
        )

    def samples(self, content: dict[str, Any]) -> dict[str, dict[str, float | None]]:
        """Numbers only; what else a benchmark says of a sample (lists, names) is not shown."""
        found: dict[str, dict[str, float | None]] = {}
        for name, scores in self.table(content, "pairs" if "pairs" in content else "samples").items():
            if not isinstance(scores, dict | int | float):
                raise self.fail(f"sample {name!r}", "a number or an object of numbers")
            values = scores if isinstance(scores, dict) else {"value": scores}
            found[name] = {
                key: None if value is None else float(value)
                for key, value in values.items()
                if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            }
        return found

    def kept(self, content: dict[str, Any], kind: str) -> dict[str, KeptFile]:
        found = {}
        for name, entry in self.table(content, kind).items():
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("file", "sha256")):
                raise self.fail(f"{kind} of {name!r}", "an object with file and sha256")
            found[name] = KeptFile(self.path.resolve().parent / entry["file"], entry["sha256"])
        return found
