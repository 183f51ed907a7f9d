"""The boards as one HTML page that needs nothing else: no network, no other file but the records that it links to.

What records and papers say reaches the page as text only (`disbench.markup`), or as JSON that cannot end its element;
the page runs no script but its own, by hash. The same boards give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from disbench.board_plots import heat_map, panels, short
from disbench.board_tables import plain, shown_number
from disbench.boards import N_FOR_INTERVAL, Board, Cell, Column, Curve, Origin, Row
from disbench.markup import Html, tag, text
from disbench.published import PAPERS, READ_FROM, SPREADS
from disbench.scales import Scale

if TYPE_CHECKING:
    from disbench.published import PublishedNumber

MOST_ROWS = 500  # of a table
MOST_ORIGINS = 20  # records named for a number
_HASH_SHOWN = 12
_RESULTS = "results/"
_SPREADS_IN_SHORT = {"std": "std. deviation", "ci95": "95 % interval", "unknown": "not said"}
_READ_IN_SHORT = {"primary": "first-hand", "secondary": "second-hand", "replication": "replication"}
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_NOT_CERTAIN = "not-certain"


@dataclass
class _Data:
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
            words = (origin.hash[:_HASH_SHOWN], origin.model)
            self.records.append(
                [
                    _clean(origin.file), _link(origin.file, records_at), origin.line, *map(_clean, words),
                    origin.train_seed, _clean(origin.command), _clean(origin.train_command),
                ]
            )  # fmt: skip
        return at

    def number(self, number: PublishedNumber) -> int:
        """The place of a published number, which is added."""
        printed = [
            [_clean(_source(cell.paper, cell.table)), *map(_clean, (cell.label, cell.heading, cell.text, cell.remark))]
            for cell in number.printed_in
        ]
        words = (
            number.method, number.text, number.metric_as_reported, number.dataset_as_reported or "no data set",
            SPREADS.get(number.spread_kind or "", ""), _source(number.source.paper, number.source.table),
            READ_FROM.get(number.read_from, number.read_from), number.note,
        )  # fmt: skip
        self.numbers.append([*map(_clean, words), number.n_seeds, short(number.value), printed])
        return len(self.numbers) - 1

    def element(self) -> Html:
        """All of it as JSON in a script element, which nothing in it can end."""
        whole = {"records": self.records, "numbers": self.numbers, "sections": self.sections}
        written = json.dumps(whole, separators=(",", ":"), allow_nan=False)
        for character in "<>&":
            written = written.replace(character, f"\\u{ord(character):04x}")
        return Html(f'<script type="application/json" id="data">{written}</script>')


@dataclass(frozen=True)
class _PublishedRow:
    """Numbers that one source gives of one method, by metric."""

    first: PublishedNumber
    numbers: dict[str, PublishedNumber]


def page(
    boards: Sequence[Board],
    curves: Sequence[Curve],
    published: Sequence[PublishedNumber],
    *,
    records_at: str = _RESULTS,
) -> str:
    """The page.

    Args:
        boards: measured, as `disbench.boards.make_boards` gives them.
        curves: scores over training steps, as `disbench.boards.make_curves` gives them.
        published: numbers, as `disbench.published.read` gives them.
        records_at: where the folder `results` is, seen from the page; ends with a slash.
    """
    data = _Data()
    measured = sorted({board.dataset for board in boards})
    others = sorted({number.dataset for number in published if number.dataset is not None} - set(measured))
    sections = [
        _section(
            name,
            [board for board in boards if board.dataset == name],
            curves,
            published,
            data,
            records_at,
        )
        for name in [*measured, *others]
    ]
    unclear = [number for number in published if number.dataset is None]
    if unclear:
        sections.append(_unclear_section(unclear, data))
    names = [*measured, *others, *([_NOT_CERTAIN] if unclear else [])]
    ids = dict(zip(names, map(_anchor, names), strict=True))
    main = tag("main", *sections, _papers(published))
    body = tag(
        "body",
        tag("a", "To the boards", href="#boards", class_="skip"),
        _top(boards, published),
        _navigation(boards, published, ids),
        _filters(boards, published, names),
        tag("div", main, id="boards"),
        tag("div", id="card", role="tooltip", hidden=True),
        data.element(),
        Html(f"<script>{_own('board.js')}</script>"),
    )
    return "<!DOCTYPE html>\n" + tag("html", _head(), body, lang="en") + "\n"


def _head() -> Html:
    policy = f"default-src 'none'; style-src '{_sha256(_own('board.css'))}'; script-src '{_sha256(_own('board.js'))}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "disbench leaderboards"),
        Html(f"<style>{_own('board.css')}</style>"),
    )


def _own(name: str) -> str:
    """Our own style sheet or script."""
    return (Path(__file__).parent / "pages" / name).read_text(encoding="utf-8")


def _sha256(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _clean(value: str) -> str:
    return value if value.isprintable() else plain(value)


def _link(file: str, records_at: str) -> str | None:
    """The relative link to a record's file; None for one that is not in the boards folder."""
    if not file.startswith(_RESULTS) or ".." in file.split("/"):
        return None
    return quote(records_at + file.removeprefix(_RESULTS))


