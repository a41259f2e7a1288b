"""MATLAB files, with errors that say what is wrong."""

import struct
import zlib
from pathlib import Path

import scipy.io
from scipy.io.matlab import MatReadError

from bfm.fields import Fields


def read_mat(path: Path, kind: str) -> Fields:
    """The variables of a MATLAB 5 file. FileNotFoundError; ValueError where it is of another kind or truncated."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a {kind} file")
    try:
        with path.open("rb") as file:
            values = scipy.io.loadmat(file)
    except NotImplementedError as error:
        raise ValueError(f"{path}: a MATLAB 7.3 file; save it again with `save -v7`, expected a {kind} file") from error
    except (ValueError, TypeError, OSError, EOFError, IndexError, KeyError, MemoryError) as error:
        raise _damaged(path, kind, error) from error
    except (zlib.error, struct.error, MatReadError) as error:
        raise _damaged(path, kind, error) from error
    return Fields({name: value for name, value in values.items() if not name.startswith("__")}, path, kind)


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable MATLAB file ({error}); it is truncated or not a {kind} file")
