"""Measured tables of the boards' page: rows and their bars, and what the card of each number says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from disbench.board_parts import (
    HASH_SHOWN,
    PageData,
    chip,
    clean,
    count_of,
    header_cell,
    link_to,
    metric_header,
    scrolling,
)
from disbench.board_plots import short
from disbench.board_tables import MOST_ROWS, rows_left_out, shown_number
from disbench.boards import Board, Cell, Column, Row
from disbench.markup import Html, tag, text
from disbench.scales import Scale

MOST_ORIGINS = 20  # records named for a number


def measured_block(board: Board, at: str, described: dict[str, Any], data: PageData, records_at: str) -> Html:
    """The table of a board.

    Args:
        board: that is shown.
        at: the places of its section and of itself there, as cells name them to the script.
        described: the section's data, to which the board's are added.
        data: of the whole page, to which records are added.
        records_at: where the folder `results` is, seen from the page; ends with a slash.
    """
    trained = [row for row in board.rows if row.kind == "trained"]
    others = [row for row in board.rows if row.kind != "trained"]
    shown = {"ranked": trained[:MOST_ROWS], "reference": others[:MOST_ROWS]}
    n_shown = sum(map(len, shown.values()))
    bodies = _bodies(board, shown, at, records_at)
    columns = [[clean(column.header), column.direction, clean(column.meaning)] for column in board.columns]
    rows = [_row_data(row, board.columns, data, records_at) for members in shown.values() for row in members]
    described["boards"].append({"title": clean(board.protocol), "columns": columns, "rows": rows})
    head = [
        header_cell("method", "", "text", class_="method"),
        header_cell("seeds", "higher", "number", title="train seeds", class_="seeds"),
        *(metric_header(c.header, c.metric, c.direction, c.meaning) for c in board.columns),
    ]
    notes = [f"Content of the data set: {board.dataset_hash[:HASH_SHOWN]}.", *rows_left_out(n_shown, len(board.rows))]
    size = tag("small", count_of(len(trained), "trained row"))
    table = tag("table", tag("thead", tag("tr", *head)), *bodies, class_="board")
    return tag(
        "div",
        tag("h3", chip("measured"), " ", tag("span", board.protocol), " ", size),
        scrolling(table, f"measured, {board.protocol}"),
        tag("p", " ".join(notes), class_="quiet"),
        class_="block measured",
        data_source="measured",
    )


def _bodies(board: Board, shown: Mapping[str, Sequence[Row]], at: str, records_at: str) -> list[Html]:
    """Rows that are ranked, and those that others are held against; each cell knows where its data are."""
    every = [row for members in shown.values() for row in members]
    scales = [_scale(column, every) for column in board.columns]
    held_against = [row for row in board.rows if row.kind in ("floor", "ceiling")]
    edges = [_edges(column, held_against, scale) for column, scale in zip(board.columns, scales, strict=True)]
    bodies, place = [], 0
    for kind, members in shown.items():
        lines = []
        for row in members:
            is_edge = row.kind in ("floor", "ceiling")  # which the bars of others show
            cells = [
                _cell(
                    row.cells.get(column.key), f"{at} {place} {k}", scales[k], None if is_edge else edges[k], records_at
                )
                for k, column in enumerate(board.columns)
            ]
            lines.append(_row(row, cells))
            place += 1
        if lines:
            bodies.append(tag("tbody", *lines, class_=kind))
    return bodies


def _row(row: Row, cells: Iterable[str]) -> Html:
    said = [*([row.kind] if row.kind in ("floor", "ceiling") else []), row.family]
    if row.steps is not None:
        said.append(count_of(row.steps, "step"))
    label = f'<th scope="row" class="method">{text(row.label)}<small>{text(" · ".join(said))}</small></th>'
    n_seeds = sorted({cell.n_seeds for cell in row.cells.values()}) if row.kind == "trained" else []
    shown = "-".join(map(str, dict.fromkeys((n_seeds[0], n_seeds[-1])))) if n_seeds else ""
    seeds = f'<td class="seeds" data-v="{max(n_seeds, default="")}">{shown}</td>'
    return Html(f'<tr class="{row.kind}" data-family="{text(row.family)}">{label}{seeds}{"".join(cells)}</tr>')


def _cell(cell: Cell | None, at: str, scale: Scale, edges: str | None, records_at: str) -> str:
    """A cell of a measured table, without a bar if there are no edges; put together by hand, as there may be many."""
    if cell is None:
        return "<td></td>"
    link = link_to(cell.origins[0].file, records_at) if cell.origins else None
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
    bar = _bar(cell.mean, cell.interval, scale, edges) if edges is not None else ""
    return (
        f'<td{best} data-v="{short(cell.mean)!r}"><div class="line">{star}{opening} class="number" data-at="{at}">'
        f"{shown_number(cell.mean)}{closing}{std}{rank}</div>{bar}</td>"
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


def _row_data(row: Row, columns: Iterable[Column], data: PageData, records_at: str) -> list[Any]:
    cells = [_cell_data(row.cells.get(column.key), data, records_at) for column in columns]
    return [clean(row.label), clean(row.family), row.kind, cells]


def _cell_data(cell: Cell | None, data: PageData, records_at: str) -> list[Any] | None:
    if cell is None:
        return None
    low, high = cell.interval or (None, None)
    named = cell.origins[:MOST_ORIGINS]
    return [
        *map(short, (cell.mean, low, high, cell.std)), cell.n_seeds, cell.rank, clean(cell.reason),
        [data.record(origin, records_at) for origin in named], [short(origin.value) for origin in named],
    ]  # fmt: skip
