"""Basel Face Model 2009: the official .mat with Exp_Pca.bin, and the 300W-LP, 3DDFA and 3DDFA_V2 variants."""

import numpy as np
import pytest
import scipy.io

from bfm.convert import convert
from tests.official_files import (
    landmark_vertices,
    toy,
    write_3ddfa_v2,
    write_bfm2009,
    write_model_shape,
)

CLOSE = {"rtol": 1e-3, "atol": 2e-3}


def change(path, **fields):
    """Write the .mat again with fields replaced, or left out where None."""
    values = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")} | fields
    scipy.io.savemat(path, {k: v for k, v in values.items() if v is not None})


def test_official_file(tmp_path):
    model = toy()
    got = convert(write_bfm2009(tmp_path, model))
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)
    np.testing.assert_allclose(got.identity_std, model.identity_std, rtol=1e-3)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_std, 1.0)
    np.testing.assert_allclose(got.albedo_mean, model.albedo_mean, atol=1e-5)
    np.testing.assert_allclose(got.albedo_basis, model.albedo_basis, atol=1e-5)
    assert np.array_equal(got.triangles, model.triangles)  # the file's are clockwise
    assert "turned" in got.meta.notes and "non-commercial" in got.meta.licence


def test_expressions_for_fewer_vertices_need_the_trim_index(tmp_path):
    model = toy()
    kept = np.arange(14, 196)
    path = write_bfm2009(tmp_path, model, kept)
    got = convert(path)
    np.testing.assert_allclose(got.mean, model.mean[kept], **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis[:, kept], **CLOSE)
    assert len(got.triangles) == 2 * 12 * 13
    corners = got.triangles[got.landmark_triangles]
    vertices = corners[np.arange(68), got.landmark_barycentric.argmax(axis=1)]
    assert np.array_equal(kept[vertices], landmark_vertices(model))
    (tmp_path / "model_info.mat").unlink()
    with pytest.raises(FileNotFoundError, match="182 of the model's 196 vertices.*model_info.mat"):
        convert(path)


def test_without_expressions_it_says_so(tmp_path):
    path = write_bfm2009(tmp_path, toy())
    (tmp_path / "Exp_Pca.bin").unlink()
    got = convert(path)
    assert got.expression_basis.shape == (0, 196, 3)
    assert "Exp_Pca.bin is not beside" in got.meta.notes


def test_without_spreads_equal_ones_are_assumed(tmp_path):
    path = write_bfm2009(tmp_path, toy())
    (tmp_path / "std_exp.txt").unlink()
    got = convert(path)
    moved_mm = np.sqrt(np.square(got.expression_basis).sum(axis=2).mean(axis=1))
    np.testing.assert_allclose(moved_mm, 1.0, rtol=1e-4)
    assert "std_exp.txt is not beside" in got.meta.notes


