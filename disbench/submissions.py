"""A third party's records: checked, scored again from their codes where these are given, and put on the boards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args
from zipfile import BadZipFile

import numpy as np
import torch

from disbench import records, registry
from disbench.baselines import BASELINES
from disbench.board_check import agree, contradictions
from disbench.encode import REDUCERS
from disbench.entries import Entry, read_entries
from disbench.errors import DisbenchError, UsageError
from disbench.grids import file_name
from disbench.models import Model
from disbench.protocols import PROTOCOLS, resolve
from disbench.report import Status
from disbench.types import Codes, Dataset, Indices, Metric


@dataclass(frozen=True)
class Submitted:
    """What became of a record: the file it is in, whether it was there before, and which values were scored again."""

    name: str
    file: Path
    was_there: bool
    rescored: tuple[str, ...]


def submit(
    path: Path,
    place: Path,
    *,
    codes: Path | None = None,
    data_dir: str | Path | None = None,
    check_only: bool = False,
) -> list[Submitted]:
    """Check the records of a file, all of them before any is added, and add them to a boards folder.

    Args:
        path: of records, as `--out` of `disbench score` writes them.
        place: the boards folder.
        codes: the table of codes of the one record there is, as `--codes-out` writes it.
        data_dir: folder with the data set's files, where it needs any.
        check_only: add nothing.

    Raises:
        UsageError: there is no such file, or the data set cannot be had to check its content.
        DisbenchError: a record is not what a board can take; the message says which and why.
    """
    found = list(records.numbered(path))
    if not found:
        raise DisbenchError(f"{path} holds no record.")
    if lost := records.cut_off(path):
        raise DisbenchError(
            f"{path}, line {lost[0]}: this is the beginning of a record; delete the line, or complete it."
        )
    if codes is not None and len(found) > 1:
        raise UsageError(f"{path} holds {len(found)} records, and {codes} is the codes of one; submit it alone.")
    entries = read_entries(place)
    lines = path.read_text(encoding="utf-8").split("\n")
    rescored: tuple[str, ...] = ()
    for line, record in found:
        try:
            if not records.is_sealed(lines[line - 1]) and codes is None:
                raise DisbenchError(
                    "it has no hash of its own, so nobody knows whether it was edited; give its --codes."
                )
            _check(record, entries, data_dir)
            if codes is not None:
                rescored = _score_again(record, codes, data_dir)
        except UsageError:
            raise
        except DisbenchError as error:
            raise DisbenchError(f"{path}, line {line}: {error}") from error
    known = {entry.record["hash"] for entry in entries}
    new = {record["hash"]: Entry(record, _file_of(record), 0) for _, record in found if record["hash"] not in known}
    if wrong := set(contradictions([*entries, *new.values()])) - set(contradictions(entries)):
        raise DisbenchError(f"{path} contradicts the boards: {sorted(wrong)[0]}")
    results = []
    for _, record in found:
        file = place / _file_of(record)
        is_there = record["hash"] not in new
        if not is_there and not check_only:
            with records.RecordFile(file) as target:
                target.append(record)
            del new[record["hash"]]  # the same record twice is added once
        results.append(Submitted(_name_of(record), file, is_there, rescored))
    return results


def _name_of(record: Mapping[str, Any]) -> str:
    """The model's name, and how far its training was."""
    entry = Entry(record, "", 0)
    way = f" after {entry.train['steps']} of {entry.train['planned_steps']} steps" if entry.is_on_the_way else ""
    return f"{record['model']['name']}{way}, {record['key']['protocol']['name']}"


def _file_of(record: Mapping[str, Any]) -> str:
    """Where a record belongs, in a boards folder."""
    return f"results/{record['key']['dataset']['name']}/{file_name(Entry(record, '', 0).name)}.jsonl"


def _check(record: Mapping[str, Any], entries: list[Entry], data_dir: str | Path | None) -> None:
    records.validate(record)
    key = record["key"]
    name = key["protocol"]["name"]
    if name not in PROTOCOLS:
        custom = " Changed settings make a protocol of their own, which has no board." if "+" in name else ""
        raise DisbenchError(f"there is no protocol {name!r} here.{custom}")
    if record["model"].get("kind") in BASELINES or record["model"]["name"] in BASELINES:
        raise DisbenchError(
            f"{record['model']['name']} is a baseline, which everybody can measure; it is not submitted."
        )
    _check_dataset(key["dataset"], entries, data_dir)
    resolved = resolve(name, list(key["metrics"]), None)
    for task in resolved.tasks:
        told = key["metrics"][task.metric.name]
        if told["version"] != task.metric.version:
            raise DisbenchError(
                f"{task.metric.name} is version {told['version']} there, and {task.metric.version} here; score the "
                "model again with this disbench."
            )
        expected = json.loads(json.dumps(asdict(task.settings)))
        if told["settings"] != expected:
            raise DisbenchError(
                f"{task.metric.name} ran with other settings than {name} has: {told['settings']}, not {expected}."
            )
    metrics = {
        metric: {part: content for part, content in told.items() if part != "identity"}
        for metric, told in key["metrics"].items()
    }
    if records.make_key(key["protocol"], key["dataset"], metrics, key["reducer"]) != key:
        raise DisbenchError("the identities of its numbers do not fit their settings: it was edited.")
    reducers = {key["reducer"], *(told["reducer"] for told in metrics.values() if "reducer" in told)}
    strange = {part for told in metrics.values() for part in told} - {"version", "settings", "reducer", "extractor"}
    if strange or not reducers <= {None, *REDUCERS}:
        raise DisbenchError(f"its key names what no evaluation here has: {', '.join(map(str, strange or reducers))}.")
    _check_scores(record)


