"""AFLW2000-3D's label arrays as 3DDFA publishes them (cleardusk/3DDFA, test.configs): 2000 rows in file-name order.

AFLW2000-3D.pts68.npy               (2000, 3, 68)  the original points, a model fitted by 3DDFA's authors; 1-based
AFLW2000-3D-Reannotated.pts68.npy   (2000, 2, 68)  the re-annotated ones; 1-based as the benchmark takes them
AFLW2000-3D.pose.npy                (2000,)        yaw in degrees, that of Pose_Para: the current split
AFLW2000-3D-new.pose.npy            (2000,)        the yaws that the papers' tables were made with
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

MATLAB_ORIGIN = 1.0
YawSplit = Literal["current", "paper"]
_SAME_PX = 1e-2


class LabelArrays(NamedTuple):
    """Points in 0-based pixels, yaws in degrees; a yaw array is None where its file is missing."""

    original_px: Float[np.ndarray, "N 68 2"]
    reannotated_px: Float[np.ndarray, "N 68 2"]
    current_yaw_deg: Float[np.ndarray, " N"] | None
    paper_yaw_deg: Float[np.ndarray, " N"] | None

    @classmethod
    def read(cls, folder: Path) -> "LabelArrays | None":
        """The arrays of a folder; None where one of the point files is missing. ValueError for another shape."""
        files = [folder / f"AFLW2000-3D{kind}.pts68.npy" for kind in ("", "-Reannotated")]
        if not all(file.is_file() for file in files):
            return None
        original, again = (np.load(file, allow_pickle=False).astype(np.float64) for file in files)
        if original.shape[1:] != (3, 68) or again.shape != (len(original), 2, 68):
            raise ValueError(f"{folder}: expected (N, 3, 68) and (N, 2, 68), got {original.shape} and {again.shape}")
        yaws = (_yaws(folder / f"AFLW2000-3D{kind}.pose.npy", len(original)) for kind in ("", "-new"))
        points = (array[:, :2].transpose(0, 2, 1) - MATLAB_ORIGIN for array in (original, again))
        return cls(*points, *yaws)

    def row_of(self, original_px: Float[np.ndarray, "68 2"]) -> int | None:
        """The row whose original points are these."""
        difference = np.abs(self.original_px - original_px).max((1, 2))
        row = int(difference.argmin())
        return row if difference[row] < _SAME_PX else None


def _yaws(file: Path, count: int) -> Float[np.ndarray, " N"] | None:
    if not file.is_file():
        return None
    yaws = np.load(file, allow_pickle=False).astype(np.float64)
    if yaws.shape != (count,):
        raise ValueError(f"{file}: expected ({count},), got {yaws.shape}")
    return yaws
