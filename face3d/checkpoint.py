"""Weights on disk: safetensors with a JSON description inside, and the checksums of what the package embeds.

Nothing here is ever unpickled. Floating tensors are stored as float16 and come back as float32.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "face3d-weights-1"
_HEADER_KEY = "face3d"
_FLOAT16_LARGEST = 65504.0
_ASSETS = Path(__file__).parent / "assets"
_ADVICE = "Reinstall face3d, or fetch the repository's file again."


def save_weights(path: str | Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a state dictionary with its description, aside first and then in one move.

    Floating tensors become float16, except those beyond its range, which stay float32.
    Raises ValueError where a tensor holds a NaN or infinity, naming it.
    """
    tensors = {name: _to_stored(name, tensor) for name, tensor in state.items()}
    header = {_HEADER_KEY: json.dumps({"format": FORMAT, **meta})}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.touch()  # with the permissions that any new file gets; safetensors keeps its files to their owner
        mode = aside.stat().st_mode
        save_file(tensors, str(aside), metadata=header)
        aside.chmod(mode)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read (state dictionary in float32 on the CPU, description) as `save_weights` wrote them.

    Raises FileNotFoundError where there is no file; ValueError where it is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}. Give a .safetensors file that `python -m train` wrote.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER_KEY)
            state = {name: _from_stored(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}). {_ADVICE}") from error
    if header is None:
        raise ValueError(f"{path} has no face3d description: expected weights that `python -m train` wrote.")
    meta = json.loads(header)
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path} has format {meta.get('format')!r}, expected {FORMAT!r}. {_ADVICE}")
    return state, meta


def asset_path(name: str, folder: str | Path | None = None) -> Path:
    """Path of an embedded file, after its SHA-256 was compared with `manifest.json` (once a process).

    Raises FileNotFoundError for a missing file or manifest, ValueError for an altered file; both say what to do.
    """
    root = Path(folder) if folder is not None else _ASSETS
    manifest = root / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"the list of embedded files {manifest} is missing. {_ADVICE}")
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    if name not in entries:
        raise FileNotFoundError(f"{name!r} is not listed in {manifest}; it has {sorted(entries)}.")
    path = root / name
    if not path.is_file():
        raise FileNotFoundError(f"the embedded file {path} is missing. {_ADVICE}")
    expected, stat = entries[name]["sha256"], path.stat()
    got = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if got != expected:
        raise ValueError(f"the embedded file {path} was altered: SHA-256 is {got}, expected {expected}. {_ADVICE}")
    return path


def write_manifest(folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """List every asset's SHA-256 and size in `manifest.json`, after an asset was changed. Returns the list."""
    root = Path(folder) if folder is not None else _ASSETS
    files = sorted(p for p in root.iterdir() if p.is_file() and p.name != "manifest.json" and p.name[0] not in "._")
    entries = {p.name: {"sha256": sha256_of(p), "bytes": p.stat().st_size} for p in files}
    aside = root / f".manifest.json.{os.getpid()}"
    aside.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, root / "manifest.json")
    return entries


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. OSError: it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    return sha256_of(path)


def _to_stored(name: str, tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor.clone()
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"weights {name!r} hold a NaN or infinity: use an earlier checkpoint.")
    small = tensor.numel() == 0 or float(tensor.abs().max()) <= _FLOAT16_LARGEST
    return tensor.to(torch.float16 if small else torch.float32, copy=True)


def _from_stored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
