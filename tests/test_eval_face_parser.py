"""The face parser measured on generated people."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eval import face_parser
from eval.face_parser import parser_sheets, score_parser
from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel
from face3d.networks.parser import CLASSES, UNKNOWN
from face3d.parse_labels import CLASS_COLOURS, rasterised_classes, region_classes
from tests.fake_networks import fake_reconstructor, noise_photo

BOX = [40.0, 30.0, 110.0, 100.0]


class Sees:
    """A parser that is sure of one class everywhere."""

    crop_size = 32

    def __init__(self, name: str) -> None:
        self.index = CLASSES.index(name)

    def __call__(self, crops: Tensor) -> Tensor:
        found = torch.zeros(len(crops), len(CLASSES), 32, 32)
        found[:, self.index] = 1.0
        return found


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path("face3d_model.npz"))


def test_a_parser_that_sees_one_thing_gets_nothing_else(model: MorphableModel) -> None:
    skin = score_parser(Sees("skin"), model, 2)  # type: ignore[arg-type]
    table = np.array(skin["confusion"])
    assert table.sum() == 2 * 32 * 32 and table[:, CLASSES.index("skin")].sum() == table.sum()
    assert skin["summary"]["iou_skin"] == table[1, 1] / table.sum()
    others = {name: value for name, value in skin["summary"].items() if name.startswith("iou_")}
    assert "iou_occluder" not in others and {"iou_brows", "iou_eyes", "iou_nose", "iou_background"} < set(others)
    assert sum(others.values()) == others["iou_skin"] and 0.3 < others["iou_skin"] < 0.9


def test_a_parser_that_is_right_gets_everything(model: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    true: list[Tensor] = []

    def remembered(*arguments: object) -> tuple[np.ndarray, np.ndarray]:
        labels, seen = rasterised_classes(*arguments)  # type: ignore[arg-type]
        true.append(torch.from_numpy(labels)[None])
        return labels, seen

    monkeypatch.setattr(face_parser, "rasterised_classes", remembered)
    monkeypatch.setattr(face_parser, "parse", lambda parser, crop: true[-1])
    found = score_parser(Sees("skin"), model, 2)["summary"]  # type: ignore[arg-type]
    assert set(found.values()) == {1.0, 2} and len(true) == 2


def test_labels_lie_where_the_mesh_is() -> None:
    """Two triangles that halve a square: upper right skin, lower left nose."""
    corners = np.array([[0, 0, 1], [7, 0, 1], [7, 7, 1], [0, 0, 2], [7, 7, 2], [0, 7, 2]], np.float32)
    classes = np.array([1, 1, 1, 4, 4, 4], np.uint8)
    labels, seen = rasterised_classes(corners, np.array([[0, 1, 2], [3, 4, 5]], np.int32), classes, 10)
    assert labels[1, 6] == 1 and labels[6, 1] == 4 and labels[9, 9] == 0
    assert (labels[~seen] == 0).all() and 49 <= seen.sum() <= 64


def test_regions_have_classes() -> None:
    assert region_classes(("skin", "ears", "neck", "brows")).tolist() == [1, 1, 0, 2]
    with pytest.raises(ValueError, match=r"regions \['beard'\]"):
        region_classes(("skin", "beard"))
    assert len(CLASS_COLOURS) == len(CLASSES) < UNKNOWN


def test_sheets_show_each_face_beside_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [(noise_photo(seed=index), np.array([BOX], np.float64)) for index in range(2)]
    monkeypatch.setattr(face_parser, "photo_sources", lambda data: {"some": photos, "none": []})
    written = parser_sheets(tmp_path, tmp_path / "out", Sees("nose"), fake_reconstructor([BOX]))  # type: ignore[arg-type]
    assert list(written) == ["some_parsed.png"]
    assert (tmp_path / "out" / "some_parsed.png").stat().st_size == written["some_parsed.png"]
