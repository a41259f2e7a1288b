"""Flow and stereo data sets in their published layouts: where the files of each sample lie, and what is in them.

A layout is a function of a folder that lists its samples with a true answer, by file names alone; `read_flow_sample`
and `read_stereo_sample` then read one, so that thousands can be shuffled before any is opened. Beside each published
layout stands the cut-down one of single frames that test data comes in. A folder without samples raises
FileNotFoundError with what was looked for; a damaged file raises ValueError with its name when it is read.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from face3d.flow_files import KnownDisparity, KnownFlow, known_flow, read_flo, read_kitti_disparity, read_kitti_flow
from face3d.io import read_image


class FlowFiles(NamedTuple):
    """Where one sample lies. `flow` is .flo or KITTI's PNG; of the masks each data set has its own, or none.

    `occluded` and `invalid` are pictures, white where it is so; `visible` is a KITTI PNG of the flow that is not
    occluded.
    """

    name: str
    previous: Path | None
    first: Path
    second: Path
    flow: Path
    occluded: Path | None = None
    invalid: Path | None = None
    visible: Path | None = None


class FlowSample(NamedTuple):
    """Two frames and the true flow from the first to the second; the frame before them where there is one.

    `flow_px` is zero where it is not `valid`; `occluded` says which pixels of the first frame the second does not show,
    None where the data set does not know.
    """

    name: str
    previous: UInt8[np.ndarray, "H W 3"] | None
    first: UInt8[np.ndarray, "H W 3"]
    second: UInt8[np.ndarray, "H W 3"]
    flow_px: Float32[np.ndarray, "H W 2"]
    valid: Bool[np.ndarray, "H W"]
    occluded: Bool[np.ndarray, "H W"] | None


class StereoFiles(NamedTuple):
    """Where one stereo pair lies.

    `disparity` is KITTI's 16-bit PNG where `levels_per_px` is None, else an 8-bit picture of so many grey levels per
    pixel, zero where unknown. `visible` is such a file with the occluded pixels unknown, or a mask, white where
    visible, as `visible_is_mask` says.
    """

    name: str
    left: Path
    right: Path
    disparity: Path
    levels_per_px: float | None = None
    visible: Path | None = None
    visible_is_mask: bool = False


class StereoSample(NamedTuple):
    """A rectified pair and the true disparity of the left picture; masks as in `FlowSample`."""

    name: str
    left: UInt8[np.ndarray, "H W 3"]
    right: UInt8[np.ndarray, "H W 3"]
    disparity_px: Float32[np.ndarray, "H W"]
    valid: Bool[np.ndarray, "H W"]
    occluded: Bool[np.ndarray, "H W"] | None


Files = TypeVar("Files", FlowFiles, StereoFiles)


def flying_chairs(folder: Path) -> list[FlowFiles]:
    """FlyingChairs: `[data/]00001_img1.ppm`, `_img2.ppm`, `_flow.flo`; or `00001-img0.png`, `-img1.png`, `-gt.flo`."""
    found = []
    for place, endings in (
        (folder / "data", ("_img1.ppm", "_img2.ppm", "_flow.flo")),
        (folder, ("_img1.ppm", "_img2.ppm", "_flow.flo")),
        (folder, ("-img0.png", "-img1.png", "-gt.flo")),
    ):
        for flow in sorted(place.glob(f"*{endings[2]}")):
            name = flow.name.removesuffix(endings[2])
            found.append(FlowFiles(name, None, place / f"{name}{endings[0]}", place / f"{name}{endings[1]}", flow))
    return _some(found, folder, "00001_flow.flo (also in data/) or 00001-gt.flo")


def sintel(folder: Path) -> list[FlowFiles]:
    """MPI-Sintel, the clean and then the final pass.

    Published: `[training/]clean/SCENE/frame_0001.png`, `flow/SCENE/frame_0001.flo` and the masks `occlusions/` and
    `invalid/` beside `flow/`. Cut down: `clean/SCENE/gt/frame_0001.flo` with `gt/occlusions` and `gt/invalid`.
    """
    root = folder / "training" if (folder / "training").is_dir() else folder
    found = []
    for which in ("clean", "final"):
        scenes = sorted(scene for scene in (root / which).glob("*") if scene.is_dir())
        for scene in scenes:
            cut_down = scene / "gt"
            flows = cut_down if cut_down.is_dir() else root / "flow" / scene.name
            occlusions, invalid = (
                cut_down / kind if cut_down.is_dir() else root / kind / scene.name for kind in ("occlusions", "invalid")
            )
            for flow in sorted(flows.glob("frame_*.flo")):
                number = int(flow.stem.removeprefix("frame_"))
                before, first, second = (scene / f"frame_{number + step:04d}.png" for step in (-1, 0, 1))
                masks = (_if_there(place / first.name) for place in (occlusions, invalid))
                found.append(
                    FlowFiles(f"{which}/{scene.name}/{flow.stem}", _if_there(before), first, second, flow, *masks)
                )
    return _some(found, folder, "[training/]clean|final/SCENE/frame_0001.png with flow/SCENE/frame_0001.flo")


def kitti_flow(folder: Path) -> list[FlowFiles]:
    """KITTI 2012 (`colored_0`, else `image_0`) or 2015 (`image_2`): `[training/]flow_occ/000000_10.png`, `flow_noc`.

    The frame before, `000000_09.png`, is there where the multi-view extension was unpacked into the same folder.
    """
    root = folder / "training" if (folder / "training").is_dir() else folder
    pictures = _first_folder(root, ("image_2", "colored_0", "image_0"))
    found = []
    for flow in sorted((root / "flow_occ").glob("*_10.png")):
        name = flow.stem.removesuffix("_10")
        before, first, second = (pictures / f"{name}_{number:02d}.png" for number in (9, 10, 11))
        visible = _if_there(root / "flow_noc" / flow.name)
        found.append(FlowFiles(name, _if_there(before), first, second, flow, visible=visible))
    return _some(found, folder, "[training/]flow_occ/000000_10.png beside image_2, colored_0 or image_0")


def middlebury_flow(folder: Path) -> list[FlowFiles]:
    """Middlebury: `other-data/SCENE/frame10.png` with `other-gt-flow/SCENE/flow10.flo`; or one scene's files alone."""
    scenes = {flow.parent.name: (folder / "other-data" / flow.parent.name, flow)
              for flow in sorted((folder / "other-gt-flow").glob("*/flow10.flo"))}  # fmt: skip
    if (folder / "flow10.flo").is_file():
        scenes[folder.resolve().name] = (folder, folder / "flow10.flo")
    found = []
    for name, (place, flow) in scenes.items():
        before, first, second = (place / f"frame{number:02d}.png" for number in (9, 10, 11))
        found.append(FlowFiles(name, _if_there(before), first, second, flow))
    return _some(found, folder, "other-gt-flow/SCENE/flow10.flo with other-data/SCENE/frame10.png, or flow10.flo")


