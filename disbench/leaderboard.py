"""What `disbench leaderboard` shows and keeps: tables narrowed down, a folder's pages, where a number comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from disbench import board_check, published
from disbench.board_tables import Table, measured_table, render
from disbench.boards import Board, Cell, Column, Row, make_boards, make_curves
from disbench.entries import read_entries
from disbench.errors import UsageError, did_you_mean
from disbench.published_numbers import PAPERS, READ_FROM, SPREADS, PublishedNumber
from disbench.published_tables import dataset_of, published_tables

CHECKED = ("README.md", "index.html")


@dataclass(frozen=True)
class Choice:
    """What is to be shown; None for everything.

    Args:
        datasets: names.
        metrics: names of metrics or values.
        families: of methods.
    """

    datasets: frozenset[str] | None = None
    metrics: frozenset[str] | None = None
    families: frozenset[str] | None = None

    def check(self, boards: Sequence[Board], numbers: Sequence[PublishedNumber]) -> None:
        """Refuse names that nothing on the boards has.

        Raises:
            UsageError: there is none of that name.
        """
        values = {c.value for b in boards for c in b.columns} | {n.metric for n in numbers}
        known = {
            "data set": (self.datasets, {b.dataset for b in boards} | {name for n in numbers for name in _names(n)}),
            "metric": (self.metrics, values | {value.partition(".")[0] for value in values}),
            "family": (self.families, {r.family for b in boards for r in b.rows} | {n.family for n in numbers}),
        }
        for what, (asked, there) in known.items():
            for name in sorted(asked or ()):
                if name not in there:
                    raise UsageError(f"the boards have no {what} {name!r}; {did_you_mean(name, there)}")

    def boards(self, boards: Iterable[Board]) -> list[Board]:
        """What is left of boards."""
        return [left for board in boards if (left := self._of(board)).columns and left.rows]

    def _of(self, board: Board) -> Board:
        if self.datasets is not None and board.dataset not in self.datasets:
            return replace(board, columns=(), rows=())
        columns = tuple(column for column in board.columns if self._has(column.value))
        keys = {column.key for column in columns}
        rows = [
            replace(row, cells={key: cell for key, cell in row.cells.items() if key in keys})
            for row in board.rows
            if self.families is None or row.family in self.families
        ]
        left = {key for row in rows for key in row.cells}
        columns = tuple(column for column in columns if column.key in left)
        return replace(board, columns=columns, rows=tuple(row for row in rows if row.cells))

    def numbers(self, numbers: Iterable[PublishedNumber]) -> list[PublishedNumber]:
        """What is left of published numbers."""
        return [
            number
            for number in numbers
            if (self.datasets is None or self.datasets & _names(number))
            and (self.families is None or number.family in self.families)
            and self._has(number.metric)
        ]

    def _has(self, value: str) -> bool:
        return self.metrics is None or value in self.metrics or value.partition(".")[0] in self.metrics


def _names(number: PublishedNumber) -> set[str]:
    """What the data set of a number may be called: of one that is not resolved, what is reported, too."""
    reported = number.dataset_as_reported
    return {dataset_of(number), *([reported] if number.dataset is None and reported is not None else [])}


def tables(
    boards: Sequence[Board],
    numbers: Sequence[PublishedNumber],
    choice: Choice | None = None,
    most_rows: int | None = None,
) -> list[Table]:
    """Tables of what was measured, then of what is published: main results, as far as they are of a data set.

    Args:
        boards: of what was measured.
        numbers: that are published.
        choice: of what is shown; None for everything.
        most_rows: of a measured table; None for all.
    """
    choice = choice or Choice()
    chosen = [n for n in choice.numbers(numbers) if n.is_main and n.dataset_as_reported is not None]
    measured = [measured_table(board, most_rows) for board in choice.boards(boards)]
    return [*measured, *published_tables(chosen)]


def pages(place: Path) -> dict[Path, str]:
    """The pages of a folder of boards, by their paths, as its records and published numbers give them.

    Raises:
        DisbenchError: a record or a published number is not what it should be.
    """
    from disbench.board_page import page

    entries = read_entries(place)
    boards, curves = make_boards(entries), make_curves(entries)
    numbers = published.of_boards(place)
    return {
        place / "README.md": _readme(boards, numbers),
        place / "index.html": page(boards, curves, numbers),
    }


def _readme(boards: Sequence[Board], numbers: Sequence[PublishedNumber]) -> str:
    return (
        "# Leaderboards\n\n"
        "Made by `disbench leaderboard --write` from the records in `results/` and from `published.jsonl`; "
        "`disbench leaderboard --check` fails if this page differs from them by a byte. `index.html` has the same "
        "numbers, with intervals and plots.\n\n"
        "Measured and published numbers are never ranked together: a measured number shares a column with another "
        "only if protocol, content of the data set, version and settings of the metric, and reducer are all equal, and "
        "of a published one that is not known.\n\n" + render(tables(boards, numbers), "md")
    )


def problems(place: Path) -> list[str]:
    """What is wrong with a folder of boards, a sentence each.

    Raises:
        DisbenchError: a record or a published number is not what it should be.
    """
    found = [*board_check.misplaced(place), *board_check.contradictions(read_entries(place))]
    return [*found, *board_check.outdated(pages(place))]


def explained(asked: str, boards: Sequence[Board], numbers: Sequence[PublishedNumber]) -> str:
    """Where the numbers of METHOD/DATASET/METRIC come from, measured and published, down to the commands.

    Raises:
        UsageError: it is not of that form, or the boards have no such number.
    """
    parts = [part.strip() for part in asked.rsplit("/", 2)]
    if len(parts) != 3 or not all(parts):
        raise UsageError(f"--explain takes METHOD/DATASET/METRIC, as beta_vae-cpu-minutes/rooms3d/mig; got {asked!r}.")
    method, dataset, metric = parts
    choice = Choice(frozenset([dataset]), frozenset([metric]))
    choice.check(boards, numbers)
    left, published_left = choice.boards(boards), choice.numbers(numbers)
    told = [
        _measured(board, column, row, row.cells[column.key])
        for board in left
        for row in board.rows
        for column in board.columns
        if row.label == method and column.key in row.cells
    ]
    of_method = [number for number in published_left if method in (number.method, number.method_key)]
    told += [_published(number) for number in of_method if number.is_main]
    told += [_published(n) for n in published_left if n.variant and method == f"{n.method}, {n.variant}"]
    if others := [f"{n.method}, {n.variant}" for n in of_method if n.variant]:
        told.append("Variants, each to be asked for by its name:\n" + "\n".join(f"  {name}" for name in others))
    if not told:
        known = {row.label for board in left for row in board.rows} | {n.method for n in published_left}
        raise UsageError(f"the boards have no {metric} of {method!r} on {dataset}; {did_you_mean(method, known)}")
    return "\n\n".join(told) + "\n"


def _measured(board: Board, column: Column, row: Row, cell: Cell) -> str:
    number = f"{cell.mean:.6g}" if cell.mean is not None else cell.reason
    over = f", the mean of {cell.n_seeds} train seeds" if cell.n_seeds > 1 else ""
    lines = [
        f"{row.label}, {column.header} on {board.dataset}: {number}{over} (measured)",
        f"  protocol {board.protocol}; {column.metric} version {column.version}, settings "
        + (", ".join(f"{name}={value}" for name, value in column.settings.items()) or "none")
        + (f"; codes of tokens by {column.reducer}" if column.reducer else ""),
        f"  data set content {board.dataset_hash}",
        f"  identity of the number {column.identity}",
    ]
    for origin in cell.origins:
        version = origin.entry.record["run"].get("versions", {}).get("disbench", "?")
        seed = f", train seed {origin.train_seed}" if origin.train_seed is not None else ""
        lines += [
            f"  {origin.value if origin.value is not None else 'no number'}: {origin.model}{seed}; {origin.file}, line "
            f"{origin.line}; record {origin.hash[:16]}; disbench {version}",
            *([f"    trained by  {origin.train_command}"] if origin.train_command else []),
            f"    scored by   {origin.command or '(no command: from Python)'}",
        ]
    return "\n".join(lines)


def _published(number: PublishedNumber) -> str:
    source = PAPERS[number.source.paper]
    variant = f", {number.variant}" if number.variant else ""
    where = ", ".join(part for part in (f"arXiv {source.arxiv}" if source.arxiv else "", source.venue) if part)
    table = f", table {number.source.table}" if number.source.table else ""
    seeds = f"{number.n_seeds} trainings" if number.n_seeds else "number of trainings not stated"
    lines = [
        f"{number.method}{variant}, {number.metric} on {dataset_of(number)}: {number.text} (published)",
        f"  first reported in: {source.title} ({where}){table}; {seeds}; {READ_FROM[number.read_from]}",
    ]
    if number.spread_kind is not None:
        lines.append(f"  ± is {SPREADS[number.spread_kind]}")
    lines += [
        f"  printed as {cell.text} in {PAPERS[cell.paper].title}, table {cell.table}, row {cell.label!r}"
        + (f": {cell.remark}" if cell.remark else "")
        for cell in number.printed_in
    ]
    if number.note:
        lines.append(f"  {number.note}")
    if command := how_to_measure(number):
        lines.append(f"  to measure it: {command}")
    return "\n".join(lines)


def how_to_measure(number: PublishedNumber) -> str:
    """The command that trains and scores what a published number is of; empty if there is none."""
    from disbench.reproductions import RECIPES

    how = number.how
    if how is None or number.dataset is None:
        return ""
    if how.model in RECIPES:
        recipe = RECIPES[how.model]
        made = (how.settings, how.method)
        within = [
            name for name, rows in recipe.ablations.items() if made in [(row.settings, row.method) for row in rows]
        ]
        is_main_row = made in [(row.settings, row.method) for row in recipe.rows]
        option = "" if is_main_row or not within else f" --ablation {within[0]}"
        return f"disbench reproduce {how.model} --dataset {number.dataset}{option}"
    changes = "".join(f" --set {name}={value}" for name, value in how.settings.items())
    return f"disbench train {how.model} --dataset {number.dataset}{changes}"
