"""The records of a boards folder: in `results/DATASET/ROW.jsonl` those of a row, one for each train seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from disbench import records
from disbench.errors import UsageError


def folder() -> Path:
    """Where the boards that came with disbench are: `leaderboards`, beside the package."""
    return Path(__file__).parent.parent / "leaderboards"


@dataclass(frozen=True)
class Entry:
    """What a board keeps of a record.

    Args:
        record: without its details.
        file: that holds it, in the boards folder where it is there.
        line: from 1.
    """

    record: Mapping[str, Any]
    file: str
    line: int

    @property
    def train(self) -> Mapping[str, Any]:
        """How the model was trained, as far as known."""
        train: Mapping[str, Any] = self.record["model"]["train"]
        return train

    @property
    def name(self) -> str:
        """The model's name without its train seed."""
        return re.sub(r"[-_]seed\d+(?=$|:)", "", self.record["model"]["name"])

    @property
    def row(self) -> tuple[str, ...]:
        """What all records of a row have in common: name, kind, settings, method and length of training."""
        model = self.record["model"]
        config = json.dumps(model["config"], sort_keys=True) if model.get("config") else ""
        return (
            self.file,
            self.name,
            model.get("kind", ""),
            config,
            model.get("method", ""),
            str(self.train.get("steps")),
        )

    @property
    def is_on_the_way(self) -> bool:
        """Whether the model's training went on after it was scored."""
        steps, planned = self.train.get("steps"), self.train.get("planned_steps")
        return steps is not None and planned is not None and steps < planned


class Origin(NamedTuple):
    """Where a number comes from: the record, and the number it gives; None if it gives none."""

    entry: Entry
    value: float | None

    @property
    def file(self) -> str:
        """The record's, in the boards folder where it is there."""
        return self.entry.file

    @property
    def line(self) -> int:
        """The record's, from 1."""
        return self.entry.line

    @property
    def hash(self) -> str:
        """The record's."""
        return str(self.entry.record["hash"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.entry.record["model"]["name"])

    @property
    def content_hash(self) -> str | None:
        """The model's, if it has one."""
        found: str | None = self.entry.record["model"]["content_hash"]
        return found

    @property
    def train_seed(self) -> int | None:
        """The model's, if it is known."""
        return self.entry.train.get("train_seed")

    @property
    def command(self) -> str:
        """What scored the model; empty if that was done from Python."""
        return str(self.entry.record["run"].get("command", ""))

    @property
    def train_command(self) -> str:
        """What trained the model; empty if it is not known."""
        return str(self.entry.train.get("command", ""))


def read_entries(place: Path, more: Iterable[Path] = ()) -> list[Entry]:
    """The records of a boards folder, and of other files, in order.

    Raises:
        UsageError: there is no such folder or file.
        DisbenchError: a line is no record, or was edited.
    """
    if not place.is_dir():
        raise UsageError(f"there is no folder of boards at {place}.")
    files = [*sorted((place / "results").glob("*/*.jsonl")), *more]
    return [entry for path in files for entry in _entries(path, place)]


def _entries(path: Path, place: Path) -> Iterator[Entry]:
    file = path.relative_to(place).as_posix() if path.is_relative_to(place) else str(path)
    keys: dict[str, Any] = {}  # of many records one object: less to keep
    for line, record in records.numbered(path):
        del record["details"]
        key = keys.setdefault(record["identity"], record["key"])
        if key == record["key"]:
            record["key"] = key
        yield Entry(record, file, line)
