"""Boards as tables: what stands in their cells, and text, Markdown, LaTeX, CSV and JSON made of it."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from disbench.boards import N_FOR_INTERVAL, Board, Cell, Column, Row
from disbench.errors import printable

Format = Literal["text", "md", "latex", "csv", "json"]
WIDTH = 120  # characters of a terminal that does not say how wide it is
MOST_ROWS = 500  # of a table that is read, not worked on


@dataclass(frozen=True)
class Shown:
    """What stands in a cell."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A titled table, its first columns labels of the rows.

    Args:
        title: one line.
        headers: of all columns.
        rows: cells.
        notes: sentences below it.
        n_labels: how many columns label rows.
        data: one mapping for each number: what CSV and JSON are made of.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]
    notes: tuple[str, ...] = ()
    n_labels: int = 1
    data: tuple[Mapping[str, Any], ...] = ()


def measured_table(board: Board, most_rows: int | None = None) -> Table:
    """A board of measured numbers: means over train seeds, ± their standard deviation, and ranks.

    Args:
        board: that is shown.
        most_rows: to show; a note says how many are left out. None for all.
    """
    headers = ("method", "seeds", *(column.header for column in board.columns))
    rows, data = [], []
    for row in board.rows[:most_rows]:
        seeds = sorted({cell.n_seeds for cell in row.cells.values()})
        label = row.label if row.kind in ("trained", "baseline") else f"{row.label} ({row.kind})"
        n_seeds = "" if row.kind != "trained" else "-".join(map(str, seeds))
        shown = [Shown(label), Shown(n_seeds)]
        for column in board.columns:
            cell = row.cells.get(column.key)
            shown.append(_measured(cell))
            if cell is not None:
                data.append(_described(board, row, column, cell))
        rows.append(tuple(shown))
    return Table(
        f"{board.dataset}, {board.protocol}: measured",
        headers,
        tuple(rows),
        (*_notes(board), *rows_left_out(len(rows), len(board.rows))),
        n_labels=2,
        data=tuple(data),
    )


def _measured(cell: Cell | None) -> Shown:
    if cell is None:
        return Shown("")
    if cell.mean is None:
        return Shown(cell.reason.partition(":")[0])
    spread = f" ± {shown_number(cell.std)}" if cell.std is not None else ""
    rank = f" [{cell.rank}]" if cell.rank is not None else ""
    return Shown(f"{shown_number(cell.mean)}{spread}{rank}", cell.is_best)


