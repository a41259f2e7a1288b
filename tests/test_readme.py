"""What the README shows works: its Python runs, its commands exist and take the options that it gives them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PHOTO = ROOT / "face3d" / "assets" / "astronaut.jpg"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    line
    for block in blocks("bash")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def run(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{shlex.join(arguments)}: {result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture
def folder_with_photo(tmp_path: Path) -> Path:
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    return tmp_path


def selected(*programs: str) -> list[str]:
    return [command for command in COMMANDS if shlex.split(command)[0] in programs]


def test_every_command_is_of_a_known_kind() -> None:
    assert sorted(COMMANDS) == sorted(selected("make", "face3d", "python", "pip"))


@pytest.mark.parametrize("command", selected("make"))
def test_make_target_exists(command: str) -> None:
    run([*shlex.split(command), "--dry-run"], ROOT)


@pytest.mark.parametrize("command", selected("face3d"))
def test_face3d_command_runs(command: str, folder_with_photo: Path) -> None:
    run([sys.executable, "-m", *shlex.split(command, comments=True)], folder_with_photo)


@pytest.mark.parametrize("command", selected("python"))
def test_program_takes_these_options(command: str) -> None:
    """With --help: the options are parsed, an unknown one fails, nothing is trained or measured."""
    arguments = shlex.split(command, comments=True)[1:]
    assert arguments[0] == "-m", command
    assert "Usage" in run([sys.executable, *arguments, "--help"], ROOT)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code: str, folder_with_photo: Path) -> None:
    assert "reconstruct" in code
    run([sys.executable, "-W", "error", "-c", code], folder_with_photo)
    assert list(folder_with_photo.glob("face.*")), "the block saves a face"


def test_named_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"face3d\[([\w,-]+)\]", README) for name in group.split(",")}
    assert named <= extras.keys()


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
