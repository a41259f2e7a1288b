"""Resumable training states on disk: written in one move, checked when read, the last few kept."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

_NAME = re.compile(r"step-(\d{9})\.pt")


def save_state(folder: Path, step: int, state: dict[str, Any], keep: int = 3) -> Path:
    """Write `state` (tensors, numbers, strings, nested) as step-<step>.pt aside, then in one move; drop older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.pt"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    for old in states(folder)[keep:]:
        old.unlink()
    return path


def states(folder: Path) -> list[Path]:
    """Checkpoint files of a folder, newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)


def is_whole(path: Path) -> bool:
    """Whether a file is an archive all of whose parts have the checksums they were written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def load_latest(folder: Path) -> tuple[dict[str, Any] | None, list[Path]]:
    """The newest whole state, or None where there is none, and the damaged files that were passed over.

    Nothing but tensors and plain values is read (`weights_only`).
    """
    damaged: list[Path] = []
    for path in states(folder):
        if is_whole(path):
            return torch.load(path, map_location="cpu", weights_only=True), damaged
        damaged.append(path)
    return None, damaged
