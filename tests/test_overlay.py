"""Pictures of a mesh over a photo: what lies where, and that bands and windows leave no seams."""

import numpy as np
import pytest

from face3d import overlay
from tests.fake_networks import noise_photo

SQUARE = np.array([[20, 10, 5], [60, 10, 5], [60, 50, 25], [20, 50, 25]], np.float32)
TRIANGLES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)  # counter-clockwise seen from the camera (y down)


def test_draw_mesh_touches_only_the_mesh() -> None:
    photo = noise_photo()
    picture = overlay.draw_mesh(photo, SQUARE, TRIANGLES)
    changed = (picture != photo).any(axis=2)
    assert changed[11:50, 21:60].mean() > 0.99
    changed[9:52, 19:62] = False
    assert not changed.any()
    assert photo is not picture and (photo == noise_photo()).all()


def test_opacity() -> None:
    photo = noise_photo()
    np.testing.assert_array_equal(overlay.draw_mesh(photo, SQUARE, TRIANGLES, opacity=0.0), photo)
    solid = overlay.draw_mesh(photo, SQUARE, TRIANGLES, opacity=1.0)[15:45, 25:55]
    assert np.ptp(solid.reshape(-1, 3).astype(int), axis=0).max() <= 1


def test_bands_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = noise_photo()
    whole = overlay.draw_mesh(photo, SQUARE, TRIANGLES), overlay.depth_map_px(SQUARE, TRIANGLES, (120, 160))
    monkeypatch.setattr(overlay, "_BAND_PIXELS", 500)
    np.testing.assert_array_equal(overlay.draw_mesh(photo, SQUARE, TRIANGLES), whole[0])
    np.testing.assert_array_equal(overlay.depth_map_px(SQUARE, TRIANGLES, (120, 160)), whole[1])


@pytest.mark.parametrize("shift", [(-40, -30), (130, 0), (0, 100), (500, 500), (-500, 0)])
def test_meshes_that_leave_the_photo(shift: tuple[int, int]) -> None:
    moved = SQUARE + np.array([*shift, 0], np.float32)
    photo = noise_photo()
    assert overlay.draw_mesh(photo, moved, TRIANGLES).shape == photo.shape
    depth = overlay.depth_map_px(moved, TRIANGLES, (120, 160))
    large = overlay.depth_map_px(moved + np.array([500, 500, 0], np.float32), TRIANGLES, (1300, 1300))
    np.testing.assert_allclose(depth, large[500:620, 500:660], atol=1e-3)


def test_depth_is_the_plane() -> None:
    depth = overlay.depth_map_px(SQUARE, TRIANGLES, (120, 160))
    assert np.isnan(depth[0, 0]) and np.isnan(depth[30, 70])
    rows = np.arange(10, 51)
    np.testing.assert_allclose(depth[10:51, 40], 5 + (rows - 10) * 0.5, atol=1e-4)


def test_normals_face_the_camera() -> None:
    normals = overlay.normal_map(SQUARE, TRIANGLES, (120, 160))
    expected = np.array([0.0, 0.5, -1.0]) / np.sqrt(1.25)  # the surface goes away from the camera downwards
    np.testing.assert_allclose(normals[30, 40], expected, atol=1e-5)
    assert np.isnan(normals[0, 0]).all()


def test_landmark_dots() -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    points = np.stack([np.linspace(5, 150, 68), np.linspace(110, 8, 68)], axis=1)
    dots = overlay.draw_landmarks(photo, points)
    for x, y in points.round().astype(int):
        assert dots[y, x].max() > 60
    assert (dots == 0).all(axis=2).mean() > 0.8


def test_opacity_of_each_vertex() -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    picture = overlay.draw_mesh(photo, SQUARE, TRIANGLES, np.array([0.0, 1.0, 1.0, 0.0]))
    row = picture[30, 21:60, 0].astype(int)
    assert row[0] < 10 and row[-1] > 100 and (np.diff(row) >= 0).all()


def test_fade_out() -> None:
    landmarks = np.zeros((68, 3))
    distances = np.array([0.0, 30.0, 50.0, 70.0, 200.0])
    fade = overlay.fade_out(np.stack([distances, 0 * distances, 0 * distances], axis=1), landmarks)
    assert fade[0] == fade[1] == 1 and fade[3] == fade[4] == 0 and 0.4 < fade[2] < 0.6


def test_draw_faces_shrinks_large_photos() -> None:
    photo = noise_photo(240, 320)
    small = overlay.draw_faces(photo, [(SQUARE * 2, TRIANGLES, np.ones(4))], largest_side_px=160)
    assert small.shape == (120, 160, 3)
    expected = overlay.draw_mesh(np.zeros((120, 160, 3), np.uint8), SQUARE - np.float32(0.25), TRIANGLES, 1.0)
    reference = overlay.draw_faces(np.zeros_like(photo), [(SQUARE * 2, TRIANGLES, np.ones(4))], largest_side_px=160)
    assert ((reference > 0) == (expected > 0)).all()
