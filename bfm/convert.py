"""Which official file is it, and from there to the face3d format."""

import zipfile
from pathlib import Path

import scipy.io

from bfm import restricted_pickle
from bfm.bfm300wlp import read_3ddfa_v2, read_model_shape
from bfm.bfm2009 import read_bfm2009
from bfm.bfm2017 import read_bfm2017
from bfm.flame import read_flame
from bfm.ict import NEUTRAL, read_ict
from bfm.landmark_file import read_landmarks
from bfm.raw import RawModel, assemble
from face3d.morphable_file import MorphableArrays

KNOWN = (
    "01_MorphableModel.mat (BFM 2009), Model_Shape.mat (300W-LP, 3DDFA), .h5 (BFM 2017 and 2019), generic_model.pkl or "
    f"flame2023.pkl or .npz (FLAME), a folder with {NEUTRAL} or ict_facekit.npz (ICT-FaceKit)"
)


def convert(path: Path, expression: Path | None = None, landmarks: Path | None = None) -> MorphableArrays:
    """Read any of the official files (`KNOWN`) into millimetres and face3d's axes.

    `expression` is the file of the expressions where it does not lie beside a BFM 2009 file; `landmarks` see
    `bfm.landmark_file`. FileNotFoundError and ValueError name the file and the field.
    """
    raw = read_official(path, expression)
    try:
        return assemble(raw, read_landmarks(landmarks, raw.triangles) if landmarks else None)
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def read_official(path: Path, expression: Path | None = None) -> RawModel:
    """Read any of the official files as it is. ValueError says which are known."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_folder(path, expression)
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return _read_mat(path, expression)
    if expression is not None:
        raise ValueError(f"{path}: its expressions are in the file itself; --expression is for BFM 2009 only")
    if suffix in (".h5", ".hdf5"):
        return read_bfm2017(path)
    if suffix == ".pkl":
        return read_3ddfa_v2(path) if "w_shp" in restricted_pickle.load(path) else read_flame(path)
    if suffix == ".npz":
        return _read_npz(path)
    raise ValueError(f"{path}: not one of the known files: {KNOWN}")


def _read_folder(folder: Path, expression: Path | None) -> RawModel:
    if (folder / NEUTRAL).is_file():
        return read_ict(folder)
    if (folder / "FaceXModel" / NEUTRAL).is_file():
        return read_ict(folder / "FaceXModel")
    for name in ("01_MorphableModel.mat", "Model_Shape.mat", "generic_model.pkl"):
        if (folder / name).is_file():
            return read_official(folder / name, expression)
    raise ValueError(f"{folder}: none of the known files is in this folder: {KNOWN}")


def _read_mat(path: Path, expression: Path | None) -> RawModel:
    """BFM 2009 and Model_Shape.mat are told apart by their variables; the readers report everything else."""
    try:
        with path.open("rb") as file:
            names = {name for name, _, _ in scipy.io.whosmat(file)}
    except Exception:  # whatever is wrong with the file, the reader says it better
        names = set()
    if names & {"mu_shape", "w", "sigma", "keypoints"} or path.name == "Model_Shape.mat":
        return read_model_shape(path, expression)
    return read_bfm2009(path, expression)


def _read_npz(path: Path) -> RawModel:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a readable .npz ({error}); it is truncated or another kind of file") from error
    if "meta" in names:
        raise ValueError(f"{path}: already in the face3d format; look at it with `python -m bfm show {path}`")
    if names & {"v_template", "shapedirs"}:
        return read_flame(path)
    return read_ict(path)
