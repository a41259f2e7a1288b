"""Read the arrays in a pickle without executing anything in it.

A pickle is a program: it names functions and has them called. Here every name is looked up in the short table below,
whose entries only hold data; numpy's own reconstructors are replaced as well, so that no crafted array state reaches
them. Objects of chumpy, scipy and torch become inert holders of their state. Any other name is refused.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

_INERT_PACKAGES = ("chumpy", "scipy", "torch", "weakref")


class Inert:
    """Stands for an object of a foreign class: keeps what the pickle gives it, does nothing."""

    origin = ""
    state: Any = None

    def __init__(self, *arguments: Any, **_named: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType(Inert):
    """A numpy dtype: a plain code and a byte order."""

    def numpy(self) -> np.dtype:
        code = str(_text(self.arguments[0]))
        if not re.fullmatch(r"[biufcSUO]\d*", code):
            raise pickle.UnpicklingError(f"array of {code!r}")
        order = _text(self.state[1]) if self.state else "|"
        return np.dtype(code).newbyteorder(">" if order == ">" else "<")


class _Array(Inert):
    """A numpy array: `value` once its state is set."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _DType):
            raise pickle.UnpicklingError("an array without a type")
        self.value = _filled(data, dtype.numpy(), shape, "F" if fortran else "C")


def _filled(data: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if dtype.kind == "O":
        array = np.empty(len(data), object)
        array[:] = [plain(item) for item in data]
        return array.reshape(shape, order=order)
    return np.frombuffer(bytearray(_bytes(data)), dtype).reshape(shape, order=order)


def _reconstruct(*_arguments: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: _DType, shape: tuple[int, ...], order: Any) -> _Array:
    array = _Array()
    array.value = _filled(data, dtype.numpy(), shape, order)
    return array


def _scalar(dtype: _DType, data: Any) -> Any:
    return _filled(data, dtype.numpy(), (), "C")[()]


def _encode(text: str, encoding: str = "latin1", *_errors: str) -> bytes:
    return text.encode("latin1" if _text(encoding) in ("latin1", "bytes") else "ascii")


def _new_object(cls: Any, *_arguments: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, Inert)):
        raise pickle.UnpicklingError(f"a new {cls!r}")
    return cls()


def _table() -> dict[str, Any]:
    table: dict[str, Any] = {"numpy.ndarray": _Array, "numpy.dtype": _DType, "_codecs.encode": _encode}
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray._reconstruct"] = _reconstruct
        table[f"{core}.multiarray.scalar"] = _scalar
        table[f"{core}.numeric._frombuffer"] = _from_buffer
    for module in ("copy_reg", "copyreg"):
        table[f"{module}._reconstructor"] = table[f"{module}.__newobj__"] = _new_object
    for module in ("__builtin__", "builtins"):
        table |= {f"{module}.set": set, f"{module}.frozenset": frozenset, f"{module}.object": Inert}
        table |= {f"{module}.bytearray": bytearray}
    table["collections.OrderedDict"] = dict
    return table


_ALLOWED = _table()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _ALLOWED:
            return _ALLOWED[full]
        if module.split(".")[0] in _INERT_PACKAGES:
            return type(name.rpartition(".")[2], (Inert,), {"origin": full})
        raise pickle.UnpicklingError(f"it asks for {full}, which is not data")


def load(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle file: arrays as numpy, chumpy arrays as numpy, foreign objects as `Inert`.

    FileNotFoundError; ValueError where the file is no pickle, is truncated, holds no dictionary, or asks for
    anything but data.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    value = loads(path.read_bytes(), path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: the pickle holds a {type(value).__name__}, expected a dictionary of arrays")
    return {str(_text(key)): item for key, item in value.items()}


def loads(data: bytes, path: Path) -> Any:
    """As `load`, from bytes and with any content; `path` is only named in errors."""
    try:
        return plain(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused or not a pickle: {error}") from error
    except (EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: the pickle is damaged ({type(error).__name__}: {error})") from error


def load_npy_object(data: bytes, path: Path) -> Any:
    """The content of an `.npy` file that holds a pickled object, as `np.save` writes dictionaries."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.hasobject:
            value = loads(file.read(), path)
            return value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .npy ({error})") from error


def plain(value: Any) -> Any:
    """`value` with the stand-ins for numpy and chumpy arrays replaced by arrays."""
    if isinstance(value, _Array):
        return getattr(value, "value", np.zeros(0))
    if isinstance(value, Inert) and value.origin.startswith("chumpy.") and isinstance(value.state, dict):
        leaf = value.state.get("x")
        return value if leaf is None else np.asarray(plain(leaf))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return value


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _bytes(value: Any) -> bytes:
    return value.encode("latin1") if isinstance(value, str) else bytes(value)
