"""Predictions are exported first and scored after: a folder of .npz, and what made them in `method.json`.

`method.json` names the method, its weights and model by checksum, the benchmark and the crop. It is written before the
first prediction, and again with `left_out` after the last: an export that was broken off is known, and not scored.
Predictions are stored as they are, so that scoring the folder gives what scoring the method gave.
"""

import json
from pathlib import Path
from typing import Any

from eval.method_files import file_stem
from eval.prediction_file import prediction_bytes, read_prediction
from eval.protocol import Crop, LeftOut, Method, Pictured, Prediction, Sample, Stored, predict
from eval.report import environment
from face3d.io import replace_files

FORMAT = "face3d-predictions-1"
DESCRIPTION = "method.json"

Configuration = dict[str, Any]
"""What makes two runs the same: method, weights, model, benchmark, crop."""


def export(
    benchmark: Pictured, method: Method | Stored, crop: Crop, folder: Path, configuration: Configuration
) -> "Exported":
    """Write what `method` says of every sample into `folder`, which is made; the predictions, to be scored.

    Raises ValueError where the folder holds anything but an export of the same configuration.
    """
    if folder.is_dir() and any(folder.iterdir()):
        check_same(folder, configuration)
    head = {"format": FORMAT, "configuration": configuration, "name": method.name, "environment": environment()}
    _write(folder, head)
    left_out, count = {}, 0
    for sample in benchmark.samples():
        count += 1
        if not isinstance(sample, Sample):
            left_out[sample.name] = sample.problem
            continue
        try:
            content = prediction_bytes(predict(method, sample, crop))
        except LeftOut as problem:
            left_out[sample.name] = str(problem)
        else:
            replace_files({_file(folder, sample): content})
    _write(folder, {**head, "samples": count, "left_out": left_out})
    return Exported(folder)


class Exported:
    """An exported folder. FileNotFoundError without its `method.json`, ValueError where it was broken off."""

    def __init__(self, folder: Path) -> None:
        described = _read(folder)
        if "left_out" not in described:
            raise ValueError(f"{folder}: the export was broken off; run it again")
        self.folder, self.name = folder, str(described["name"])
        self.configuration: Configuration = described["configuration"]
        self._left_out: dict[str, str] = described["left_out"]

    def of_sample(self, sample: Sample, crop: Crop) -> Prediction:
        """The prediction as it was exported. LeftOut as it was then, or where the file is missing."""
        if sample.name in self._left_out:
            raise LeftOut(self._left_out[sample.name])
        file = _file(self.folder, sample)
        if not file.is_file():
            raise LeftOut(f"no file {file.name}")
        try:
            return read_prediction(file)
        except ValueError as error:
            raise LeftOut(str(error)) from error


def is_exported(folder: Path) -> bool:
    """Whether the folder describes itself as an export."""
    return (folder / DESCRIPTION).is_file()


def check_same(folder: Path, asked: Configuration) -> None:
    """Raises ValueError where the folder's predictions are of another configuration; only keys of `asked` count."""
    made: Configuration = _read(folder)["configuration"]
    different = [f"{key}: {made.get(key)}, asked {asked[key]}" for key in asked if made.get(key) != asked[key]]
    if different:
        raise ValueError(f"{folder} holds predictions of another configuration: {'; '.join(different)}")


def _file(folder: Path, sample: Sample) -> Path:
    return folder / f"{file_stem(sample.name)}.npz"


def _write(folder: Path, content: dict[str, Any]) -> None:
    replace_files({folder / DESCRIPTION: (json.dumps(content, indent=1) + "\n").encode()})


def _read(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(f"no {DESCRIPTION} in {folder}: not a folder that --export wrote")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file}: expected the format {FORMAT!r}")
    return content
