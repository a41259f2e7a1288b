"""eval.identity and eval.lfw on a miniature in LFW's layout."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.identity import central_box, pair_distances, score_identity
from eval.lfw import Lfw
from eval.protocol import Found, Prediction


def add(archive: tarfile.TarFile, name: str, grey: int) -> None:
    stream = io.BytesIO()
    Image.new("L", (20, 20), grey).save(stream, "PNG")
    info = tarfile.TarInfo(name)
    info.size = stream.tell()
    stream.seek(0)
    archive.addfile(info, stream)


@pytest.fixture
def lfw(tmp_path: Path) -> Lfw:
    for part in range(2):
        with tarfile.open(tmp_path / f"lfw-000{part}.tar", "w") as archive:
            for person in range(part * 4, part * 4 + 4):
                for photo in range(1 if person == 3 else 2):
                    add(archive, f"Per_Son{person}_{photo + 1:04d}.jpg", 20 * person + photo)
    return Lfw(tmp_path)


class Reader:
    """Reads the identity off the grey value: person k is at k on the first axis, photos differ by 0.1 on the second."""

    name = "reader"

    def __init__(self, collapsed: bool = False, blind: int = -1) -> None:
        self.collapsed, self.blind = collapsed, blind

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        person, photo = divmod(int(image[0, 0, 0]), 20)
        return Prediction(identity=np.array([0.0 if self.collapsed else person, 0.1 * photo]))

    def find(self, image: np.ndarray) -> list[Found]:
        if int(image[0, 0, 0]) // 20 == self.blind:
            return []
        centre = np.array([6.0, 6.0, 13.0, 13.0])
        nobody = Prediction(identity=np.array([-9.0, -9.0]))
        return [Found(np.array([0.0, 0.0, 5.0, 5.0]), nobody), Found(centre, self.predict(image, centre))]


def test_photos_are_read_by_person(lfw: Lfw) -> None:
    assert list(lfw.people) == [f"Per_Son{k}" for k in range(8)]
    pairs = lfw.pairs(7)
    assert "Per_Son3" not in [person for person, *_ in pairs]
    assert lfw.read(pairs[0][1]).shape == (20, 20, 3)
    assert lfw.pairs(4, seed=1) == lfw.pairs(4, seed=1)


def test_people_who_differ(lfw: Lfw) -> None:
    result = score_identity(lfw, Reader(), 7)["summary"]
    people = np.array([0, 1, 2, 4, 5, 6, 7])
    assert result["spread_per_component"] == pytest.approx([people.std(), 0.0])
    assert result["distance_same_person"] == pytest.approx(0.1)
    assert result["verification_auc"] == 1.0


def test_collapsed_identity_is_chance(lfw: Lfw) -> None:
    result = score_identity(lfw, Reader(collapsed=True), 7)["summary"]
    assert result["spread_rms"] == 0.0
    assert result["verification_auc"] == pytest.approx(0.5)


def test_who_is_not_found_is_named(lfw: Lfw) -> None:
    result = score_identity(lfw, Reader(blind=5), 7)
    assert result["left_out"] == {"Per_Son5": "not found in one of two photos"}
    assert len(result["samples"]) == 6


def test_too_few_people(lfw: Lfw, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the tars hold 7"):
        lfw.pairs(8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"lfw-\*.tar"):
        Lfw(tmp_path / "empty")


def test_distances_and_central_box() -> None:
    np.testing.assert_allclose(pair_distances(np.array([[0.0, 0], [3, 4]]), np.zeros((2, 2))), [[0, 0], [5, 5]])
    assert central_box(np.zeros((0, 4)), (20, 20)) is None
    assert central_box(np.array([[0.0, 0, 5, 5], [6, 6, 13, 13]]), (20, 20)) == 1
