"""What disbench raises when the input, and not the program, is at fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DisbenchError(Exception):
    """Something the user can put right; the message says what was wrong, what was expected and what to do.

    The command line prints the message without a traceback and exits with 1.
    """


class UsageError(DisbenchError):
    """A name, an option or a file that cannot be meant; the command line exits with 2."""


class NotApplicable(DisbenchError):  # noqa: N818 (called as the status is)
    """What a metric's draw raises where the data cannot carry it; the value is then reported as `not applicable`."""


class Stopped(DisbenchError):  # noqa: N818 (nothing failed)
    """A signal ended work that can be gone on with; the message says how, the command line exits with 128 + signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:  # another process may have raised it
        return Stopped, (str(self), self.signal)


def printable(text: str) -> str:
    """A text without what a terminal would obey: control characters, and those that turn the direction of writing."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's own message, for one of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown `name`: the nearest known names, or all of them."""
    names = sorted(set(known), key=lambda known_name: (int(known_name) if known_name.isdecimal() else 0, known_name))
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = [by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + (", ".join(names) if names else "none") + "."
