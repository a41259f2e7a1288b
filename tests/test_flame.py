"""FLAME: pickles with chumpy arrays read without executing them, and .npz files."""

import numpy as np
import pytest

from bfm.convert import convert
from tests.official_files import flame_fields, landmark_vertices, toy, write_flame_pkl

CLOSE = {"rtol": 1e-4, "atol": 1e-3}


def check(got, fields):
    directions = np.moveaxis(fields["shapedirs"], 2, 0) * 1000.0
    np.testing.assert_allclose(got.mean, fields["v_template"] * 1000.0, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, directions[:300], **CLOSE)
    np.testing.assert_allclose(got.expression_basis, directions[300:], **CLOSE)
    assert np.array_equal(got.triangles, fields["f"])
    assert "joints" in got.meta.notes


@pytest.mark.parametrize("chumpy", [(), ("v_template", "shapedirs", "posedirs")])
def test_pickle(tmp_path, chumpy):
    fields = flame_fields(toy())
    check(convert(write_flame_pkl(tmp_path / "generic_model.pkl", fields, chumpy)), fields)


def test_npz(tmp_path):
    """Objects beside the needed arrays are not touched."""
    fields = flame_fields(toy())
    np.savez(tmp_path / "flame2023.npz", **{**fields, "J_regressor": np.array(fields["J_regressor"], dtype=object)})
    check(convert(tmp_path / "flame2023.npz"), fields)


@pytest.mark.parametrize("field", ["v_template", "shapedirs", "f"])
def test_a_missing_field_is_named(tmp_path, field):
    fields = {name: value for name, value in flame_fields(toy()).items() if name != field}
    chumpy = ("v_template",) if field != "v_template" else ("shapedirs",)
    with pytest.raises(ValueError, match=f"flame.pkl: the field '{field}' is missing"):
        convert(write_flame_pkl(tmp_path / "flame.pkl", fields, chumpy))
    np.savez(tmp_path / "flame.npz", **{k: v for k, v in fields.items() if isinstance(v, np.ndarray)})
    with pytest.raises(ValueError, match=f"flame.npz: the field '{field}' is missing"):
        convert(tmp_path / "flame.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapedirs": np.ones((196, 3, 300))}, "'shapedirs' has 300 components, expected 300 of identity"),
        ({"shapedirs": np.ones((100, 3, 400))}, "'shapedirs' has shape .* V = 196"),
        ({"shapedirs": np.ones((196, 3, 400))}, "components of one norm"),
        ({"shapedirs": np.zeros((196, 3, 400))}, "empty component"),
        ({"f": np.full((5, 3), 196)}, r"'f' holds 196\.\.196, expected 0\.\.195"),
        ({"v_template": np.full((196, 3), np.inf)}, "'v_template' holds 588 NaN or infinite"),
        ({"v_template": "text"}, "'v_template' is a str, expected an array"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        convert(write_flame_pkl(tmp_path / "flame.pkl", {**flame_fields(toy()), **change}, ()))


def test_millimetres_are_recognised(tmp_path):
    fields = flame_fields(toy())
    scaled = {**fields, "v_template": fields["v_template"] * 1000.0, "shapedirs": fields["shapedirs"] * 1000.0}
    got = convert(write_flame_pkl(tmp_path / "flame.pkl", scaled, ()))
    np.testing.assert_allclose(got.mean, fields["v_template"] * 1000.0, **CLOSE)
    assert "in mm, where m is usual" in got.meta.notes


def test_truncated_files(tmp_path):
    path = write_flame_pkl(tmp_path / "flame.pkl", flame_fields(toy()))
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:10], b"", b"text"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="flame.pkl: (the pickle is damaged|refused or not a pickle)"):
            convert(path)
    np.savez(tmp_path / "flame.npz", v_template=np.ones((9, 3)), shapedirs=np.ones(3))
    (tmp_path / "flame.npz").write_bytes((tmp_path / "flame.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match="flame.npz: not a readable .npz"):
        convert(tmp_path / "flame.npz")


def test_landmarks_from_an_embedding(tmp_path):
    """DECA's landmark_embedding.npy: a pickled dictionary in an .npy file."""
    model = toy()
    path = write_flame_pkl(tmp_path / "flame.pkl", flame_fields(model))
    embedding = {"full_lmk_faces_idx": model.landmark_triangles[None].astype(np.int64)}
    embedding["full_lmk_bary_coords"] = model.landmark_barycentric[None].astype(np.float64)
    np.save(tmp_path / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    got = convert(path, landmarks=tmp_path / "landmark_embedding.npy")
    assert np.array_equal(got.landmark_triangles, model.landmark_triangles)
    np.testing.assert_allclose(got.landmark_barycentric, model.landmark_barycentric)
    np.savez(tmp_path / "static.npz", lmk_face_idx=np.zeros(51, int), lmk_b_coords=np.ones((51, 3)) / 3)
    with pytest.raises(ValueError, match="51 landmarks, expected 68; DECA"):
        convert(path, landmarks=tmp_path / "static.npz")
    (tmp_path / "list.txt").write_text("\n".join(map(str, landmark_vertices(model))))
    assert len(convert(path, landmarks=tmp_path / "list.txt").landmark_triangles) == 68
