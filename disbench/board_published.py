"""Published tables of the boards' page: main results first, what others measured and variants folded away below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from disbench.board_parts import PageData, chip, clean, count_of, header_cell, metric_header, scrolling, source_words
from disbench.board_plots import short
from disbench.markup import Html, tag, text
from disbench.published_numbers import PAPERS, PublishedNumber

_SPREADS_IN_SHORT = {"std": "std. deviation", "ci95": "95 % interval", "unknown": "not said"}
_READ_IN_SHORT = {"primary": "first-hand", "secondary": "second-hand", "replication": "replication"}
_REPLICATED = "trained again by others"


def published_blocks(
    numbers: Sequence[PublishedNumber], described: dict[str, Any], data: PageData, title: str = ""
) -> list[Html]:
    """Tables of numbers: main results open; what others measured, and then variants, folded away.

    Args:
        numbers: that may stand side by side.
        described: the section's data, to which the rows are added.
        data: of the whole page, to which the numbers are added.
        title: of the tables, where they are not all there is in the section.
    """
    main = [one for one in numbers if one.is_main]
    replicated = [one for one in numbers if not one.is_main and not one.variant]
    variants = [one for one in numbers if one.variant]
    blocks = []
    if main:
        said = tag("small", f"{count_of(len(main), 'number')}, as printed")
        heading = tag("h3", chip("published"), " ", tag("span", title) if title else None, " ", said)
        table = _table(_rows(main), described, data, f"published {title}".strip())
        blocks.append(tag("div", heading, table, class_="block published", data_source="published"))
    for what, members in ((_REPLICATED, replicated), ("ablations, variants and learning curves", variants)):
        if members:
            blocks.append(_folded(members, described, data, f"{title}, {what}" if title else what))
    return blocks


def _folded(numbers: Sequence[PublishedNumber], described: dict[str, Any], data: PageData, title: str) -> Html:
    size = tag("small", count_of(len(numbers), "number"))
    summary = tag("summary", chip("published"), f" {title} ", size)
    table = _table(_rows(numbers), described, data, f"published {title}")
    return tag("details", summary, table, class_="block published", data_source="published")


def unclear_blocks(numbers: Iterable[PublishedNumber], described: dict[str, Any], data: PageData) -> list[Html]:
    """Tables of numbers that belong to no data set of ours, under what their papers call it."""
    groups: dict[str, list[PublishedNumber]] = {}
    for one in numbers:
        groups.setdefault(one.dataset_as_reported or "", []).append(one)
    blocks = []
    for name in sorted(groups, key=lambda name: (not name, name)):
        title = f"reported as {name}" if name else "reported for no data set"
        blocks += published_blocks(groups[name], described, data, title)
    return blocks


@dataclass(frozen=True)
class _Row:
    """Numbers that one source gives of one method, by metric."""

    first: PublishedNumber
    numbers: dict[str, PublishedNumber]


def _rows(numbers: Iterable[PublishedNumber]) -> list[_Row]:
    """Rows of one method, variant and source each, in the order of the papers and their tables."""
    open_rows: dict[tuple[Any, ...], _Row] = {}
    rows = []
    for one in numbers:
        key = (one.method, one.variant, one.source, one.n_seeds, one.read_from)
        row = open_rows.get(key)
        if row is None or one.metric in row.numbers:
            row = open_rows[key] = _Row(one, {})
            rows.append(row)
        row.numbers[one.metric] = one
    order = list(PAPERS)
    return sorted(
        rows, key=lambda row: order.index(row.first.source.paper) if row.first.source.paper in order else len(order)
    )


def _table(rows: Sequence[_Row], described: dict[str, Any], data: PageData, label: str) -> Html:
    counts = Counter(metric for row in rows for metric in row.numbers)
    metrics = [metric for metric, _ in counts.most_common()]
    head = [
        header_cell("method", "", "text", class_="method"),
        *(metric_header(metric, metric.partition(".")[0], "", "") for metric in metrics),
        header_cell("± is", "", "text"),
        header_cell("seeds", "higher", "number", class_="seeds"),
        header_cell("printed in", "", "text"),
        header_cell("remark", "", "text", class_="remark"),
    ]
    lines = []
    for row in rows:
        places = {metric: data.number(one) for metric, one in row.numbers.items()}
        first = row.first
        described["published"].append(
            [*map(clean, (first.method, _apart(first), first.family, first.source.paper)), places]
        )
        lines.append(_line(row, [_cell(row.numbers.get(m), places.get(m)) for m in metrics]))
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *lines), class_="board")
    return scrolling(table, label)


def _apart(number: PublishedNumber) -> str:
    """What keeps it from being a main result; empty for one."""
    replicated = _REPLICATED if number.read_from == "replication" else ""
    return ", ".join(part for part in (number.variant, replicated) if part)


def _cell(one: PublishedNumber | None, place: int | None) -> Html:
    if one is None:
        return Html("<td></td>")
    return Html(
        f'<td data-v="{short(one.value)!r}"><button type="button" class="number" data-number="{place}">'
        f"{text(one.text)}</button></td>"
    )


def _line(row: _Row, cells: Sequence[Html]) -> Html:
    first = row.first
    kinds = dict.fromkeys(one.spread_kind for one in row.numbers.values() if one.spread_kind)
    source = first.source
    where = tag("a", source.paper, href=f"#paper-{quote(source.paper)}")
    rest = source_words("", source.table).removeprefix(", ")
    small = ", ".join(part for part in (rest, _READ_IN_SHORT.get(first.read_from, first.read_from)) if part)
    return tag(
        "tr",
        tag("th", first.method, tag("small", _apart(first) or first.family), scope="row", class_="method"),
        *cells,
        tag("td", ", ".join(_SPREADS_IN_SHORT.get(kind, kind) for kind in kinds), class_="words"),
        tag("td", "" if first.n_seeds is None else first.n_seeds, class_="seeds", data_v=str(first.n_seeds or "")),
        tag("td", where, tag("small", small), class_="words"),
        tag("td", tag("div", _remarks(row)), class_="remark"),
        data_family=first.family,
    )


def _remarks(row: _Row) -> list[Html]:
    """What is noted: once where it is of all numbers of the row, else with the metrics that it is of."""
    notes: dict[str, list[str]] = {}
    for metric, one in row.numbers.items():
        if one.note:
            notes.setdefault(one.note, []).append(metric)
    return [
        tag("p", tag("b", f"{', '.join(metrics)}: ") if len(metrics) < len(row.numbers) else None, note)
        for note, metrics in notes.items()
    ]


def papers(published: Sequence[PublishedNumber]) -> Html | None:
    """The section that names the papers; None if there are none."""
    used = {one.source.paper for one in published} | {cell.paper for one in published for cell in one.printed_in}
    if not used:
        return None
    items = []
    for key in sorted(used):
        paper = PAPERS.get(key)
        words = [] if paper is None else [paper.title, paper.venue, f"arXiv:{paper.arxiv}" if paper.arxiv else ""]
        said = ". ".join(word for word in words if word)
        items.append(tag("li", tag("b", key), ": " if said else None, said, id=f"paper-{key}"))
    return tag(
        "section", tag("h2", "Sources of published numbers"), tag("ul", *items, class_="papers"), class_="sources"
    )
