"""Openings of eyes: a method that knows them, one that never shuts any, folders that cannot be scored."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eval import __main__ as commands
from eval import cli_eyes
from eval.command import face3d_method
from eval.eyes import BlinkingPeople, KnownFace, held_out_faces, opening_mm, score_eyes
from eval.method_face3d import Face3d
from eval.protocol import Found, Prediction
from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel
from tests.fake_networks import fake_reconstructor
from tests.toy_views import toy_model, toy_photos

PX_PER_MM = 2.0
OPENINGS_MM = (0.5, 1.0, 2.0, 7.0, 8.0, 9.0)


def landmarks_px(opening: float) -> np.ndarray:
    """A frontal face whose lids are `opening` mm apart."""
    points = np.random.default_rng(0).uniform(40, 120, (68, 2))
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        points[upper] = points[lower] - [0.0, PX_PER_MM * opening]
    return points


@pytest.fixture
def faces() -> list[KnownFace]:
    image = np.zeros((160, 160, 3), np.uint8)
    return [KnownFace(f"face {mm}", image + at, landmarks_px(mm), PX_PER_MM) for at, mm in enumerate(OPENINGS_MM)]


class Says:
    """Finds these openings, in the order of the faces."""

    name = "says"

    def __init__(self, openings_mm: tuple[float, ...]) -> None:
        self.openings_mm = openings_mm

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        return Prediction(landmarks_px={"3dmm": landmarks_px(self.openings_mm[int(image[0, 0, 0])])})

    def find(self, image: np.ndarray) -> list[Found]:
        return []


def test_an_opening_is_measured_in_mm_of_the_fit() -> None:
    found = opening_mm(np.stack([landmarks_px(3.0), 2 * landmarks_px(3.0)]), np.array([PX_PER_MM, 2 * PX_PER_MM]))
    np.testing.assert_allclose(found, 3.0)


def test_who_knows_the_openings_and_who_never_shuts_an_eye(faces: list[KnownFace]) -> None:
    knows = score_eyes(faces, Says(OPENINGS_MM))
    assert knows["summary"]["3dmm"] == {
        "faces": 6, "shut": 3, "open_mm": pytest.approx(8.0), "shut_mm": pytest.approx(3.5 / 3),
        "true_open_mm": pytest.approx(8.0), "true_shut_mm": pytest.approx(3.5 / 3), "auc": 1.0,
        "error_mm": pytest.approx(0.0, abs=1e-9),
    }  # fmt: skip
    assert knows["samples"]["face 7.0"] == {"true_mm": pytest.approx(7.0), "3dmm_mm": pytest.approx(7.0)}
    never = score_eyes(faces, Says((7.0,) * 6))["summary"]["3dmm"]
    assert never["auc"] == 0.5 and never["shut_mm"] == pytest.approx(7.0)
    assert never["error_mm"] == pytest.approx((6.5 + 6 + 5 + 0 + 1 + 2) / 6)


def test_faces_that_are_all_open_tell_nothing(faces: list[KnownFace]) -> None:
    with pytest.raises(ValueError, match="of 3 faces 0 have their eyes shut"):
        score_eyes(faces[3:], Says(OPENINGS_MM))


def test_held_out_people_come_with_their_fits(tmp_path: Path) -> None:
    model = MorphableModel.load(toy_model(tmp_path))
    folder = toy_photos(tmp_path, model.arrays(), count=204)  # of 102 people the first, 51st and 101st are held out
    persons = np.load(folder / "fits.npz")["persons"]
    faces = held_out_faces(folder, model, 2)
    held_out = np.unique(persons)[::50]
    assert [face.name for face in faces] == [f"tar/{row}" for row in np.flatnonzero(np.isin(persons, held_out))]
    with np.load(folder / "fits.npz") as fits:
        row = int(faces[0].name.split("/")[1])
        shape = model.landmarks(*(torch.from_numpy(fits[name][[row]]) for name in ("identity", "expression")))
        placed = shape[0].numpy() @ fits["rotation"][row].T * fits["scale"][row]
        np.testing.assert_allclose(faces[0].landmarks_px, placed[:, :2] + fits["translation_px"][row], atol=1e-3)
    assert len(held_out_faces(folder, model, 1)) == 3


def test_folders_that_cannot_be_scored_say_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no fits.npz; make the folder with"):
        held_out_faces(tmp_path, MorphableModel.random(0))
    folder = toy_photos(tmp_path, MorphableModel.load(toy_model(tmp_path)).arrays())
    with pytest.raises(ValueError, match="fits of another model"):
        held_out_faces(folder, MorphableModel.random(0, identity=3))


def test_every_other_generated_person_has_shut_eyes() -> None:
    model = MorphableModel.load(asset_path("face3d_model.npz"))
    faces = BlinkingPeople(model, 20).faces()
    openings = np.array([opening_mm(face.landmarks_px[None], np.array([face.px_per_mm]))[0] for face in faces])
    assert 5 <= (openings < 2.5).sum() <= 15 and (openings > 4.0).sum() >= 5
    with pytest.raises(ValueError, match="expected ARKit's names"):
        BlinkingPeople(MorphableModel.random(0))


def test_the_embedded_weights_shut_eyes() -> None:
    method = face3d_method(None, None, "cpu")
    for figures in score_eyes(BlinkingPeople(method.model, 16).faces(), method)["summary"].values():
        assert figures["auc"] > 0.9 and figures["shut_mm"] < 0.6 * figures["open_mm"]


def test_eyes_command(tmp_path: Path, faces: list[KnownFace], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_eyes, "face3d_method", lambda *_: Face3d(fake_reconstructor([[0.0, 0, 9, 9]])))
    monkeypatch.setattr("eval.eyes.held_out_faces", lambda *_: faces)
    monkeypatch.setattr("eval.eyes.BlinkingPeople", lambda *_: SimpleNamespace(faces=lambda: faces))
    arguments = ["eyes", "--data", str(tmp_path), "--json", str(tmp_path / "e.json")]
    result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "eyes of" in result.output
    assert json.loads((tmp_path / "e.json").read_text())["summary"]["photos"]["pgn"]["faces"] == 6
