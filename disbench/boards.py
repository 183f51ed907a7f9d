"""Leaderboards: what was measured, and what was published, put side by side where it may be compared.

A measured number shares a column with another only if both have the same identity (`disbench.records`).
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from disbench import registry
from disbench.baselines import BASELINES
from disbench.entries import Entry, Origin
from disbench.protocols import PROTOCOLS

FLOOR, CEILING = "random_codes10", "true_factors"
N_FOR_INTERVAL = 3  # train seeds
Kind = Literal["trained", "baseline", "floor", "ceiling"]


@dataclass(frozen=True)
class Column:
    """Numbers that may be compared.

    Args:
        value: its name, as `dci.disentanglement`.
        identity: of these numbers, from the records' keys.
        metric: name of the metric.
        version: of the metric.
        settings: of the metric.
        reducer: that made codes of tokens; None if nothing had to.
        header: what tables print: the value's name, with what tells it from another column of that name.
        direction: of better; empty for a metric that is not installed.
        low: least possible number.
        high: largest possible number; may be infinite.
        meaning: one line.
    """

    value: str
    identity: str
    metric: str
    version: int
    settings: Mapping[str, Any]
    reducer: str | None
    header: str
    direction: Literal["higher", "lower", ""]
    low: float
    high: float
    meaning: str

    @property
    def key(self) -> str:
        """What cells of this column are kept under."""
        return f"{self.identity}:{self.value}"


class Cell(NamedTuple):
    """A row's number in a column.

    Args:
        mean: over train seeds; None if it is not defined for one of them.
        interval: 95 % confidence interval of the mean over train seeds (Student's t); None with fewer than three.
        std: standard deviation over train seeds (ddof 1); None with fewer than two.
        n_seeds: train seeds.
        rank: 1 + how many rows are better with intervals that do not overlap; None without interval.
        is_best: whether it is marked: of rank 1 where there are ranks, else the best mean of several trained rows.
        reason: why there is no number.
        origins: the records, by train seed.
    """

    mean: float | None
    interval: tuple[float, float] | None
    std: float | None
    n_seeds: int
    rank: int | None
    is_best: bool
    reason: str
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Row:
    """A method as it was trained.

    Args:
        label: the file's name, or the models' where a file holds several.
        kind: of row.
        model: its kind, a name of the registry; empty where it is not of ours.
        config: of the model; empty where it is not known.
        method: of the model that was scored, in place of its call; empty for its call.
        family: of the model.
        steps: it was trained for; None where that is not known.
        cells: by `Column.key`.
    """

    label: str
    kind: Kind
    model: str
    config: Mapping[str, Any]
    method: str
    family: str
    steps: int | None
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """What was measured on one content of a data set under one protocol."""

    dataset: str
    dataset_hash: str
    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from other boards."""
        return self.dataset, self.dataset_hash, self.protocol


@dataclass(frozen=True)
class Curve:
    """Scores of one training run along its steps, under one protocol: value name -> [(step, number), ...]."""

    label: str
    dataset: str
    protocol: str
    points: Mapping[str, tuple[tuple[int, float], ...]]


def make_boards(entries: Iterable[Entry]) -> list[Board]:
    """A board for each data set, content of it, and protocol; those with the most trained models come first.

    A value that is not applicable in any record has no column.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        key = entry.record["key"]
        at = (key["dataset"]["name"], key["dataset"]["content_hash"], key["protocol"]["name"])
        if not entry.is_on_the_way:
            groups.setdefault(at, []).append(entry)
    boards = [board for at in sorted(groups) if (board := _board(*at, groups[at])).columns]
    n_trained = {board.key: sum(row.kind == "trained" for row in board.rows) for board in boards}
    in_all: Counter[str] = Counter()
    for board in boards:
        in_all[board.dataset] += n_trained[board.key]
    return sorted(boards, key=lambda b: (not in_all[b.dataset], b.dataset, b.dataset_hash, -n_trained[b.key]))


def make_curves(entries: Iterable[Entry]) -> list[Curve]:
    """Scores along the steps of every run that was scored on its way."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        key, model = entry.record["key"], entry.record["model"]
        if entry.train.get("planned_steps") is not None and entry.train.get("steps") is not None:
            at = (
                key["dataset"]["name"],
                key["protocol"]["name"],
                model["name"],
                key["dataset"]["content_hash"],
                json.dumps(model.get("config", {}), sort_keys=True),
            )
            groups.setdefault(at, []).append(entry)
    curves = []
    for (dataset, protocol, label, *_), members in sorted(groups.items()):
        if any(entry.is_on_the_way for entry in members):
            columns = [column for column in _columns(protocol, members) if column.header == column.value]
            points = {column.value: _points(column, members) for column in columns}
            curves.append(Curve(label, dataset, protocol, {value: found for value, found in points.items() if found}))
    return curves


def _points(column: Column, entries: Iterable[Entry]) -> tuple[tuple[int, float], ...]:
    """Steps and numbers of a column, ascending."""
    found = {}
    for entry in entries:
        described = entry.record["key"]["metrics"].get(column.metric, {})
        number = entry.record["scores"].get(column.value, {}).get("value")
        if described.get("identity") == column.identity and number is not None:
            found[entry.train["steps"]] = number
    return tuple(sorted(found.items()))


def _board(dataset: str, dataset_hash: str, protocol: str, entries: Sequence[Entry]) -> Board:
    columns = _columns(protocol, entries)
    rows = {label: (_row(label, members), members) for label, members in _rows_of(entries).items()}
    for column in list(columns):
        cells = {label: cell for label, (_, of) in rows.items() if (cell := _cell(column, of)) is not None}
        if all(cell.reason.startswith("not applicable:") for cell in cells.values()):  # to the data set
            columns.remove(column)
            continue
        trained = {label: cell for label, cell in cells.items() if rows[label][0].kind == "trained"}
        for label, cell in (cells | _ranked(trained, column.direction)).items():
            rows[label][0].cells[column.key] = cell
    kinds = ("trained", "baseline", "floor", "ceiling")
    ordered = sorted((row for row, _ in rows.values()), key=lambda row: (kinds.index(row.kind), row.family, row.label))
    return Board(dataset, dataset_hash, protocol, tuple(columns), tuple(ordered))


def _rows_of(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The records of each row, by its label: the file's name or the models', and what tells rows of one name apart."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.row, []).append(entry)
    in_file = Counter(file for file, *_ in groups)
    labelled: dict[str, list[Entry]] = {}
    for (file, name, *_, steps), members in groups.items():
        label = Path(file).stem if in_file[file] == 1 and file.startswith("results/") else name
        for more in itertools.chain((f", {steps} steps", f" ({file})"), (f" [{k}]" for k in itertools.count(2))):
            if label not in labelled:
                break
            label += more
        labelled[label] = members
    return labelled


def _row(label: str, entries: Sequence[Entry]) -> Row:
    """A row without its cells."""
    model = entries[-1].record["model"]
    kind, steps = model.get("kind", ""), entries[-1].train.get("steps")
    entry = registry.models().get(kind)
    family = "baseline" if kind in BASELINES else entry.family if entry is not None else "other"
    return Row(label, _kind(kind, steps), kind, model.get("config", {}), model.get("method", ""), family, steps)


def _kind(kind: str, steps: int | None) -> Kind:
    if kind == FLOOR:
        return "floor"
    if kind == CEILING:
        return "ceiling"
    return "baseline" if kind in BASELINES or steps in (0, 1) else "trained"  # one step is as good as random weights


def _columns(protocol: str, entries: Iterable[Entry]) -> list[Column]:
    """A column for each identity and value, in the protocol's order; those of old versions of a metric come last."""
    found: dict[str, Column] = {}
    seen = set()
    for entry in entries:
        key, values = entry.record["key"], tuple(entry.record["scores"])
        if (entry.record["identity"], values) in seen:
            continue
        seen.add((entry.record["identity"], values))
        for value in values:
            metric = value.partition(".")[0]
            described = key["metrics"].get(metric)
            if described is None or f"{described['identity']}:{value}" in found:
                continue
            column = _column(value, metric, described, key["reducer"])
            found[column.key] = column
    order = list(PROTOCOLS[protocol].settings) if protocol in PROTOCOLS else []
    newest: dict[str, int] = {}
    for column in found.values():
        newest[column.value] = max(column.version, newest.get(column.value, 0))
    columns = sorted(
        found.values(),
        key=lambda c: (
            c.version < newest[c.value],
            order.index(c.metric) if c.metric in order else len(order),
        ),
    )
    return _told_apart(columns)


def _column(value: str, metric: str, described: Mapping[str, Any], reducer: str | None) -> Column:
    _, spec = registry.values().get(value, (None, None))
    low, high = (spec.low, spec.high) if spec is not None else (-math.inf, math.inf)
    return Column(
        value, described["identity"], metric, described["version"], described["settings"],
        described.get("reducer", reducer), value, spec.direction if spec is not None else "", low, high,
        spec.meaning if spec is not None else "a metric that is not installed here",
    )  # fmt: skip


def _told_apart(columns: Sequence[Column]) -> list[Column]:
    """Headers say in what columns of one value differ: version, reducer, settings."""
    named = []
    for column in columns:
        others = [other for other in columns if other.value == column.value and other.key != column.key]
        told = []
        if any(other.version > column.version for other in others):
            told.append(f"version {column.version}")
        if any(other.reducer != column.reducer for other in others):
            told.append(column.reducer or "no reducer")
        for name, setting in column.settings.items():
            if any(other.settings.get(name, setting) != setting for other in others):
                told.append(f"{name}={setting}")
        header = f"{column.value} ({', '.join(told)})" if told else column.value
        named.append(replace(column, header=header))
    return named


def _cell(column: Column, entries: Iterable[Entry]) -> Cell | None:
    """The number of a row: a mean over train seeds, of each seed the record of most eval seeds, the latest of those."""
    per_seed: dict[int | None, Entry] = {}
    metric, identity, value = column.metric, column.identity, column.value
    for entry in entries:
        described = entry.record["key"]["metrics"].get(metric)
        if described is None or described["identity"] != identity or value not in entry.record["scores"]:
            continue
        seed = entry.train.get("train_seed")
        before = per_seed.get(seed)
        if before is None or len(_eval_seeds(entry)) >= len(_eval_seeds(before)):
            per_seed[seed] = entry
    if not per_seed:
        return None
    chosen = [entry for _, entry in sorted(per_seed.items(), key=lambda item: item[0] or 0)]
    scores = [entry.record["scores"][value] for entry in chosen]
    origins = tuple(Origin(entry, score["value"]) for entry, score in zip(chosen, scores, strict=True))
    values = [origin.value for origin in origins if origin.value is not None]
    lacking = next((score for score in scores if score["value"] is None), None)
    if lacking is not None:
        reason = f"{lacking['status']}: {lacking['reason']}"
        return Cell(None, None, None, len(per_seed), None, False, reason, origins)
    mean = fmean(values)
    std = _deviation(values, mean)
    return Cell(mean, _interval(mean, std, len(values)), std, len(values), None, False, "", origins)


def _eval_seeds(entry: Entry) -> Sequence[int]:
    seeds: Sequence[int] = entry.record["sample"]["eval_seeds"]
    return seeds


def _deviation(values: Sequence[float], mean: float) -> float | None:
    """Standard deviation (ddof 1), in floating point: that of `statistics` is exact, and slow for many rows."""
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _interval(mean: float, std: float | None, n: int) -> tuple[float, float] | None:
    if n < N_FOR_INTERVAL or std is None:
        return None
    half = _quantile(n - 1) * std / n**0.5
    return mean - half, mean + half


@cache
def _quantile(degrees_of_freedom: int) -> float:
    """Of Student's t: 97.5 % lie below."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))


def _ranked(cells: Mapping[str, Cell], direction: str) -> dict[str, Cell]:
    """Of the trained rows' cells in a column, by label, those that have a rank, or are the best."""
    if not direction:
        return {}
    sign = 1 if direction == "higher" else -1
    ends = {
        label: sorted((sign * cell.interval[0], sign * cell.interval[1]))
        for label, cell in cells.items()
        if cell.interval is not None
    }
    lows = sorted(low for low, _ in ends.values())
    ranks = {label: 1 + len(lows) - bisect_right(lows, high) for label, (_, high) in ends.items()}
    best = max((sign * cell.mean for cell in cells.values() if cell.mean is not None), default=None)
    marked = {}
    for label, cell in cells.items():
        is_best = ranks.get(label) == 1 if ranks else cell.mean is not None and sign * cell.mean == best
        if label in ranks or is_best:
            marked[label] = cell._replace(rank=ranks.get(label), is_best=is_best and len(cells) > 1)
    return marked