def _anchor(name: str) -> str:
    """An element's id: the name where it is one plain word."""
    if re.fullmatch(r"[a-z0-9_-]+", name):
        return f"at-{name}"
    return "at-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_HASH_SHOWN]


def _source(paper: str, table: str | None) -> str:
    if table is None:
        return paper
    return f"{paper}, {table}" if not table[:1].isdigit() else f"{paper}, table {table}"


def _chip(source: str) -> Html:
    return Html(f'<span class="chip {source}">{source}</span>')


def _top(boards: Sequence[Board], published: Sequence[PublishedNumber]) -> Html:
    records = {
        origin.hash for board in boards for row in board.rows for cell in row.cells.values() for origin in cell.origins
    }
    n_rows = sum(len(board.rows) for board in boards)
    n_papers = len({number.source.paper for number in published})
    rules = (
        tag("li", _chip("measured"), " by disbench: ", _count(n_rows, "method"), ", ", _count(len(records), "record"),
            ". Numbers share a column only if data set, protocol, metric, version and settings are the same."),
        tag("li", _chip("published"), f": {len(published):,} numbers of ", _count(n_papers, "source"),
            ", as printed. They stand beside what was measured and are never ranked with it."),
        tag("li", _sample_bar(), "Mean over train seeds and its 95 % interval, from the lower to the upper end of the "
            "scale; thin lines are the floor (random codes) and the ceiling (the true factors)."),
        tag("li", tag("span", "★ #1", class_="best-sample"), f" Ranks need {N_FOR_INTERVAL} train seeds: 1 + how many "
            "are better with intervals that do not overlap. Where there are none, ★ marks the best mean."),
    )  # fmt: skip
    return tag(
        "header",
        tag("p", "disbench", class_="kicker"),
        tag("h1", "Leaderboards of disentanglement"),
        tag(
            "p", "Point at a number, tap it or move to it with the keyboard to see where it comes from.", class_="lede"
        ),
        tag("ul", *rules, class_="rules"),
        class_="top",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _sample_bar() -> Html:
    return Html(
        '<svg class="bar" aria-hidden="true"><line class="track" x1="0" x2="100%" y1="6" y2="6"/>'
        '<line class="edge" x1="12%" x2="12%" y1="1" y2="11"/><line class="edge" x1="90%" x2="90%" y1="1" y2="11"/>'
        '<line class="interval" x1="45%" x2="75%" y1="6" y2="6"/><circle cx="60%" cy="6" r="3.5"/></svg>'
    )


def _navigation(boards: Sequence[Board], published: Sequence[PublishedNumber], ids: Mapping[str, str]) -> Html:
    n_rows: dict[str, int] = {}
    for board in boards:
        n_rows[board.dataset] = n_rows.get(board.dataset, 0) + len(board.rows)
    n_numbers: dict[str, int] = {}
    for number in published:
        name = number.dataset if number.dataset is not None else _NOT_CERTAIN
        n_numbers[name] = n_numbers.get(name, 0) + 1
    links = []
    for name, at in ids.items():
        counts = [
            tag("span", f"{counted[name]:,}", class_=f"n {source}", title=f"{counted[name]:,} {what} {source}")
            for counted, source, what in ((n_rows, "measured", "methods"), (n_numbers, "published", "numbers"))
            if name in counted
        ]
        links.append(tag("li", tag("a", _named(name), *counts, href=f"#{at}")))
    return tag("nav", tag("ul", *links), aria_label="Data sets")


def _named(name: str) -> str:
    return "data set not certain" if name == _NOT_CERTAIN else name


def _filters(boards: Sequence[Board], published: Sequence[PublishedNumber], names: Sequence[str]) -> Html:
    metrics = {column.metric for board in boards for column in board.columns}
    metrics |= {number.metric.partition(".")[0] for number in published}
    families = {row.family for board in boards for row in board.rows} | {number.family for number in published}
    sources = (("both", "both"), ("measured", "measured"), ("published", "published"))
    find = Html('<input type="search" id="find" placeholder="e.g. vae" autocomplete="off" spellcheck="false">')
    return tag(
        "form",
        tag("label", "Method", find),
        _select("family", "Family", [("", "all"), *((name, name) for name in sorted(families))]),
        _select("source", "Numbers", sources),
        _select("dataset", "Data set", [("", "all"), *((name, _named(name)) for name in names)]),
        _select("metric", "Metric", [("", "all"), *((name, name) for name in sorted(metrics))]),
        tag("button", "Clear", type="reset"),
        tag("output", id="count", aria_live="polite"),
        id="filters",
        class_="filters",
        hidden=True,
        role="search",
    )


def _select(name: str, label: str, choices: Iterable[tuple[str, str]]) -> Html:
    options = [tag("option", shown, value=value) for value, shown in choices]
    return tag("label", label, tag("select", *options, id=name, autocomplete="off"))


def _section(
    name: str,
    boards: Sequence[Board],
    curves: Sequence[Curve],
    published: Sequence[PublishedNumber],
    data: _Data,
    records_at: str,
) -> Html:
    at = len(data.sections)
    described: dict[str, Any] = {"name": _clean(name), "boards": [], "published": [], "panels": []}
    data.sections.append(described)
    blocks = [_measured_block(board, f"{at} {k}", described, data, records_at) for k, board in enumerate(boards)]
    numbers = [number for number in published if number.dataset == name]
    blocks += _published_blocks(numbers, described, data)
    described["panels"] = panels(name, curves, published)
    return tag(
        "section",
        tag("h2", name),
        *blocks,
        _plots(at, boards, described),
        id=_anchor(name),
        data_dataset=name,
    )


def _plots(at: int, boards: Sequence[Board], described: Mapping[str, Any]) -> Html:
    scatter = tag(
        "figure",
        tag("figcaption", tag("strong", "Score against score. "), tag("span", class_="said")),
        tag("div", class_="controls"),
        tag("div", class_="drawing"),
        class_="scatter",
        data_section=str(at),
    )
    maps = [tag("div", heat_map(board), data_source="measured", class_="of-measured") for board in boards]
    said = "" if described["panels"] else "No model of this data set was scored along its training."
    over_steps = tag(
        "figure",
        tag("figcaption", tag("strong", "Score over training steps. "), tag("span", said, class_="said")),
        tag("div", class_="controls"),
        tag("div", class_="drawing"),
        class_=" ".join(["steps", *(["wide"] if len(described["panels"]) > 1 else [])]),
        data_section=str(at),
    )
    layout = "plots pair" if len(described["panels"]) == 1 else "plots"
    return tag("div", tag("div", scatter, over_steps, class_=layout), *maps, class_="figures")


def _measured_block(board: Board, at: str, described: dict[str, Any], data: _Data, records_at: str) -> Html:
    trained = [row for row in board.rows if row.kind == "trained"]
    others = [row for row in board.rows if row.kind != "trained"]
    shown = {"ranked": trained[:MOST_ROWS], "reference": others[:MOST_ROWS]}
    n_shown = sum(map(len, shown.values()))
    bodies = _measured_bodies(board, shown, at, records_at)
    columns = [[_clean(column.header), column.direction, _clean(column.meaning)] for column in board.columns]
    rows = [_row_data(row, board.columns, data, records_at) for members in shown.values() for row in members]
    described["boards"].append({"title": _clean(board.protocol), "columns": columns, "rows": rows})
    head = [
        _header("method", "", "text", class_="method"),
        _header("seeds", "higher", "number", title="train seeds", class_="seeds"),
        *(_metric_header(c.header, c.metric, c.direction, c.meaning) for c in board.columns),
    ]
    notes = [f"Content of the data set: {board.dataset_hash[:_HASH_SHOWN]}."]
    if n_shown < len(board.rows):
        notes.append(f"{n_shown:,} of {len(board.rows):,} rows; `disbench leaderboard --format csv` gives all of them.")
    counted = tag("small", _count(len(trained), "trained row"))
    table = tag("table", tag("thead", tag("tr", *head)), *bodies, class_="board")
    return tag(
        "div",
        tag("h3", _chip("measured"), " ", tag("span", board.protocol), " ", counted),
        _scrolling(table, f"measured, {board.protocol}"),
        tag("p", " ".join(notes), class_="quiet"),
        class_="block measured",
        data_source="measured",
    )


def _measured_bodies(board: Board, shown: Mapping[str, Sequence[Row]], at: str, records_at: str) -> list[Html]:
    """Rows that are ranked, and those that others are held against; each cell knows where its data are."""
    every = [row for members in shown.values() for row in members]
    scales = [_scale(column, every) for column in board.columns]
    held_against = [row for row in board.rows if row.kind in ("floor", "ceiling")]
    edges = [_edges(column, held_against, scale) for column, scale in zip(board.columns, scales, strict=True)]
    bodies, place = [], 0
    for kind, members in shown.items():
        lines = []
        for row in members:
            cells = [
                _measured_cell(row.cells.get(column.key), f"{at} {place} {k}", scales[k], edges[k], records_at)
                for k, column in enumerate(board.columns)
            ]
            lines.append(_measured_row(row, cells))
            place += 1
        if lines:
            bodies.append(tag("tbody", *lines, class_=kind))
    return bodies


def _row_data(row: Row, columns: Iterable[Column], data: _Data, records_at: str) -> list[Any]:
    cells = [_cell_data(row.cells.get(column.key), data, records_at) for column in columns]
    return [_clean(row.label), _clean(row.family), row.kind, cells]


def _scrolling(table: Html, label: str) -> Html:
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def _header(name: str, direction: str, sort: str, *, title: str = "", class_: str = "", metric: str = "") -> Html:
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


def _metric_header(header: str, metric: str, direction: str, meaning: str) -> Html:
    return _header(header, direction, "number", title=meaning, metric=metric)


def _scale(column: Column, rows: Iterable[Row]) -> Scale:
    """What the bars of a column lie on: its range, or as far as its numbers go."""
    cells = [row.cells[column.key] for row in rows if column.key in row.cells]
    return Scale.of(column.low, column.high, [cell.mean for cell in cells if cell.mean is not None])


def _edges(column: Column, rows: Iterable[Row], scale: Scale) -> str:
    """Thin lines at the floor's and the ceiling's number."""
    drawn = []
    for row in rows:
        cell = row.cells.get(column.key)
        if cell is not None and cell.mean is not None:
            x = scale.place(cell.mean)
            drawn.append(f'<line class="edge" x1="{x}" x2="{x}" y1="1" y2="11"/>')
    return "".join(drawn)


def _measured_row(row: Row, cells: Iterable[str]) -> Html:
    said = [*([row.kind] if row.kind in ("floor", "ceiling") else []), row.family]
    if row.steps is not None:
        said.append(_count(row.steps, "step"))
    label = f'<th scope="row" class="method">{text(row.label)}<small>{text(" · ".join(said))}</small></th>'
    n_seeds = sorted({cell.n_seeds for cell in row.cells.values()}) if row.kind == "trained" else []
    shown = "-".join(map(str, dict.fromkeys((n_seeds[0], n_seeds[-1])))) if n_seeds else ""
    seeds = f'<td class="seeds" data-v="{max(n_seeds, default="")}">{shown}</td>'
    return Html(f'<tr class="{row.kind}" data-family="{text(row.family)}">{label}{seeds}{"".join(cells)}</tr>')


def _measured_cell(cell: Cell | None, at: str, scale: Scale, edges: str, records_at: str) -> str:
    """A cell of a measured table; put together by hand, as there may be very many."""
    if cell is None:
        return "<td></td>"
    link = _link(cell.origins[0].file, records_at) if cell.origins else None
    opening, closing = (
        (f'<a href="{text(link)}"', "</a>") if link is not None else ('<button type="button"', "</button>")
    )
    if cell.mean is None:
        status = text(cell.reason.partition(":")[0])
        return f'<td class="without">{opening} class="number" data-at="{at}">{status}{closing}</td>'
    star = '<span class="star" role="img" aria-label="best" title="best">★</span>' if cell.is_best else ""
    std = f' <span class="spread">± {shown_number(cell.std)}</span>' if cell.std is not None else ""
    rank = f'<span class="rank" title="rank {cell.rank}">#{cell.rank}</span>' if cell.rank is not None else ""
    best = ' class="best"' if cell.is_best else ""
    return (
        f'<td{best} data-v="{short(cell.mean)!r}"><div class="line">{star}{opening} class="number" data-at="{at}">'
        f"{shown_number(cell.mean)}{closing}{std}{rank}</div>{_bar(cell.mean, cell.interval, scale, edges)}</td>"
    )


def _bar(mean: float, interval: tuple[float, float] | None, scale: Scale, edges: str) -> str:
    between = ""
    if interval is not None:
        x1, x2 = scale.place(interval[0]), scale.place(interval[1])
        between = f'<line class="interval" x1="{x1}" x2="{x2}" y1="6" y2="6"/>'
    return (
        f'<svg class="bar" aria-hidden="true"><line class="track" x1="0" x2="100%" y1="6" y2="6"/>{edges}{between}'
        f'<circle cx="{scale.place(mean)}" cy="6" r="3.5"/></svg>'
    )


def _cell_data(cell: Cell | None, data: _Data, records_at: str) -> list[Any] | None:
    if cell is None:
        return None
    low, high = cell.interval or (None, None)
    named = cell.origins[:MOST_ORIGINS]
    return [
        *map(short, (cell.mean, low, high, cell.std)), cell.n_seeds, cell.rank, _clean(cell.reason),
        [data.record(origin, records_at) for origin in named], [short(origin.value) for origin in named],
    ]  # fmt: skip


def _published_blocks(numbers: Sequence[PublishedNumber], described: dict[str, Any], data: _Data) -> list[Html]:
    main = [one for one in numbers if not one.variant]
    variants = [one for one in numbers if one.variant]
    blocks = []
    if main:
        blocks.append(
            _published_block(_published_rows(main), described, data, f"{_count(len(main), 'number')}, as printed")
        )
    if variants:
        rows = _published_rows(variants)
        summary = tag(
            "summary",
            _chip("published"),
            " ablations, variants and learning curves ",
            tag("small", _count(len(variants), "number")),
        )
        table = _published_table(rows, described, data, "published variants")
        blocks.append(tag("details", summary, table, class_="block published", data_source="published"))
    return blocks


def _published_block(
    rows: Sequence[_PublishedRow], described: dict[str, Any], data: _Data, said: str, title: str = ""
) -> Html:
    return tag(
        "div",
        tag("h3", _chip("published"), " ", tag("span", title) if title else None, " ", tag("small", said)),
        _published_table(rows, described, data, f"published {title}".strip()),
        class_="block published",
        data_source="published",
    )


def _published_rows(numbers: Iterable[PublishedNumber]) -> list[_PublishedRow]:
    """Rows of one method, variant and source each, in the order of the papers and their tables."""
    open_rows: dict[tuple[Any, ...], _PublishedRow] = {}
    rows = []
    for one in numbers:
        key = (one.method, one.variant, one.source, one.n_seeds, one.read_from)
        row = open_rows.get(key)
        if row is None or one.metric in row.numbers:
            row = open_rows[key] = _PublishedRow(one, {})
            rows.append(row)
        row.numbers[one.metric] = one
    order = list(PAPERS)
    return sorted(
        rows, key=lambda row: order.index(row.first.source.paper) if row.first.source.paper in order else len(order)
    )


def _published_table(rows: Sequence[_PublishedRow], described: dict[str, Any], data: _Data, label: str) -> Html:
    counts = Counter(metric for row in rows for metric in row.numbers)
    metrics = [metric for metric, _ in counts.most_common()]
    head = [
        _header("method", "", "text", class_="method"),
        *(_metric_header(metric, metric.partition(".")[0], "", "") for metric in metrics),
        _header("± is", "", "text"),
        _header("seeds", "higher", "number", class_="seeds"),
        _header("printed in", "", "text"),
        _header("remark", "", "text", class_="remark"),
    ]
    lines = []
    for row in rows:
        places = {metric: data.number(one) for metric, one in row.numbers.items()}
        first = row.first
        described["published"].append(
            [*map(_clean, (first.method, first.variant, first.family, first.source.paper)), places]
        )
        lines.append(_published_line(row, [_published_cell(row.numbers.get(m), places.get(m)) for m in metrics]))
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *lines), class_="board")
    return _scrolling(table, label)


