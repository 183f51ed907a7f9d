"""A Report: the record of one evaluation, as numbers, a data frame and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from disbench.protocols import Resolved, Task
from disbench.records import SCHEMA, identity, to_line
from disbench.types import Score, ValueSpec

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "undefined", "not applicable"]


@dataclass(frozen=True)
class Value:
    """One reported number.

    Args:
        spec: name, meaning, range and direction.
        value: the number, the mean over eval seeds if there are several; None unless the status is `ok`.
        status: `ok`; `undefined`: it has no value on these codes; `not applicable`: these rows cannot carry it.
        reason: why the status is not `ok`.
        std: standard deviation over eval seeds (ddof 1); None with a single one. Spread over training seeds is
            something else, and no single report can know it.
        interval: 95 % confidence interval of the mean over eval seeds (Student's t); None with a single one.
        asked_by_name: whether `not applicable` is a failure.
    """

    spec: ValueSpec
    value: float | None
    status: Status
    reason: str = ""
    std: float | None = None
    interval: tuple[float, float] | None = None
    asked_by_name: bool = False

    @property
    def failed(self) -> bool:
        """Whether something that was asked for is missing."""
        return self.status == "undefined" or (self.status == "not applicable" and self.asked_by_name)


@dataclass(frozen=True)
class Report:
    """What `evaluate` and `score_codes` return.

    `record` is the whole of it, as JSON-able primitives, with every value of the metrics that ran; `resolved` says
    which of them were asked for, and are shown.
    """

    record: Mapping[str, Any]
    resolved: Resolved

    @classmethod
    def of_scores(
        cls,
        resolved: Resolved,
        key: Mapping[str, Any],
        model: Mapping[str, Any],
        sample: Mapping[str, Any],
        scores: Mapping[tuple[int, str], Score],
        run: Mapping[str, Any],
    ) -> Report:
        """Gather the scores of every eval seed and metric into a record; see `disbench.records` for its parts."""
        entries: dict[str, Any] = {}
        details: dict[str, Any] = {}
        for task in resolved.tasks:
            found = [scores[seed, task.metric.name] for seed in sample["eval_seeds"]]
            details[task.metric.name] = dict(found[0].details)
            entries |= {value.name: _over_seeds(value.name, found) for value in task.metric.values}
        record = {
            "schema": SCHEMA,
            "key": key,
            "identity": identity(key),
            "model": model,
            "sample": sample,
            "scores": entries,
            "details": details,
            "run": run,
        }
        return cls(record, resolved)

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value that was asked for, with its status, by name."""
        return {name: self._value(task, name) for task in self.resolved.tasks for name in task.values}

    def _value(self, task: Task, name: str) -> Value:
        entry = self.record["scores"][name]
        spec = next(spec for spec in task.metric.values if spec.name == name)
        interval = tuple(entry["interval"]) if "interval" in entry else None
        return Value(spec, entry["value"], entry["status"], entry["reason"], entry.get("std"), interval, task.by_name)

    @property
    def scores(self) -> Mapping[str, float | None]:
        """Numbers by name, None where the status is not `ok`: `report.scores["mig"]`."""
        return {name: value.value for name, value in self.values.items()}

    @property
    def complete(self) -> bool:
        """Whether every value that was asked for was computed, and any at all."""
        values = self.values.values()
        return not any(value.failed for value in values) and any(value.status == "ok" for value in values)

    @property
    def details(self) -> Mapping[str, Any]:
        """The matrices behind the numbers, by metric; of the first eval seed."""
        return self.record["details"]

    def to_frame(self) -> pd.DataFrame:
        """One row per value, indexed by its name."""
        import pandas as pd

        rows = [
            {
                "name": name,
                "value": v.value,
                "status": v.status,
                "reason": v.reason,
                "std": v.std,
                "interval_low": v.interval[0] if v.interval else None,
                "interval_high": v.interval[1] if v.interval else None,
                "low": v.spec.low,
                "high": v.spec.high,
                "direction": v.spec.direction,
                "meaning": v.spec.meaning,
            }
            for name, v in self.values.items()
        ]
        return pd.DataFrame(rows).set_index("name")

    def to_json(self) -> str:
        """The record, as one line."""
        return to_line(self.record)

    def __str__(self) -> str:
        record, sample = self.record, self.record["sample"]
        seeds = sample["eval_seeds"]
        head = (
            f"{record['model']['name']} on {record['key']['dataset']['name']}, "
            f"protocol {record['key']['protocol']['name']}, "
            + (f"eval seed {seeds[0]}" if len(seeds) == 1 else f"mean of eval seeds {seeds[0]} ... {seeds[-1]}")
        )
        return "\n".join([head, "", self._table(), *self._remarks(), "", self._effort()])

    def _table(self) -> str:
        from tabulate import tabulate

        repeated = len(self.record["sample"]["eval_seeds"]) > 1
        rows = []
        for name, v in self.values.items():
            row = [name, f"{v.value:.4f}" if v.value is not None else v.status]
            if repeated:
                row.append(f"{v.interval[0]:.4f} ... {v.interval[1]:.4f}" if v.interval else "")
            better = {"higher": "higher is better", "lower": "lower is better"}[v.spec.direction]
            rows.append([*row, f"{v.spec.low:g} ... {v.spec.high:g}", better, v.spec.meaning])
        headers = ["value", "score", *(["95 % interval"] if repeated else []), "range", "direction", "meaning"]
        return tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", "right"))

    def _remarks(self) -> list[str]:
        """Why values are missing, each reason once, and what the metrics have to say."""
        missing: dict[tuple[str, str], list[str]] = {}
        for name, v in self.values.items():
            if v.status != "ok":
                missing.setdefault((v.status, v.reason), []).append(name)
        lines = [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {status}: {reason}."
            for (status, reason), names in missing.items()
        ]
        said: dict[str, list[str]] = {}
        for task in self.resolved.tasks:
            for remark in self.details[task.metric.name].get("remarks", ()):
                said.setdefault(remark, []).append(task.metric.name)
        lines += [f"{', '.join(names)}: {remark}" for remark, names in said.items()]
        return ["", *lines] if lines else []

    def _effort(self) -> str:
        sample = self.record["sample"]
        seconds = self.record["run"]["seconds"]
        steps = ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
        lines = []
        if sample["n_encoded"]:
            images = f"{sample['n_encoded']:,} encoded once each for the {sample['n_asked']:,} that the draws ask for"
            lines.append(f"images   {images} (and a probe of {sample['n_probe']} encoded again)")
        lines += [
            f"made     {made['num_images']:,} by {made['by']} from {made['conditioned_on']}"
            for made in sample.get("made", {}).values()
        ]
        seen: dict[str, list[str]] = {}
        for task in self.resolved.tasks:
            if name := self.details[task.metric.name].get("features"):
                seen.setdefault(f"{name}, {task.settings.num_images:,} images", []).append(task.metric.name)
        lines += [f"features {', '.join(names)}: {through}" for through, names in seen.items()]
        return "\n".join([*lines, f"seconds  {steps}; total {sum(seconds.values()):.1f}"])


def _over_seeds(name: str, scores: Sequence[Score]) -> dict[str, Any]:
    """A value's entry in the record: over several eval seeds the mean; undefined if it is for any of them."""
    for score in scores:
        status = "not applicable" if score.not_applicable else "undefined"
        if reason := score.not_applicable or score.undefined.get(name):
            return {"value": None, "status": status, "reason": reason}
    values = [score.values[name] for score in scores]
    entry: dict[str, Any] = {"value": fmean(values), "status": "ok", "reason": ""}
    if len(values) > 1:
        from scipy.stats import t

        std = stdev(values)
        half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
        entry |= {"std": std, "interval": [entry["value"] - half, entry["value"] + half], "repeats": values}
    return entry