def generated_flow(folder: Path) -> list[FlowFiles]:
    """What `python -m train.prepare flow` writes: `SCENE/previous.png`, `first.png`, `second.png`, `flow.flo`,
    `occluded.png`."""
    found = []
    for flow in sorted(folder.glob("*/flow.flo")):
        place = flow.parent
        previous, occluded = _if_there(place / "previous.png"), _if_there(place / "occluded.png")
        found.append(FlowFiles(place.name, previous, place / "first.png", place / "second.png", flow, occluded))
    return _some(found, folder, "SCENE/flow.flo beside first.png and second.png")


def generated_stereo(folder: Path) -> list[StereoFiles]:
    """What `python -m train.prepare flow --kind stereo` writes: `SCENE/left.png`, `right.png`, `disparity.png` (KITTI's
    16 bits), `visible.png` (the same, of what both pictures show)."""
    found = []
    for disparity in sorted(folder.glob("*/disparity.png")):
        left, right, visible = (disparity.with_name(f"{name}.png") for name in ("left", "right", "visible"))
        found.append(StereoFiles(disparity.parent.name, left, right, disparity, visible=_if_there(visible)))
    return _some(found, folder, "SCENE/disparity.png beside left.png and right.png")


def kitti_stereo(folder: Path) -> list[StereoFiles]:
    """KITTI 2015 (`image_2`, `image_3`, `disp_occ_0`) or 2012 (`colored_0`/`_1` else `image_0`/`_1`, `disp_occ`)."""
    root = folder / "training" if (folder / "training").is_dir() else folder
    left = _first_folder(root, ("image_2", "colored_0", "image_0"))
    right = left.with_name({"image_2": "image_3", "colored_0": "colored_1", "image_0": "image_1"}[left.name])
    truth = _first_folder(root, ("disp_occ_0", "disp_occ"))
    found = []
    for disparity in sorted(truth.glob("*_10.png")):
        visible = _if_there(truth.with_name(truth.name.replace("occ", "noc")) / disparity.name)
        pair = (left / disparity.name, right / disparity.name)
        found.append(StereoFiles(disparity.stem.removesuffix("_10"), *pair, disparity, visible=visible))
    return _some(found, folder, "[training/]disp_occ_0|disp_occ/000000_10.png beside image_2, colored_0 or image_0")


