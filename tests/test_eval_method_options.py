"""The options of commands that measure any method: stated once, offered by each, given to the command as one choice."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.method_options import of_any_method
from eval.methods import Choice

OPTIONS = ("--method", "--weights", "--model", "--device", "--python", "--predictions", "--export")
OF_ANY_METHOD = ("aflw2000", "shape", "clips-shape", "facewarehouse", "florence", "now", "realy")


@pytest.fixture
def asked():
    """What a command of one own option gets."""
    given: list[tuple[Path, Choice, bool]] = []
    app = typer.Typer()

    @app.command()
    @of_any_method
    def measure(data: Path, choice: Choice, own: Annotated[bool, typer.Option(help="Its own.")] = False) -> None:
        """Measures."""
        given.append((data, choice, own))

    def invoke(*arguments: str, **environment: str) -> tuple[Path, Choice, bool]:
        result = CliRunner().invoke(app, ["DATA", *arguments], env=environment, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return given[-1]

    return invoke


def test_a_command_gets_a_choice(asked) -> None:
    assert asked() == (Path("DATA"), Choice(), False)
    expected = Choice("files", model=Path("m.npz"), device="cpu", predictions=Path("p"))
    options = ("--method", "files", "--model", "m.npz", "--device", "cpu", "--predictions", "p")
    assert asked(*options, "--own") == (Path("DATA"), expected, True)
    assert asked("--weights", "w", "--export", "e")[1] == Choice(weights=Path("w"), export=Path("e"))


def test_the_other_python_may_stand_in_the_environment(asked) -> None:
    assert asked("--method", "mediapipe", FACE3D_EVAL_PYTHON="mp/bin/python")[1].python == Path("mp/bin/python")


def of_command(name: str) -> dict[str, Any]:
    group: Any = typer.main.get_command(commands.app)
    return {option.opts[0]: option for option in group.commands[name].params}


@pytest.mark.parametrize("name", OF_ANY_METHOD)
def test_every_command_offers_the_same_options(name: str) -> None:
    first, own = of_command(OF_ANY_METHOD[0]), of_command(name)
    for option in OPTIONS:
        assert (own[option].help, own[option].default) == (first[option].help, first[option].default), option
    assert "--choice" not in own and own["--data"].required and own["--method"].default == "face3d"


def test_help_says_what_the_command_is_for() -> None:
    result = CliRunner().invoke(commands.app, ["now", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "NoW (data behind an account)" in result.output
    for option in (*OPTIONS, "--metrical", "--samples"):
        assert option in result.output