def shown_number(value: float) -> str:
    """Three decimals; of what is large, or tiny, three significant digits."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.3g}"


def _notes(board: Board) -> tuple[str, ...]:
    notes = [f"Data set content {board.dataset_hash[:12]}."]
    if any(row.kind == "trained" and any(cell.std is not None for cell in row.cells.values()) for row in board.rows):
        notes.append(
            "Means over train seeds ± standard deviations. [ ]: rank, 1 + how many rows are better with 95 % intervals "
            f"that do not overlap, for rows of at least {N_FOR_INTERVAL} train seeds."
        )
    reasons = {cell.reason for row in board.rows for cell in row.cells.values() if cell.reason}
    return (*notes, *sorted(f"{reason}." for reason in reasons))


def rows_left_out(n_shown: int, n_rows: int) -> list[str]:
    """A note on rows that are not shown, if there are any."""
    if n_shown == n_rows:
        return []
    return [f"{n_shown:,} of {n_rows:,} rows; `disbench leaderboard --format csv` gives all of them."]


def _described(board: Board, row: Row, column: Column, cell: Cell) -> dict[str, Any]:
    low, high = cell.interval or (None, None)
    return {
        "dataset": board.dataset, "dataset_hash": board.dataset_hash, "protocol": board.protocol,
        "method": row.label, "kind": row.kind, "model": row.model, "family": row.family, "steps": row.steps,
        "value": column.value, "identity": column.identity, "version": column.version, "reducer": column.reducer,
        "mean": cell.mean, "std": cell.std, "interval_low": low, "interval_high": high, "n_seeds": cell.n_seeds,
        "rank": cell.rank, "reason": cell.reason, "records": [f"{o.file}:{o.line}" for o in cell.origins],
    }  # fmt: skip


def render(tables: Sequence[Table], style: Format, width: int = WIDTH) -> str:
    """The tables as one text that ends with a newline.

    Args:
        tables: in order.
        style: text, md, latex, csv or json.
        width: of the terminal, in characters; wider tables are cut into blocks of columns.
    """
    if style == "csv":
        return _as_csv(tables)
    if style == "json":
        return json.dumps([asdict(table) for table in tables], indent=1, allow_nan=False) + "\n"
    make: Callable[[Table], str] = {
        "text": lambda table: _as_text(table, width), "md": _as_markdown, "latex": _as_latex,
    }[style]  # fmt: skip
    return "\n\n".join(make(table).rstrip("\n") for table in tables) + "\n"


def _as_text(table: Table, width: int) -> str:
    from tabulate import tabulate

    headers = [printable(header) for header in table.headers]
    rows = [[f"*{printable(c.text)}*" if c.is_best else printable(c.text) for c in row] for row in table.rows]
    align = ("left",) * table.n_labels + ("right",) * (len(headers) - table.n_labels)
    blocks = []
    for chosen in _blocks(headers, rows, table.n_labels, width):
        part = [[row[k] for k in chosen] for row in rows if any(row[k] for k in chosen[table.n_labels :])]
        blocks.append(
            tabulate(part, [headers[k] for k in chosen], disable_numparse=True, colalign=[align[k] for k in chosen])
        )
    return "\n\n".join(
        [printable(table.title), *blocks, *(["\n".join(map(printable, table.notes))] if table.notes else [])]
    )


def _blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], n_labels: int, width: int) -> list[list[int]]:
    """Columns that fit side by side, each block with the labels; at least one number column a block."""
    longest = [max((len(row[k]) for row in rows), default=0) for k in range(len(headers))]
    widths = [max(len(header) + 2, longest[k]) + 2 for k, header in enumerate(headers)]  # as tabulate pads headers
    labels = list(range(n_labels))
    start = sum(widths[:n_labels])
    blocks, used = [list(labels)], start
    for k in range(n_labels, len(headers)):
        if used + widths[k] - 2 > width and len(blocks[-1]) > n_labels:
            blocks.append(list(labels))
            used = start
        blocks[-1].append(k)
        used += widths[k]
    return blocks


def _as_markdown(table: Table) -> str:
    lines = [f"### {markdown(table.title)}", ""]
    lines.append("| " + " | ".join(markdown(header) for header in table.headers) + " |")
    lines.append("|" + "|".join(" :--- " if k < table.n_labels else " ---: " for k in range(len(table.headers))) + "|")
    for row in table.rows:
        cells = [f"**{markdown(c.text)}**" if c.is_best else markdown(c.text) for c in row]
        lines.append("| " + " | ".join(cells) + " |")
    if table.notes:
        lines += ["", " ".join(markdown(note) for note in table.notes)]
    return "\n".join(lines)


def _as_latex(table: Table) -> str:
    align = "l" * table.n_labels + "r" * (len(table.headers) - table.n_labels)
    lines = [
        "\\begin{table}", f"\\caption{{{latex(' '.join((table.title + '.', *table.notes)))}}}",
        f"\\begin{{tabular}}{{{align}}}", "\\toprule",
        " & ".join(latex(header) for header in table.headers) + " \\\\", "\\midrule",
    ]  # fmt: skip
    for row in table.rows:
        cells = [f"\\textbf{{{latex(c.text)}}}" if c.is_best else latex(c.text) for c in row]
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}"])


def _as_csv(tables: Iterable[Table]) -> str:
    rows = [dict(number) for table in tables for number in table.data]
    fields = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _csv_cell(value) for name, value in row.items()})
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    """Lists joined; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return "'" + shown if shown[:1] in ("=", "+", "-", "@") else shown


def markdown(text: str) -> str:
    """A text that Markdown shows as it is, without links and formulas of its own making."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")
    escaped = "".join("\\" + c if c in "\\`*_|[]~!" else c for c in escaped)
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


_LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "^": "\\textasciicircum{}",
    "_": "\\_", "~": "\\textasciitilde{}", "%": "\\%", "±": "$\\pm$", "<": "\\textless{}", ">": "\\textgreater{}",
    "\N{EN DASH}": "--", "[": "{[}", "]": "{]}", "*": "{*}", "\N{REPLACEMENT CHARACTER}": "?",
}  # fmt: skip


def latex(text: str) -> str:
    """A text that LaTeX sets as it is."""
    return "".join(_LATEX.get(c) or _greek(c) for c in printable(text))


def _greek(character: str) -> str:
    """A small Greek letter as a formula; any other character as it is."""
    name = unicodedata.name(character, "").removeprefix("GREEK SMALL LETTER ").lower()
    return f"$\\{name}$" if "\u03b1" <= character <= "\u03c9" and name.isalpha() else character
