"""The methods that a benchmark command can measure, by name, and what the command line says of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.protocol import Crop, Method, Pictured, Stored

if TYPE_CHECKING:
    from face3d.morphable import MorphableModel

ASSETS = ("reconstruct.safetensors", "detector.safetensors")
MODEL = "face3d_model.npz"
OF_THE_MODEL = ("face3d", "mean-face")
"""Methods whose meshes are those of the morphable model."""


@dataclass(frozen=True)
class Choice:
    """What was asked for: a method by name, and the options that some methods take.

    `python` runs the adapter of a system with an environment of its own; `predictions` is a folder of results that are
    there already, `export` one that they are written to before they are scored.
    """

    method: str = "face3d"
    weights: Path | None = None
    model: Path | None = None
    device: str | None = None
    python: Path | None = None
    predictions: Path | None = None
    export: Path | None = None

    def source(self, benchmark: Pictured, crop: Crop) -> Method | Stored:
        """Where the benchmark's predictions come from: the method, or a folder of what it said.

        Raises ValueError for options that do not go together and for predictions of another configuration than this,
        and what the method's own making raises.
        """
        from eval.predictions_folder import Exported, check_same, export

        self._check()
        if self.predictions is not None and self.method != "files":
            check_same(self.predictions, self.configuration(benchmark, crop))
            return Exported(self.predictions)
        method = METHODS[self.method](self, benchmark, crop)
        if self.export is None:
            return method
        return export(benchmark, method, crop, self.export, self.configuration(benchmark, crop))

    def part(self, name: str) -> "Choice":
        """The same for one of several benchmarks of a command: its predictions and its export lie in folder `name`."""
        inside = {key: folder / name for key in ("predictions", "export") if (folder := getattr(self, key)) is not None}
        return replace(self, **inside)

    def configuration(self, benchmark: Pictured, crop: Crop) -> dict[str, Any]:
        """What `method.json` says, and what must be the same for predictions to be used again."""
        asked: dict[str, Any] = {"method": self.method, "benchmark": benchmark.name, "crop": crop}
        if self.method == "face3d":
            asked["weights_sha256"] = _checksums(ASSETS if self.weights is None else ASSETS[1:], self.weights)
        if self.method in OF_THE_MODEL:
            asked["model_sha256"] = _checksums((MODEL,) if self.model is None else (), self.model)
        return asked

    def morphable_model(self) -> "MorphableModel":
        """The model of `model`, else the embedded one: for the mean face, and what a benchmark needs of it."""
        from face3d.checkpoint import asset_path
        from face3d.morphable import MorphableModel

        return MorphableModel.load(self.model or asset_path(MODEL))

    def _check(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"no method {self.method!r}: choose one of {', '.join(METHODS)}")
        if self.method == "files" and self.predictions is None:
            raise ValueError("--method files needs --predictions FOLDER")
        if self.predictions is not None and self.export is not None:
            raise ValueError("--predictions are there already: leave --export out")
        if self.weights is not None and self.method != "face3d":
            raise ValueError("--weights go with --method face3d only")


def _checksums(assets: tuple[str, ...], file: Path | None) -> list[str]:
    """SHA-256 of the user's file where there is one, and of embedded files."""
    from face3d.checkpoint import asset_path, sha256_of

    own = [] if file is None else [sha256_of(file)]
    return own + [sha256_of(asset_path(name)) for name in assets]


def face3d(choice: Choice, benchmark: Pictured, crop: Crop) -> Method:
    """face3d with the embedded weights or any others."""
    from eval.command import face3d_method

    return face3d_method(choice.weights, choice.model, choice.device)


def mean_face(choice: Choice, benchmark: Pictured, crop: Crop) -> Method:
    """The floor."""
    from eval.mean_face import MeanFace

    return MeanFace(choice.morphable_model())


def files(choice: Choice, benchmark: Pictured, crop: Crop) -> Stored:
    """What any system wrote, or an export of any method for this benchmark and crop."""
    from eval.method_files import FromFiles
    from eval.predictions_folder import Exported, check_same, is_exported

    assert choice.predictions is not None
    if not is_exported(choice.predictions):
        return FromFiles(choice.predictions)
    check_same(choice.predictions, {"benchmark": benchmark.name, "crop": crop})
    return Exported(choice.predictions)


def mediapipe(choice: Choice, benchmark: Pictured, crop: Crop) -> Stored:
    """MediaPipe Face Mesh in a Python that has it."""
    from eval.method_other_python import OtherPython

    if choice.python is None:
        raise ValueError("--method mediapipe needs --python, a Python with mediapipe==0.10.21 (or FACE3D_EVAL_PYTHON)")
    return OtherPython("mediapipe", choice.python, benchmark, crop)


def face_alignment(choice: Choice, benchmark: Pictured, crop: Crop) -> Method:
    """face-alignment where it is installed."""
    from eval.method_face_alignment import FaceAlignment

    return FaceAlignment(choice.device)


METHODS: dict[str, Callable[[Choice, Pictured, Crop], Method | Stored]] = {
    "face3d": face3d,
    "mean-face": mean_face,
    "files": files,
    "mediapipe": mediapipe,
    "face-alignment": face_alignment,
}
