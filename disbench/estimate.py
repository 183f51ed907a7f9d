"""How long a reproduction will take: a few steps of each training are timed, and past scores looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from disbench import records, registry
from disbench.grids import Run
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import with_bar
from disbench.models import check_device
from disbench.reproductions import Plan


@dataclass(frozen=True)
class Estimate:
    """What a plan will take on a device.

    Args:
        device: where steps were timed.
        threads: of the processor, that torch had.
        per_step: seconds of a step, by model and config; None where it could not be timed.
        per_score: seconds of a score, as those took that are in the plan's records; None without any.
        n_scores: how many are still to be made.
        remarks: why something could not be timed.
    """

    device: str
    threads: int
    per_step: Mapping[tuple[str, Any], float | None]
    per_score: float | None
    n_scores: int
    remarks: tuple[str, ...]

    def seconds_per_step(self, runs: Iterable[Run]) -> set[float | None]:
        """Of those that are not finished."""
        return {self.per_step[run.model, run.config] for run in runs if not run.is_finished}

    def hours(self, runs: Iterable[Run]) -> float | None:
        """Of those that are not finished, each in full; None if one could not be timed."""
        left = [run for run in runs if not run.is_finished]
        if None in self.seconds_per_step(left):
            return None
        return sum((self.per_step[run.model, run.config] or 0.0) * run.config.steps for run in left) / 3600


@dataclass(frozen=True)
class _Timing:
    """All that is needed to time a step."""

    model: str
    config: Any
    measure: Callable[..., float]
    image_shape: tuple[int, ...]
    device: str


def _time(timing: _Timing) -> float:
    return timing.measure(timing.model, timing.config, timing.image_shape, timing.device)


def estimate(
    plan: Plan, dataset: str, *, device: str | None = None, threads: int = 1, progress: bool = False
) -> Estimate:
    """Time a few steps of each config that is still to be trained, and look up how long scores took.

    Args:
        plan: what is to be done.
        dataset: name or path, as the plan was made with; only its specification is looked at.
        device: where to train; by default the CPU.
        threads: of the processor.
        progress: show a bar on stderr.

    Raises:
        UsageError: there is no such device.
    """
    where = str(check_device(device or "cpu"))
    shape = registry.spec_of(dataset).image_shape
    left = list({(run.model, run.config): run for run in plan.trainings if not run.is_finished})
    per_step: dict[tuple[str, Any], float | None] = dict.fromkeys(left)
    timings, remarks = [], []
    for model, config in left:
        if (measure := registry.models()[model].seconds_per_step) is not None:
            timings.append(_Timing(model, config, measure, shape, where))
    unknown = sorted({model for model, _ in left} - {timing.model for timing in timings})
    remarks += [f"How long a step of {model} takes is not known: nothing times one." for model in unknown]
    outcomes = run_jobs(_time, timings, Workers(1, threads=threads))
    for k, outcome in with_bar(outcomes, len(timings), "config timed", progress):
        if isinstance(outcome, Failure):
            remarks.append(f"A step of {timings[k].model} could not be timed: {outcome.reason}")
        else:
            per_step[timings[k].model, timings[k].config] = outcome
    seconds, n_recorded = _of_scores(plan)
    n_scores = sum(len(plan.methods(run)) for run in plan.runs) - n_recorded
    return Estimate(where, threads, per_step, fmean(seconds) if seconds else None, n_scores, tuple(remarks))


def _of_scores(plan: Plan) -> tuple[list[float], int]:
    """Seconds of each score recorded of the data set under the protocol; and how many of the plan's there are."""
    if not plan.records.is_file():
        return [], 0
    wanted = {run.folder.name + f":{m}" * bool(m) for run in plan.runs if run.is_finished for m in plan.methods(run)}
    seconds, found = [], set()
    for record in records.read(plan.records):
        key = record["key"]
        if (key["protocol"]["name"], key["dataset"]["name"]) == (plan.recipe.protocol, plan.dataset):
            seconds.append(sum(record["run"]["seconds"].values()))
            found.add(record["model"]["name"])
    return seconds, len(found & wanted)
