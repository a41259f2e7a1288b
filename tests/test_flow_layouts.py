"""Published layouts of flow and stereo data, written small, and the real ones where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from face3d.flow_files import write_flo, write_kitti_disparity, write_kitti_flow
from face3d.flow_layouts import (
    FLOW_LAYOUTS,
    STEREO_LAYOUTS,
    FlowSample,
    StereoSample,
    flow_samples,
    read_flow_sample,
    stereo_samples,
)

SIZE = (4, 6)
OCCLUDED = np.zeros(SIZE, bool)
OCCLUDED[1, 2] = True
INVALID = np.zeros(SIZE, bool)
INVALID[3, 5] = True


def save(path: Path, values: np.ndarray | int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*SIZE, 3), values, np.uint8) if isinstance(values, int) else values
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, mask: np.ndarray) -> None:
    save(path, np.where(mask, np.uint8(255), np.uint8(0)))


def flow_of(value: float) -> np.ndarray:
    return np.full((*SIZE, 2), value, np.float32)


def grey(frame: np.ndarray | None) -> int | None:
    return None if frame is None else int(frame[0, 0, 0])


def read_all(layout: str, folder: Path) -> list[FlowSample]:
    return list(flow_samples(layout, folder))


@pytest.mark.parametrize("below", ["", "data"])
def test_flying_chairs_as_published(tmp_path: Path, below: str) -> None:
    for index in (1, 2):
        save(tmp_path / below / f"{index:05d}_img1.ppm", 10 * index)
        save(tmp_path / below / f"{index:05d}_img2.ppm", 10 * index + 1)
        write_flo(tmp_path / below / f"{index:05d}_flow.flo", flow_of(index))
    one, two = read_all("chairs", tmp_path)
    assert (one.name, two.name) == ("00001", "00002")
    assert (grey(two.previous), grey(two.first), grey(two.second)) == (None, 20, 21)
    assert two.flow_px[0, 0].tolist() == [2, 2] and two.valid.all() and two.occluded is None
    assert two.first.shape == (*SIZE, 3) and two.first.dtype == np.uint8


def write_sintel(root: Path, frames: str, truth: str) -> None:
    """Three frames of one scene with two flows; the names hold {which}, and {kind} where truth lies."""
    for which in ("clean", "final"):
        for number in (1, 2, 3):
            save(root / frames.format(which=which) / f"frame_{number:04d}.png", number)
        for number in (1, 2):
            name = f"frame_{number:04d}"
            write = {"flow": (write_flo, ".flo", flow_of(number)), "occlusions": (save_mask, ".png", OCCLUDED),
                     "invalid": (save_mask, ".png", INVALID)}  # fmt: skip
            for kind, (function, suffix, values) in write.items():
                function(root / truth.format(which=which, kind=kind) / (name + suffix), values)


@pytest.mark.parametrize("root", ["training", ""])
def test_sintel_as_published(tmp_path: Path, root: str) -> None:
    write_sintel(tmp_path / root, "{which}/alley_1", "{kind}/alley_1")
    samples = read_all("sintel", tmp_path)
    names = ["clean/alley_1/frame_0001", "clean/alley_1/frame_0002", "final/alley_1/frame_0001"]
    assert [sample.name for sample in samples][:3] == names and len(samples) == 4
    assert [grey(frame) for frame in samples[0][1:4]] == [None, 1, 2]
    assert [grey(frame) for frame in samples[1][1:4]] == [1, 2, 3]
    assert samples[1].flow_px[0, 0].tolist() == [2, 2]
    np.testing.assert_array_equal(samples[1].occluded, OCCLUDED)
    np.testing.assert_array_equal(samples[1].valid, ~INVALID)
    assert samples[1].flow_px[INVALID].tolist() == [[0, 0]]


def test_sintel_cut_down(tmp_path: Path) -> None:
    write_sintel(tmp_path, "{which}/easy", "{which}/easy/gt/{kind}")
    for flow in tmp_path.glob("*/easy/gt/flow/*.flo"):
        flow.rename(flow.parents[1] / flow.name)
    samples = read_all("sintel", tmp_path)
    assert [sample.name for sample in samples][1::2] == ["clean/easy/frame_0002", "final/easy/frame_0002"]
    np.testing.assert_array_equal(samples[3].occluded, OCCLUDED)
    np.testing.assert_array_equal(samples[3].valid, ~INVALID)


@pytest.mark.parametrize("pictures", ["image_2", "colored_0", "image_0"])
def test_kitti_flow(tmp_path: Path, pictures: str) -> None:
    root = tmp_path / "training"
    for number in (10, 11):
        plain = np.full(SIZE, number, np.uint8) if pictures == "image_0" else number  # image_0 is grey
        save(root / pictures / f"000003_{number}.png", plain)
    (root / "flow_occ").mkdir()
    (root / "flow_noc").mkdir()
    write_kitti_flow(root / "flow_occ" / "000003_10.png", flow_of(1.5), ~INVALID)
    write_kitti_flow(root / "flow_noc" / "000003_10.png", flow_of(1.5), ~INVALID & ~OCCLUDED)
    (sample,) = read_all("kitti", tmp_path)
    assert sample.name == "000003"
    assert [grey(frame) for frame in sample[1:4]] == [None, 10, 11]
    assert sample.flow_px[0, 0].tolist() == [1.5, 1.5]
    np.testing.assert_array_equal(sample.valid, ~INVALID)
    np.testing.assert_array_equal(sample.occluded, OCCLUDED)
    save(root / pictures / "000003_09.png", 9)  # of the multi-view extension
    assert grey(next(flow_samples("kitti", tmp_path)).previous) == 9


@pytest.mark.parametrize(
    ("left", "right", "truth"),
    [
        ("image_2", "image_3", "disp_{}_0"),
        ("colored_0", "colored_1", "disp_{}"),
        ("image_0", "image_1", "disp_{}"),
    ],
)
def test_kitti_stereo(tmp_path: Path, left: str, right: str, truth: str) -> None:
    root = tmp_path / "training"
    save(root / left / "000003_10.png", 1)
    save(root / right / "000003_10.png", 2)
    save(root / left / "000003_11.png", 3)
    disparity = np.full(SIZE, 7.25, np.float32)
    write_kitti_disparity(root / truth.format("occ") / "000003_10.png", disparity, ~INVALID)
    write_kitti_disparity(root / truth.format("noc") / "000003_10.png", disparity, ~INVALID & ~OCCLUDED)
    (sample,) = stereo_samples("kitti", tmp_path)
    assert (sample.name, grey(sample.left), grey(sample.right)) == ("000003", 1, 2)
    assert sample.disparity_px[0, 0] == 7.25 and sample.disparity_px[INVALID] == 0
    np.testing.assert_array_equal(sample.valid, ~INVALID)
    np.testing.assert_array_equal(sample.occluded, OCCLUDED)


def test_middlebury_flow_as_published(tmp_path: Path) -> None:
    for scene, numbers in (("Dimetrodon", (10, 11)), ("RubberWhale", (9, 10, 11))):
        for number in numbers:
            save(tmp_path / "other-data" / scene / f"frame{number:02d}.png", number)
        flow = flow_of(2)
        flow[INVALID] = 1.666e9
        write_flo(tmp_path / "other-gt-flow" / scene / "flow10.flo", flow)
    first, second = read_all("middlebury", tmp_path)
    assert (first.name, second.name) == ("Dimetrodon", "RubberWhale")
    assert [grey(frame) for frame in first[1:4]] == [None, 10, 11] and grey(second.previous) == 9
    np.testing.assert_array_equal(second.valid, ~INVALID)
    assert second.flow_px[INVALID].tolist() == [[0, 0]] and second.occluded is None


def test_middlebury_stereo_as_published(tmp_path: Path) -> None:
    save(tmp_path / "cones" / "im2.png", 1)
    save(tmp_path / "cones" / "im6.png", 2)
    save(tmp_path / "cones" / "disp2.png", np.where(INVALID, 0, 30).astype(np.uint8))
    for folder in (tmp_path, tmp_path / "cones"):
        (sample,) = stereo_samples("cones", folder)
        assert (sample.name, grey(sample.left), grey(sample.right)) == ("cones", 1, 2)
        assert sample.disparity_px[0, 0] == 7.5 and sample.occluded is None
        np.testing.assert_array_equal(sample.valid, ~INVALID)


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
def test_a_folder_without_flow_says_what_was_looked_for(tmp_path: Path, layout: str) -> None:
    with pytest.raises(FileNotFoundError, match="looked for .*flo"):
        FLOW_LAYOUTS[layout](tmp_path)


@pytest.mark.parametrize("layout", STEREO_LAYOUTS)
def test_a_folder_without_stereo_says_what_was_looked_for(tmp_path: Path, layout: str) -> None:
    with pytest.raises(FileNotFoundError, match="looked for .*disp"):
        STEREO_LAYOUTS[layout](tmp_path)


def test_files_are_listed_unread_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    write_flo(tmp_path / "00000-gt.flo", flow_of(0))
    save(tmp_path / "00000-img0.png", 1)
    (files,) = FLOW_LAYOUTS["chairs"](tmp_path)
    with pytest.raises(FileNotFoundError, match="00000-img1.png"):
        read_flow_sample(files)
    save(tmp_path / "00000-img1.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"00000: .*sizes \[\(4, 5\), \(4, 6\)\]"):
        read_flow_sample(files)
    (tmp_path / "00000-img1.png").write_bytes((tmp_path / "00000-img0.png").read_bytes()[:45])
    with pytest.raises(ValueError, match="00000-img1.png"):
        read_flow_sample(files)


def real(data_dir: Path, name: str) -> Path:
    if not (data_dir / name).is_dir():
        pytest.skip(f"no {data_dir / name}")
    return data_dir / name


def test_real_sintel(data_dir: Path) -> None:
    folder = real(data_dir, "flow/sintel")
    files = FLOW_LAYOUTS["sintel"](folder)
    assert [item.name for item in files] == [f"{which}/{scene}/frame_0002" for which in ("clean", "final")
                                             for scene in ("easy", "medium")]  # fmt: skip
    sample = read_flow_sample(files[1])
    assert sample.previous is not None and sample.first.shape == (436, 1024, 3)
    assert sample.occluded is not None and 0.07 < sample.occluded.mean() < 0.08
    assert 0.999 < sample.valid.mean() < 1


def test_real_chairs_and_rubberwhale(data_dir: Path) -> None:
    assert len(FLOW_LAYOUTS["chairs"](real(data_dir, "flow/chairs"))) == 5
    (whale,) = flow_samples("middlebury", real(data_dir, "flow/rubberwhale"))
    assert whale.name == "rubberwhale" and whale.previous is not None
    assert np.abs(whale.flow_px).max() < 10 and not whale.valid.all()


def test_real_cones(data_dir: Path) -> None:
    samples: list[StereoSample] = list(stereo_samples("cones", real(data_dir, "stereo/cones")))
    assert len(samples) == 1 and samples[0].name == "cones"
    assert 50 < samples[0].disparity_px.max() < 60
    assert samples[0].occluded is not None and 0.1 < samples[0].occluded.mean() < 0.13
