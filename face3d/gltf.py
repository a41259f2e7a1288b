"""A face as binary glTF 2.0 that can be animated: expressions as named morph targets, and the motion of a video.

trimesh writes the mesh with its texture; what it cannot write is added to what it is about to write. Sections and names
are those of the glTF 2.0 specification (Khronos, 2021). Positions stay in millimetres, under a node that scales them to
glTF's metres; y is up and a face without rotation looks along +z.
"""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from face3d.crops import as_array
from face3d.morphable import MorphableModel

if TYPE_CHECKING:
    from trimesh import Trimesh
else:
    Trimesh = Any  # trimesh is loaded when a mesh is first asked for

_METRES_PER_MM = 0.001
_FLOAT, _UNSIGNED_INT, _UNSIGNED_SHORT = 5126, 5125, 5123  # component types, section 3.6.2.2
_NODE = "face"
NEUTRAL = "neutral"
"""The morph target that takes away the expression which a mesh has."""


GL_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
"""From camera axes (x right, y down, z forward) to glTF's (x right, y up, z to the viewer)."""


class MorphTargets(NamedTuple):
    """How far each of E named expressions moves each vertex at weight one."""

    names: tuple[str, ...]
    offsets_mm: Float32[np.ndarray, "E V 3"]


class Motion(NamedTuple):
    """Expression and place of the face at T times, ascending; between them a viewer interpolates."""

    times_s: Float[np.ndarray, " T"]
    weights: Float[np.ndarray, "T E"]
    rotation: Float[np.ndarray, "T 3 3"]
    """From the model to glTF's axes: the identity for a face that looks straight at the camera."""
    translation_mm: Float[np.ndarray, "T 3"]
    """Where the model's origin lies, in glTF's axes."""


def expression_targets(model: MorphableModel, shown: Float32[np.ndarray, " E"] | None = None) -> MorphTargets:
    """The expressions of a model, named or numbered, for a mesh without any. Where the mesh has the expression
    ``shown``, the first target is `NEUTRAL`: at weight one the others act on a face without expression."""
    offsets_mm = as_array(model.expression_basis)
    names = model.expression_names or tuple(f"expression_{index:03d}" for index in range(len(offsets_mm)))
    if shown is None:
        return MorphTargets(names, offsets_mm)
    taken_away = -np.tensordot(shown, offsets_mm, 1)[None]
    return MorphTargets((NEUTRAL, *names), np.concatenate([taken_away, offsets_mm]).astype(np.float32))


def glb_bytes(mesh: Trimesh, targets: MorphTargets | None = None, motion: Motion | None = None) -> bytes:
    """The .glb of a mesh in millimetres; with targets at weight zero, and with motion as its only animation.

    Raises:
        ValueError: targets of another mesh, motion without targets, or weights for another number of them.
    """
    import trimesh

    if targets is not None and targets.offsets_mm.shape != (len(targets.names), len(mesh.vertices), 3):
        raise ValueError(f"offsets of shape {targets.offsets_mm.shape} do not belong to {len(targets.names)} names and "
                         f"{len(mesh.vertices)} vertices")  # fmt: skip
    if motion is not None and (targets is None or motion.weights.shape[1] != len(targets.names)):
        raise ValueError(f"motion has {motion.weights.shape[1]} weights a frame: expected one for each morph target")
    mesh = mesh.copy()
    mesh.units = "m"  # of the scene
    scene = trimesh.Scene()
    scale = np.diag([*[_METRES_PER_MM] * 3, 1.0])
    scene.add_geometry(mesh, node_name=_NODE, geom_name=_NODE, transform=scale)

    def add(buffers: MutableMapping[Any, bytes], tree: dict[str, Any]) -> None:
        writer = _Writer(buffers, tree["accessors"])
        if targets is not None:
            _add_targets(tree, writer, targets)
        if motion is not None:
            _add_animation(tree, writer, motion)

    content = scene.export(file_type="glb", include_normals=True, buffer_postprocessor=add)
    assert isinstance(content, bytes)
    return content


