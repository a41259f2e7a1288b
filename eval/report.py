"""A run as JSON: every value of every sample, the figures of the table, and the machine that made them."""

import json
import math
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import face3d
from eval.command_line import recorded_command
from eval.protocol import Run
from face3d.io import replace_files

FORMAT = "face3d-eval-1"
EXPECTED = f"expected what `python -m eval BENCHMARK --json FILE` writes (format {FORMAT})"
_LEARNED = (".npz", ".safetensors")
_PACKAGES = ("face3d", "torch", "numpy", "scipy", "opencv-python-headless", "numba", "trimesh")


def environment() -> dict[str, Any]:
    """Versions, processor and commit that a figure depends on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in _PACKAGES},
        "embedded_sha256": embedded_sha256(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None if found.returncode == 0 else None


def embedded_sha256() -> dict[str, str]:
    """Checksums of what face3d embeds, which a file is compared with when it is loaded, by name."""
    manifest = Path(face3d.__file__).parent / "assets" / "manifest.json"
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    return {name: entry["sha256"] for name, entry in entries.items() if Path(name).suffix in _LEARNED}


def run_as_dict(run: Run) -> dict[str, Any]:
    """Summary, samples and what was left out of one run."""
    left_out = {record.name: record.problem for record in run.records if record.problem is not None}
    return {
        "benchmark": run.benchmark,
        "method": run.method,
        "crop": run.crop,
        "samples_in_all": len(run.records),
        "left_out": left_out,
        "summary": run.summary,
        "samples": {record.name: record.scores for record in run.records if record.problem is None},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with format, command and environment, NaN as null. The file appears complete or not at all."""
    whole = {"format": FORMAT, "command": recorded_command(), "environment": environment(), **content}
    replace_files({path: (json.dumps(_plain(whole), indent=1, allow_nan=False) + "\n").encode()})


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. FileNotFoundError, ValueError: they name the file, and say what was expected."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: {EXPECTED}")
    try:
        whole = json.loads(path.read_bytes())
    except ValueError as error:  # also of text that is not UTF-8
        raise ValueError(f"{path} is not JSON ({error}): {EXPECTED}") from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        got = repr(whole.get("format")) if isinstance(whole, dict) else type(whole).__name__
        raise ValueError(f"{path} has format {got}: {EXPECTED}")
    return whole


def _plain(value: Any) -> Any:
    """Python scalars, lists and dicts; what is not finite becomes None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
