"""AFLW2000-3D, sparse: 68-point NME by yaw and pose error, original and re-annotated labels.

Layout as published: `imageNNNNN.jpg` with `imageNNNNN.mat` (pt3d_68, Pose_Para), any number of them; beside them
`labels/AFLW2000-3D-Reannotated.pts68.npy` and `labels/AFLW2000-3D.pts68.npy` (2000 rows in file-name order; a
photo's row is found by its original points, so that a part of the set is fine).

MATLAB's first pixel is 1: 1 is subtracted from both label sets. For the re-annotated one this is what 3DDFA's published
benchmark does too (it compares the same 1-based predictions with both), so figures are comparable with the papers'.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat

from eval.protocol import Prediction, Record, Sample
from face3d.io import read_image
from face3d.metrics import angle_error_deg, landmark_box_px, mean_by_yaw, nme_percent

MATLAB_ORIGIN = 1.0
POSE_LIMIT_DEG = 99.0
"""Photos with an angle beyond it are left out of the pose error, as FSA-Net and all after it do."""
ANGLES = ("pitch", "yaw", "roll")


class Truth(NamedTuple):
    """Labels of one photo, 0-based pixels; `reannotated_px` is None where the label file is missing."""

    original_px: Float[np.ndarray, "68 2"]
    reannotated_px: Float[np.ndarray, "68 2"] | None
    euler_deg: Float[np.ndarray, " 3"]


class Aflw2000:
    """The benchmark on a folder of photos in the published layout."""

    name = "AFLW2000-3D sparse"

    def __init__(self, folder: Path) -> None:
        self.photos = sorted(folder.glob("image*.jpg"))
        if not self.photos:
            raise FileNotFoundError(f"no image*.jpg in {folder}: expected AFLW2000-3D's photos with their .mat files")
        missing = [photo.name for photo in self.photos if not photo.with_suffix(".mat").is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(self.photos)} photos in {folder} have no .mat: {missing[:3]}"
            )
        self.labels = _LabelRows.read(folder / "labels")

    def samples(self) -> Iterator[Sample]:
        """Photos in file-name order; the box is the tight one of the original 68 points."""
        for photo in self.photos:
            truth = self._truth(photo.with_suffix(".mat"))
            yield Sample(photo.name, read_image(photo), landmark_box_px(truth.original_px), truth)

    def _truth(self, file: Path) -> Truth:
        fields = loadmat(file)
        for name, shape in (("pt3d_68", (3, 68)), ("Pose_Para", (1, 7))):
            if name not in fields or fields[name].shape != shape:
                got = fields[name].shape if name in fields else "nothing"
                raise ValueError(f"{file.name}: expected field {name} {shape}, got {got}")
        points = fields["pt3d_68"].astype(np.float64)
        euler_deg = np.rad2deg(fields["Pose_Para"][0, :3].astype(np.float64))
        again = self.labels.reannotated(points) if self.labels else None
        return Truth(points[:2].T - MATLAB_ORIGIN, None if again is None else again.T - MATLAB_ORIGIN, euler_deg)

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """NME % of each landmark set against both label sets, angle errors (NaN beyond the limit), true yaw."""
        truth: Truth = sample.truth
        scores = {"yaw_deg": float(truth.euler_deg[1])}
        for name, points in prediction.landmarks_px.items():
            scores[f"{name}/original"] = float(nme_percent(points, truth.original_px))
            if truth.reannotated_px is not None:
                scores[f"{name}/reannotated"] = float(nme_percent(points, truth.reannotated_px))
        if prediction.euler_deg is not None:
            error = angle_error_deg(prediction.euler_deg, truth.euler_deg)
            measured = bool((np.abs(truth.euler_deg) <= POSE_LIMIT_DEG).all())
            for angle, value in zip(ANGLES, error, strict=True):
                scores[f"pose/{angle}"] = float(value) if measured else float("nan")
        return scores

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """NME by yaw bin for each landmark and label set; pose MAE per angle, their mean, its photo count."""
        summary: dict[str, Any] = {}
        names = sorted({name for record in records for name in record.scores if name != "yaw_deg"})
        for name in names:
            kept = [record.scores for record in records if np.isfinite(record.scores.get(name, np.nan))]
            values = np.array([scores[name] for scores in kept])
            if not name.startswith("pose/"):
                summary[name] = mean_by_yaw(values, np.array([scores["yaw_deg"] for scores in kept]))._asdict()
            elif len(values):
                summary[name] = {"mae_deg": float(values.mean()), "count": len(values)}
        angles = [summary[f"pose/{angle}"]["mae_deg"] for angle in ANGLES if f"pose/{angle}" in summary]
        if angles:
            summary["pose/mean"] = {"mae_deg": float(np.mean(angles)), "count": summary["pose/yaw"]["count"]}
        return summary


class _LabelRows(NamedTuple):
    original: Float[np.ndarray, "N 3 68"]
    again: Float[np.ndarray, "N 2 68"]

    @classmethod
    def read(cls, folder: Path) -> "_LabelRows | None":
        files = [folder / f"AFLW2000-3D{kind}.pts68.npy" for kind in ("", "-Reannotated")]
        if not all(file.is_file() for file in files):
            return None
        original, again = (np.load(file, allow_pickle=False).astype(np.float64) for file in files)
        if original.shape[1:] != (3, 68) or again.shape != (len(original), 2, 68):
            raise ValueError(f"{folder}: expected (N, 3, 68) and (N, 2, 68), got {original.shape} and {again.shape}")
        return cls(original, again)

    def reannotated(self, points: Float[np.ndarray, "3 68"]) -> Float[np.ndarray, "2 68"] | None:
        """The row whose original points are these."""
        difference = np.abs(self.original[:, :2] - points[None, :2]).max((1, 2))
        row = int(difference.argmin())
        return self.again[row] if difference[row] < 1e-2 else None
