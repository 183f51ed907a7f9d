"""Which differences between two models are larger than the evaluation noise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import variance
from typing import TYPE_CHECKING, Any, Literal

from disbench import records
from disbench.errors import DisbenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    from disbench.report import Report

SCHEMA = "disbench.comparison/1"
LEVEL = 0.05  # how often models of equal values may get one verdict "larger than the noise" or more
_EQUAL = 1e-6  # of a value; what the number of threads and the device may move it by is no difference

Verdict = Literal["larger than the noise", "within the noise", "not compared"]


@dataclass(frozen=True)
class Difference:
    """One value of two models.

    Args:
        name: of the value.
        a, b: means over eval seeds; None where the value is not there.
        difference: a - b.
        interval: 95 % confidence interval of the difference, of this value taken alone.
        p: probability of a difference at least as large from noise alone, corrected for the number of values compared.
        verdict: `larger than the noise` if p is below 0.05.
        reason: why the value is not compared.
    """

    name: str
    a: float | None
    b: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    verdict: Verdict = "not compared"
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `compare` returns: the two records in short, and every value of either.

    The noise is that of evaluation: of the samples drawn and of what metrics fit on them. How far another training run
    of the same model would lie, no pair of records can tell.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    values: Mapping[str, Difference]

    @property
    def paired(self) -> bool:
        """Whether both were scored on the same draws, so that differences are taken seed by seed."""
        return self.a["eval_seeds"] == self.b["eval_seeds"]

    @property
    def complete(self) -> bool:
        """Whether every value was compared."""
        return not any(value.reason for value in self.values.values())

    def to_json(self) -> str:
        """All of it, on one line."""
        values = {name: asdict(value) for name, value in self.values.items()}
        whole = {"schema": SCHEMA, "a": self.a, "b": self.b, "paired": self.paired, "values": values}
        return json.dumps(whole, allow_nan=False)

    def __str__(self) -> str:
        compared = [value for value in self.values.values() if not value.reason]
        missing = [f"{value.name} is not compared: {value.reason}." for value in self.values.values() if value.reason]
        parts = [f"A  {_title(self.a)}\nB  {_title(self.b)}"]
        if compared:
            parts += [_table(compared), self._remarks(len(compared))]
        return "\n\n".join([*parts, "\n".join(missing)] if missing else parts)

    def _remarks(self, n_compared: int) -> str:
        how = (
            "Both were scored on the same draws, so differences are paired, seed by seed (Student's t)."
            if self.paired
            else "The eval seeds differ, so differences are those of two independent means (Welch's t)."
        )
        many = f", corrected for {n_compared} values (Holm)" if n_compared > 1 else ""
        return (
            f"{how}\nA verdict is at the 5 % level{many}; an interval is that of its value alone.\n"
            "The noise is that of evaluating these two trained models. It is not the spread over training seeds: other "
            "runs of\nthe same training can differ by more."
        )


def compare(
    record_a: Mapping[str, Any] | Report, record_b: Mapping[str, Any] | Report, *, metrics: Iterable[str] | None = None
) -> Comparison:
    """Compare two models by their records, each scored with repeats (several eval seeds).

    A value is compared where both records mean the same by it: equal protocol, data set, metric version and settings,
    and reducer. With the same eval seeds both models were scored on the same draws: the differences per seed have a
    Student's t interval. With other eval seeds the interval is Welch's. Verdicts are corrected for the number of values
    compared (Holm), so the chance that any is wrong about equal models is 5 %.

    Args:
        record_a: a record, or a Report.
        record_b: likewise.
        metrics: metrics or values to compare; None for all. Unless named, a value that is not applicable to either
            record is left out.

    Raises:
        UsageError: a name that is in neither record.
        DisbenchError: it is no record.
    """
    a, b = (_as_record(record) for record in (record_a, record_b))
    names = [*a["scores"], *(name for name in b["scores"] if name not in a["scores"])]
    if metrics is None:
        chosen = [
            name for name in names if {_entry(a, name)["status"], _entry(b, name)["status"]} != {"not applicable"}
        ]
    else:
        wanted, known = set(metrics), _names(a) | _names(b)
        for name in sorted(wanted - known):
            raise UsageError(f"neither record has a metric or value called {name!r}; {did_you_mean(name, known)}")
        chosen = [name for name in names if {name, _metric_of(name)} & wanted]
    found = {name: _difference(a, b, name) for name in chosen}
    return Comparison(_short(a), _short(b), _with_verdicts(found))


def compare_files(
    path_a: str | Path, path_b: str | Path, *, models: Sequence[str] = (), metrics: Sequence[str] | None = None
) -> tuple[list[Comparison], list[str]]:
    """Compare the records of two files that belong together; also returns remarks on what was passed over.

    Of the records of one identity in a file the last counts. Records of equal identity are compared with each other;
    if there are none, the last record of either file is.

    Args:
        path_a, path_b: files of records; they may be the same.
        models: the model's name in both files, or in the one and in the other; by default any.
        metrics: metrics or values to compare; only records that have any of them count.

    Raises:
        UsageError: there is no such file, or it has no record of the model or of the metrics.
        DisbenchError: it has no records, or a line is none.
    """
    remarks: list[str] = []
    a = _latest(path_a, models[:1], metrics, remarks)
    b = _latest(path_b, models[-1:], metrics, remarks)
    shared = [identity for identity in a if identity in b]
    for path, found in ((path_a, a), (path_b, b)):
        if shared and (others := len(found) - len(shared)):
            remarks.append(f"{path} has {others} more that the other file has no match for.")
    together = [(a[identity], b[identity]) for identity in shared] or [(list(a.values())[-1], list(b.values())[-1])]
    return [
        compare(x, y, metrics=metrics and sorted(set(metrics) & (_names(x) | _names(y)))) for x, y in together
    ], remarks


def _latest(
    path: str | Path, models: Sequence[str], metrics: Sequence[str] | None, remarks: list[str]
) -> dict[str, dict[str, Any]]:
    """The last record of every identity, by identity, in the file's order."""
    kept = list(records.read(path))
    if not kept:
        raise DisbenchError(f"{path} has no records.")
    for model in models:
        names = {record["model"]["name"] for record in kept}
        if model not in names:
            raise UsageError(f"{path} has no record of a model called {model!r}; {did_you_mean(model, names)}")
        kept = [record for record in kept if record["model"]["name"] == model]
    if metrics is not None:
        names = {name for record in kept for name in _names(record)}
        for name in metrics:
            if name not in names:
                raise UsageError(f"{path} has no metric or value called {name!r}; {did_you_mean(name, names)}")
        kept = [record for record in kept if _names(record) & set(metrics)]
    found: dict[str, dict[str, Any]] = {}
    for record in kept:
        found.pop(record["identity"], None)  # so that the last comes last
        found[record["identity"]] = record
    for identity, record in found.items():
        n_same = sum(other["identity"] == identity for other in kept)
        if n_same > 1:
            remarks.append(
                f"{path} has {n_same} records of the same numbers; the last is compared, {_title(_short(record))}. "
                "--model chooses among models."
            )
    return found


