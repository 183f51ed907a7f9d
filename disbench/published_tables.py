"""Published numbers as tables: what is printed of a data set, and a paper's table beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from disbench import registry
from disbench.board_tables import Shown, Table
from disbench.boards import Board, Cell, Row
from disbench.published import printed
from disbench.published_numbers import PAPERS, SPREADS, How, Printed, PublishedNumber
from disbench.settings import override

COMPARED_UNDER = "encdiff2024"  # the protocol of the papers whose tables are set beside measured numbers
PROCEDURES_DIFFER = ("tad", "fid", "mig")  # by paper, under one name: nothing is marked as best
_NO_MATTER = frozenset(  # settings that a row may have otherwise than the paper: what was found, how it was computed
    (
        "n_channels", "n_images", "first_stage", "first_stage_width", "first_stage_hash", "codebook_size", "ldm",
        "precision", "compile", "accumulate", "cache_latents", "sampling_steps", "eta",
    )
)  # fmt: skip


def published_tables(numbers: Iterable[PublishedNumber]) -> list[Table]:
    """A table for each data set, as it is resolved; of variants that are not known, as it is reported."""
    groups: dict[str, list[PublishedNumber]] = {}
    for number in numbers:
        groups.setdefault(dataset_of(number), []).append(number)
    return [
        _published_table(name, groups[name]) for name in sorted(groups, key=lambda n: (groups[n][0].dataset is None, n))
    ]


def dataset_of(number: PublishedNumber) -> str:
    """What boards call the data set of a number."""
    if number.dataset is not None:
        return number.dataset
    reported = number.dataset_as_reported
    return "(no data set)" if reported is None else f"{reported} (which one is not known)"


def _published_table(dataset: str, numbers: Sequence[PublishedNumber]) -> Table:
    """Methods, each as each paper reports it first, and their numbers; the best main result of a column is marked."""
    columns = list(dict.fromkeys(number.metric for number in numbers))
    rows: dict[tuple[str, str, str], dict[str, PublishedNumber]] = {}
    for number in numbers:
        how = "trained again" if number.read_from == "replication" else ""
        label = ", ".join(part for part in (number.method, number.variant, how) if part)
        rows.setdefault((label, number.source.paper, number.source.table or ""), {}).setdefault(number.metric, number)
    best = {m: _best((m, number.value) for number in numbers if number.metric == m and number.is_main) for m in columns}
    shown = []
    for (label, paper, at), found in rows.items():
        cells = [
            Shown(found[m].text, found[m].is_main and found[m].value == best[m]) if m in found else Shown("")
            for m in columns
        ]
        shown.append((Shown(label), Shown(f"{paper}, {at}" if at else paper), *cells))
    kinds = {number.spread_kind for number in numbers if number.spread_kind is not None}
    notes = [f"± is {' or '.join(sorted(SPREADS[kind] for kind in kinds))}."] if kinds else []
    if differing := [metric for metric in columns if metric in PROCEDURES_DIFFER]:
        notes.append(f"What is called {' or '.join(differing)} differs by paper: nothing is marked as best.")
    notes += _notes((number.method, number) for number in numbers if number.is_main)
    return Table(
        f"{dataset}: published, not measured here",
        ("method", "reported in", *columns),
        tuple(shown),
        tuple(notes),
        n_labels=2,
        data=tuple(_described(number, dataset) for number in numbers),
    )


def _notes(numbers: Iterable[tuple[str, PublishedNumber]]) -> list[str]:
    """What to know of numbers, each sentence once, after the rows that it is about."""
    about: dict[str, dict[str, None]] = {}
    for label, number in numbers:
        if number.note:
            about.setdefault(number.note, {})[label] = None
    return [f"{', '.join(labels)}: {note}" for note, labels in about.items()]


def _best(numbers: Iterable[tuple[str, float]]) -> float | None:
    """The best of numbers of one metric, each with its name; None where papers differ in it, or it is unknown here."""
    pairs = list(numbers)
    names = {name for name, _ in pairs}
    if len(names) != 1 or names & {*PROCEDURES_DIFFER}:
        return None
    (name,) = names
    _, spec = registry.values().get(name, (None, None))
    if spec is None:
        return None
    values = [value for _, value in pairs]
    return max(values) if spec.direction == "higher" else min(values)


def _described(number: PublishedNumber, dataset: str) -> dict[str, Any]:
    source = PAPERS[number.source.paper]
    return {
        "dataset": dataset, "method": number.method, "kind": "published", "family": number.family,
        "variant": number.variant, "value": number.metric, "mean": number.value, "spread": number.spread,
        "spread_kind": number.spread_kind, "n_seeds": number.n_seeds, "read_from": number.read_from,
        "paper": source.title, "arxiv": source.arxiv, "note": number.note,
        "printed_in": [f"{cell.paper} {cell.table}" for cell in number.printed_in],
    }  # fmt: skip


def paper_table(numbers: Iterable[PublishedNumber], paper: str, table: str, boards: Sequence[Board]) -> Table:
    """A paper's table as printed, its best marked, and beside each number ours and the difference in printed spreads.

    Raises:
        UsageError: there is no such paper, or no number of such a table is known.
    """
    at = {(cell.row, cell.column): (number, cell) for number, cell in printed(numbers, paper, table)}
    labels = {row: cell.label for (row, _), (_, cell) in at.items()}
    headings = {column: cell.heading for (_, column), (_, cell) in at.items()}
    best = {
        c: _best(
            (number.metric, cell.value)
            for (_, column), (number, cell) in at.items()
            if column == c and not cell.remark.startswith("Misprint")
        )
        for c in headings
    }
    ours = {where: found for where, pair in at.items() if (found := _measured(pair[0], boards)) is not None}
    has_ours = {column for _, column in ours}
    headers = ["method"]
    for column in sorted(headings):
        headers += [headings[column], *(["measured", "difference"] if column in has_ours else [])]
    remarks: list[str] = []
    rows, data = [], []
    for row in sorted(labels):
        cells = [Shown(labels[row])]
        for column in sorted(headings):
            number, cell = at.get((row, column), (None, None))
            mark = ""
            if cell is not None and cell.remark:
                mark = f" ({_numbered(remarks, cell.remark)})"
            cells.append(Shown(f"{cell.text}{mark}", cell.value == best[column]) if cell is not None else Shown(""))
            if column in has_ours:
                cells += _beside(cell, number.spread_kind if number is not None else None, ours.get((row, column)))
            if number is not None and cell is not None:
                data.append(_printed(number, cell, ours.get((row, column))))
        rows.append(tuple(cells))
    notes = [f"({k}) {remark}" for k, remark in enumerate(remarks, 1)]
    notes += _notes((labels[row], number) for (row, _), (number, _) in at.items())
    if ours:
        measured = sorted({f"{row.label} ({cell.n_seeds} train seeds)" for row, cell in ours.values()})
        notes.append(
            f"Measured: {', '.join(measured)}, protocol {COMPARED_UNDER}. Differences are ours minus the paper's, in "
            "its standard deviations; none where that is 0, or its ± is something else."
        )
    source = PAPERS[paper]
    where = " ".join(part for part in (f"arXiv {source.arxiv}" if source.arxiv else "", source.venue) if part)
    return Table(
        f"{source.title} ({where}), table {table}", tuple(headers), tuple(rows), tuple(notes), data=tuple(data)
    )


def _numbered(remarks: list[str], remark: str) -> int:
    if remark not in remarks:
        remarks.append(remark)
    return 1 + remarks.index(remark)


def _measured(number: PublishedNumber, boards: Sequence[Board]) -> tuple[Row, Cell] | None:
    """Ours of the same method, settings, data set and value, of as many train seeds as there are."""
    if number.how is None:
        return None
    found = [
        (row, row.cells[column.key])
        for board in boards
        if board.protocol == COMPARED_UNDER and board.dataset == number.dataset
        for column in board.columns
        if column.value == number.metric == column.header
        for row in board.rows
        if row.kind == "trained" and column.key in row.cells and _is_made_so(row, number.how)
    ]
    defined = [pair for pair in found if pair[1].mean is not None]
    return max(defined, key=lambda pair: pair[1].n_seeds, default=None)


def _is_made_so(row: Row, how: How) -> bool:
    """Whether a row is of that kind of model, with the paper's settings and its length of training, by that method."""
    if row.model.removesuffix("-encoder") != how.model or row.method != how.method:
        return False
    expected = asdict(override(registry.models()[how.model].config(), how.settings))
    names = expected.keys() - _NO_MATTER
    return all(row.config.get(name) == expected[name] for name in names) and row.steps == expected["steps"]


def _beside(cell: Printed | None, kind: str | None, ours: tuple[Row, Cell] | None) -> list[Shown]:
    """Our number, and how many of the printed standard deviations it lies above the printed one."""
    if cell is None or ours is None or ours[1].mean is None:
        return [Shown(""), Shown("")]
    mean, std = ours[1].mean, ours[1].std
    spread = f" ± {std:.3f}" if std is not None else ""
    difference = f"{(mean - cell.value) / cell.spread:+.1f}" if cell.spread and kind == "std" else ""
    return [Shown(f"{mean:.3f}{spread}"), Shown(difference)]


def _printed(number: PublishedNumber, cell: Printed, ours: tuple[Row, Cell] | None) -> Mapping[str, Any]:
    found = _described(number, dataset_of(number)) | {
        "table": f"{cell.paper} {cell.table}", "method": cell.label, "heading": cell.heading, "mean": cell.value,
        "spread": cell.spread, "remark": cell.remark,
    }  # fmt: skip
    if ours is not None:
        found |= {"measured": ours[1].mean, "measured_std": ours[1].std, "measured_row": ours[0].label}
    return found
