"""Basel Face Model 2017 and 2019: the Statismo .h5 layout, and scalismo-faces' random models."""

import h5py
import numpy as np
import pytest
import torch

from bfm.convert import convert
from face3d.morphable import MorphableModel
from tests.official_files import toy, write_bfm2017

CLOSE = {"rtol": 1e-3, "atol": 2e-3}


@pytest.mark.parametrize("landmarks", ["json", "text"])
def test_official_layout(tmp_path, landmarks):
    model = toy()
    got = convert(write_bfm2017(tmp_path / "model2017-1_face12_nomouth.h5", model, landmarks))
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)
    np.testing.assert_allclose(got.expression_basis, model.expression_basis, **CLOSE)
    np.testing.assert_allclose(got.albedo_basis, model.albedo_basis, atol=1e-5)
    assert np.array_equal(got.triangles, model.triangles)
    assert got.meta.name == "model2017-1_face12_nomouth" and got.meta.notes == ""


def test_full_and_face12_are_told_apart_only_by_size(tmp_path):
    got = convert(write_bfm2017(tmp_path / "model2019_fullHead.h5", toy(identity=7)))
    assert got.identity_basis.shape == (7, 196, 3) and got.meta.name == "model2019_fullHead"


@pytest.mark.parametrize(("factor", "length_unit"), [(0.001, 1.0), (0.001, None), (1000.0, None), (0.1, 0.01)])
def test_other_units(tmp_path, factor, length_unit):
    """Told by length-unit, else by the size of the face."""
    model = toy()
    path = write_bfm2017(tmp_path / "m.h5", model, length_unit=length_unit)
    with h5py.File(path, "r+") as file:
        for part in ("shape", "expression"):
            file[f"{part}/model/mean"][()] *= factor
            file[f"{part}/model/pcaVariance"][()] *= factor**2
    got = convert(path)
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)


def test_axes_follow_the_named_landmarks(tmp_path):
    model = toy()
    turned = MorphableModel(model).arrays()
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32)
    for name in ("mean", "identity_basis", "expression_basis"):
        object.__setattr__(turned, name, getattr(turned, name) @ turn)
    got = convert(write_bfm2017(tmp_path / "m.h5", turned))
    np.testing.assert_allclose(got.mean, model.mean, **CLOSE)
    np.testing.assert_allclose(got.identity_basis, model.identity_basis, **CLOSE)


def test_bases_that_carry_their_spread_already(tmp_path):
    model = toy()
    path = write_bfm2017(tmp_path / "m.h5", model)
    with h5py.File(path, "r+") as file:
        basis = file["shape/model/pcaBasis"]
        basis[...] = basis[()] * np.sqrt(file["shape/model/pcaVariance"][()])
    np.testing.assert_allclose(convert(path).identity_basis, model.identity_basis, **CLOSE)
    with h5py.File(path, "r+") as file:
        file["shape/model/pcaBasis"][...] = file["shape/model/pcaBasis"][()] * 7.0
    with pytest.raises(ValueError, match="'shape/model/pcaBasis' and 'pcaVariance': the basis has norms"):
        convert(path)


@pytest.mark.parametrize(
    "field", ["shape/model/mean", "shape/model/pcaBasis", "shape/model/pcaVariance", "shape/representer/cells"]
)
def test_a_missing_field_is_named(tmp_path, field):
    path = write_bfm2017(tmp_path / "m.h5", toy())
    with h5py.File(path, "r+") as file:
        del file[field]
    with pytest.raises(ValueError, match=f"m.h5: the field '{field}' is missing"):
        convert(path)


def test_half_an_expression_model_is_named(tmp_path):
    path = write_bfm2017(tmp_path / "m.h5", toy())
    with h5py.File(path, "r+") as file:
        del file["expression/model/pcaBasis"]
    with pytest.raises(ValueError, match="'expression/model/pcaBasis' is missing"):
        convert(path)
    with h5py.File(path, "r+") as file:
        del file["expression"]
    assert "no expressions" in convert(path).meta.notes


def test_truncated_and_foreign_files(tmp_path):
    path = write_bfm2017(tmp_path / "m.h5", toy())
    for data in (path.read_bytes()[:3000], path.read_bytes()[:-2000], b"no hdf5", b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="m.h5: not a readable HDF5 file"):
            convert(path)


def test_damaged_landmarks_are_named(tmp_path):
    path = write_bfm2017(tmp_path / "m.h5", toy())
    with h5py.File(path, "r+") as file:
        del file["metadata/landmarks/json"]
        file["metadata/landmarks/json"] = np.bytes_('[{"id": "a"}]')
    with pytest.raises(ValueError, match="'metadata/landmarks/json' is no list of named points"):
        convert(path)


@pytest.mark.parametrize(("name", "vertices", "faces", "expressions"), [("l4", 1529, 3044, 0), ("momo", 25, 32, 10)])
def test_scalismo_random_models(data_dir, tmp_path, name, vertices, faces, expressions):
    path = data_dir / "models" / f"random-{name}.h5"
    arrays = convert(path)
    assert arrays.mean.shape == (vertices, 3) and arrays.triangles.shape == (faces, 3)
    assert len(arrays.expression_basis) == expressions
    arrays.save(tmp_path / "model.npz")
    model = MorphableModel.load(tmp_path / "model.npz")
    coefficients = model.sample(0, 2)
    with h5py.File(path) as file:
        wanted = file["shape/model/mean"][()].astype(float)
        spread = np.sqrt(file["shape/model/pcaVariance"][()])
        wanted = wanted + coefficients.identity.numpy() @ (file["shape/model/pcaBasis"][()] * spread).T
        if expressions:
            spread = np.sqrt(file["expression/model/pcaVariance"][()])
            basis = file["expression/model/pcaBasis"][()] * spread
            wanted = wanted + file["expression/model/mean"][()] + coefficients.expression.numpy() @ basis.T
        cells = file["shape/representer/cells"][()].T
    got = model.vertices(*coefficients)
    torch.testing.assert_close(got, torch.from_numpy(wanted).reshape(2, -1, 3).float(), rtol=1e-3, atol=1e-3)
    assert np.array_equal(np.sort(arrays.triangles, axis=1), np.sort(cells, axis=1))
    assert ("no face" in arrays.meta.notes) == (name == "momo")
