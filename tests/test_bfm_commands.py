"""`python -m bfm convert` and `show`: which file it is, what is written, exit statuses, one-line errors."""

import os

import numpy as np
import pytest

from bfm.__main__ import main
from bfm.convert import convert
from face3d.morphable import MorphableModel
from tests.official_files import toy, write_bfm2009, write_bfm2017, write_model_shape


def test_convert_then_show(tmp_path, capsys):
    source = write_bfm2017(tmp_path / "model2017-1_bfm_nomouth.h5", toy())
    output = tmp_path / "model.npz"
    assert main(["convert", str(source), "-o", str(output)]) == 0
    model = MorphableModel.load(output)
    assert model.vertex_count == 196 and model.identity_count == 5
    capsys.readouterr()
    assert main(["show", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "model2017-1_bfm_nomouth" in shown and "identity_basis" in shown and "non-commercial" in shown


@pytest.mark.parametrize("bases", ["float16", "int8"])
def test_smaller_storage(tmp_path, bases):
    source = write_bfm2017(tmp_path / "m.h5", toy())
    assert main(["convert", str(source), "-o", str(tmp_path / "a.npz")]) == 0
    assert main(["convert", str(source), "-o", str(tmp_path / "b.npz"), "--bases", bases]) == 0
    assert (tmp_path / "b.npz").stat().st_size < 0.8 * (tmp_path / "a.npz").stat().st_size


def test_folders_are_searched(tmp_path):
    write_bfm2009(tmp_path, toy())
    assert convert(tmp_path).meta.name == "Basel Face Model 2009"
    (tmp_path / "01_MorphableModel.mat").unlink()
    write_model_shape(tmp_path, toy())
    assert "300W-LP" in convert(tmp_path).meta.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.h5", None, "missing.h5: no such file"),
        ("photo.jpg", b"\xff\xd8", "photo.jpg: not one of the known files"),
        ("model.h5", b"text", "model.h5: not a readable HDF5 file"),
        ("model.mat", b"text" * 100, "model.mat: not a readable MATLAB file"),
        ("model.npz", b"text", "model.npz: not a readable .npz"),
        ("model.pkl", b"text", "model.pkl: "),
    ],
)
def test_errors_are_one_line_and_leave_nothing(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["convert", str(tmp_path / name), "-o", str(tmp_path / "out.npz")]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "out.npz").exists()


def test_wrong_options(tmp_path, capsys):
    source = write_bfm2017(tmp_path / "m.h5", toy())
    output = ["-o", str(tmp_path / "out.npz")]
    assert main(["convert", str(source), *output, "--bases", "int4"]) == 1
    assert "expected one of float32, float16, int8" in capsys.readouterr().err
    assert main(["convert", str(source), *output, "--expression", str(source)]) == 1
    assert main(["convert", str(source), "-o", str(tmp_path / "no" / "out.npz")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert main(["convert", str(source)]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path, capsys):
    source = write_bfm2017(tmp_path / "m.h5", toy())
    (tmp_path / "out").mkdir(mode=0o500)
    assert main(["convert", str(source), "-o", str(tmp_path / "out" / "m.npz")]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_face3d_file_is_recognised(tmp_path):
    MorphableModel.random(0).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="already in the face3d format"):
        convert(tmp_path / "model.npz")


def test_landmark_files(tmp_path):
    source = write_bfm2017(tmp_path / "m.h5", toy())
    listed = tmp_path / "landmarks.json"
    listed.write_text(str(list(range(68))))
    got = convert(source, landmarks=listed)
    corners = got.triangles[got.landmark_triangles]
    assert corners[np.arange(68), got.landmark_barycentric.argmax(axis=1)].tolist() == list(range(68))
    for text, message in (
        (str([1, 2]), "2 landmarks"),
        (str([500] * 68), "0..195"),
        ("{", "not a readable"),
        ("{}", "none of"),
    ):
        listed.write_text(text)
        with pytest.raises(ValueError, match=message):
            convert(source, landmarks=listed)
    with pytest.raises(FileNotFoundError, match="no such landmark file"):
        convert(source, landmarks=tmp_path / "none.txt")
