"""Studies: grids of models, hyper-parameters and train seeds, each run trained once, and scored if asked to.

A run's folder is MODEL-DATASET-KEY=VALUE-seedS. It holds study.json, which says what was asked for, and whose lock a
process holds while it works on the run; and ckpt.pt, once the run is finished.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from disbench import registry
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.files import exclusively
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import Source, with_bar
from disbench.settings import override


@dataclass(frozen=True)
class Study:
    """Which kinds of models, each with all the values that it sweeps, and which train seeds."""

    models: tuple[str, ...]
    seeds: tuple[int, ...]


STUDIES: Mapping[str, Study] = {
    "locatello2019": Study(  # Locatello et al., arXiv 1811.12359, without its seven data sets
        ("beta_vae", "annealed_vae", "factor_vae", "beta_tcvae", "dip_vae_i", "dip_vae_ii"),
        tuple(range(50)),
    ),
}

State = Literal["finished", "begun", "to train"]
Status = Literal["trained", "there", "failed"]


@dataclass(frozen=True)
class Run:
    """One model of a study.

    Args:
        model: its kind.
        swept: names and values of the hyper-parameters that the study sweeps.
        config: all of its hyper-parameters.
        dataset: name of what it is trained on.
        train_seed: its seed.
        folder: where it is, or will be.
    """

    model: str
    swept: tuple[tuple[str, Any], ...]
    config: Any
    dataset: str
    train_seed: int
    folder: Path

    @property
    def setting(self) -> str:
        """What is swept, as `beta=4`; empty if nothing is."""
        return ", ".join(f"{key}={_short(value)}" for key, value in self.swept)

    @property
    def checkpoint(self) -> Path:
        """The file that a finished run has."""
        return self.folder / "ckpt.pt"

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train: a run that is not at its end keeps a state beside."""
        return self.checkpoint.exists() and not (self.folder / "state.pt").exists()

    @property
    def state(self) -> State:
        """How far it has got."""
        if self.is_finished:
            return "finished"
        return "begun" if self.folder.exists() else "to train"

    @property
    def asked(self) -> dict[str, Any]:
        """What study.json says of it, as primitives."""
        described = {"model": self.model, "dataset": self.dataset, "train_seed": self.train_seed}
        return json.loads(json.dumps(described | dataclasses.asdict(self.config)))

    def is_told(self, text: str) -> bool:
        """Whether a study.json says that its folder holds this run: not if it is empty, or a crash cut it off.

        Raises:
            UsageError: it says that the folder holds another run.
        """
        try:
            before = json.loads(text)
        except json.JSONDecodeError:
            return False
        for key, value in self.asked.items():
            if before.get(key, value) != value:
                raise UsageError(
                    f"{self.folder} holds a run with {key} {before[key]!r}, and {value!r} was asked for; name another "
                    "folder with --out, or ask for the same."
                )
        return True


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


def plan_study(
    name: str,
    dataset: str,
    *,
    models: Sequence[str] | None = None,
    seeds: int | Iterable[int] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    n_values: int | None = None,
    out: str | Path = "runs",
) -> list[Run]:
    """The runs of a study: seed after seed, each with all models and values.

    Args:
        name: of the study, a key of STUDIES.
        dataset: name or path of what is trained on; it is not opened if it has a name.
        models: some of the study's; None for all.
        seeds: train seeds, or how many, from 0 on; None for the study's.
        preset: name of changes that each model has for its config.
        settings: further changes, for all models.
        n_values: only so many of the values that each model sweeps, from the first on.
        out: folder for the folders of the runs.

    Raises:
        UsageError: there is no such study, model, preset or setting; or a setting is swept.
    """
    study = registry.pick("study", name, STUDIES)
    if models is not None and (unknown := [model for model in models if model not in study.models]):
        raise UsageError(f"{name} has no model called {unknown[0]!r}; {did_you_mean(unknown[0], study.models)}")
    if n_values is not None and n_values < 1:
        raise UsageError(f"of the values at least 1 is needed; got {n_values}.")
    label = _name_of(dataset)
    folder = Path(out).resolve()
    variants = [
        (model, swept, config)
        for model in (study.models if models is None else dict.fromkeys(models))
        for swept, config in itertools.islice(_variants(model, preset, settings or {}), n_values)
    ]
    return [
        Run(model, swept, config, label, seed, folder / _folder_name(model, label, swept, seed))
        for seed in _seeds(seeds, study)
        for model, swept, config in variants
    ]


def _seeds(asked: int | Iterable[int] | None, study: Study) -> list[int]:
    if asked is None:
        return list(study.seeds)
    seeds = list(range(asked)) if isinstance(asked, int) else list(dict.fromkeys(asked))
    if not seeds or min(seeds) < 0:
        raise UsageError("seeds are whole numbers from 0 on, at least one of them.")
    return seeds


def _variants(
    model: str, preset: str | None, settings: Mapping[str, Any]
) -> Iterator[tuple[tuple[tuple[str, Any], ...], Any]]:
    """Every combination of the values that a model sweeps, and its config with it."""
    entry = registry.pick("kind of model", model, registry.models())
    if entry.train is None:
        raise UsageError(f"{model!r} cannot be trained here.")
    if refused := sorted(entry.sweep.keys() & settings.keys()):
        raise UsageError(f"{refused[0]} of {model} is what the study sweeps; leave it out of the settings.")
    config = entry.config()
    if preset is not None:
        config = override(config, registry.pick(f"preset of {model}", preset, entry.presets))
    config = override(config, settings, prefix=f"{model}.")
    for values in itertools.product(*entry.sweep.values()):
        swept = override(config, dict(zip(entry.sweep, values, strict=True)))
        yield tuple((key, getattr(swept, key)) for key in entry.sweep), swept


def _name_of(dataset: str) -> str:
    """The name of a data set, which is opened only if it has none in the registry."""
    if dataset in registry.datasets() or dataset in registry.aliases() or not Path(dataset).exists():
        return registry.pick_dataset(dataset).spec.name
    return registry.load_dataset(dataset).spec.name


def _folder_name(model: str, dataset: str, swept: tuple[tuple[str, Any], ...], seed: int) -> str:
    parts = [model, dataset, *(f"{key}={_short(value)}" for key, value in swept), f"seed{seed}"]
    return "-".join(re.sub(r"[^\w.=+-]+", "_", part) for part in parts)


def _short(value: Any) -> str:
    """A value as text that stands for it alone: 4.0 is 4."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value) if whole else value)


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
