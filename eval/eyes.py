"""Are eyes shut that are shut? Generated people, every other with shut eyes, and photos of people who are held out.

An eye's opening is the distance between its upper and lower lid in the picture, by the 68 landmarks, in millimetres; a
face's the mean of both eyes. The truth of photos are fits to pseudo-landmarks of their lids: they are not exact; what
they call shut was looked at.

open_mm, shut_mm   mean opening found where the true one is 6 mm or more, and where it is less than 2.5 mm
auc                how well the opening found tells the two apart: 1 always, 0.5 by chance
error_mm           mean difference between the opening found and the true one, of all faces
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from eval.people import GeneratedPeople, Person
from eval.protocol import Method, Sample
from face3d.camera import project
from face3d.metrics import area_under_roc, landmark_box_px
from face3d.morphable import MorphableModel
from face3d.types import ScaledOrthography

LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
SHUT_MM, OPEN_MM = 2.5, 6.0
HELD_OUT = 50  # one person in so many, as stages `pgn` and `single` leave them out
SHUT_BY = (0.85, 1.0)
PEOPLE_SEED = 20_260


class KnownFace(NamedTuple):
    """A picture of a face, its 68 landmarks in it, and pixels a millimetre."""

    name: str
    image: UInt8[np.ndarray, "S S 3"]
    landmarks_px: Float[np.ndarray, "68 2"]
    px_per_mm: float


class BlinkingPeople(GeneratedPeople):
    """Generated people, every other of whom, drawn at random, has both eyes shut.

    ValueError: the model has no expressions named after ARKit."""

    def __init__(self, model: MorphableModel, count: int = 100, seed: int = PEOPLE_SEED) -> None:
        super().__init__(model, count, seed)
        names = self.model.expression_names or ()
        self.lids = [at for at, name in enumerate(names) if name in ("eyeBlinkLeft", "eyeBlinkRight")]
        if len(self.lids) != 2:
            raise ValueError(f"the model's expressions are {names[:5]}...: expected ARKit's names, with eyeBlinkLeft")

    def _draw_coefficients(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        identity, expression, colours = super()._draw_coefficients(rng)
        expression[:, self.lids] = float(rng.uniform(*SHUT_BY)) if rng.random() < 0.5 else 0.0
        return identity, expression, colours

    def faces(self) -> list[KnownFace]:
        """All of them."""
        return [self._face(sample) for sample in self.samples()]

    def _face(self, sample: Sample) -> KnownFace:
        truth: Person = sample.truth
        points_px = self.model.landmarks_of(torch.from_numpy(truth.vertices_px).float()[None])[0].numpy()
        return KnownFace(sample.name, sample.image, points_px, truth.px_per_mm)


def held_out_faces(folder: Path, model: MorphableModel, most_a_person: int = 8) -> list[KnownFace]:
    """Faces of held-out people in a folder of `python -m train.prepare photos`: of each at most so many, those whose
    eyes are most shut and as many that are drawn at random.

    FileNotFoundError: no such files. ValueError: fits of another model, or nobody is held out."""
    for name in ("fits.npz", "images.npy"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}; make the folder with `python -m train.prepare photos`")
    with np.load(folder / "fits.npz", allow_pickle=False) as file:
        fits = {name: file[name] for name in file.files}
    expected = (model.identity_count, model.expression_count)
    if (fits["identity"].shape[1], fits["expression"].shape[1]) != expected:
        raise ValueError(f"{folder}/fits.npz: fits of another model; expected {expected} identities and expressions")
    person = np.unique(fits["persons"], return_inverse=True)[1]
    rows = np.flatnonzero(person % HELD_OUT == 0)
    if not len(rows):
        raise ValueError(f"{folder}: nobody of {len(set(person))} people is held out")
    points_px = _landmarks_px(model, fits, rows)
    chosen = _some_of_each(person[rows], opening_mm(points_px, fits["scale"][rows]), most_a_person)
    images = np.load(folder / "images.npy", mmap_mode="r")
    return [
        KnownFace(
            str(fits["names"][rows[at]]), np.array(images[rows[at]]), points_px[at], float(fits["scale"][rows[at]])
        )
        for at in chosen
    ]


def _landmarks_px(model: MorphableModel, fits: dict[str, np.ndarray], rows: np.ndarray) -> Float[np.ndarray, "N 68 2"]:
    identity, expression = (torch.from_numpy(fits[name][rows]).float() for name in ("identity", "expression"))
    points = model.landmarks(identity.to(model.mean.device), expression.to(model.mean.device)).cpu()
    pose = ScaledOrthography(*(torch.from_numpy(fits[name][rows]) for name in ScaledOrthography._fields))
    return project(points, pose)[..., :2].numpy()


def _some_of_each(person: Int[np.ndarray, " N"], opening: Float[np.ndarray, " N"], most: int) -> Int[np.ndarray, " M"]:
    rng = np.random.default_rng(0)
    chosen = []
    for one in np.unique(person):
        own = np.flatnonzero(person == one)
        least = own[np.argsort(opening[own], kind="stable")][: most // 2]
        others = np.setdiff1d(own, least)
        chosen += [*least, *rng.permutation(others)[: most - len(least)]]
    return np.sort(np.array(chosen))


def opening_mm(
    landmarks_px: Float[np.ndarray, "N 68 _"], px_per_mm: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Mean distance of upper and lower lids in the photo, in mm."""
    upper, lower = ([pair[side] for pair in LIDS] for side in (0, 1))
    apart = landmarks_px[:, upper, :2] - landmarks_px[:, lower, :2]
    return np.asarray(np.linalg.norm(apart, axis=-1).mean(1) / px_per_mm)


def score_eyes(
    faces: list[KnownFace], method: Method, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> dict[str, Any]:
    """The openings of every face by each set of landmarks that the method gives, and the figures of the module's text.

    ValueError: no eye is shut, or none open, so that there is nothing to tell apart."""
    true = np.array([float(opening_mm(face.landmarks_px[None], np.array([face.px_per_mm]))[0]) for face in faces])
    if not (true < SHUT_MM).any() or not (true >= OPEN_MM).any():
        raise ValueError(
            f"of {len(faces)} faces {int((true < SHUT_MM).sum())} have their eyes shut: nothing to tell apart"
        )
    found: dict[str, list[float]] = {}
    for at in progress(range(len(faces))):
        face = faces[at]
        prediction = method.predict(face.image, landmark_box_px(face.landmarks_px))
        for name, points in prediction.landmarks_px.items():
            found.setdefault(name, []).append(float(opening_mm(points[None], np.array([face.px_per_mm]))[0]))
    samples = {
        face.name: {"true_mm": float(true[at]), **{f"{name}_mm": values[at] for name, values in found.items()}}
        for at, face in enumerate(faces)
    }
    return {"summary": {name: _figures(np.array(values), true) for name, values in found.items()}, "samples": samples}


def _figures(found: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]) -> dict[str, float]:
    shut, open_ = true < SHUT_MM, true >= OPEN_MM
    return {
        "faces": len(true),
        "shut": int(shut.sum()),
        "open_mm": float(found[open_].mean()),
        "shut_mm": float(found[shut].mean()),
        "true_open_mm": float(true[open_].mean()),
        "true_shut_mm": float(true[shut].mean()),
        "auc": area_under_roc(found[shut], found[open_]),
        "error_mm": float(np.abs(found - true).mean()),
    }
