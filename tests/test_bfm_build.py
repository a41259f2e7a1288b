"""The embedded model: pieces of its builder, the shipped file, and (with ICT-FaceKit at hand) the build."""

from pathlib import Path

import numpy as np
import pytest

from bfm.build import arkit_expressions, build
from bfm.card import crossing_mm, expression_checks, held_out_error_mm
from bfm.landmarks import MIRROR_68, align_similarity
from bfm.regions import _inside
from bfm.topology import ROWS, border_loops, mirror_index, triangulate
from face3d.checkpoint import asset_path
from face3d.morphable_file import MorphableArrays
from face3d.rasterise_numba import rasterise_numpy


@pytest.fixture(scope="module")
def embedded() -> MorphableArrays:
    return MorphableArrays.load(asset_path("face3d_model.npz"))


def test_border_loops_of_a_plate_with_a_hole() -> None:
    rows, columns = np.mgrid[:4, :4]
    a = (rows * 5 + columns).ravel()
    quads = np.stack([a, a + 5, a + 6, a + 1], 1)
    middle = quads[np.isin(a, [6], invert=True)]
    loops = border_loops(triangulate(middle))
    assert [len(loop) for loop in loops] == [16, 4]
    assert set(loops[1].tolist()) == {6, 7, 11, 12}


def test_triangles_marked_by_minus_one_stay_triangles() -> None:
    assert triangulate(np.array([[0, 1, 2, -1], [0, 1, 2, 3]])).tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def test_align_similarity_recovers_a_similarity() -> None:
    rng = np.random.default_rng(0)
    points, (rotation, _) = rng.normal(size=(20, 3)), np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    moved = 2.5 * points @ rotation.T + [1, 2, 3]
    np.testing.assert_allclose(align_similarity(points, moved, points), moved, atol=1e-12)


def test_mirrors_are_their_own_inverse() -> None:
    assert (MIRROR_68[MIRROR_68] == np.arange(68)).all()
    mirror = mirror_index()
    assert (mirror[mirror] == np.arange(ROWS**2)).all()


def test_points_inside_a_concave_polygon() -> None:
    outline = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], float)
    points = np.array([[1, 1], [3, 1], [2, 3], [5, 1], [2, 0.5]], float)
    assert _inside(points, outline).tolist() == [True, True, False, False, True]


def test_names_are_arkits() -> None:
    shapes = {name: np.ones((2, 3)) for name in ("eyeBlink_L", "cheekPuff_L", "cheekPuff_R", "PupilDilate_L")}
    named = arkit_expressions(shapes)
    assert list(named) == ["cheekPuff", "eyeBlinkLeft"] and named["cheekPuff"].max() == 2


def test_embedded_model_is_what_the_docs_say(embedded: MorphableArrays) -> None:
    assert embedded.grid is not None and embedded.symmetry is not None and embedded.albedo_mean is not None
    assert embedded.grid.shape == (ROWS, ROWS)
    assert 5000 <= len(embedded.mean) <= 10000
    assert asset_path("face3d_model.npz").stat().st_size <= 6e6
    names = embedded.meta.expression_names or ()
    assert {"eyeBlinkLeft", "jawOpen", "mouthSmileRight", "browInnerUp"} <= set(names)
    assert set(embedded.meta.region_names) >= {"skin", "brows", "eyes", "nose", "inner_mouth", "ears"}
    mirrored = embedded.mean[embedded.symmetry] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, embedded.mean, atol=1e-3)


def test_person_left_is_image_right(embedded: MorphableArrays) -> None:
    names = list(embedded.meta.expression_names or ())
    moved = np.linalg.norm(embedded.expression_basis[names.index("eyeBlinkLeft")], axis=1)
    assert embedded.mean[moved > moved.max() / 2, 0].min() > 0


def test_nothing_crosses(embedded: MorphableArrays) -> None:
    """At full strength no border of an opening passes the other."""
    for name, check in expression_checks(embedded).items():
        assert max(check["crossing_mm"].values()) <= 0.3, (name, check)
    assert max(crossing_mm(embedded.mean).values()) == 0


def eye_pixels(model: MorphableArrays, shape: np.ndarray) -> int:
    """Pixels (3 a millimetre) of the eyeballs seen from the front."""
    placed = (3 * (shape * [1, -1, -1]) + [300, 200, 0]).astype(np.float32)
    seen = rasterise_numpy(placed, model.triangles, (400, 600)).triangle
    eyes = (model.vertex_region == model.meta.region_names.index("eyes"))[model.triangles].any(1)
    return int(eyes[seen[seen >= 0]].sum())


def test_lids_hide_the_eyes_when_they_close(embedded: MorphableArrays) -> None:
    names = list(embedded.meta.expression_names or ())
    blink = sum(embedded.expression_basis[names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    opened = eye_pixels(embedded, embedded.mean)
    assert opened > 1500
    assert eye_pixels(embedded, embedded.mean + blink) < 0.1 * opened


def test_build_from_ict_facekit(data_dir: Path, embedded: MorphableArrays) -> None:
    """The shipped file is what the command makes, and it spans people it has not seen."""
    model = build(data_dir / "ict", data_dir / "bfm68")
    np.testing.assert_allclose(model.mean, embedded.mean, atol=1e-3)
    assert np.abs(model.identity_basis - embedded.identity_basis).max() < 0.1  # int8 steps
    assert held_out_error_mm(embedded, data_dir / "ict")["mean"] <= 0.35
