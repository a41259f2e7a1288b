"""What the commands share: exit codes, how an error ends a command, the check that its files can be written."""

from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    BAD_INPUT = 2
    NO_FACE = 3


Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default CUDA where there is a device.")]


def require_writable(folder: Path) -> None:
    """Find out before the work whether its result can be written. OSError where it cannot."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"cannot write into {folder} ({error.strerror}): choose a folder that can be written"
        raise OSError(message) from error


def fail(error: Exception) -> NoReturn:
    """Say what is wrong and end the command."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(ExitCode.BAD_INPUT)
