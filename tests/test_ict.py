"""ICT-FaceKit: the OBJ folder and the .npz."""

import json

import numpy as np
import pytest

from bfm.convert import convert
from tests.official_files import landmark_vertices, toy, write_ict_folder

CLOSE = {"rtol": 1e-3, "atol": 1e-3}


def npz_fields(model):
    """The toy in the arrays of ict_facekit.npz, triangles padded with -1."""
    faces = np.pad(model.triangles, ((0, 0), (0, 1)), constant_values=-1)
    return {
        "vertices": model.mean * 0.1,
        "uv": model.uv * [1, -1] + [0, 1],
        "faces": faces,
        "faces_uv": faces,
        "identity": (model.identity_basis * 0.1).astype(np.float16),
        "expression": (model.expression_basis * 0.1).astype(np.float16),
        "expression_names": np.array(["a", "b", "c", "d"]),
    }


def test_folder(tmp_path):
    model = toy()
    got = convert(write_ict_folder(tmp_path, model))
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    np.testing.assert_allclose(got.uv, model.uv, atol=1e-5)
    assert got.meta.expression_names == ("eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L")
    assert got.meta.expression_kind == "blendshape" and got.meta.licence.startswith("MIT")
    assert len(got.triangles) == len(model.triangles)
    corners = got.triangles[got.landmark_triangles]
    assert np.array_equal(corners[np.arange(68), got.landmark_barycentric.argmax(axis=1)], landmark_vertices(model))


def test_folder_above_and_without_index(tmp_path):
    folder = write_ict_folder(tmp_path / "FaceXModel", toy())
    (folder / "vertex_indices.json").unlink()
    got = convert(tmp_path)
    assert got.meta.expression_names == ("eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L")
    assert not len(got.landmark_triangles)


def test_folder_errors_name_the_file(tmp_path):
    folder = write_ict_folder(tmp_path, toy())
    obj = folder / "identity002.obj"
    whole = obj.read_text()
    obj.write_text(whole[:2000])
    with pytest.raises(ValueError, match="identity002.obj: (not a readable OBJ|.* vertices, but)"):
        convert(folder)
    obj.unlink()
    with pytest.raises(ValueError, match="identity002.obj is missing"):
        convert(folder)
    obj.write_text(whole)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(FileNotFoundError, match="jawOpen.obj"):
        convert(folder)
    (folder / "vertex_indices.json").write_text("{}")
    with pytest.raises(ValueError, match="vertex_indices.json: the field 'expressions' is missing"):
        convert(folder)
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": [], "idx_to_landmark_verts": [1]}))
    with pytest.raises(ValueError, match="no expression OBJ files"):
        convert(folder)


def test_npz(tmp_path):
    model = toy()
    np.savez(tmp_path / "ict.npz", **npz_fields(model))
    (tmp_path / "landmarks68.json").write_text(json.dumps(landmark_vertices(model).tolist()))
    got = convert(tmp_path / "ict.npz")
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, rtol=2e-3, atol=2e-3)
    assert np.array_equal(got.triangles, model.triangles) and len(got.landmark_triangles) == 68


@pytest.mark.parametrize("field", ["vertices", "faces", "identity", "expression", "expression_names"])
def test_npz_missing_field(tmp_path, field):
    np.savez(tmp_path / "ict.npz", **{k: v for k, v in npz_fields(toy()).items() if k != field})
    with pytest.raises(ValueError, match=f"ict.npz: the field '{field}' is missing"):
        convert(tmp_path / "ict.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": np.zeros((2, 196, 3), "f4")}, "'identity' has a component without movement"),
        ({"identity": np.zeros((2, 9, 3), "f4")}, "'identity' has shape .* V = 196"),
        ({"expression_names": np.array(["a"])}, "'expression_names' has 1 names for 4"),
        ({"faces": np.full((3, 4), 196)}, "'faces' holds"),
        ({"vertices": np.zeros((196, 3))}, "no face in"),
    ],
)
def test_npz_wrong_field(tmp_path, change, message):
    np.savez(tmp_path / "ict.npz", **{**npz_fields(toy()), **change})
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "ict.npz")


def test_real_model(data_dir):
    path = data_dir / "ict" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    got = convert(path)
    with np.load(path) as file:
        np.testing.assert_allclose(got.mean, file["vertices"] * 10.0, rtol=1e-5)
        assert len(got.triangles) == 2 * len(file["faces"]) - (file["faces"][:, 3] < 0).sum()
    assert got.identity_basis.shape == (100, 26719, 3) and len(got.meta.expression_names) == 57
    assert got.uv.min() >= 0.0 and got.uv.max() <= 1.0
    regions = dict(zip(got.meta.region_names, np.bincount(got.vertex_region).tolist(), strict=True))
    assert regions["skin"] == 9409 and regions["teeth"] == 4412 and regions["eyeballs"] == 3140
    landmarks = got.mean[got.triangles[got.landmark_triangles]][np.arange(68), got.landmark_barycentric.argmax(axis=1)]
    assert landmarks[36, 0] < landmarks[45, 0] and landmarks[8, 1] < landmarks[30, 1] < landmarks[27, 1]
    assert 40 < np.linalg.norm(landmarks[45] - landmarks[36]) < 130
