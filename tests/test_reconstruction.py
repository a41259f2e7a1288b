"""What a user holds: derived values, files that load back, pictures."""

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from face3d.reconstruction import Reconstruction
from tests.fake_networks import fake_reconstructor, noise_photo


@pytest.fixture
def face() -> Reconstruction:
    return fake_reconstructor([[60.0, 40.0, 90.0, 60.0]])(noise_photo())[0]


def test_shapes_and_types(face: Reconstruction) -> None:
    count = face.model.vertex_count
    assert face.vertices_mm.shape == face.vertices_px.shape == (count, 3)
    assert face.landmarks_px.shape == (68, 3) and face.landmarks_confidence.shape == (68,)
    assert face.rotation.shape == (3, 3) and face.translation_px.shape == (2,) and face.euler_deg.shape == (3,)
    assert face.uv is not None and face.uv.shape == (count, 2)
    assert face.visibility.shape == (count,) and face.visibility.dtype == bool
    assert face.texture is not None and face.texture.shape == (512, 512, 3)
    assert face.image_size_hw == (120, 160)
    assert np.linalg.det(face.rotation) == pytest.approx(1)


def test_frozen_and_short_to_print(face: Reconstruction) -> None:
    with pytest.raises(FrozenInstanceError):
        face.scale = 2.0  # type: ignore[misc]
    assert repr(face).startswith("Reconstruction(box [60.0, 40.0, 90.0, 60.0] px, score 0.90, 144 vertices, pitch ")


def test_texture_is_computed_once(face: Reconstruction) -> None:
    assert face.texture is face.texture
    assert face.visibility is face.visibility


def test_faces_partly_outside_the_photo() -> None:
    face = fake_reconstructor([])(noise_photo(), boxes=[[-30.0, -20.0, 50.0, 60.0]])[0]
    outside = (face.vertices_px[:, :2] < -1).any(axis=1)
    assert outside.any() and not face.visibility[outside].any()
    assert face.texture is not None


def test_large_faces_keep_a_small_region() -> None:
    face = fake_reconstructor([])(np.full((3000, 3000, 3), 99, np.uint8), boxes=[[0.0, 0.0, 2999.0, 2999.0]])[0]
    assert max(face.region.size_hw) == 1024
    assert face.visibility.any()


def test_glb_loads_back_in_metres(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "face.glb")
    scene = trimesh.load(tmp_path / "face.glb", process=False)
    mesh = scene.to_mesh()
    np.testing.assert_allclose(mesh.vertices * 1000, face.vertices_mm, atol=1e-3)
    assert len(mesh.faces) == len(face.triangles)
    (part,) = scene.geometry.values()
    np.testing.assert_array_equal(np.asarray(part.visual.material.baseColorTexture.convert("RGB")), face.texture)


def test_obj_loads_back_with_its_texture(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "a face.obj")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a face.obj", "a_face.mtl", "a_face_texture.png"]
    mesh = trimesh.load(tmp_path / "a face.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, face.vertices_mm, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), face.texture)
    np.testing.assert_array_equal(mesh.faces, face.triangles)


def test_ply_has_vertex_colours(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "face.ply")
    mesh = trimesh.load(tmp_path / "face.ply", process=False)
    np.testing.assert_allclose(mesh.vertices, face.vertices_mm, atol=1e-4)
    assert mesh.visual.kind == "vertex"


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "json", "npz"])
def test_every_format_without_texture(kind: str, tmp_path: Path) -> None:
    face = fake_reconstructor([[60.0, 40.0, 90.0, 60.0]])(noise_photo(), texture=False)[0]
    face.save(tmp_path / f"face.{kind}")
    assert [p.name for p in tmp_path.iterdir()] == [f"face.{kind}"]


def test_texture_coordinates_point_at_texels(face: Reconstruction) -> None:
    """Texel centre (x, y) of face3d's UV is the same texel centre in OpenGL's convention of the files."""
    assert face.uv is not None
    u, v = face.to_trimesh().visual.uv.T
    np.testing.assert_allclose(u * 512 - 0.5, face.uv[:, 0] * 511, atol=1e-3)
    np.testing.assert_allclose((1 - v) * 512 - 0.5, face.uv[:, 1] * 511, atol=1e-3)


def test_json(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "face.json")
    record = json.loads((tmp_path / "face.json").read_text())
    assert record["format"] == "face3d-reconstruction-1"
    for name in ("vertices_mm", "vertices_px", "landmarks_px", "rotation", "box", "euler_deg", "identity"):
        np.testing.assert_allclose(record[name], getattr(face, name), atol=1e-3)
    assert record["triangles"] == face.triangles.tolist()
    assert record["image_size_hw"] == [120, 160]


def test_json_names_the_expressions_that_the_model_names(face: Reconstruction, tmp_path: Path) -> None:
    for names in (None, ("jawOpen", "smile", "blinkLeft", "blinkRight")):
        face.model.meta = replace(face.model.meta, expression_names=names)
        face.save(tmp_path / "face.json")
        expression = json.loads((tmp_path / "face.json").read_text())["expression"]
        if names is not None:
            assert tuple(expression) == names
            expression = list(expression.values())
        np.testing.assert_allclose(expression, face.expression, atol=1e-4)


def test_npz(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "face.npz")
    with np.load(tmp_path / "face.npz", allow_pickle=False) as record:
        assert str(record["format"]) == "face3d-reconstruction-1"
        for name in ("vertices_mm", "vertices_px", "uv", "texture", "visibility", "identity", "expression"):
            np.testing.assert_array_equal(record[name], getattr(face, name))


@pytest.mark.parametrize("name", ["face.stl", "face", "face.glb.zip", ".glb"])
def test_unknown_format(face: Reconstruction, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="unknown format .*: use one of glb, obj, ply, json, npz"):
        face.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_read_only_folder_leaves_nothing(face: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(PermissionError, match="cannot write .*face.obj|mtl|png.*Permission denied.*choose a folder"):
        face.save(tmp_path / "face.obj")
    assert not list(tmp_path.iterdir())


def test_overlay(face: Reconstruction) -> None:
    photo = noise_photo()
    picture, dotted = face.overlay(photo), face.overlay(photo, landmarks=True)
    assert picture.shape == photo.shape and (picture != photo).any() and (dotted != picture).any()
    with pytest.raises(ValueError, match="pass the same photo"):
        face.overlay(noise_photo(50, 50))
    with pytest.raises(ValueError, match="opacity"):
        face.overlay(photo, opacity=60.0)


def test_depth_and_normals(face: Reconstruction) -> None:
    photo = noise_photo()
    depth, normals = face.depth_map(photo.shape), face.normal_map(photo.shape[:2])
    assert depth.shape == (120, 160) and normals.shape == (120, 160, 3)
    seen = np.isfinite(depth)
    assert seen.any() and (np.isfinite(normals).all(axis=2) == seen).all()
    assert (
        face.vertices_px[:, 2].min() - 1e-3 <= depth[seen].min() and depth[seen].max() <= face.vertices_px[:, 2].max()
    )
    np.testing.assert_allclose(np.linalg.norm(normals[seen], axis=1), 1, atol=1e-4)
    assert normals[seen][:, 2].mean() < 0  # towards the camera
    with pytest.raises(ValueError, match="height, width"):
        face.depth_map((5,))
