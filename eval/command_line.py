"""The command that made a run, as its JSON and the README tell it: without the paths of a machine."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_OUTPUTS = ("--json", "--pictures", "--meshes", "--export", "--samples", "--output", "-o")


def recorded_command() -> str | None:
    """The command of this process; None where it is not `python -m eval`."""
    program = Path(sys.argv[0])
    if (program.parent.name, program.name) != ("eval", "__main__.py"):
        return None
    return command_line(sys.argv[1:])


def command_line(arguments: Sequence[str]) -> str:
    """`python -m eval ...` with DATA for the folder of the data, other paths as names, and without output files."""
    words = ["python -m eval"]
    rest = iter(word for argument in arguments for word in _apart(argument))
    for word in rest:
        if word in _OUTPUTS:
            next(rest, None)
        elif word == "--data":
            next(rest, None)
            words.append("--data DATA")
        else:
            words.append(Path(word).name if os.sep in word else word)
    return " ".join(words)


def _apart(argument: str) -> list[str]:
    """`--option=value` as two words."""
    return argument.split("=", 1) if argument.startswith("--") else [argument]
