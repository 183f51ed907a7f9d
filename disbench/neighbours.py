"""What the numbers of a record may be set beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from disbench import published
from disbench.boards import Cell, Kind, Row, make_boards
from disbench.entries import folder, read_entries
from disbench.published_numbers import PAPERS


@dataclass(frozen=True)
class Neighbour:
    """A number that one of a record may be set beside: label, kind (measured ones are trained or baseline), and value.

    Published numbers have no identity: they are of the same data set, value and direction, and no more is known.
    """

    label: str
    kind: Kind | Literal["published"]
    value: float
    note: str = ""


def neighbours(record: Mapping[str, Any], place: Path | None = None) -> dict[str, list[Neighbour]]:
    """By value: measured numbers of the same identity, of other models, and published ones of the same data set."""
    place = place or folder()
    key = record["key"]
    own = {described["identity"] for described in key["metrics"].values()}
    found: dict[str, list[Neighbour]] = {}
    for board in make_boards(read_entries(place)):
        for column in board.columns:
            for row in board.rows:
                cell = row.cells.get(column.key)
                if column.identity not in own or cell is None or cell.mean is None:
                    continue
                if not _is_itself(record["model"], row, cell):
                    note = f"{cell.n_seeds} train seeds" if cell.n_seeds > 1 else ""
                    found.setdefault(column.value, []).append(Neighbour(row.label, row.kind, cell.mean, note))
    for number in published.of_boards(place):
        if number.dataset == key["dataset"]["name"] and number.is_main:
            table = f", table {number.source.table}" if number.source.table else ""
            note = f"{PAPERS[number.source.paper].title}{table}, on what it calls {number.dataset_as_reported}"
            found.setdefault(number.metric, []).append(Neighbour(number.method, "published", number.value, note))
    return found


def _is_itself(model: Mapping[str, Any], row: Row, cell: Cell) -> bool:
    """Whether a row holds the model, or the whole of which it is the encoder."""
    contents = {origin.content_hash for origin in cell.origins} - {None}
    train = model["train"]
    is_same_run = bool(row.config) and row.config == model.get("config") and row.steps == train.get("steps")
    seeds = {origin.train_seed for origin in cell.origins}
    return model["content_hash"] in contents or (is_same_run and train.get("train_seed") in seeds)
