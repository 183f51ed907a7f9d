"""Many models on one data set: what workers share, and scoring several models at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from disbench import registry
from disbench.errors import UsageError
from disbench.jobs import Failure, Workers, run_jobs
from disbench.report import Report
from disbench.types import Dataset


@dataclass(frozen=True)
class Source:
    """A data set that every worker opens for itself, once for all jobs of a call."""

    name: str
    data_dir: Path | None
    call: str

    @classmethod
    def checked(cls, dataset: str, data_dir: str | Path | None) -> Source:
        """Of a name or a path; prepared by this process, where it has to be.

        Raises:
            UsageError: there is none, or its files are missing.
        """
        is_path = dataset not in registry.datasets() and dataset not in registry.aliases() and Path(dataset).exists()
        name = str(Path(dataset).resolve()) if is_path else registry.aliases().get(dataset, dataset)
        registry.load_dataset(name, data_dir)
        return cls(name, Path(data_dir).resolve() if data_dir is not None else None, uuid4().hex)

    def open(self) -> Dataset:
        return _open(self)


@lru_cache(maxsize=1)
def _open(source: Source) -> Dataset:
    return registry.load_dataset(source.name, source.data_dir)


def with_bar(outcomes: Iterator[tuple[int, Any]], n: int, unit: str, progress: bool) -> Iterator[tuple[int, Any]]:
    """The same, with a bar on stderr."""
    from tqdm import tqdm

    n_failed = 0
    with closing(outcomes), tqdm(total=n, unit=unit, disable=not progress or not n) as bar:  # type: ignore[type-var]
        for k, outcome in outcomes:
            n_failed += isinstance(outcome, Failure)
            bar.update()
            if n_failed:
                bar.set_postfix_str(f"{n_failed} failed")
            yield k, outcome


Scorer = Callable[[str, Dataset], Report]  # a model and a data set, as `evaluate` takes them


def score_models(
    models: Sequence[str],
    dataset: str,
    scorer: Scorer,
    *,
    data_dir: str | Path | None = None,
    workers: Workers | None = None,
    progress: bool = False,
) -> list[Report | Failure]:
    """Score several models, a job each; what becomes of each of them, in their order.

    Args:
        models: paths of checkpoints or run folders, or names.
        dataset: name or path; every worker opens it for itself.
        scorer: `disbench.evaluate`, or a functools.partial of it.
        data_dir: folder with the data set's files, where it needs any.
        workers: what scores; by default what joblib is set to, else this process, one model after the other.
        progress: show a bar on stderr.
    """
    source = Source.checked(dataset, data_dir)
    jobs = [_Scoring(str(Path(m).resolve()) if Path(m).exists() else m, source, scorer) for m in models]
    outcomes = dict(with_bar(run_jobs(_score_one, jobs, workers or Workers()), len(jobs), "model", progress))
    return [outcomes[k] for k in range(len(models))]


@dataclass(frozen=True)
class _Scoring:
    """All that a worker needs to know to score a model."""

    model: str
    source: Source
    scorer: Scorer


def _score_one(job: _Scoring) -> Report:
    return job.scorer(job.model, job.source.open())


def expand(pattern: str) -> list[str]:
    """The paths that a pattern with `*` or `?` stands for, sorted; `**` stands for any number of folders.

    A method behind a colon, as in `runs/*/ckpt.pt:tokens`, is one of each.

    Raises:
        UsageError: there is none.
    """
    from glob import glob

    where, colon, method = pattern.rpartition(":") if re.search(r":[A-Za-z_]\w*$", pattern) else (pattern, "", "")
    if not (found := sorted(glob(where.replace("[", "[[]"), recursive=True))):
        raise UsageError(f"no file fits the pattern {where!r}.")
    return [path + colon + method for path in found]