def _published_cell(one: PublishedNumber | None, place: int | None) -> Html:
    if one is None:
        return Html("<td></td>")
    return Html(
        f'<td data-v="{short(one.value)!r}"><button type="button" class="number" data-number="{place}">'
        f"{text(one.text)}</button></td>"
    )


def _published_line(row: _PublishedRow, cells: Sequence[Html]) -> Html:
    first = row.first
    kinds = dict.fromkeys(one.spread_kind for one in row.numbers.values() if one.spread_kind)
    source = first.source
    where = tag("a", source.paper, href=f"#paper-{quote(source.paper)}")
    rest = _source("", source.table).removeprefix(", ")
    small = ", ".join(part for part in (rest, _READ_IN_SHORT.get(first.read_from, first.read_from)) if part)
    return tag(
        "tr",
        tag("th", first.method, tag("small", first.variant or first.family), scope="row", class_="method"),
        *cells,
        tag("td", ", ".join(_SPREADS_IN_SHORT.get(kind, kind) for kind in kinds), class_="words"),
        tag("td", "" if first.n_seeds is None else first.n_seeds, class_="seeds", data_v=str(first.n_seeds or "")),
        tag("td", where, tag("small", small), class_="words"),
        tag("td", tag("div", _remarks(row)), class_="remark"),
        data_family=first.family,
    )


