"""Properties of the morphable model (after scalismo-faces' MoMoTests) and of its file format."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from face3d.morphable import Coefficients, MorphableModel
from face3d.morphable_check import check_fields
from face3d.morphable_file import MorphableArrays


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0)


def fields(arrays: MorphableArrays, **changes) -> dict:
    return {**arrays.fields(), **changes}


def meta(arrays: MorphableArrays, **changes) -> dict:
    return {**dataclasses.asdict(arrays.meta), **changes}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.sampled_from([0, 1, 3]))
def test_coefficients_of_an_instance_are_its_coefficients(seed, count):
    model = MorphableModel.random(seed % 5)
    wanted = model.sample(seed, count)
    got = model.project(model.vertices(*wanted))
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_projection_is_idempotent_for_any_mesh(model):
    mesh = model.mean + 5.0 * torch.randn(2, model.vertex_count, 3, generator=torch.Generator().manual_seed(1))
    once = model.vertices(*model.project(mesh))
    twice = model.vertices(*model.project(once))
    torch.testing.assert_close(twice, once, atol=1e-4, rtol=0)
    assert (mesh - once).norm() > 1.0


def test_projection_is_the_nearest_instance(model):
    mesh = model.mean + torch.randn(1, model.vertex_count, 3, generator=torch.Generator().manual_seed(2))
    best = model.project(mesh)
    distance = (model.vertices(*best) - mesh).norm()
    for step in (0.01, -0.01):
        for k in range(model.identity_count):
            moved = best.identity.clone()
            moved[:, k] += step
            assert (model.vertices(moved, best.expression) - mesh).norm() >= distance - 1e-4


def test_regularised_projection_moves_to_the_mean(model):
    instance = model.vertices(*model.sample(3, 1))
    distances = [
        (model.vertices(*model.project(instance, regularisation)) - model.mean).norm().item()
        for regularisation in (0.0, 1.0, 10.0, 100.0, 1e4)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01 * distances[0]


def test_regularised_projection_is_the_minimum_it_says(model):
    """The gradient of |r|^2 + s^2 |c/std|^2 vanishes there."""
    model = MorphableModel.random(0).double()
    mesh = model.mean + 3.0 * torch.randn(1, model.vertex_count, 3, generator=torch.Generator().manual_seed(4)).double()
    best = [c.requires_grad_() for c in model.project(mesh, 2.0)]
    data = (model.vertices(*best) - mesh).square().sum()
    prior = best[0].square().sum() + (best[1] / model.expression_std).square().sum()
    for gradient in torch.autograd.grad(data + 4.0 * prior, best):
        assert gradient.abs().max() < 1e-6


def test_projection_survives_dependent_components(model):
    arrays = model.arrays()
    double = dataclasses.replace(
        arrays,
        expression_basis=np.concatenate([arrays.expression_basis] * 2),
        expression_std=np.concatenate([arrays.expression_std] * 2),
    )
    redundant = MorphableModel(double)
    mesh = model.vertices(*model.sample(5, 2))
    got = redundant.project(mesh)
    assert torch.isfinite(got.expression).all()
    torch.testing.assert_close(redundant.vertices(*got), mesh, atol=1e-3, rtol=0)


def test_fewer_coefficients_are_zero_padded(model):
    identity, expression = model.sample(6, 2)
    short = model.vertices(identity[:, :2], expression[:, :1])
    identity[:, 2:], expression[:, 1:] = 0.0, 0.0
    torch.testing.assert_close(short, model.vertices(identity, expression))
    torch.testing.assert_close(model.vertices(identity[:, :0]), model.mean.expand(2, -1, -1))


def test_more_coefficients_than_components_are_refused(model):
    with pytest.raises(ValueError, match="9 identity coefficients .* 6 identity components"):
        model.vertices(torch.zeros(1, 9))
    with pytest.raises(ValueError, match="5 expression coefficients"):
        model.landmarks(torch.zeros(1, 1), torch.zeros(1, 5))


def test_landmarks_lie_on_the_vertices(model):
    coefficients = model.sample(7, 3)
    torch.testing.assert_close(model.landmarks(*coefficients), model.landmarks_of(model.vertices(*coefficients)))


def test_no_landmarks_is_said(model):
    arrays = model.arrays()
    nothing = {"landmark_triangles": np.zeros(0, np.int32), "landmark_barycentric": np.zeros((0, 3), np.float32)}
    none = MorphableModel(dataclasses.replace(arrays, **nothing))
    assert none.landmark_count == 0
    with pytest.raises(ValueError, match="no 68 landmarks"):
        none.landmarks(torch.zeros(1, 6))


def test_gradients(model):
    double = MorphableModel.random(0, rows=5, columns=5).double()
    identity, expression = (c.double().requires_grad_() for c in double.sample(8, 2))
    assert torch.autograd.gradcheck(double.vertices, (identity, expression))
    assert torch.autograd.gradcheck(double.landmarks, (identity, expression))
    assert torch.autograd.gradcheck(double.albedo, (torch.zeros(2, 2, dtype=torch.float64, requires_grad=True),))
    mesh = double.vertices(identity, expression).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda vertices: tuple(double.project(vertices, 1.0)), (mesh,))


def test_albedo(model):
    torch.testing.assert_close(model.albedo(torch.zeros(1, 0))[0], model.albedo_mean)
    plain = MorphableModel(dataclasses.replace(model.arrays(), albedo_mean=None, albedo_basis=None))
    assert plain.albedo_count == 0
    with pytest.raises(ValueError, match="no albedo"):
        plain.albedo(torch.zeros(1, 1))


def test_samples_follow_the_prior(model):
    identity, expression = model.sample(9, 4000)
    assert abs(identity.std().item() - 1.0) < 0.03
    torch.testing.assert_close(expression.std(dim=0), model.expression_std, rtol=0.1, atol=0)
    torch.testing.assert_close(model.sample(9, 4), model.sample(9, 4))
    blendshapes = MorphableModel(
        dataclasses.replace(model.arrays(), meta=dataclasses.replace(model.meta, expression_kind="blendshape"))
    )
    weights = blendshapes.sample(9, 100).expression
    assert weights.min() >= 0.0 and weights.max() <= 1.0


def test_random_is_a_face(model):
    """Same seed, same model; normals point out; the mirror holds; landmarks run the right way."""
    torch.testing.assert_close(MorphableModel.random(0).identity_basis, model.identity_basis)
    assert not torch.equal(MorphableModel.random(1).identity_basis, model.identity_basis)
    corners = model.mean[model.triangles]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()
    torch.testing.assert_close(model.mean[model.symmetry] * torch.tensor([-1.0, 1, 1]), model.mean, atol=1e-4, rtol=0)
    landmarks = model.landmarks(torch.zeros(1, 0))[0]
    assert landmarks[0, 0] < landmarks[36, 0] < landmarks[45, 0] < landmarks[16, 0]
    assert landmarks[8, 1] < landmarks[57, 1] < landmarks[30, 1] < landmarks[27, 1]
    assert landmarks[30, 2] == landmarks[:, 2].max()


def test_state_dict_stays_empty_and_double_keeps_indices(model):
    assert not model.state_dict()
    assert MorphableModel.random(0).double().triangles.dtype == torch.int64


def test_write_then_read_is_equal(model, tmp_path):
    model.save(tmp_path / "model.npz")
    again = MorphableModel.load(tmp_path / "model.npz")
    assert again.meta == model.meta
    for name, buffer in model.named_buffers():
        assert torch.equal(getattr(again, name), buffer), name
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize(("bases", "tolerance_mm"), [("float16", 0.01), ("int8", 0.25)])
def test_small_storage(model, tmp_path, bases, tolerance_mm):
    model.save(tmp_path / "model.npz", bases)
    coefficients = model.sample(1, 2)
    got = MorphableModel.load(tmp_path / "model.npz").vertices(*coefficients)
    torch.testing.assert_close(got, model.vertices(*coefficients), atol=tolerance_mm, rtol=0)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert {"identity_basis_q", "identity_basis_scale"} <= set(file.files) or bases == "float16"


def test_foreign_files_are_named(model, tmp_path):
    path = tmp_path / "other.npz"
    with pytest.raises(FileNotFoundError, match="other.npz"):
        MorphableModel.load(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(ValueError, match=r"no field 'meta'.*\['weights'\].*bfm convert"):
        MorphableModel.load(path)
    np.savez(path, meta=np.array(json.dumps({"format": "eos-2"})))
    with pytest.raises(ValueError, match="format is 'eos-2', expected 'face3d-morphable-1'"):
        MorphableModel.load(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a readable"):
        MorphableModel.load(tmp_path / "single.npy")
    path.write_bytes(b"\x89HDF\r\n not this")
    with pytest.raises(ValueError, match="not a readable face3d-morphable-1 file"):
        MorphableModel.load(path)
    np.savez(path, meta=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        MorphableModel.load(path)


def test_a_truncated_file_is_refused_and_a_missing_field_named(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable"):
        MorphableModel.load(path)
    path.write_bytes(whole)
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files if name != "expression_std"})
    with pytest.raises(ValueError, match="'expression_std' is missing"):
        MorphableModel.load(path)


def test_a_failed_save_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros((144, 2), "f4")}, r"'mean' has shape \(144, 2\)"),
        ({"mean": np.full((144, 3), np.nan, "f4")}, "'mean' holds 432 values that are NaN"),
        ({"identity_basis": np.zeros((6, 143, 3), "f4")}, r"'identity_basis' has shape .* V = 144"),
        ({"identity_std": np.full(6, 1.0, "f4")}, "'identity_std' is 1 at component 0, but the norm .* is 60"),
        ({"identity_std": np.zeros(6, "f4")}, "'identity_std' has values <= 0"),
        ({"triangles": np.full((242, 3), 144, "i4")}, "'triangles' holds indices 144..144, but there are 144 vertices"),
        ({"triangles": np.zeros((242, 3), "f4")}, "'triangles' is float32, expected integer"),
        ({"landmark_barycentric": np.ones((68, 3), "f4")}, "'landmark_barycentric' has rows"),
        ({"vertex_region": np.full(144, 7, "u1")}, "'vertex_region' holds .* 2 region names"),
        ({"symmetry": np.roll(np.arange(144), 1)}, "'symmetry' is no mirror"),
        ({"grid": np.full((12, 12), 144)}, "'grid' holds"),
    ],
)
def test_wrong_fields_are_named(model, change, message):
    arrays = model.arrays()
    with pytest.raises(ValueError, match=message):
        check_fields(fields(arrays, **change), meta(arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "m"}, "unit 'm', expected 'mm'"),
        ({"expression_names": ("a", "b")}, "2 different expression_names for 4"),
        ({"expression_kind": "x"}, "expression_kind 'x'"),
    ],
)
def test_wrong_meta_is_named(model, change, message):
    arrays = model.arrays()
    with pytest.raises(ValueError, match=message):
        check_fields(fields(arrays), meta(arrays, **change))


def test_albedo_needs_both_arrays(model):
    arrays = model.arrays().fields()
    del arrays["albedo_basis"]
    with pytest.raises(ValueError, match="only one is present"):
        check_fields(arrays, meta(model.arrays()))


def test_too_small_a_toy_is_refused():
    with pytest.raises(ValueError, match="too small"):
        MorphableModel.random(0, rows=3)


def test_coefficients_are_a_pair(model):
    assert Coefficients._fields == ("identity", "expression")