@pytest.mark.parametrize("field", ["shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl"])
def test_a_missing_field_is_named(tmp_path, field):
    path = write_bfm2009(tmp_path, toy())
    change(path, **{field: None})
    with pytest.raises(ValueError, match=f"01_MorphableModel.mat: the field '{field}' is missing"):
        convert(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shapePC": np.ones((9, 5), "f4")}, "'shapePC' has shape .* V = 196"),
        ({"shapeEV": np.ones((4, 1), "f4")}, "'shapeEV' has shape .*expected 5 numbers"),
        ({"shapeEV": np.zeros((5, 1), "f4")}, "'shapePC' and 'shapeEV': the spread of component 0 is 0"),
        ({"shapePC": np.full((588, 5), 50.0, "f4")}, "'shapePC' and 'shapeEV': the basis has norms"),
        ({"shapeMU": np.full((588, 1), np.nan, "f4")}, "'shapeMU' holds 588 NaN"),
        ({"shapeMU": np.ones((588, 1), "f4")}, "the mean face spans 0"),
        ({"tl": np.full((3, 3), 500.0)}, r"'tl' holds 500\.\.500, expected 1\.\.196"),
        ({"tl": np.zeros((4, 4))}, "'tl' has shape"),
        ({"texMU": np.ones((30, 1))}, "'texMU' is for 10 vertices"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, fields, message):
    path = write_bfm2009(tmp_path, toy())
    change(path, **fields)
    with pytest.raises(ValueError, match=message):
        convert(path)


def test_turned_axes_are_noticed(tmp_path):
    path = write_bfm2009(tmp_path, toy())
    mean = scipy.io.loadmat(path)["shapeMU"].reshape(-1, 3)
    change(path, shapeMU=mean[:, [2, 1, 0]].reshape(-1, 1))
    with pytest.raises(ValueError, match="symmetric about z, expected x"):
        convert(path)
    change(path, shapeMU=(mean * [1, -1, -1]).reshape(-1, 1))
    with pytest.raises(ValueError, match="z does not point out of the face"):
        convert(path)


def test_truncated_files(tmp_path):
    path = write_bfm2009(tmp_path, toy())
    expression = tmp_path / "Exp_Pca.bin"
    expression.write_bytes(expression.read_bytes()[:-5])
    with pytest.raises(ValueError, match="Exp_Pca.bin: .* expPC .*truncated"):
        convert(path)
    whole = path.read_bytes()
    for data in (whole[:1000], whole[: len(whole) // 2], whole[:-100], b"", b"not a matlab file" * 20):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="01_MorphableModel.mat: not a readable MATLAB file"):
            convert(path)


@pytest.mark.parametrize("name", ["Model_Exp.mat", "Model_Expression.mat"])
def test_300wlp(tmp_path, name):
    model = toy()
    got = convert(write_model_shape(tmp_path, model, name))
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_std, model.expression_std)
    np.testing.assert_allclose(got.albedo_mean, model.albedo_mean, atol=1e-5)
    assert got.albedo_basis.shape == (0, 196, 3)
    assert np.array_equal(got.triangles, model.triangles)
    corners = got.triangles[got.landmark_triangles]
    assert np.array_equal(corners[np.arange(68), got.landmark_barycentric.argmax(axis=1)], landmark_vertices(model))


def test_300wlp_axes_follow_the_landmarks(tmp_path):
    """A file with y down and z into the face is turned by its keypoints."""
    model = toy()
    path = write_model_shape(tmp_path, model)
    values = {name: scipy.io.loadmat(tmp_path / name) for name in ("Model_Shape.mat", "Model_Exp.mat")}
    turn = np.tile([1.0, -1.0, -1.0], 196)[:, None]
    change(path, mu_shape=values["Model_Shape.mat"]["mu_shape"] * turn, w=values["Model_Shape.mat"]["w"] * turn)
    expression = values["Model_Exp.mat"]
    change(tmp_path / "Model_Exp.mat", mu_exp=expression["mu_exp"] * turn, w_exp=expression["w_exp"] * turn)
    got = convert(path)
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    assert "axes changed" in got.meta.notes


def test_300wlp_mirrored_is_refused(tmp_path):
    path = write_model_shape(tmp_path, toy())
    flip = np.tile([-1.0, 1.0, 1.0], 196)[:, None]
    change(path, mu_shape=scipy.io.loadmat(path)["mu_shape"] * flip)
    change(tmp_path / "Model_Exp.mat", mu_exp=scipy.io.loadmat(tmp_path / "Model_Exp.mat")["mu_exp"] * flip)
    with pytest.raises(ValueError, match="mirrored"):
        convert(path)


@pytest.mark.parametrize("field", ["mu_shape", "w", "sigma", "tri"])
def test_300wlp_missing_field(tmp_path, field):
    path = write_model_shape(tmp_path, toy())
    change(path, **{field: None})
    with pytest.raises(ValueError, match=f"Model_Shape.mat: the field '{field}' is missing"):
        convert(path)


@pytest.mark.parametrize("field", ["mu_exp", "w_exp", "sigma_exp"])
def test_300wlp_missing_expression_field(tmp_path, field):
    path = write_model_shape(tmp_path, toy())
    change(tmp_path / "Model_Exp.mat", **{field: None})
    with pytest.raises(ValueError, match=f"Model_Exp.mat: the field '{field}' is missing"):
        convert(path)


def test_300wlp_expressions_may_lie_elsewhere(tmp_path):
    path = write_model_shape(tmp_path, toy())
    (tmp_path / "Model_Exp.mat").rename(tmp_path / "other.mat")
    with pytest.raises(FileNotFoundError, match="Model_Exp.mat or Model_Expression.mat"):
        convert(path)
    assert convert(path, expression=tmp_path / "other.mat").expression_basis.shape == (4, 196, 3)


def test_3ddfa_v2(tmp_path):
    model = toy()
    path = write_3ddfa_v2(tmp_path, model)
    got = convert(path)
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    assert np.array_equal(got.triangles, model.triangles)
    (tmp_path / "tri.pkl").unlink()
    with pytest.raises(FileNotFoundError, match="tri.pkl"):
        convert(path)
