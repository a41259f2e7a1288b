import threading
from typing import Any

import numba
import numpy as np
import pytest

from face3d import compiled, rasterise_numba
from face3d.rasterise_numba import NumpyFragments, depth_numpy, interpolate_numpy, rasterise_numpy, sample_texture_numpy

SQUARE = np.array([[1.0, 1, 5], [6, 1, 5], [1, 6, 5], [6, 6, 5]], np.float32)
TRIANGLES = np.array([[0, 2, 1], [1, 2, 3]])


def test_known_picture() -> None:
    fragments = rasterise_numpy(SQUARE, TRIANGLES, (8, 9))
    expected = np.zeros((8, 9), bool)
    expected[1:7, 1:7] = True
    assert ((fragments.triangle >= 0) == expected).all()
    assert fragments.triangle[1, 1] == 0 and fragments.triangle[6, 6] == 1
    assert (fragments.depth[expected] == 5).all() and np.isinf(fragments.depth[~expected]).all()
    np.testing.assert_allclose(fragments.barycentric[1, 1], [1, 0, 0])
    assert (depth_numpy(SQUARE, TRIANGLES, (8, 9)) == fragments.depth).all()


def test_buffers_are_used_again() -> None:
    first = rasterise_numpy(SQUARE, TRIANGLES, (8, 9))
    again = rasterise_numpy(SQUARE + 1, TRIANGLES, (8, 9), out=first)
    assert again.triangle is first.triangle
    fresh = rasterise_numpy(SQUARE + 1, TRIANGLES, (8, 9))
    assert all((a == b).all() for a, b in zip(again, fresh, strict=True))
    with pytest.raises(ValueError, match="expected contiguous buffers of"):
        rasterise_numpy(SQUARE, TRIANGLES, (9, 9), out=first)


def test_interpolation_and_texture() -> None:
    fragments = rasterise_numpy(SQUARE, TRIANGLES, (8, 9))
    uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    texture = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    picture = sample_texture_numpy(texture, uv, TRIANGLES, fragments)
    assert (picture[1:7, 1:7] == texture).all() and (picture[0] == 0).all()
    grey = sample_texture_numpy(texture[..., :1].astype(np.float32), uv, TRIANGLES, fragments)
    np.testing.assert_allclose(grey[1:7, 1:7], texture[..., :1], atol=1e-3)
    kept = interpolate_numpy(uv, TRIANGLES, fragments, np.full((8, 9, 2), 7, np.float32))
    assert (kept[0] == 7).all() and (kept[6, 6] == 1).all()


def test_bad_input_is_named() -> None:
    fragments = rasterise_numpy(SQUARE, TRIANGLES, (8, 9))
    with pytest.raises(ValueError, match="index vertices 0..3, but there are 3"):
        rasterise_numpy(SQUARE[:3], TRIANGLES, (8, 9))
    with pytest.raises(ValueError, match="index vertices -1"):
        rasterise_numpy(SQUARE, TRIANGLES - 1, (8, 9))
    with pytest.raises(ValueError, match="size_hw is"):
        rasterise_numpy(SQUARE, TRIANGLES, (-1, 9))
    with pytest.raises(ValueError, match="see face 1 of 1"):
        interpolate_numpy(SQUARE, TRIANGLES[:1], fragments)
    with pytest.raises(ValueError, match="out is"):
        interpolate_numpy(SQUARE, TRIANGLES, fragments, np.zeros((2, 2, 3), np.float32))


def test_threads_do_not_disturb_each_other() -> None:
    results: dict[int, NumpyFragments] = {}

    def draw(shift: int) -> None:
        for _ in range(50):
            results[shift] = rasterise_numpy(SQUARE + shift, TRIANGLES, (16, 16))

    threads = [threading.Thread(target=draw, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shift, found in results.items():
        assert (found.triangle == rasterise_numpy(SQUARE + shift, TRIANGLES, (16, 16)).triangle).all()


def test_works_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    original = numba.njit

    def read_only(signature: str, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function '_fill': no locator available for file 'rasterise_numba.py'")
        return original(signature, **options)

    compiled.compiled.cache_clear()
    monkeypatch.setattr(numba, "njit", read_only)
    function = compiled.compiled(rasterise_numba._resolve, rasterise_numba._RESOLVE)
    found = np.zeros((8, 9, 3), np.float32)
    triangle = rasterise_numpy(SQUARE, TRIANGLES, (8, 9)).triangle
    function(SQUARE, TRIANGLES.astype(np.int32), triangle, found)
    np.testing.assert_allclose(found[1, 1], [1, 0, 0])
    compiled.compiled.cache_clear()
