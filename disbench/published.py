"""Published numbers: what papers print about methods, each number once, with every table that prints it.

They come as `published.jsonl` in the boards folder, one number a line, and are never mixed with measured ones: what
papers call by one name may differ in the images, the version of the metric and how often it was trained (`note`).
What they are made of is in `disbench.published_numbers`, and how the file is checked in `disbench.published_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from disbench import registry
from disbench.entries import folder
from disbench.errors import UsageError, did_you_mean
from disbench.published_file import read
from disbench.published_numbers import PAPERS, Printed, PublishedNumber


def of_boards(place: Path) -> list[PublishedNumber]:
    """The published numbers of a folder of boards; none if it has no published.jsonl.

    Raises:
        DisbenchError: a line is not what it should be.
    """
    path = place / "published.jsonl"
    return read(path) if path.exists() else []


@cache
def shipped() -> tuple[PublishedNumber, ...]:
    """Those that came with disbench, read once."""
    return tuple(of_boards(folder()))


def printed(numbers: Iterable[PublishedNumber], paper: str, table: str) -> Iterator[tuple[PublishedNumber, Printed]]:
    """The numbers that a table prints, each with its cell.

    Raises:
        UsageError: there is no such paper, or no number of such a table is known.
    """
    known = registry.pick("paper", paper, PAPERS).tables
    if table not in known:
        raise UsageError(f"no numbers of a table {table!r} of {paper} are known; {did_you_mean(table, known)}")
    return (
        (number, cell) for number in numbers for cell in number.printed_in if (cell.paper, cell.table) == (paper, table)
    )