def middlebury_stereo(folder: Path) -> list[StereoFiles]:
    """Middlebury 2003, in the folder or its scenes: `im2.png`, `im6.png`, `disp2.png` (small, four levels a pixel).

    Or `left.png`, `right.png`, `gt.png` (one level a pixel) with `mask.png`, white where the right picture shows it.
    """
    found = []
    for place in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        name = place.resolve().name
        if (place / "disp2.png").is_file():
            found.append(StereoFiles(name, place / "im2.png", place / "im6.png", place / "disp2.png", 4.0))
        elif (place / "gt.png").is_file() and (place / "left.png").is_file():
            pair, mask = (place / "left.png", place / "right.png"), _if_there(place / "mask.png")
            found.append(StereoFiles(name, *pair, place / "gt.png", 1.0, mask, visible_is_mask=True))
    return _some(found, folder, "im2.png, im6.png and disp2.png, or left.png, right.png and gt.png")


FLOW_LAYOUTS: dict[str, Callable[[Path], list[FlowFiles]]] = {
    "sintel": sintel,
    "kitti": kitti_flow,
    "chairs": flying_chairs,
    "middlebury": middlebury_flow,
    "generated": generated_flow,
}
STEREO_LAYOUTS: dict[str, Callable[[Path], list[StereoFiles]]] = {
    "cones": middlebury_stereo,
    "kitti": kitti_stereo,
    "generated": generated_stereo,
}


def read_flow_sample(files: FlowFiles) -> FlowSample:
    """Read the frames, the flow and the masks of one sample.

    Raises:
        FileNotFoundError: one of its files is missing.
        ValueError: one is damaged, or their sizes differ.
    """
    truth = read_kitti_flow(files.flow) if files.flow.suffix == ".png" else known_flow(read_flo(files.flow))
    frames = [None if path is None else read_image(path) for path in (files.previous, files.first, files.second)]
    occluded = None if files.occluded is None else _white(files.occluded)
    shown = None if files.visible is None else read_kitti_flow(files.visible).valid
    invalid = None if files.invalid is None else _white(files.invalid)
    _check_sizes(files.name, *frames, truth.valid, occluded, shown, invalid)
    if shown is not None:
        occluded = truth.valid & ~shown
    if invalid is not None:
        truth = KnownFlow(truth.flow_px * ~invalid[..., None], truth.valid & ~invalid)
    previous, first, second = frames
    assert first is not None and second is not None
    return FlowSample(files.name, previous, first, second, truth.flow_px, truth.valid, occluded)


def read_stereo_sample(files: StereoFiles) -> StereoSample:
    """Read the pictures, the disparity and what is visible of one pair; errors as `read_flow_sample`."""
    disparity, valid = _read_disparity(files.disparity, files.levels_per_px)
    left, right = read_image(files.left), read_image(files.right)
    shown = None
    if files.visible is not None:
        is_mask = files.visible_is_mask
        shown = _white(files.visible) if is_mask else _read_disparity(files.visible, files.levels_per_px).valid
    _check_sizes(files.name, left, right, valid, shown)
    return StereoSample(files.name, left, right, disparity, valid, None if shown is None else valid & ~shown)


def flow_samples(layout: str, folder: Path) -> Iterator[FlowSample]:
    """All samples of a layout (`FLOW_LAYOUTS`), each read when it is asked for."""
    return map(read_flow_sample, FLOW_LAYOUTS[layout](folder))


def stereo_samples(layout: str, folder: Path) -> Iterator[StereoSample]:
    """All pairs of a layout (`STEREO_LAYOUTS`), each read when it is asked for."""
    return map(read_stereo_sample, STEREO_LAYOUTS[layout](folder))


def _read_disparity(path: Path, levels_per_px: float | None) -> KnownDisparity:
    if levels_per_px is None:
        return read_kitti_disparity(path)
    if path.is_file():
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(f"{path} is a picture of mode {image.mode}, expected 8-bit grey disparity")
    levels = read_image(path)[..., 0]
    return KnownDisparity(levels.astype(np.float32) / np.float32(levels_per_px), levels > 0)


def _white(path: Path) -> Bool[np.ndarray, "H W"]:
    return read_image(path)[..., 0] > 127


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _first_folder(root: Path, names: tuple[str, ...]) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _some(found: list[Files], folder: Path, looked_for: str) -> list[Files]:
    if not found:
        raise FileNotFoundError(f"no sample in {folder}: looked for {looked_for}")
    return found


def _check_sizes(name: str, *arrays: np.ndarray | None) -> None:
    sizes = {array.shape[:2] for array in arrays if array is not None}
    if len(sizes) > 1:
        raise ValueError(f"{name}: frames, truth and masks have sizes {sorted(sizes)} (rows, columns), expected one")
