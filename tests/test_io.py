"""Every kind of photo, good or bad, and files that appear whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from face3d import io
from face3d.io import read_image, replace_files


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def _save(tmp_path: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_path_pil_and_array_agree(tmp_path: Path, photo: np.ndarray) -> None:
    path = _save(tmp_path, Image.fromarray(photo), "a.png")
    for source in (path, str(path), Image.fromarray(photo), photo):
        np.testing.assert_array_equal(read_image(source), photo)


def test_tall_photos_are_read_in_strips(tmp_path: Path, rng: np.random.Generator) -> None:
    tall = rng.integers(0, 256, (600, 3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(_save(tmp_path, Image.fromarray(tall), "tall.png")), tall)


def test_array_is_not_copied(photo: np.ndarray) -> None:
    assert np.shares_memory(read_image(photo), photo)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, photo: np.ndarray, orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (
        Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(photo).convert(mode)
    )
    path = _save(tmp_path, stored, "a.png", exif=exif)
    with Image.open(path) as image:
        expected = read_image(ImageOps.exif_transpose(image))
    assert expected.shape == ((30, 20, 3) if orientation > 4 else (20, 30, 3))
    np.testing.assert_array_equal(read_image(path), expected)


def test_nonsense_exif_is_ignored(tmp_path: Path, photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(read_image(_save(tmp_path, Image.fromarray(photo), "a.png", exif=exif)), photo)
    path = _save(tmp_path, Image.fromarray(photo), "b.jpg", exif=b"Exif\0\0not exif at all")
    assert read_image(path).shape == photo.shape


def test_grey(tmp_path: Path, photo: np.ndarray) -> None:
    grey = photo[:, :, 0]
    for source in (grey, grey[:, :, None], Image.fromarray(grey), _save(tmp_path, Image.fromarray(grey), "a.png")):
        np.testing.assert_array_equal(read_image(source), np.repeat(grey[:, :, None], 3, axis=2))


def test_rgba_is_laid_over_white(tmp_path: Path, photo: np.ndarray) -> None:
    alpha = np.zeros((20, 30, 1), np.uint8)
    alpha[:, 10:] = 255
    alpha[:, 20:] = 128
    rgba = np.concatenate([photo, alpha], axis=2)
    for source in (rgba, Image.fromarray(rgba), _save(tmp_path, Image.fromarray(rgba), "a.png")):
        result = read_image(source)
        assert (result[:, :10] == 255).all()
        np.testing.assert_array_equal(result[:, 10:20], photo[:, 10:20])
        np.testing.assert_allclose(result[:, 20:], photo[:, 20:] * (128 / 255) + 127, atol=1)


def test_opaque_rgba_is_rgb(photo: np.ndarray) -> None:
    rgba = np.concatenate([photo, np.full((20, 30, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(read_image(rgba), photo)


def test_sixteen_bit(tmp_path: Path, photo: np.ndarray) -> None:
    deep = photo.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(deep), photo)
    for name in ("a.png", "a.tiff"):
        path = _save(tmp_path, Image.fromarray(deep[:, :, 0]), name)
        np.testing.assert_array_equal(read_image(path), np.repeat(photo[:, :, :1], 3, axis=2))


def test_sixteen_bit_colour_png(tmp_path: Path, photo: np.ndarray) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "deep.png"
    assert cv2.imwrite(str(path), photo[:, :, ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path), photo)


def test_cmyk_and_palette(tmp_path: Path) -> None:
    flat = Image.new("RGB", (40, 40), (200, 60, 20))
    cmyk = _save(tmp_path, flat.convert("CMYK"), "a.jpg", quality=100)
    np.testing.assert_allclose(read_image(cmyk), np.asarray(flat), atol=3)
    palette = _save(tmp_path, flat.quantize(2), "a.gif")
    np.testing.assert_allclose(read_image(palette), np.asarray(flat), atol=3)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    path = _save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(path) == 10).all()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such photo: .*nowhere.jpg"):
        read_image(tmp_path / "nowhere.jpg")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 not a jpeg", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.jpg"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_truncated(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    path = _save(tmp_path, Image.fromarray(np.tile(photo, (8, 8, 1))), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=name):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 0, 3), np.uint8), "empty"),
        (np.zeros((0, 5), np.uint8), "empty"),
        (np.zeros((4, 5, 2), np.uint8), "shape"),
        (np.zeros((3, 20, 30), np.uint8), "transpose"),
        (np.zeros((2, 20, 30, 3), np.uint8), "batch"),
        (np.zeros(7, np.uint8), "shape"),
        (np.zeros((20, 30, 3), np.float32), "astype"),
        (np.full((20, 30, 3), np.nan), "NaN"),
        (np.zeros((20, 30, 3), np.int64), "int64"),
        (np.zeros((20, 30, 3), bool), "bool"),
        (np.zeros((20, 30, 3), object), "object"),
    ],
)
def test_wrong_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(array)


@pytest.mark.parametrize("source", [None, 7, b"bytes", [[0]]])
def test_wrong_types(source: object) -> None:
    with pytest.raises(TypeError):
        read_image(source)  # type: ignore[arg-type]


def test_float_pil_image() -> None:
    with pytest.raises(ValueError, match="floats"):
        read_image(Image.new("F", (8, 8)))


def test_one_pixel(tmp_path: Path) -> None:
    assert read_image(_save(tmp_path, Image.new("RGB", (1, 1)), "a.png")).shape == (1, 1, 3)


def test_limits_of_size(tmp_path: Path) -> None:
    """Refused before any pixel is decoded; 40,000 x 10 and 100 megapixels, as file and as array."""
    for size in ((40_000, 10), (10_000, 10_000)):
        path = _save(tmp_path, Image.new("1", size), "large.png")
        with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} pixels: the limit is 64 megapixels"):
            read_image(path)
        with pytest.raises(ValueError, match="the limit is 64 megapixels and 32766 pixels a side"):
            read_image(np.broadcast_to(np.uint8(0), (size[1], size[0], 3)))


def test_decompression_bomb(tmp_path: Path) -> None:
    path = _save(tmp_path, Image.new("1", (20_000, 10_000)), "bomb.png")
    with pytest.raises(ValueError, match="bomb.png is too large: the limit"):
        read_image(path)


def test_replace_files_writes_and_makes_folders(tmp_path: Path) -> None:
    replace_files({tmp_path / "new" / "b.mtl": b"b", tmp_path / "new" / "a.obj": b"a"})
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.obj", "b.mtl"]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the second file: neither appears, the old one stays."""
    (tmp_path / "a.obj").write_bytes(b"old")
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if "a.obj" in path.name:
            write(path, content[:1])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="cannot write .*a.obj .No space left"):
        replace_files({tmp_path / "a.mtl": b"mtl", tmp_path / "a.obj": b"new"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.obj"]
    assert (tmp_path / "a.obj").read_bytes() == b"old"


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="choose a folder that can be written"):
        replace_files({tmp_path / "file" / "a.glb": b"x"})


def test_png_bytes(photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(io.png_bytes(photo))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), photo)
