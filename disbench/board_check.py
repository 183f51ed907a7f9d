"""What may be wrong with a boards folder: records that contradict each other, pages that are not what records give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from disbench import records
from disbench.boards import Entry

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
            if not _agree(before[1], score["value"]):
                found.append(
                    f"{_at(before[0])} and {_at(entry)} disagree on {value} of {model['name']}: {before[1]} and "
                    f"{score['value']}."
                )
        row = (entry.file, entry.name, str(entry.train.get("train_seed")), str(entry.train.get("steps")), content)
        other = models.setdefault(row[:-1], entry)
        if model["content_hash"] != other.record["model"]["content_hash"]:
            found.append(f"{_at(other)} and {_at(entry)} are two models of one name, train seed and length.")
    return found


def _agree(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def _at(entry: Entry) -> str:
    return f"{entry.file}, line {entry.line}"


def misplaced(place: Path) -> list[str]:
    """Records of `results` without a hash of their own, in the folder of another data set, or recorded twice."""
    found = []
    seen: dict[str, str] = {}
    for path in sorted((place / "results").glob("*/*.jsonl")):
        file = path.relative_to(place).as_posix()
        sealed = [line.endswith('"}') and ', "hash": "' in line[-90:] for line in path.read_text().splitlines() if line]
        for number, (record, is_sealed) in enumerate(zip(records.read(path), sealed, strict=False), 1):
            at = f"{file}, record {number}"
            if not is_sealed:
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
            found.append(f"{path} {what}: disbench leaderboard --write")
    return found


def check_scores(record: Mapping[str, Any]) -> None:
    """Check that a record's numbers are possible values of the metrics that it names.

    Raises:
        DisbenchError: they are not.
    """
    from disbench import registry
    from disbench.errors import DisbenchError

    metrics = registry.metrics()
    for value, score in record["scores"].items():
        metric = metrics.get(value.partition(".")[0])
        spec = next((spec for spec in metric.values if spec.name == value), None) if metric is not None else None
        if spec is None:
            raise DisbenchError(f"{value} is no value of a metric that is installed here.")
        number = score.get("value")
        if score.get("status") not in ("ok", "undefined", "not applicable") or (number is None) == (
            score["status"] == "ok"
        ):
            raise DisbenchError(f"{value} has the status {score.get('status')!r} and the number {number!r}.")
        if number is not None and not (isinstance(number, int | float) and spec.low <= number <= spec.high):
            raise DisbenchError(f"{value} is {number!r}; expected a number in {spec.low:g} ... {spec.high:g}.")
