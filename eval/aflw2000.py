"""AFLW2000-3D: 68-point NME by yaw and pose error, original and re-annotated labels; dense scores where asked for.

Layout as published: `imageNNNNN.jpg` with `imageNNNNN.mat` (pt3d_68, Pose_Para), any number of them; beside them
the label arrays of `eval.aflw2000_arrays` (a photo's row is found by its original points, so that a part of the set is
fine).

MATLAB's first pixel is 1: 1 is subtracted from both label sets. For the re-annotated one this is what 3DDFA's published
benchmark does too (it compares the same 1-based predictions with both), so figures are comparable with the papers'.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from eval.aflw2000_arrays import LabelArrays, YawSplit
from eval.aflw2000_pose import true_landmarks_px
from eval.balanced import balanced_subset, curve
from eval.dense_truth import DenseTruth, DenseTruths
from eval.protocol import Damaged, Prediction, Record, Sample, sample_or_damage
from face3d.io import read_image
from face3d.metrics import angle_error_deg, landmark_box_px, mean_by_yaw, nme_percent

POSE_LIMIT_DEG = 99.0
"""Photos with an angle beyond it are left out of the pose error, as FSA-Net and all after it do."""
ANGLES = ("pitch", "yaw", "roll")


class Truth(NamedTuple):
    """Labels of one photo, 0-based pixels; `reannotated_px` is None where the label file is missing."""

    original_px: Float[np.ndarray, "68 2"]
    reannotated_px: Float[np.ndarray, "68 2"] | None
    euler_deg: Float[np.ndarray, " 3"]
    binned_yaw_deg: float
    dense: DenseTruth | None = None


class Aflw2000:
    """The benchmark on a folder of photos in the published layout.

    `split`: the yaw that photos are put into bins by, that of Pose_Para (`current`, 1312/383/305 photos) or of the
    label array that the papers used (`paper`, 1306/462/232; FileNotFoundError without it). `dense`: true meshes, which
    predicted ones are then scored against as well.
    """

    name = "AFLW2000-3D sparse"

    def __init__(self, folder: Path, split: YawSplit = "current", dense: DenseTruths | None = None) -> None:
        known = {file.with_suffix("") for suffix in ("jpg", "mat") for file in folder.glob(f"image*.{suffix}")}
        self.photos = sorted(stem.with_suffix(".jpg") for stem in known)
        if not any(photo.is_file() and photo.with_suffix(".mat").is_file() for photo in self.photos):
            raise FileNotFoundError(f"no image*.jpg in {folder} with a .mat: expected AFLW2000-3D's photos with theirs")
        self.labels, self.split, self.dense = LabelArrays.read(folder / "labels"), split, dense
        if split == "paper" and (self.labels is None or self.labels.paper_yaw_deg is None):
            raise FileNotFoundError(f"no label arrays with the papers' yaws in {folder / 'labels'}")

    def samples(self) -> Iterator[Sample | Damaged]:
        """Photos in file-name order; the box is the tight one of the original 68 points."""
        for photo in self.photos:
            yield sample_or_damage(photo.name, self._sample, photo)

    def _sample(self, photo: Path) -> Sample:
        """FileNotFoundError, ValueError where the photo or its .mat is missing or damaged."""
        truth, image = self._truth(photo.with_suffix(".mat")), read_image(photo)
        box_px = landmark_box_px(truth.original_px)
        centre_px = (box_px[:2] + box_px[2:]) / 2
        if not ((centre_px >= 0).all() and (centre_px < image.shape[1::-1]).all()):
            size = f"{image.shape[1]} x {image.shape[0]} px"
            raise ValueError(
                f"{photo.stem}.mat: the middle of pt3d_68, {centre_px.round(1).tolist()}, is not in {size}"
            )
        return Sample(photo.name, image, box_px, truth)

    def _truth(self, file: Path) -> Truth:
        fields = _read_mat(file)
        for name, shape in (("pt3d_68", (3, 68)), ("Pose_Para", (1, 7))):
            if name not in fields or fields[name].shape != shape:
                got = fields[name].shape if name in fields else "nothing"
                raise ValueError(f"{file.name}: expected field {name} {shape}, got {got}")
            if not np.isfinite(fields[name]).all():
                raise ValueError(f"{file.name}: {name} is not finite")
        euler_deg = np.rad2deg(fields["Pose_Para"][0, :3].astype(np.float64))
        original_px = true_landmarks_px(fields)[:, :2]
        row = self.labels.row_of(original_px) if self.labels else None
        again = self.labels.reannotated_px[row] if self.labels and row is not None else None
        dense = self.dense.of_photo(fields, file.name) if self.dense else None
        return Truth(original_px, again, euler_deg, self._binned_yaw_deg(row, euler_deg), dense)

    def _binned_yaw_deg(self, row: int | None, euler_deg: Float[np.ndarray, " 3"]) -> float:
        """The split's yaw; NaN, which is in no bin, for a photo that the papers' array does not have."""
        if self.split == "current":
            return float(euler_deg[1])
        yaws_deg = self.labels.paper_yaw_deg if self.labels else None
        return float("nan") if yaws_deg is None or row is None else float(yaws_deg[row])

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        """NME % of each landmark set against both label sets, angle errors (NaN beyond the limit), yaw of the split.

        With true meshes the scores of `DenseTruths`, too.
        """
        truth: Truth = sample.truth
        scores = {"yaw_deg": truth.binned_yaw_deg}
        for name, points in prediction.landmarks_px.items():
            scores[f"{name}/original"] = float(nme_percent(points, truth.original_px))
            if truth.reannotated_px is not None:
                scores[f"{name}/reannotated"] = float(nme_percent(points, truth.reannotated_px))
        if prediction.euler_deg is not None:
            error = angle_error_deg(prediction.euler_deg, truth.euler_deg)
            measured = bool((np.abs(truth.euler_deg) <= POSE_LIMIT_DEG).all())
            for angle, value in zip(ANGLES, error, strict=True):
                scores[f"pose/{angle}"] = float(value) if measured else float("nan")
        if self.dense and truth.dense:
            scores |= self.dense.scores(truth.dense, prediction)
        return scores

    def summarise(self, records: list[Record]) -> dict[str, Any]:
        """`nme_by_yaw` of each NME and dense score; pose MAE per angle, their mean, its photo count."""
        summary: dict[str, Any] = {}
        names = sorted({name for record in records for name in record.scores if name != "yaw_deg"})
        for name in names:
            kept = [record.scores for record in records if np.isfinite(record.scores.get(name, np.nan))]
            values = np.array([scores[name] for scores in kept])
            if not name.startswith("pose/"):
                summary[name] = nme_by_yaw(values, np.array([scores["yaw_deg"] for scores in kept]))
            elif len(values):
                summary[name] = {"mae_deg": float(values.mean()), "count": len(values)}
        angles = [summary[f"pose/{angle}"]["mae_deg"] for angle in ANGLES if f"pose/{angle}" in summary]
        if angles:
            summary["pose/mean"] = {"mae_deg": float(np.mean(angles)), "count": summary["pose/yaw"]["count"]}
        return summary


def _read_mat(file: Path) -> Mapping[str, np.ndarray]:
    """The fields of a .mat file. FileNotFoundError; ValueError where it is none."""
    if not file.is_file():
        raise FileNotFoundError(f"no {file.name} in {file.parent}")
    try:
        return loadmat(file)
    except (ValueError, TypeError, NotImplementedError, IndexError, OSError, MatReadError, zlib.error) as error:
        raise ValueError(f"{file.name} is not a .mat file of MATLAB 5 ({error})") from error


def nme_by_yaw(nme: Float[np.ndarray, " N"], yaw_deg: Float[np.ndarray, " N"]) -> dict[str, Any]:
    """Means by bin of yaw, and `balanced_curve` where the bins have enough photos (the whole set has)."""
    means: dict[str, Any] = mean_by_yaw(nme, yaw_deg)._asdict()
    chosen = balanced_subset(yaw_deg)
    return means if chosen is None else {**means, "balanced_curve": curve(nme[chosen])}
