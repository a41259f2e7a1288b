"""numba, lazily: machine code at the first call, kept on disk where that can be, in memory otherwise."""

from collections.abc import Callable
from functools import cache
from inspect import unwrap


@cache
def compiled(function: Callable[..., None], signature: str) -> Callable[..., None]:
    """The function as machine code that runs without the GIL; numba is imported now, not before.

    The code is read from numba's cache (beside the file, or NUMBA_CACHE_DIR) and written there if it can be.
    """
    import numba

    plain = unwrap(function)  # without the checks of shapes that the tests put around it
    try:
        return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(plain)
    except (RuntimeError, OSError):  # numba: "no locator available"; a full or read-only disk
        return numba.njit(signature, nogil=True, error_model="numpy")(plain)
