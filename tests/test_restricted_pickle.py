"""The restricted reader gives arrays back and executes nothing."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bfm import restricted_pickle


def read(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return restricted_pickle.load(path)


@settings(max_examples=60, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from(["f4", "f8", ">f4", "i4", ">i8", "u1", "?", "c8", "S3", "U2"]), hnp.array_shapes()
    ),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_come_back(tmp_path_factory, array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    got = read(tmp_path_factory.mktemp("pickle") / "a.pkl", {"a": array}, protocol)["a"]
    assert got.shape == array.shape
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_containers(tmp_path, protocol):
    value = OrderedDict(
        a=1,
        b="text",
        c=[np.float32(2.5), None, True],
        d=(np.arange(3), {1, 2}),
        e={"x": b"bytes"},
        f=np.array([{}, 1], object),
    )
    got = read(tmp_path / "a.pkl", dict(value), protocol)
    assert got["a"] == 1 and got["b"] == "text" and got["c"] == [2.5, None, True] and got["e"]["x"] == b"bytes"
    np.testing.assert_array_equal(got["d"][0], [0, 1, 2])
    assert got["d"][1] == {1, 2} and got["f"].tolist() == [{}, 1]


def test_python_2_pickle(tmp_path):
    """As cPickle of Python 2 wrote it: byte strings without an encoding step, names of old modules."""
    data = np.array([1.5, -2.0], "<f8").tobytes()
    text = (
        b"\x80\x02}q\x01U\x01xq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f8K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(data)]) + data + b"tbs."
    )
    (tmp_path / "py2.pkl").write_bytes(text)
    np.testing.assert_array_equal(restricted_pickle.load(tmp_path / "py2.pkl")["x"], [1.5, -2.0])


def test_foreign_objects_are_inert(tmp_path):
    got = read(tmp_path / "a.pkl", {"J": scipy.sparse.csc_matrix(np.eye(3)), "k": np.ones(2)})
    assert isinstance(got["J"], restricted_pickle.Inert) and got["J"].origin.startswith("scipy.sparse")
    np.testing.assert_array_equal(got["k"], 1.0)


class Call:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    "attack",
    [
        Call(os.system, "touch {marker}"),
        Call(eval, "open('{marker}', 'w')"),
        Call(exec, "open('{marker}', 'w')"),
        Call(getattr, os, "system"),
        Call(np.load, "{marker}"),
        Call(np.fromfile, "{marker}"),
        Call(os.getcwd),
        Call(pickle.loads, b"N."),
    ],
    ids=lambda attack: attack.what[0].__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path, attack, protocol):
    marker = tmp_path / "marker"
    function, arguments = attack.what
    arguments = tuple(a.format(marker=marker) if isinstance(a, str) else a for a in arguments if a is not os)
    path = tmp_path / "attack.pkl"
    path.write_bytes(pickle.dumps({"v_template": Call(function, *arguments)}, protocol))
    with pytest.raises(ValueError, match="attack.pkl: refused or not a pickle: it asks for .* not data"):
        restricted_pickle.load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cscipy.os\nsystem\n(S'touch {marker}'\ntR.",
        b"cchumpy.ch\nos.system\n(S'touch {marker}'\ntR.",
        b"ctorch\nload\n(S'{marker}'\ntR.",
        b"ccopy_reg\n_reconstructor\n(cposix\nsystem\nc__builtin__\nobject\nNtR.",
    ],
)
def test_no_attribute_of_an_inert_package_is_reached(tmp_path, text):
    marker = tmp_path / "marker"
    (tmp_path / "a.pkl").write_bytes(text.replace(b"{marker}", str(marker).encode()))
    with pytest.raises(ValueError, match="refused|expected a dictionary"):
        restricted_pickle.load(tmp_path / "a.pkl")
    assert not marker.exists()


def test_crafted_array_states_are_refused(tmp_path):
    """A byte string must not become object pointers, nor a short one a large array."""
    head = b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    for dtype, shape in ((b"O8", b"K\x01\x85"), (b"f8", b"K\x7f\x85"), (b"V8", b"K\x01\x85"), (b"f8,f8", b"K\x01\x85")):
        code = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R"
        (tmp_path / "a.pkl").write_bytes(head + shape + code + b"\x89U\x08AAAAAAAAtbs.")
        try:
            value = restricted_pickle.load(tmp_path / "a.pkl")["x"]
        except ValueError:
            continue
        assert dtype == b"O8" and value.tolist() == ["A"] * 8 if value.ndim else True


def test_other_content_is_named(tmp_path):
    path = tmp_path / "a.pkl"
    with pytest.raises(FileNotFoundError, match="a.pkl"):
        restricted_pickle.load(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list, expected a dictionary"):
        restricted_pickle.load(path)


def test_npy(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(4))
    np.testing.assert_array_equal(restricted_pickle.load_npy_object(path.read_bytes(), path), np.arange(4))
    np.save(path, np.array({"x": np.ones(2)}, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(restricted_pickle.load_npy_object(path.read_bytes(), path)["x"], np.ones(2))
    with pytest.raises(ValueError, match="not a readable .npy"):
        restricted_pickle.load_npy_object(b"text", path)
