"""Compiled loops, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled at its first call, without the interpreter's lock; the machine code is kept for later runs.

    The code is kept beside the module or in the user's cache folder, and made anew when the module's file changes. It
    does not see constants that change in another file. Where neither folder can be written to, it is not kept.
    """
    try:
        return cast(F, njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:  # numba found no place for the cache
        return cast(F, njit(nogil=True, error_model="numpy")(function))
