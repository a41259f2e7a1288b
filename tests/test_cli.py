"""The command line: files, messages and exit codes, with stand-ins for what is learned."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from face3d import _version, checkpoint, cli
from face3d.cli import app
from tests.fake_networks import fake_reconstructor, noise_photo

BOXES = [[60.0, 40.0, 90.0, 60.0], [10.0, 10.0, 30.0, 30.0]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_load", lambda weights, morphable_model, device: fake_reconstructor(BOXES))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "people.png"
    Image.fromarray(noise_photo()).save(path)
    return path


@pytest.fixture
def black(tmp_path: Path) -> Path:
    path = tmp_path / "nobody.png"
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("fake")
def test_every_face_in_every_format(photo: Path, tmp_path: Path) -> None:
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--format", "glb,json")
    assert result.exit_code == 0, result.output
    expected = ["people.glb", "people.json", "people_face2.glb", "people_face2.json", "people_overlay.png"]
    assert names(tmp_path / "out") == expected
    assert json.loads((tmp_path / "out" / "people.json").read_text())["box"] == BOXES[0]


@pytest.mark.usefixtures("fake")
def test_without_texture_and_overlay(photo: Path, tmp_path: Path) -> None:
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--format", "obj", "--no-texture", "--no-overlay")
    assert result.exit_code == 0 and names(tmp_path / "out") == ["people.obj", "people_face2.obj"]


@pytest.mark.usefixtures("fake")
def test_no_face(black: Path, tmp_path: Path) -> None:
    result = run("reconstruct", black, "-o", tmp_path / "out")
    assert result.exit_code == 3 and "nobody.png: no face found" in result.output
    assert names(tmp_path / "out") == []


@pytest.mark.usefixtures("fake")
def test_several_photos_go_on_after_an_error(photo: Path, black: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    result = run("reconstruct", broken, tmp_path / "missing.jpg", black, photo, "-o", tmp_path / "out")
    assert result.exit_code == 2
    for message in ("broken.jpg is not an image", "no such photo", "nobody.png: no face", "4 photos: 2 faces"):
        assert message in result.output
    assert names(tmp_path / "out") == ["people.glb", "people_face2.glb", "people_overlay.png"]
    assert run("reconstruct", black, photo, "-o", tmp_path / "out").exit_code == 3


@pytest.mark.usefixtures("fake")
def test_photos_of_one_name(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.fromarray(noise_photo(seed=3)).save(tmp_path / "other" / "people.jpg")
    result = run("reconstruct", photo, tmp_path / "other" / "people.jpg", "-o", tmp_path / "out", "--no-overlay")
    assert result.exit_code == 0
    assert names(tmp_path / "out") == ["people-2.glb", "people-2_face2.glb", "people.glb", "people_face2.glb"]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("formats", ["stl", "glb,fbx", ",", ""])
def test_unknown_format(photo: Path, tmp_path: Path, formats: str) -> None:
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--format", formats)
    assert result.exit_code == 2 and "use any of glb,obj,ply,json,npz" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fake")
def test_the_photo_beside_the_output_is_not_overwritten(photo: Path) -> None:
    before = photo.read_bytes()
    assert run("reconstruct", photo, "-o", photo.parent, "--format", "glb,obj,ply,json,npz").exit_code == 0
    assert photo.read_bytes() == before


def test_output_that_cannot_be_written(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is loaded. (A folder under a file: also root cannot write there.)"""
    monkeypatch.setattr(cli, "_load", lambda *arguments: pytest.fail("loaded"))
    for arguments in (["reconstruct", photo, "-o", photo / "out"], ["demo", "-o", photo / "out"]):
        result = run(*arguments)
        assert result.exit_code == 2 and "choose a folder that can be written" in result.output


@pytest.mark.skipif(
    not hasattr(__import__("os"), "geteuid") or __import__("os").geteuid() == 0, reason="root may write"
)
def test_read_only_folder(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    result = run("reconstruct", photo, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "choose a folder that can be written" in result.output


def test_a_cuda_device_that_is_not_there(photo: Path, tmp_path: Path) -> None:
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--device", "cuda:77")
    assert result.exit_code == 2 and "'cuda:77' is not there" in result.output


def test_altered_asset(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "face3d_model.npz").write_bytes(b"original")
    checkpoint.write_manifest(assets)
    (assets / "face3d_model.npz").write_bytes(b"altered!")
    monkeypatch.setattr(checkpoint, "_ASSETS", assets)
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 2 and "face3d_model.npz was altered: SHA-256" in result.output


def test_wrong_usage(tmp_path: Path) -> None:
    assert run("reconstruct").exit_code == 2
    assert run("reconstruct", "a.jpg").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_version_and_help() -> None:
    assert run("--version").output.strip() == f"face3d {_version.__version__}"
    assert "reconstruct" in run("--help").output


@pytest.mark.usefixtures("fake")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Path(cli.__file__).parent / "assets" / "astronaut.jpg"
    monkeypatch.setattr(checkpoint, "asset_path", lambda name: photo)
    result = run("demo", "-o", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert {"astronaut.glb", "astronaut.obj", "astronaut.json", "astronaut_overlay.png"} <= set(
        names(tmp_path / "demo")
    )
    assert "pitch" in result.output


def test_importing_face3d_is_light_and_silent() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import face3d, face3d.cli\n"
        "assert not {'torch', 'cv2', 'numba', 'trimesh', 'numpy'} & set(sys.modules), 'heavy import'\n"
        "assert 'reconstruct' in dir(face3d)\n"
        "import face3d.pipeline, face3d.reconstruction\n"
        "assert callable(face3d.reconstruct) and isinstance(face3d.Reconstructor, type)\n"
        "import types; face3d.__setattr__('reconstruct', types.ModuleType('face3d.reconstruct'))\n"
        "assert face3d.reconstruct is face3d.pipeline.reconstruct\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stderr == "", result.stderr


def test_unknown_public_name() -> None:
    import face3d

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        face3d.nonsense  # noqa: B018