class _Writer:
    """Appends arrays to the buffer and describes them as accessors."""

    def __init__(self, buffers: MutableMapping[Any, bytes], accessors: MutableMapping[Any, dict[str, Any]]) -> None:
        self._buffers, self._accessors = buffers, accessors

    def floats(self, values: np.ndarray, kind: str) -> int:
        """An accessor of float32 rows; its number."""
        rows = np.ascontiguousarray(values, np.float32)
        return self._describe(rows.reshape(len(rows), -1), kind, {"bufferView": self._view(rows)})

    def offsets(self, values: Float32[np.ndarray, "V 3"]) -> int:
        """A sparse accessor (section 3.6.2.3) that holds only the vertices which move; its number."""
        moved = np.flatnonzero((values != 0).any(axis=1))
        if not len(moved):
            return self._describe(values, "VEC3", {})
        kind = _UNSIGNED_SHORT if len(values) <= 2**16 else _UNSIGNED_INT
        indices = {"bufferView": self._view(moved.astype("<u2" if kind == _UNSIGNED_SHORT else "<u4"))}
        sparse = {
            "count": len(moved),
            "indices": indices | {"componentType": kind},
            "values": {"bufferView": self._view(np.ascontiguousarray(values[moved], np.float32))},
        }
        return self._describe(values, "VEC3", {"sparse": sparse})

    def _view(self, array: np.ndarray) -> int:
        content = array.tobytes()
        self._buffers["face3d", len(self._buffers)] = content + bytes(-len(content) % 4)
        return len(self._buffers) - 1

    def _describe(self, rows: np.ndarray, kind: str, where: dict[str, Any]) -> int:
        bounds = {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        about = {"componentType": _FLOAT, "type": kind, "count": len(rows)}
        self._accessors["face3d", len(self._accessors)] = about | bounds | where
        return len(self._accessors) - 1


def _add_targets(tree: dict[str, Any], writer: _Writer, targets: MorphTargets) -> None:
    """Section 3.7.2.2. The names stand where every reader looks for them: in the mesh's extras."""
    (mesh,) = tree["meshes"]
    (primitive,) = mesh["primitives"]
    primitive["targets"] = [{"POSITION": writer.offsets(offsets)} for offsets in targets.offsets_mm]
    mesh["weights"] = [0.0] * len(targets.names)
    mesh["extras"] = {**mesh.get("extras", {}), "targetNames": list(targets.names)}


def _add_animation(tree: dict[str, Any], writer: _Writer, motion: Motion) -> None:
    """Section 3.11. An animated node has no matrix: its scale stands by itself."""
    from scipy.spatial.transform import Rotation

    (number,) = [i for i, node in enumerate(tree["nodes"]) if "mesh" in node]
    tree["nodes"][number].pop("matrix", None)
    tree["nodes"][number]["scale"] = [_METRES_PER_MM] * 3
    quaternions = Rotation.from_matrix(motion.rotation).as_quat()
    turned = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0, -1.0, 1.0))
    quaternions[1:] *= turned[:, None]  # q and -q are one rotation: the nearer one of the two
    times = writer.floats(motion.times_s[:, None], "SCALAR")
    outputs = {
        "weights": writer.floats(motion.weights.reshape(-1, 1), "SCALAR"),
        "rotation": writer.floats(quaternions, "VEC4"),
        "translation": writer.floats(_METRES_PER_MM * motion.translation_mm, "VEC3"),
    }
    tree["animations"] = [
        {
            "name": "video",
            "samplers": [{"input": times, "output": output, "interpolation": "LINEAR"} for output in outputs.values()],
            "channels": [{"sampler": i, "target": {"node": number, "path": path}} for i, path in enumerate(outputs)],
        }
    ]
