"""Files of flow and disparity: round trips, layout of the bytes, damaged and foreign files."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from face3d.flow_files import (
    known_flow,
    read_flo,
    read_kitti_disparity,
    read_kitti_flow,
    read_pfm,
    write_flo,
    write_kitti_disparity,
    write_kitti_flow,
    write_pfm,
)

READERS: dict[str, Callable] = {
    "a.flo": read_flo,
    "flow.png": read_kitti_flow,
    "disparity.png": read_kitti_disparity,
    "grey.pfm": read_pfm,
    "colour.pfm": read_pfm,
}


@pytest.fixture
def flow(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-300, 300, (5, 8, 2)).astype(np.float32)


@pytest.fixture
def valid(rng: np.random.Generator) -> np.ndarray:
    return rng.random((5, 8)) > 0.3


@pytest.fixture
def folder(tmp_path: Path, flow: np.ndarray, valid: np.ndarray) -> Path:
    """One file of each format."""
    write_flo(tmp_path / "a.flo", flow)
    write_kitti_flow(tmp_path / "flow.png", flow, valid)
    write_kitti_disparity(tmp_path / "disparity.png", np.abs(flow[..., 0]) / 2, valid)
    write_pfm(tmp_path / "grey.pfm", flow[..., 0])
    write_pfm(tmp_path / "colour.pfm", np.dstack([flow, flow[..., 0]]), big_endian=True)
    return tmp_path


def test_flo_round_trip(tmp_path: Path, flow: np.ndarray) -> None:
    flow[0, 0] = 1.6e9
    write_flo(tmp_path / "new" / "a.flo", flow)
    back = read_flo(tmp_path / "new" / "a.flo")
    np.testing.assert_array_equal(back, flow)
    back += 1  # the reader's array may be changed
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.flo"]


def test_flo_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.flo").write_bytes(struct.pack("<fiiffff", 202021.25, 2, 1, 1.0, 2.0, 3.0, 4.0))
    np.testing.assert_array_equal(read_flo(tmp_path / "a.flo"), [[[1, 2], [3, 4]]])


def test_unknown_flow() -> None:
    flow = np.array([[[1.0, 2.0], [1e9, 0], [np.nan, 0], [0, -np.inf], [0, 1.7e9]]], np.float32)
    known = known_flow(flow)
    assert known.valid.tolist() == [[True, False, False, False, False]]
    assert known.flow_px.sum() == 3


def test_kitti_flow_round_trip(folder: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    back = read_kitti_flow(folder / "flow.png")
    np.testing.assert_array_equal(back.valid, valid)
    assert np.abs(back.flow_px - flow)[valid].max() <= 0.5 / 64
    assert np.abs(back.flow_px[~valid]).max() == 0


def test_kitti_flow_channels(tmp_path: Path) -> None:
    bgr = np.array([[[1, 2**15 - 128, 2**15 + 64]]], np.uint16)  # valid, v = -2, u = 1
    cv2.imwrite(str(tmp_path / "flow.png"), bgr)
    assert read_kitti_flow(tmp_path / "flow.png").flow_px.tolist() == [[[1.0, -2.0]]]


def test_kitti_disparity_round_trip(folder: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    back = read_kitti_disparity(folder / "disparity.png")
    np.testing.assert_array_equal(back.valid, valid)
    assert np.abs(back.disparity_px - np.abs(flow[..., 0]) / 2)[valid].max() <= 0.5 / 256
    write_kitti_disparity(folder / "zero.png", np.zeros((1, 2), np.float32), np.array([[True, False]]))
    assert read_kitti_disparity(folder / "zero.png").disparity_px.tolist() == [[1 / 256, 0]]


@pytest.mark.parametrize("bad", [600.0, -513.0, np.nan, np.inf])
def test_what_16_bits_cannot_hold_is_refused(tmp_path: Path, bad: float) -> None:
    flow, valid = np.zeros((2, 2, 2), np.float32), np.ones((2, 2), bool)
    flow[1, 1, 0] = bad
    with pytest.raises(ValueError, match="cannot hold.*-512"):
        write_kitti_flow(tmp_path / "a.png", flow, valid)
    with pytest.raises(ValueError, match="cannot hold.*256"):
        write_kitti_disparity(tmp_path / "a.png", flow[..., 0], valid)
    assert not list(tmp_path.iterdir())
    valid[1, 1] = False
    write_kitti_flow(tmp_path / "a.png", flow, valid)
    assert read_kitti_flow(tmp_path / "a.png").valid.sum() == 3


@pytest.mark.parametrize("big_endian", [True, False])
@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
def test_pfm_round_trip(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...], big_endian: bool) -> None:
    values = rng.normal(size=shape).astype(np.float32)
    values[0, 0] = np.inf
    write_pfm(tmp_path / "a.pfm", values, big_endian)
    back = read_pfm(tmp_path / "a.pfm")
    np.testing.assert_array_equal(back, values)
    assert back.dtype == np.float32 and back.flags.writeable


def test_pfm_starts_at_the_bottom_row(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n1 2\n-0.003922\n" + struct.pack("<ff", 1, 2))
    (tmp_path / "b.pfm").write_bytes(b"Pf 1 2 1e0\n" + struct.pack(">ff", 1, 2))
    for name in ("a.pfm", "b.pfm"):
        assert read_pfm(tmp_path / name).tolist() == [[2.0], [1.0]]


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in (0, 3, 10, 20, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=name):
            READERS[name](folder / name)
    for content in (whole[::-1], b"GIF89a" + whole, bytes(len(whole))):
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match="starts with"):
            READERS[name](folder / name)


@pytest.mark.parametrize("name", ["a.flo", "grey.pfm"])
def test_longer_files_are_refused(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="longer than it should be"):
        READERS[name](folder / name)


def test_one_flipped_byte_in_a_png_is_noticed(folder: Path) -> None:
    content = bytearray((folder / "flow.png").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "flow.png").write_bytes(content)
    with pytest.raises(ValueError, match="wrong checksum"):
        read_kitti_flow(folder / "flow.png")


def test_impossible_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    for width, height in ((0, 5), (-4, -4), (2**30, 2**30)):
        (tmp_path / "a.flo").write_bytes(b"PIEH" + struct.pack("<ii", width, height) + bytes(64))
        with pytest.raises(ValueError, match="claims"):
            read_flo(tmp_path / "a.flo")
    (tmp_path / "a.pfm").write_bytes(b"Pf\n99999999 99999999\n-1\n")
    with pytest.raises(ValueError, match="claims"):
        read_pfm(tmp_path / "a.pfm")
    (tmp_path / "a.pfm").write_bytes(b"Pf\n1 1\n0\n" + bytes(4))
    with pytest.raises(ValueError, match="scale"):
        read_pfm(tmp_path / "a.pfm")


def test_other_pngs_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="16-bit grey PNG, expected 16-bit RGB"):
        read_kitti_flow(folder / "disparity.png")
    with pytest.raises(ValueError, match="16-bit RGB PNG, expected 16-bit grey"):
        read_kitti_disparity(folder / "flow.png")
    cv2.imwrite(str(folder / "photo.png"), np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="8-bit RGB PNG"):
        read_kitti_flow(folder / "photo.png")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for reader in READERS.values():
        with pytest.raises(FileNotFoundError, match="no such file"):
            reader(tmp_path / "none.flo")
        with pytest.raises(ValueError, match="is a folder"):
            reader(tmp_path)


def test_real_flow_survives(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "flow" / "rubberwhale" / "flow10.flo"
    if not source.is_file():
        pytest.skip(f"no {source}")
    flow = read_flo(source)
    assert flow.shape == (388, 584, 2)
    assert 0.9 < known_flow(flow).valid.mean() < 1
    write_flo(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").read_bytes() == source.read_bytes()
