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

from disbench.errors import DisbenchError
from disbench.files import exclusively
from disbench.grids import Run, plan_study, trainer
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import Source, with_bar
from disbench.report import Report

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


def overview(
    runs: Iterable[tuple[Run, str]], states: Sequence[str], more: Mapping[str, Callable[[list[Run]], str]] | None = None
) -> str:
    """A table: for each model and value, the seeds, how many runs are in which state, and their folders.

    Args:
        runs: each with its state.
        states: that there are.
        more: columns before the last: what is said of a row's runs, and of all of them.
    """
    more = more or {}
    from tabulate import tabulate

    groups: dict[tuple[str, str], list[tuple[Run, str]]] = {}
    for run, state in runs:
        groups.setdefault((run.model, run.setting), []).append((run, state))
    rows: list[list[Any]] = []
    for (model, setting), members in groups.items():
        found = [state for _, state in members]
        counts = [found.count(state) for state in states]
        folder = members[0][0].folder
        said = [say([run for run, _ in members]) for say in more.values()]
        rows.append(
            [model, setting, seed_range([run.train_seed for run, _ in members]), *counts, *said, folders(folder)]
        )
    if len(rows) > 1:
        sums = [sum(row[3 + k] for row in rows) for k in range(len(states))]
        everything = [run for members in groups.values() for run, _ in members]
        rows.append(["all", "", "", *sums, *(say(everything) for say in more.values()), ""])
    headers = ["model", "setting", "seeds", *states, *more, "folders"]
    align = ("left", "left", "left", *["right"] * (len(states) + len(more)), "left")
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def folders(one: Path) -> str:
    """A run's folder as a pattern that stands for those of all seeds."""
    return os.path.relpath(one.with_name(re.sub(r"seed\d+$", "seed*", one.name)))


def seed_range(seeds: list[int]) -> str:
    """`0 ... 4`, or `0, 3, 5`."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} ... {seeds[-1]}"
    return ", ".join(map(str, seeds))


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know for a run.

    Args:
        run: which.
        train: what trains it.
        source: what it is trained and scored on.
        device: where; None for what the trainer, or the model, has.
        command: recorded.
        score: protocol; None if it is only trained.
        records: file for its scores.
        methods: what is scored: methods of the model, each on its own; the empty one is what its call returns.
        progress: show the trainer's bar.
    """

    run: Run
    train: Callable[..., Path]
    source: Source
    device: str | None
    command: str
    score: str | None
    records: Path
    methods: tuple[str, ...] = ("",)
    progress: bool = False


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
    check_folders(runs)
    record_file = Path(records if records is not None else Path(out) / "records.jsonl").resolve()
    if score is not None:
        check_scoring(score, record_file)
    # What is finished and needs no score is no job; its records are looked up by the job.
    missing = {run.folder for run in runs if not run.is_finished}
    todo = [run for run in runs if score is not None or run.folder in missing]
    jobs = []
    if todo:
        source = Source.checked(dataset, data_dir)
        jobs = [Job(run, trainer(run.model), source, device, command, score, record_file) for run in todo]
    results = {run.folder: RunResult(run, "there") for run in runs}
    for k, outcome in with_bar(run_jobs(do_job, jobs, workers or Workers()), len(jobs), "run", progress):
        run = todo[k]
        if isinstance(outcome, Failure):
            results[run.folder] = RunResult(run, "failed", outcome.reason, trace=outcome.trace)
        else:
            undefined = tuple(name for report in outcome for name, value in report.values.items() if value.failed)
            results[run.folder] = RunResult(run, "trained" if run.folder in missing else "there", undefined=undefined)
    return StudyResult(tuple(results.values()))


def check_folders(runs: Iterable[Run]) -> None:
    """Refuse before any work what would be refused at its run.

    Raises:
        UsageError: a folder holds another run.
    """
    for run in runs:
        if (said := run.folder / "study.json").is_file():
            run.is_told(said.read_text())


def check_scoring(protocol: str, records: Path) -> None:
    """Refuse before hours of training what would fail after them."""
    from disbench.protocols import resolve
    from disbench.records import RecordFile

    resolve(protocol, None, None)
    with RecordFile(records):
        pass


def do_job(job: Job) -> list[Report]:
    """One run, in a worker: train it, unless it is there; its scores, of each method that is to be scored."""
    run = job.run
    with _held(run) as is_known:
        if not (is_known and run.is_finished):  # a finished run that no study made is the trainer's to check
            device = {} if job.device is None else {"device": job.device}
            job.train(
                run.model,
                run.told,
                job.source.open(),
                train_seed=run.train_seed,
                out=run.folder,
                command=job.command,
                progress=job.progress,
                resume=True,
                score=None,
                **device,
            )
        return [_score(job, method) for method in job.methods] if job.score is not None else []


@contextmanager
def _held(run: Run) -> Iterator[bool]:
    """The run is this process's alone: the system takes the lock away from a process that dies.

    Yields:
        Whether study.json says what the folder holds. Of a finished run that it says nothing of, it does so only if no
        error is raised inside.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    waiting = f"{run.folder.name} is another process's at the moment; waiting for it."
    with open(run.folder / "study.json", "a+b") as file, exclusively(file, waiting):
        file.seek(0)
        before = file.read().decode()
        is_strange = run.is_finished and not before
        if is_strange:
            yield False
        if not run.is_told(before):
            file.truncate(0)
            file.write((json.dumps(run.asked, indent=1) + "\n").encode())
            file.flush()
        if not is_strange:
            yield True


def _score(job: Job, method: str) -> Report:
    """Score a finished run. What the file has already is not computed again."""
    from disbench.evaluation import evaluate

    assert job.score is not None  # nobody else calls this
    try:
        return evaluate(
            f"{job.run.checkpoint}:{method}" if method else job.run.checkpoint,
            job.source.open(),
            protocol=job.score,
            device=job.device,
            out=job.records,
            command=job.command,
        )
    except DisbenchError as error:
        raise DisbenchError(f"it is trained, and could not be scored: {error}") from error
