"""What may be wrong with a boards folder: records that contradict each other, pages that are not what records give."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from disbench import records
from disbench.entries import Entry

TOLERANCE = 1e-3  # by which two runs of one evaluation may differ: of the larger number where that is above 1


def contradictions(entries: Iterable[Entry]) -> list[str]:
    """Records that differ in a number of one identity, model and eval seeds, or hold two models as one of a row."""
    found = []
    scored: dict[tuple[str, ...], tuple[Entry, float | None]] = {}
    models: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        key, model = entry.record["key"], entry.record["model"]
        seeds = str(entry.record["sample"]["eval_seeds"])
        content = model["content_hash"] or f"{entry.file}: {model['name']}"  # code that cannot be known
        for value, score in entry.record["scores"].items():
            described = key["metrics"].get(value.partition(".")[0])
            if described is None:
                continue
            at = (described["identity"], value, content, str(model["input_range"]), seeds)
            before = scored.setdefault(at, (entry, score["value"]))
            if not agree(before[1], score["value"]):
                found.append(
                    f"{_at(before[0])} and {_at(entry)} disagree on {value} of {model['name']}: {before[1]} and "
                    f"{score['value']}."
                )
        other = models.setdefault((*entry.row, str(entry.train.get("train_seed"))), entry)
        if model["content_hash"] != other.record["model"]["content_hash"]:
            found.append(f"{_at(other)} and {_at(entry)} are two models of one name, train seed and length.")
    return found


def agree(one: float | None, other: float | None) -> bool:
    """Whether two numbers may be those of one evaluation, run twice; None where there is no number."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def _at(entry: Entry) -> str:
    return f"{entry.file}, line {entry.line}"


def misplaced(place: Path) -> list[str]:
    """Lines of `results` that are no whole record, or have no hash of their own, lie elsewhere or are there twice."""
    found = []
    seen: dict[str, str] = {}
    for path in sorted((place / "results").glob("*/*.jsonl")):
        whole = dict(records.numbered(path))
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            at = f"{path.relative_to(place).as_posix()}, line {number}"
            if not line:
                continue
            if number not in whole:
                found.append(f"{at} is the beginning of a record; delete it.")
                continue
            record = whole[number]
            if record["identity"] != records.identity(record["key"]):
                found.append(f"{at}: its identity does not fit its key; score the model again.")
            if not records.is_sealed(line):
                found.append(f"{at} has no hash: score the model again, or submit it.")
            if (name := record["key"]["dataset"]["name"]) != path.parent.name:
                found.append(f"{at} is of {name}, and lies in the folder of {path.parent.name}.")
            if (before := seen.setdefault(record["hash"], at)) != at:
                found.append(f"{at} is {before} once more.")
    return found


def outdated(pages: Mapping[Path, str]) -> list[str]:
    """Pages that are not, byte for byte, what they should be."""
    found = []
    for path, expected in pages.items():
        is_there = path.is_file()
        if not is_there or path.read_bytes() != expected.encode():
            what = "is not what the records give" if is_there else "is missing"
            found.append(f"{path} {what}: disbench leaderboard --write --boards {shlex.quote(str(path.parent))}")
    return found