def _remarks(row: _PublishedRow) -> list[Html]:
    """What is noted: once where it is of all numbers of the row, else with the metrics that it is of."""
    notes: dict[str, list[str]] = {}
    for metric, one in row.numbers.items():
        if one.note:
            notes.setdefault(one.note, []).append(metric)
    return [
        tag("p", tag("b", f"{', '.join(metrics)}: ") if len(metrics) < len(row.numbers) else None, note)
        for note, metrics in notes.items()
    ]


def _unclear_section(numbers: Sequence[PublishedNumber], data: _Data) -> Html:
    """Numbers that belong to no data set of ours, under what their papers call it."""
    described: dict[str, Any] = {"name": _named(_NOT_CERTAIN), "boards": [], "published": [], "panels": []}
    data.sections.append(described)
    groups: dict[str, list[PublishedNumber]] = {}
    for one in numbers:
        groups.setdefault(one.dataset_as_reported or "", []).append(one)
    blocks = [
        _published_block(
            _published_rows(members), described, data, _count(len(members), "number"),
            f"reported as {name}" if name else "reported for no data set",
        )
        for name, members in sorted(groups.items(), key=lambda item: (not item[0], item[0]))
    ]  # fmt: skip
    said = (
        "Sources do not say which variant of a data set they mean, contradict each other, or print means over several. "
        "The remarks say which. These numbers are beside no others, as nobody knows what they may be compared with."
    )
    return tag(
        "section",
        tag("h2", "Data set not certain"),
        tag("p", said, class_="quiet"),
        *blocks,
        id=_anchor(_NOT_CERTAIN),
        data_dataset=_NOT_CERTAIN,
    )


def _papers(published: Sequence[PublishedNumber]) -> Html | None:
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
