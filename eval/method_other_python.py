"""A system in a Python of its own as a method: samples are written to a folder, its script reads them and answers.

The script is run as `PYTHON SCRIPT SAMPLES PREDICTIONS`. SAMPLES holds a PNG a sample and `samples.json`: a list of
{"name", "image", "box_px"}, the box null where the method is to find the face. Into PREDICTIONS it writes the files
that `eval.method_files` reads, NAME.npz and so on, nothing for a face that it does not find.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from eval.method_files import FromFiles, NoFile, file_stem
from eval.protocol import Crop, Damaged, LeftOut, Pictured, Prediction, Sample, whole
from face3d.io import png_bytes, replace_files

ADAPTERS = Path(__file__).resolve().parent / "adapters"
LIST = "samples.json"
_LINES_OF_ERROR = 5


class OtherPython:
    """The predictions of a script for all samples of a benchmark.

    Raises FileNotFoundError for a Python that is not there, ValueError, with the end of what it said, where the script
    fails.
    """

    def __init__(self, name: str, python: Path, benchmark: Pictured, crop: Crop) -> None:
        self.name = name
        self._answers: dict[str, Prediction | LeftOut] = {}
        with TemporaryDirectory(prefix="face3d-eval-") as folder:
            samples, predictions = Path(folder) / "samples", Path(folder) / "predictions"
            predictions.mkdir()
            write_samples(benchmark.samples(), samples, crop)
            _run(python, ADAPTERS / f"{name}_faces.py", samples, predictions)
            files = FromFiles(predictions, name)
            for sample in whole(benchmark.samples()):
                try:
                    self._answers[sample.name] = files.of_sample(sample, crop)
                except NoFile:
                    self._answers[sample.name] = LeftOut(f"{name} found no face")
                except LeftOut as problem:
                    self._answers[sample.name] = problem

    def of_sample(self, sample: Sample, crop: Crop) -> Prediction:
        """As the script wrote it, checked. LeftOut where it found no face."""
        answer = self._answers[sample.name]
        if isinstance(answer, LeftOut):
            raise answer
        return answer


def write_samples(samples: Iterable[Sample | Damaged], folder: Path, crop: Crop) -> None:
    """Write the photos that are whole as PNG, and then the list of them, for any other system to run on."""
    listed = []
    for sample in whole(samples):
        image = f"{file_stem(sample.name)}.png"
        replace_files({folder / image: png_bytes(sample.image)})
        box = sample.box_px.tolist() if crop == "gt" else None
        listed.append({"name": file_stem(sample.name), "image": image, "box_px": box})
    replace_files({folder / LIST: (json.dumps(listed, indent=1) + "\n").encode()})


def _run(python: Path, script: Path, samples: Path, predictions: Path) -> None:
    try:
        done = subprocess.run([python, script, samples, predictions], capture_output=True, text=True, check=False)
    except (FileNotFoundError, PermissionError) as error:
        raise FileNotFoundError(f"{python} cannot be run ({error.strerror}): name the Python with --python") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LINES_OF_ERROR:])
        raise ValueError(f"{script.name} failed in {python}:\n{said}")
