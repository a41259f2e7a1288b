"""Animatable .glb files, read back by hand as the glTF 2.0 specification tells."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from face3d.export import build_mesh
from face3d.face_track import FaceTrack
from face3d.gltf import MorphTargets, Motion, expression_targets, glb_bytes
from face3d.morphable import MorphableModel
from face3d.reconstruction import Reconstruction
from face3d.video import reconstruct_video
from tests.fake_networks import fake_reconstructor, noise_photo
from tests.fake_video import film, seeing_reconstructor

KINDS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TYPES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}


class Glb:
    """The JSON of a file and its accessors as arrays."""

    def __init__(self, content: bytes) -> None:
        magic, version, length, size, kind = struct.unpack_from("<4sIIII", content)
        assert (magic, version, length, kind) == (b"glTF", 2, len(content), 0x4E4F534A)
        self.tree: dict[str, Any] = json.loads(content[20 : 20 + size])
        self._buffer = content[20 + size + 8 :]
        assert len(self._buffer) == self.tree["buffers"][0]["byteLength"]
        (self.mesh,) = self.tree["meshes"]
        (self.node,) = [node for node in self.tree["nodes"] if "mesh" in node]

    def _view(self, where: dict[str, Any], component: int, width: int) -> np.ndarray:
        view = self.tree["bufferViews"][where["bufferView"]]
        start = view["byteOffset"] + where.get("byteOffset", 0)
        assert start % 4 == 0
        array = np.frombuffer(self._buffer[start : view["byteOffset"] + view["byteLength"]], TYPES[component])
        return array[: where["count"] * width].reshape(where["count"], width)

    def accessor(self, number: int) -> np.ndarray:
        about = self.tree["accessors"][number]
        width = KINDS[about["type"]]
        values = np.zeros((about["count"], width), TYPES[about["componentType"]])
        if "bufferView" in about:
            values = self._view(about, about["componentType"], width).copy()
        if "sparse" in about:
            count = {"count": about["sparse"]["count"]}
            indices = self._view(about["sparse"]["indices"] | count, about["sparse"]["indices"]["componentType"], 1)
            assert (np.diff(indices[:, 0].astype(int)) > 0).all()  # strictly ascending, section 3.6.2.3
            values[indices[:, 0]] = self._view(about["sparse"]["values"] | count, about["componentType"], width)
        np.testing.assert_allclose(values.min(axis=0), about["min"])
        np.testing.assert_allclose(values.max(axis=0), about["max"])
        return values

    def vertices_mm(self, weights: dict[str, float]) -> np.ndarray:
        (primitive,) = self.mesh["primitives"]
        moved = self.accessor(primitive["attributes"]["POSITION"])
        assert len(self.names) == len(primitive["targets"]) == len(self.mesh["weights"])
        for name, target in zip(self.names, primitive["targets"], strict=True):
            moved = moved + weights.get(name, 0.0) * self.accessor(target["POSITION"])
        return moved

    @property
    def names(self) -> list[str]:
        return list(self.mesh["extras"]["targetNames"])

    def channel(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        (animation,) = self.tree["animations"]
        (channel,) = [one for one in animation["channels"] if one["target"]["path"] == path]
        assert self.tree["nodes"][channel["target"]["node"]] is self.node
        sampler = animation["samplers"][channel["sampler"]]
        return self.accessor(sampler["input"])[:, 0], self.accessor(sampler["output"])


@pytest.fixture(scope="module")
def face() -> Reconstruction:
    face = fake_reconstructor([[60.0, 40.0, 90.0, 60.0]])(noise_photo())[0]
    expression = np.linspace(-0.5, 0.8, len(face.expression)).astype(np.float32)
    bent = face.vertices_mm + np.tensordot(expression - face.expression, face.model.expression_basis.numpy(), 1)
    return replace(face, expression=expression, vertices_mm=bent.astype(np.float32))


@pytest.fixture(scope="module")
def track() -> FaceTrack:
    walk = [(30.0 + 4 * t, 60.0 + t) for t in range(12)]
    track = reconstruct_video(film([walk]), seeing_reconstructor()).tracks[0]
    turns = Rotation.from_euler("xyz", np.linspace([0, -170, 0], [40, 190, 20], len(track)), degrees=True).as_matrix()
    rng = np.random.default_rng(0)
    expression = rng.uniform(-1, 1, track.expression.shape).astype(np.float32)
    rotation = (np.diag([1.0, -1, -1]) @ turns).astype(np.float32)
    return replace(track, rotation=rotation, expression=expression, rate_hz=30.0)


def test_a_face_has_its_expressions_as_morph_targets(face: Reconstruction, tmp_path: Path) -> None:
    face.save(tmp_path / "face.glb")
    glb, basis = Glb((tmp_path / "face.glb").read_bytes()), face.model.expression_basis.numpy()
    assert glb.names[0] == "neutral" and len(glb.names) == 1 + len(basis)
    assert glb.mesh["weights"] == [0.0] * len(glb.names) and "animations" not in glb.tree
    np.testing.assert_allclose(glb.vertices_mm({}), face.vertices_mm, atol=1e-4)
    neutral_mm = face.vertices_mm - np.tensordot(face.expression, basis, 1)
    np.testing.assert_allclose(glb.vertices_mm({"neutral": 1.0}), neutral_mm, atol=1e-4)
    np.testing.assert_allclose(
        glb.vertices_mm({"neutral": 1.0, glb.names[2]: 0.7}), neutral_mm + 0.7 * basis[1], atol=1e-4
    )


def test_targets_are_named_as_the_model_names_them() -> None:
    toy = MorphableModel.random(0)
    toy.meta = replace(toy.meta, expression_names=None)
    assert expression_targets(toy).names[:2] == ("expression_000", "expression_001")
    named = tuple(f"e{i}" for i in range(toy.expression_count))
    toy.meta = replace(toy.meta, expression_names=named)
    assert expression_targets(toy).names == named


def test_only_what_moves_is_stored() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    still, local = np.zeros((2, len(mesh.vertices), 3), np.float32)
    local[[3, 70]] = 1.5
    plain = build_mesh(mesh.vertices.astype(np.float32), mesh.faces, None, None)
    content = glb_bytes(plain, MorphTargets(("still", "local"), np.stack([still, local])))
    assert len(content) < len(glb_bytes(plain)) + 1500
    glb = Glb(content)
    np.testing.assert_array_equal(glb.vertices_mm({"still": 1.0}), glb.vertices_mm({}))
    np.testing.assert_allclose(glb.vertices_mm({"local": 2.0}) - glb.vertices_mm({}), 2 * local, atol=1e-6)


def test_a_track_moves_as_in_the_video(track: FaceTrack, tmp_path: Path) -> None:
    """Scaled and put at the pixel where an orthographic camera sees it, each frame's mesh is the track's own."""
    track.save(tmp_path / "track.glb")
    glb = Glb((tmp_path / "track.glb").read_bytes())
    (times, weights), (_, turns), (_, places_m) = map(glb.channel, ("weights", "rotation", "translation"))
    np.testing.assert_allclose(times, track.frames / 30.0, atol=1e-6)
    weights = weights.reshape(len(times), -1)
    height, width = track.image_size_hw
    for row, frame in enumerate(track.frames):
        mesh_m = glb.node["scale"] * glb.vertices_mm(dict(zip(glb.names, weights[row].tolist(), strict=True)))
        world_mm = 1000 * (mesh_m @ Rotation.from_quat(turns[row]).as_matrix().T + places_m[row])
        seen_px = world_mm[:, :2] * (1, -1) * track.scale[row] + ((width - 1) / 2, (height - 1) / 2)
        np.testing.assert_allclose(seen_px, track.vertices_px(frame)[:, :2], atol=2e-2)
    assert ((turns[1:] * turns[:-1]).sum(axis=1) > 0).all()  # the short way round
    assert "matrix" not in glb.node


def test_without_a_rate_the_usual_one_is_taken(track: FaceTrack, tmp_path: Path) -> None:
    replace(track, rate_hz=None).save(tmp_path / "track.glb")
    times, _ = Glb((tmp_path / "track.glb").read_bytes()).channel("weights")
    np.testing.assert_allclose(times, track.frames / 25.0, atol=1e-6)


def test_other_readers_see_the_mesh(face: Reconstruction, track: FaceTrack, tmp_path: Path) -> None:
    face.save(tmp_path / "face.glb")
    track.save(tmp_path / "track.glb")
    for name, vertices_mm in (("face", face.vertices_mm), ("track", track.neutral_mm)):
        mesh = trimesh.load(tmp_path / f"{name}.glb", process=False).to_mesh()
        np.testing.assert_allclose(mesh.vertices * 1000, vertices_mm, atol=1e-3)


def test_what_does_not_belong_together_is_refused() -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    plain = build_mesh(ball.vertices.astype(np.float32), ball.faces, None, None)
    one = MorphTargets(("a",), np.zeros((1, len(ball.vertices), 3), np.float32))
    motion = Motion(np.zeros(1), np.zeros((1, 2)), np.eye(3)[None], np.zeros((1, 3)))
    with pytest.raises(ValueError, match="do not belong to 2 names"):
        glb_bytes(plain, one._replace(names=("a", "b")))
    with pytest.raises(ValueError, match="2 weights a frame"):
        glb_bytes(plain, one, motion)
    with pytest.raises(ValueError, match="2 weights a frame"):
        glb_bytes(plain, None, motion)