def _check_dataset(told: Mapping[str, Any], entries: list[Entry], data_dir: str | Path | None) -> None:
    """Whether the data set had the content that it has here."""
    name = told["name"]
    if name not in registry.datasets():
        raise DisbenchError(f"there is no data set {name!r} here; boards are of data sets that everybody can have.")
    vouched = {
        e.record["key"]["dataset"]["content_hash"] for e in entries if e.record["key"]["dataset"]["name"] == name
    }
    expected = vouched or {registry.load_dataset(name, data_dir).content_hash}
    if told["content_hash"] not in expected:
        raise DisbenchError(
            f"it was scored on a {name} with another content ({told['content_hash'][:12]}) than here "
            f"({', '.join(sorted(content[:12] for content in expected))})."
        )


def _check_scores(record: Mapping[str, Any]) -> None:
    """Whether its numbers are possible values of the metrics that its key names."""
    for value, score in record["scores"].items():
        metric, spec = registry.values().get(value, (None, None))
        if metric is None or spec is None or metric.name not in record["key"]["metrics"]:
            raise DisbenchError(f"{value} is no value of a metric that its key names.")
        number = score["value"]
        if score["status"] not in get_args(Status) or (number is None) == (score["status"] == "ok"):
            raise DisbenchError(f"{value} has the status {score['status']!r} and the number {number!r}.")
        if number is not None and not spec.low <= number <= spec.high:
            raise DisbenchError(f"{value} is {number!r}; expected a number in {spec.low:g} ... {spec.high:g}.")


def _score_again(record: Mapping[str, Any], path: Path, data_dir: str | Path | None) -> tuple[str, ...]:
    """Score the given codes as the record says, and compare; which values that are."""
    from disbench.evaluation import evaluate

    key, sample = record["key"], record["sample"]
    on_codes = [name for name in key["metrics"] if isinstance(registry.metrics()[name], Metric)]
    if any(key["metrics"][name].get("reducer", key["reducer"]) is not None for name in on_codes) or not on_codes:
        raise UsageError(
            f"{path} are codes, and the record's numbers are of tokens or images; submit it without --codes."
        )
    dataset = registry.load_dataset(key["dataset"]["name"], data_dir)
    model = Model(record["model"]["name"], _not_called, by_index=_table(path, dataset))
    seeds = sample["eval_seeds"]
    report = evaluate(
        model,
        dataset,
        protocol=key["protocol"]["name"],
        metrics=on_codes,
        eval_seed=seeds[0],
        repeats=len(seeds),
    )
    for value, found in report.scores.items():
        told = record["scores"][value]["value"]
        if not agree(told, found):
            raise DisbenchError(f"{value} of the given codes is {found}, and the record says {told}.")
    return tuple(report.scores)


def _table(path: Path, dataset: Dataset) -> Any:
    """Codes by the positions of their images."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            codes, index = torch.from_numpy(arrays["codes"]), torch.from_numpy(arrays["index"])
        rows = torch.full((len(dataset),), -1)
        if len(codes) != len(index) or int(index.min()) < 0:
            raise ValueError(f"{len(codes)} codes for {len(index)} images")
        rows[index] = torch.arange(len(index))
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, BadZipFile, EOFError) as error:
        raise UsageError(
            f"{path} is no table of codes as --codes-out writes it: expected an npz file with codes (n, d) and their "
            "index (n,)."
        ) from error

    def look_up(asked: Indices) -> Codes:
        at = rows[asked.cpu()]
        if bool((at < 0).any()):
            raise DisbenchError(f"{path} lacks the codes of image {int(asked[at.argmin()])}, which the protocol draws.")
        found: Codes = codes[at]
        return found

    return look_up


def _not_called(_: Any) -> Any:
    raise DisbenchError("given codes are looked up, not computed.")
