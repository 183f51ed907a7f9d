"""What all tables of the boards' page are made of: the data that its script is given, headers, chips and links."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from disbench.board_plots import short
from disbench.entries import Origin
from disbench.errors import printable
from disbench.markup import Html, tag, text
from disbench.published_numbers import READ_FROM, SPREADS, PublishedNumber

HASH_SHOWN = 12
RESULTS = "results/"
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}


@dataclass
class PageData:
    """What the page's script is given.

    Args:
        records: file, link, line, hash, model, train seed and commands of each record that is named.
        numbers: of papers.
        sections: boards, published rows and curves of each data set.
    """

    records: list[list[Any]] = field(default_factory=list)
    numbers: list[list[Any]] = field(default_factory=list)
    sections: list[dict[str, Any]] = field(default_factory=list)
    _at: dict[tuple[str, int], int] = field(default_factory=dict)

    def record(self, origin: Origin, records_at: str) -> int:
        """The place of a record, which is added if it is new."""
        at = self._at.get((origin.file, origin.line))
        if at is None:
            at = self._at[(origin.file, origin.line)] = len(self.records)
            words = (origin.hash[:HASH_SHOWN], origin.model)
            self.records.append(
                [
                    clean(origin.file), link_to(origin.file, records_at), origin.line, *map(clean, words),
                    origin.train_seed, clean(origin.command), clean(origin.train_command),
                ]
            )  # fmt: skip
        return at

    def number(self, number: PublishedNumber) -> int:
        """The place of a published number, which is added."""
        printed = [
            [
                clean(source_words(cell.paper, cell.table)),
                *map(clean, (cell.label, cell.heading, cell.text, cell.remark)),
            ]
            for cell in number.printed_in
        ]
        words = (
            number.method, number.text, number.metric_as_reported, number.dataset_as_reported or "no data set",
            SPREADS.get(number.spread_kind or "", ""), source_words(number.source.paper, number.source.table),
            READ_FROM.get(number.read_from, number.read_from), number.note,
        )  # fmt: skip
        self.numbers.append([*map(clean, words), number.n_seeds, short(number.value), printed])
        return len(self.numbers) - 1

    def element(self) -> Html:
        """All of it as JSON in a script element, which nothing in it can end."""
        whole = {"records": self.records, "numbers": self.numbers, "sections": self.sections}
        written = json.dumps(whole, separators=(",", ":"), allow_nan=False)
        for character in "<>&":
            written = written.replace(character, f"\\u{ord(character):04x}")
        return Html(f'<script type="application/json" id="data">{written}</script>')


def header_cell(name: str, direction: str, sort: str, *, title: str = "", class_: str = "", metric: str = "") -> Html:
    """A header that sorts; the text of long names may break after their dots and underscores."""
    broken = Html(re.sub(r"([._])", r"\1<wbr>", text(name)))
    arrow = (
        tag("span", _ARROWS[direction], class_="arrow", title=f"{direction} is better")
        if metric and direction
        else None
    )
    button = tag("button", broken, arrow, type="button", title=title or None)
    return tag(
        "th", button, scope="col", class_=class_ or None, data_sort=sort, data_metric=metric or None,
        data_direction=direction or None, aria_sort="none",
    )  # fmt: skip


def metric_header(name: str, metric: str, direction: str, meaning: str) -> Html:
    """The header of a metric's numbers."""
    return header_cell(name, direction, "number", title=meaning, metric=metric)


def scrolling(table: Html, label: str) -> Html:
    """A table in a box that scrolls sideways."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def chip(source: str) -> Html:
    """The mark of numbers that are `measured` or `published`."""
    return Html(f'<span class="chip {source}">{source}</span>')


def count_of(number: int, noun: str) -> str:
    """A number of things, as 1 record or 2 records."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def link_to(file: str, records_at: str) -> str | None:
    """The relative link to a record's file; None for one that is not in the boards folder."""
    if not file.startswith(RESULTS) or ".." in file.split("/"):
        return None
    return quote(records_at + file.removeprefix(RESULTS))


def clean(value: str) -> str:
    """A text without control characters."""
    return value if value.isprintable() else printable(value)


def source_words(paper: str, table: str | None) -> str:
    """A paper and its table, as far as it is known."""
    if table is None:
        return paper
    return f"{paper}, {table}" if not table[:1].isdigit() else f"{paper}, table {table}"
