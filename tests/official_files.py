"""Writes the toy model in the layouts of the official files: field names, types, shapes and orders as published."""

import json
import pickle
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from face3d.morphable import MorphableModel
from face3d.morphable_file import MorphableArrays


def toy(identity: int = 5, expression: int = 4) -> MorphableArrays:
    """A 14 x 14 toy face, 196 vertices."""
    return MorphableModel.random(3, rows=14, columns=14, identity=identity, expression=expression).arrays()


def rows(basis: np.ndarray) -> np.ndarray:
    """(K,V,3) as the (3V,K) of MATLAB and Statismo files."""
    return basis.reshape(len(basis), -1).T


def unit_norms(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The basis with norms 1, and the norms."""
    norms = np.linalg.norm(basis.reshape(len(basis), -1), axis=1)
    return basis / norms[:, None, None], norms


def landmark_vertices(model: MorphableArrays) -> np.ndarray:
    """The vertex nearest to each of the toy's 68 landmarks."""
    corners = model.triangles[model.landmark_triangles]
    return corners[np.arange(68), model.landmark_barycentric.argmax(axis=1)]


def write_bfm2009(folder: Path, model: MorphableArrays, kept: np.ndarray | None = None) -> Path:
    """01_MorphableModel.mat, Exp_Pca.bin, std_exp.txt; with `kept` also model_info.mat for the vertices kept."""
    shape, shape_std = unit_norms(model.identity_basis * 1000.0)
    texture, texture_std = unit_norms(model.albedo_basis * 255.0)
    fields = {
        "shapeMU": model.mean.reshape(-1, 1) * 1000.0,
        "shapePC": rows(shape),
        "shapeEV": shape_std[:, None],
        "texMU": model.albedo_mean.reshape(-1, 1) * 255.0,
        "texPC": rows(texture),
        "texEV": texture_std[:, None],
        "tl": model.triangles[:, ::-1].astype(float) + 1,
        "segbin": np.zeros((len(model.mean), 4)),
    }
    scipy.io.savemat(folder / "01_MorphableModel.mat", {k: v.astype("f4") for k, v in fields.items()})
    expression = model.expression_basis if kept is None else model.expression_basis[:, kept]
    basis, std = unit_norms(expression * 1000.0)
    header = np.array([len(basis)], "<i4").tobytes()
    (folder / "Exp_Pca.bin").write_bytes(
        header + np.zeros(basis[0].size, "<f4").tobytes() + basis.astype("<f4").tobytes()
    )
    np.savetxt(folder / "std_exp.txt", std[None])
    if kept is not None:
        keypoints = np.searchsorted(kept, landmark_vertices(model)) + 1
        info = {"trimIndex": kept[:, None].astype(float) + 1, "keypoints": keypoints[None].astype(float)}
        scipy.io.savemat(folder / "model_info.mat", info)
    return folder / "01_MorphableModel.mat"


def write_model_shape(folder: Path, model: MorphableArrays, expression_file: str = "Model_Exp.mat") -> Path:
    """Model_Shape.mat and the expressions' file of 300W-LP or 3DDFA."""
    shape, std = unit_norms(model.identity_basis * 1000.0)
    offset = np.full_like(model.mean, 2000.0)
    fields = {
        "mu_shape": (model.mean * 1000.0 - offset).reshape(-1, 1),
        "w": rows(shape),
        "sigma": std[:, None],
        "mu_tex": model.albedo_mean.reshape(-1, 1) * 255.0,
        "w_tex": rows(unit_norms(model.albedo_basis)[0]),
        "tri": model.triangles.T.astype(float) + 1,
        "keypoints": landmark_vertices(model)[None].astype(float) + 1,
    }
    scipy.io.savemat(folder / "Model_Shape.mat", fields)
    expression = {
        "mu_exp": offset.reshape(-1, 1),
        "w_exp": rows(model.expression_basis * 1000.0),
        "sigma_exp": model.expression_std[:, None],
    }
    scipy.io.savemat(folder / expression_file, expression)
    return folder / "Model_Shape.mat"


def write_3ddfa_v2(folder: Path, model: MorphableArrays) -> Path:
    """bfm_noneck_v3.pkl, tri.pkl and param_mean_std_62d_120x120.pkl."""
    shape, std = unit_norms(model.identity_basis * 1000.0)
    keypoints = (3 * landmark_vertices(model)[:, None] + np.arange(3)).reshape(-1)
    bfm = {
        "u": model.mean.reshape(-1, 1) * 1000.0,
        "w_shp": rows(shape),
        "w_exp": rows(model.expression_basis * 1000.0),
    }
    content = {"bfm_noneck_v3.pkl": {**bfm, "keypoints": keypoints}, "tri.pkl": model.triangles.T.copy()}
    spread = np.concatenate([np.ones(12), std, model.expression_std]).astype("f4")
    content["param_mean_std_62d_120x120.pkl"] = {"mean": spread * 0, "std": spread}
    for name, value in content.items():
        (folder / name).write_bytes(pickle.dumps(value, protocol=4))
    return folder / "bfm_noneck_v3.pkl"


def write_bfm2017(
    path: Path, model: MorphableArrays, landmarks: str = "json", length_unit: float | None = None
) -> Path:
    """A Basel Face Model .h5 in the Statismo layout, version 0.9, with named landmarks."""
    points = (model.mean[model.triangles[model.landmark_triangles]] * model.landmark_barycentric[..., None]).sum(axis=1)
    named = {"right.eye.corner_outer": 36, "left.eye.corner_outer": 45, "center.chin.tip": 8, "center.nose.tip": 30}
    parts = {"shape": (model.mean, model.identity_basis), "color": (model.albedo_mean, model.albedo_basis)}
    parts["expression"] = (np.zeros_like(model.mean), model.expression_basis)
    with h5py.File(path, "w") as file:
        for part, (mean, components) in parts.items():
            basis, std = unit_norms(components)
            group = file.create_group(part)
            group["model/mean"] = mean.reshape(-1).astype("f4")
            group["model/pcaBasis"] = rows(basis).astype("f4")
            group["model/pcaVariance"] = np.square(std).astype("f4")
            group["model/noiseVariance"] = np.float32(0.0)
            group["representer/points"] = model.mean.T.astype("f4")
            group["representer/cells"] = model.triangles.T.astype("u4")
            group["modelinfo/build-time"] = np.bytes_("Fri Feb  3 12:00:00 CET 2017")
            group["version/majorVersion"], group["version/minorVersion"] = np.int32(0), np.int32(9)
        if length_unit is not None:
            file["shape/representer/length-unit"] = np.float32(length_unit)
        listed = [{"id": name, "coordinates": points[k].astype(float).tolist()} for name, k in named.items()]
        lines = "\n".join(f"{p['id']} 1 " + " ".join(map(str, p["coordinates"])) for p in listed)
        file[f"metadata/landmarks/{landmarks}"] = np.bytes_(json.dumps(listed) if landmarks == "json" else lines)
        file["catalog/MorphableModel/modelPath"] = np.bytes_("/")
    return path


def flame_fields(model: MorphableArrays) -> dict:
    """The arrays of a FLAME file: 300 identity and 100 expression components in metres."""
    generator = np.random.default_rng(0)
    spread = 0.05 * 0.98 ** np.arange(400)
    directions = generator.standard_normal((len(model.mean), 3, 400)) * spread / np.sqrt(model.mean.size)
    joints = scipy.sparse.csc_matrix(generator.random((5, len(model.mean))))
    return {
        "v_template": model.mean.astype(float) * 0.001,
        "shapedirs": directions,
        "f": model.triangles.astype("u4"),
        "J_regressor": joints,
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "posedirs": np.zeros((len(model.mean), 3, 36)),
        "weights": np.zeros((len(model.mean), 5)),
        "J": np.zeros((5, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_flame_pkl(path: Path, fields: dict, chumpy: tuple[str, ...] = ("v_template", "shapedirs")) -> Path:
    """A FLAME pickle, some arrays as chumpy.ch.Ch as in generic_model.pkl; chumpy is not needed to write it."""
    module = types.ModuleType("chumpy.ch")

    class Ch:
        def __reduce_ex__(self, protocol):
            import copyreg

            return copyreg.__newobj__, (Ch,), self.__dict__

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch
    values = dict(fields)
    for name in chumpy:
        values[name] = Ch()
        values[name].__dict__.update(x=fields[name], _dirty_vars={"x"}, _itr=None, _depends_on_deps={})
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        path.write_bytes(pickle.dumps(values, protocol=2))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    return path


def write_ict_folder(folder: Path, model: MorphableArrays) -> Path:
    """FaceXModel: OBJ files in cm, the first triangles joined to quads, vertex_indices.json."""
    folder.mkdir(exist_ok=True)
    quads = model.triangles.reshape(-1, 2, 3)  # the toy's cells are (a, c, b), (b, c, d)
    faces = [f"f {' '.join(f'{v + 1}/{v + 1}/1' for v in (a[0], a[1], b[2], a[2]))}" for a, b in quads[:-1]]
    faces += [f"f {' '.join(f'{v + 1}/{v + 1}/1' for v in triangle)}" for triangle in quads[-1]]
    uv = [f"vt {u:.6f} {1 - v:.6f}" for u, v in model.uv]
    names = ["eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L"]
    shapes = {"generic_neutral_mesh": model.mean}
    shapes |= {f"identity{k:03d}": model.mean + component for k, component in enumerate(model.identity_basis)}
    shapes |= {name: model.mean + component for name, component in zip(names, model.expression_basis, strict=True)}
    for name, vertices in shapes.items():
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices * 0.1]
        (folder / f"{name}.obj").write_text("\n".join(["# ICT", "o mesh", *lines, *uv, "vn 0 0 1", *faces]) + "\n")
    index = {"expressions": names, "idx_to_landmark_verts": landmark_vertices(model).tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(index))
    return folder
