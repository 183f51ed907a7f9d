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
from disbench.boards import folder
from disbench.errors import UsageError, did_you_mean
from disbench.published_file import read
from disbench.published_numbers import (
    FAMILIES,
    OTHER_DATASETS,
    OTHER_METRICS,
    PAPERS,
    READ_FROM,
    SPREADS,
    How,
    Paper,
    Printed,
    PrintedTable,
    PublishedNumber,
    Source,
)

__all__ = [
    "FAMILIES",
    "OTHER_DATASETS",
    "OTHER_METRICS",
    "PAPERS",
    "READ_FROM",
    "SPREADS",
    "How",
    "Paper",
    "Printed",
    "PrintedTable",
    "PublishedNumber",
    "Source",
    "file",
    "printed",
    "printed_table",
    "read",
    "shipped",
]


def file() -> Path:
    """The published numbers that came with disbench."""
    return folder() / "published.jsonl"


@cache
def shipped() -> tuple[PublishedNumber, ...]:
    """What `file` holds, read once."""
    return tuple(read(file()))


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


def printed_table(numbers: Iterable[PublishedNumber], paper: str, table: str) -> PrintedTable:
    """A table as it is printed.

    Raises:
        UsageError: there is no such paper, or no number of such a table is known.
    """
    cells = {(cell.row, cell.column): cell for _, cell in printed(numbers, paper, table)}
    labels = {cell.row: cell.label for cell in cells.values()}
    headings = {cell.column: cell.heading for cell in cells.values()}
    rows = ((labels[row], tuple(cells.get((row, column)) for column in sorted(headings))) for row in sorted(labels))
    return PrintedTable(paper, table, tuple(headings[column] for column in sorted(headings)), tuple(rows))
