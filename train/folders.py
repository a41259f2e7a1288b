"""Folders of pictures with arrays beside them: `images.npy`, a memory map, and an npz with one row a picture."""

from pathlib import Path

import numpy as np


def load_folder(folder: Path, rows: str, made_by: str) -> dict[str, np.ndarray]:
    """Arrays of `folder/rows` and `images`. FileNotFoundError names the step of `train.prepare` that makes them."""
    if not (folder / rows).is_file():
        raise FileNotFoundError(f"{folder}/{rows}: not there; make it with `python -m train.prepare {made_by}`")
    with np.load(folder / rows, allow_pickle=False) as file:
        fields = {name: file[name] for name in file.files}
    return {**fields, "images": np.load(folder / "images.npy", mmap_mode="r")}
