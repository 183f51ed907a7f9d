"""Studies: the runs of a grid, each trained once, and scored if asked to.

A run's folder holds study.json, which says what was asked for, and whose lock a process holds while it works on the
run; and ckpt.pt, once the run is finished.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from disbench import registry
from disbench.errors import DisbenchError
from disbench.files import exclusively
from disbench.grids import Run, plan_study
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import Source, with_bar

Status = Literal["trained", "there", "failed"]


@dataclass(frozen=True)
class RunResult:
    """What became of a run.

    Args:
        run: which.
        status: `trained` now, `there` before, or `failed`.
        reason: why it failed.
        undefined: values of its score that it lacks.
        trace: where it failed.
    """

    run: Run
    status: Status
    reason: str = ""
    undefined: tuple[str, ...] = ()
    trace: str = ""


@dataclass(frozen=True)
class StudyResult:
    """What became of all runs, in the study's order."""

    runs: tuple[RunResult, ...]

    def of(self, status: Status) -> list[Run]:
        """The runs of one status."""
        return [result.run for result in self.runs if result.status == status]

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed, by the names of their folders."""
        return {result.run.folder.name: result.reason for result in self.runs if result.status == "failed"}

    @property
    def complete(self) -> bool:
        """Whether all runs are finished, and have every value that was asked for."""
        return not any(result.status == "failed" or result.undefined for result in self.runs)

    def __str__(self) -> str:
        return overview(((result.run, result.status) for result in self.runs), ("trained", "there", "failed"))


def overview(runs: Iterable[tuple[Run, str]], states: Sequence[str]) -> str:
    """A table: for each model and value, the seeds, how many runs are in which state, and their folders."""
    from tabulate import tabulate

    groups: dict[tuple[str, str], list[tuple[Run, str]]] = {}
    for run, state in runs:
        groups.setdefault((run.model, run.setting), []).append((run, state))
    rows: list[list[Any]] = []
    for (model, setting), members in groups.items():
        found = [state for _, state in members]
        counts = [found.count(state) for state in states]
        folder = members[0][0].folder
        shown = os.path.relpath(folder.with_name(re.sub(r"seed\d+$", "seed*", folder.name)))
        rows.append([model, setting, _range([run.train_seed for run, _ in members]), *counts, shown])
    if len(rows) > 1:
        sums = [sum(row[3 + k] for row in rows) for k in range(len(states))]
        rows.append(["all", "", "", *sums, ""])
    align = ("left", "left", "left", *["right"] * len(states), "left")
    return tabulate(rows, ["model", "setting", "seeds", *states, "folders"], disable_numparse=True, colalign=align)


def _range(seeds: list[int]) -> str:
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} ... {seeds[-1]}"
    return ", ".join(map(str, seeds))


@dataclass(frozen=True)
class _Job:
    """All that a worker needs to know for a run."""

    run: Run
    train: Callable[..., Path]
    source: Source
    device: str | None
    command: str
    score: str | None
    records: Path


def run_study(
    name: str,
    dataset: str,
    *,
    data_dir: str | Path | None = None,
    models: Sequence[str] | None = None,
    seeds: int | Iterable[int] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    n_values: int | None = None,
    out: str | Path = "runs",
    workers: Workers | None = None,
    device: str | None = None,
    score: str | None = None,
    records: str | Path | None = None,
    command: str = "",
    progress: bool = False,
) -> StudyResult:
    """Train what is missing of a study; called again after whatever stopped it, it goes on where it was.

    Args:
        name, models, seeds, preset, settings, n_values, out: as for `plan_study`.
        dataset: name or path of what is trained on; every worker opens it for itself.
        data_dir: folder with the data set's files, where it needs any.
        workers: what trains; by default what joblib is set to, else this process, one run after the other.
        device: where torch computes; by default what the trainer takes.
        score: protocol that every run is scored under, in the same job.
        records: file that the records are appended to; by default records.jsonl in `out`.
        command: recorded.
        progress: show a bar on stderr.

    Raises:
        UsageError: as `plan_study`; the data set cannot be had; a folder holds another run.
        Stopped: a signal stopped training; what was trained is kept.
    """
    runs = plan_study(
        name, dataset, models=models, seeds=seeds, preset=preset, settings=settings, n_values=n_values, out=out
    )
    for run in runs:
        if (said := run.folder / "study.json").is_file():
            run.is_told(said.read_text())
    record_file = Path(records if records is not None else Path(out) / "records.jsonl").resolve()
    if score is not None:
        _check_scoring(score, record_file)
    # What is finished and needs no score is no job; its records are looked up by the job.
    missing = {run.folder for run in runs if not run.is_finished}
    todo = [run for run in runs if score is not None or run.folder in missing]
    jobs = []
    if todo:
        source = Source.checked(dataset, data_dir)
        for run in todo:
            train = registry.models()[run.model].train
            assert train is not None  # plan_study refuses such models
            jobs.append(_Job(run, train, source, device, command, score, record_file))
    results = {run.folder: RunResult(run, "there") for run in runs}
    for k, outcome in with_bar(run_jobs(_do, jobs, workers or Workers()), len(jobs), "run", progress):
        run = todo[k]
        if isinstance(outcome, Failure):
            results[run.folder] = RunResult(run, "failed", outcome.reason, trace=outcome.trace)
        else:
            results[run.folder] = RunResult(run, "trained" if run.folder in missing else "there", undefined=outcome)
    return StudyResult(tuple(results.values()))


def _check_scoring(protocol: str, records: Path) -> None:
    """Refuse before hours of training what would fail after them."""
    from disbench.protocols import resolve
    from disbench.records import RecordFile

    resolve(protocol, None, None)
    with RecordFile(records):
        pass


def _do(job: _Job) -> tuple[str, ...]:
    """One run, in a worker; returns the values that its score lacks."""
    run = job.run
    with _held(run):
        if not run.is_finished:
            device = {} if job.device is None else {"device": job.device}
            job.train(
                run.model,
                run.config,
                job.source.open(),
                train_seed=run.train_seed,
                out=run.folder,
                command=job.command,
                progress=False,
                resume=True,
                score=None,
                **device,
            )
        return _score(job) if job.score is not None else ()


@contextmanager
def _held(run: Run) -> Iterator[None]:
    """The run is this process's alone: the system takes the lock away from a process that dies."""
    run.folder.mkdir(parents=True, exist_ok=True)
    waiting = f"{run.folder.name} is another process's at the moment; waiting for it."
    with open(run.folder / "study.json", "a+b") as file, exclusively(file, waiting):
        file.seek(0)
        if not run.is_told(file.read().decode()):
            file.truncate(0)
            file.write((json.dumps(run.asked, indent=1) + "\n").encode())
            file.flush()
        yield


def _score(job: _Job) -> tuple[str, ...]:
    """Score a finished run; returns the values that it lacks. What the file has already is not computed again."""
    from disbench.evaluation import evaluate

    assert job.score is not None  # nobody else calls this
    try:
        report = evaluate(
            job.run.checkpoint,
            job.source.open(),
            protocol=job.score,
            device=job.device,
            out=job.records,
            command=job.command,
        )
    except DisbenchError as error:
        raise DisbenchError(f"it is trained, and could not be scored: {error}") from error
    return tuple(name for name, value in report.values.items() if value.failed)
