"""`face3d flow`: files, messages and exit codes, with a tiny network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from face3d.cli import app
from face3d.flow_files import read_flo, read_kitti_flow
from face3d.flow_picture import flow_picture
from face3d.optical_flow import FlowEstimator
from tests.fake_networks import noise_photo
from tests.flow_weights import THREE, TINY, write_flow_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frames, and the weights of networks of two and three."""
    for index in range(3):
        Image.fromarray(noise_photo(20, 30, seed=index)).save(tmp_path / f"{index}.png")
    write_flow_weights(tmp_path / "two.safetensors", TINY)
    write_flow_weights(tmp_path / "three.safetensors", THREE)
    return tmp_path


def run(folder: Path, *arguments: object, weights: str = "two") -> Result:
    """The flow from 1.png to 2.png."""
    options = ["flow", folder / "1.png", folder / "2.png", "--weights", folder / f"{weights}.safetensors"]
    return CliRunner().invoke(app, [str(argument) for argument in (*options, "--device", "cpu", *arguments)])


def test_every_kind_of_file(folder: Path) -> None:
    out = folder / "out"
    pictures = ("--picture", out / "seen" / "colours.png", "--occlusion", out / "hidden.png")
    result = run(folder, "-o", out / "a.flo", *pictures)
    assert result.exit_code == 0, result.output
    assert "occluded" in result.output and "hidden.png" in result.output
    found = FlowEstimator(folder / "two.safetensors", "cpu")(folder / "1.png", folder / "2.png")
    np.testing.assert_array_equal(read_flo(out / "a.flo"), found.forward_px)
    with Image.open(out / "seen" / "colours.png") as picture, Image.open(out / "hidden.png") as hidden:
        np.testing.assert_array_equal(np.asarray(picture), flow_picture(found.forward_px))
        assert hidden.mode == "L"
        np.testing.assert_array_equal(np.asarray(hidden), 255 * found.occluded)
    assert sorted(path.name for path in out.rglob("*")) == ["a.flo", "colours.png", "hidden.png", "seen"]

    assert run(folder, "-o", out / "a.PNG").exit_code == 0
    flow_px, valid = read_kitti_flow(out / "a.PNG")
    np.testing.assert_allclose(flow_px, found.forward_px, atol=1 / 128)
    assert valid.all()


def test_the_frame_before(folder: Path) -> None:
    for name, arguments in {"with": ("--previous", folder / "0.png"), "without": ()}.items():
        assert run(folder, "-o", folder / f"{name}.flo", *arguments, weights="three").exit_code == 0
    assert np.abs(read_flo(folder / "with.flo") - read_flo(folder / "without.flo")).max() > 0.01


def test_what_the_network_says(folder: Path) -> None:
    assert run(folder, "-o", folder / "a.flo", "--no-refine").exit_code == 0
    network = FlowEstimator(folder / "two.safetensors", "cpu", refine=False)
    expected = network(folder / "1.png", folder / "2.png").forward_px
    np.testing.assert_array_equal(read_flo(folder / "a.flo"), expected)
    assert run(folder, "-o", folder / "b.flo").exit_code == 0
    assert np.abs(read_flo(folder / "b.flo") - expected).max() > 0.01


def test_what_cannot_be_read_is_said(folder: Path) -> None:
    Image.fromarray(noise_photo(20, 31)).save(folder / "wide.png")
    (folder / "damaged.safetensors").write_bytes(b"no weights")
    out = ("-o", folder / "a.flo")
    for result, message in (
        (run(folder, *out, weights="missing"), "no weights at"),
        (run(folder, *out, weights="damaged"), "is damaged"),
        (run(folder, *out, "--previous", folder / "gone.png", weights="three"), "no such photo"),
        (run(folder, *out, "--previous", folder / "wide.png", weights="three"), "previous 31 x 20 px"),
        (run(folder, *out, "--device", "cuda:77"), "'cuda:77' is not there"),
    ):
        assert result.exit_code == 2 and message in result.output, result.output
    assert not (folder / "a.flo").exists()


def test_what_cannot_be_written_is_said_before_the_work(folder: Path) -> None:
    a_file = folder / "0.png"
    for arguments, message in (
        (["-o", folder / "a.jpg"], "ends in .flo or .png"),
        (["-o", folder / "a.flo", "--picture", folder / "a.jpg"], "ends in .png"),
        (["-o", folder / "a.flo", "--occlusion", folder / "b.flo"], "ends in .png"),
        (["-o", folder / "1.png"], "is also a frame or another output"),
        (["-o", folder / "a.png", "--picture", folder / "x" / ".." / "a.png"], "is also a frame or another output"),
        (["-o", a_file / "a.flo"], "choose a folder that can be written"),
        (["-o", folder / "a.flo", "--picture", a_file / "a.png"], "choose a folder that can be written"),
    ):
        result = run(folder, *arguments, weights="missing")
        assert result.exit_code == 2 and message in result.output.replace("\n", " "), result.output


def test_an_output_has_to_be_given(folder: Path) -> None:
    assert run(folder).exit_code == 2
    assert "--previous" in CliRunner().invoke(app, ["flow", "--help"], env={"COLUMNS": "200"}).output
