"""Folders that steps of `train.prepare` make: pictures with arrays beside them (`images.npy`, a memory map, and an npz
with one row a picture), and folders with a header that says what they are made of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def load_folder(folder: Path, rows: str, made_by: str) -> dict[str, np.ndarray]:
    """Arrays of `folder/rows` and `images`. FileNotFoundError names the step of `train.prepare` that makes them."""
    if not (folder / rows).is_file():
        raise FileNotFoundError(f"{folder}/{rows}: not there; make it with `python -m train.prepare {made_by}`")
    with np.load(folder / rows, allow_pickle=False) as file:
        fields = {name: file[name] for name in file.files}
    return {**fields, "images": np.load(folder / "images.npy", mmap_mode="r")}


def begun_folder(out: Path, header: str, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the header of a folder that was begun before says; None of an empty or a new folder.

    ValueError: it was made of something else, or holds files of another step."""
    path = out / header
    if path.exists():
        there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = {name: there.get(name) for name in made_of}
        if own != dict(made_of):
            raise ValueError(f"{path} says {own}, expected {dict(made_of)}: take the same settings, or another folder")
        return there
    if out.is_dir() and any(each.suffix != ".part" for each in out.iterdir()):
        raise ValueError(f"{out} holds files but no {header}: give an empty folder, or one that was begun by this step")
    return None