def _names(record: Mapping[str, Any]) -> set[str]:
    """Names of a record's metrics and values."""
    return {*record["scores"], *map(_metric_of, record["scores"])}


def _as_record(record: Mapping[str, Any] | Report) -> dict[str, Any]:
    found = dict(record if isinstance(record, Mapping) else record.record)
    records.validate(found)
    return found


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    key, model = record["key"], record["model"]
    return {
        "model": model["name"],
        "content_hash": model["content_hash"],
        "dataset": key["dataset"]["name"],
        "protocol": key["protocol"]["name"],
        "eval_seeds": record["sample"]["eval_seeds"],
    }


def _title(short: Mapping[str, Any]) -> str:
    seeds = short["eval_seeds"]
    over = f"eval seed {seeds[0]}" if len(seeds) == 1 else f"eval seeds {seeds[0]} ... {seeds[-1]}"
    return f"{short['model']} on {short['dataset']}, protocol {short['protocol']}, {over}"


def _metric_of(name: str) -> str:
    return name.partition(".")[0]


def _entry(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return record["scores"].get(name, {"value": None, "status": "missing"})


def _difference(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> Difference:
    entries = [_entry(record, name) for record in (a, b)]
    values = [entry["value"] for entry in entries]
    reason = _not_comparable(a, b, name)
    for letter, entry in zip("AB", entries, strict=True):
        if not reason and entry["status"] != "ok":
            reason = f"{entry['status']} in {letter}, {entry['reason']}"
    seeds = [record["sample"]["eval_seeds"] for record in (a, b)]
    if not reason and min(map(len, seeds)) < 2:
        reason = "a single eval seed says nothing about noise; score both with --repeats 5 or more"
    repeats = [entry.get("repeats", ()) for entry in entries]
    if not reason and a["key"]["protocol"]["name"].endswith("+rows") and all(len(set(own)) == 1 for own in repeats):
        reason = "given rows are used as they are, so its repeats are equal and there is no noise to compare with"
    if reason:
        return Difference(name, values[0], values[1], reason=reason)
    error, freedom = _paired(*repeats) if seeds[0] == seeds[1] else _welch(*repeats)
    difference = values[0] - values[1]
    interval, p = _interval_and_p(difference, error, freedom)
    if abs(difference) <= _EQUAL * max(map(abs, values)):
        p = 1.0
    return Difference(name, values[0], values[1], difference, interval, p)


def _not_comparable(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> str:
    """Why two records mean different things by a value, or nothing."""
    metric = _metric_of(name)
    for letter, record in (("A", a), ("B", b)):
        if name not in record["scores"]:
            return f"{letter} has no such value"
    key_a, key_b = a["key"], b["key"]
    own_a, own_b = key_a["metrics"][metric], key_b["metrics"][metric]
    if own_a["identity"] == own_b["identity"]:
        return ""
    settings_a, settings_b = own_a["settings"], own_b["settings"]
    different = [
        f"{what} {one} and {other}"
        for what, one, other in (
            ("protocol", key_a["protocol"]["name"], key_b["protocol"]["name"]),
            ("data set", key_a["dataset"]["name"], key_b["dataset"]["name"]),
            ("content of the data set", key_a["dataset"]["content_hash"][:12], key_b["dataset"]["content_hash"][:12]),
            ("reducer", key_a["reducer"], key_b["reducer"]),
            ("version", own_a["version"], own_b["version"]),
            *((f"{metric}.{s}", settings_a.get(s), settings_b.get(s)) for s in {**settings_a, **settings_b}),
        )
        if one != other
    ]
    return "the records mean different numbers by it: " + ", ".join(different)


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Standard error of the mean difference over common seeds, and degrees of freedom."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return (variance(differences) / len(differences)) ** 0.5, len(differences) - 1


def _welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Standard error of the difference of two independent means, and degrees of freedom."""
    squares = [variance(values) / len(values) for values in (a, b)]
    total = sum(squares)
    shares = [square / total if total else 0.5 for square in squares]
    freedom = 1 / sum(share**2 / (len(values) - 1) for share, values in zip(shares, (a, b), strict=True))
    return total**0.5, freedom


def _interval_and_p(difference: float, error: float, freedom: float) -> tuple[tuple[float, float], float]:
    from scipy.stats import t

    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * t.sf(abs(difference) / error, freedom)) if error else float(difference == 0)
    return (difference - half, difference + half), p


def _with_verdicts(found: Mapping[str, Difference]) -> dict[str, Difference]:
    """Holm's correction: the smallest p times their number, the next times one less, and so on, never falling."""
    ascending = sorted((value for value in found.values() if value.p is not None), key=lambda value: value.p or 0.0)
    decided, so_far = dict(found), 0.0
    for place, value in enumerate(ascending):
        so_far = max(so_far, min(1.0, (len(ascending) - place) * (value.p or 0.0)))
        verdict: Verdict = "larger than the noise" if so_far < LEVEL else "within the noise"
        decided[value.name] = replace(value, p=so_far, verdict=verdict)
    return decided


def _table(values: Iterable[Difference]) -> str:
    from tabulate import tabulate

    rows = [
        [
            v.name,
            f"{v.a:.4f}",
            f"{v.b:.4f}",
            f"{v.difference:+.4f}",
            f"{v.interval[0]:+.4f} ... {v.interval[1]:+.4f}" if v.interval else "",
            f"{v.p:.2g}",
            v.verdict,
        ]
        for v in values
    ]
    headers = ["value", "A", "B", "A - B", "95 % interval", "p", "verdict"]
    return tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", *["right"] * 5))
