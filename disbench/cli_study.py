"""The command line's part about many models: study, and score with a pattern."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from disbench.errors import Stopped, UsageError

if TYPE_CHECKING:
    from disbench.jobs import Workers
    from disbench.report import Report

STUDY_EXAMPLES = """a study is kinds of models, times the values of a hyper-parameter that each sweeps, times seeds
  locatello2019   that of Locatello et al. 2019 (arXiv 1811.12359) on one data set; --dry-run prints it

Every run has a folder, MODEL-DATASET-KEY=VALUE-seedS. What is finished there is not trained again, and what was begun
goes on where its last state was kept, whoever was killed: run the same command again.

On a cluster, start a dask scheduler and its workers (pip install 'disbench[cluster]'; one thread each:
dask worker ADDRESS --nthreads 1) with this environment, and in reach of the same folders.

examples:
  disbench study locatello2019 --dataset rooms3d --preset cpu-minutes --seeds 3 --jobs 2 --dry-run
  disbench study locatello2019 --dataset rooms3d --models beta_vae,factor_vae --values 2 --set steps=5000
  disbench study locatello2019 --dataset shapes3d --score locatello2019 --scheduler tcp://host:8786
  disbench score --model 'runs/*/ckpt.pt' --dataset rooms3d --jobs 2 --out records.jsonl

"""

_MANY = "*?"
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")  # of seeds


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench study`."""
    parser.add_argument("name", metavar="STUDY", help="which grid of models, see below")
    what = parser.add_argument_group("what to train")
    what.add_argument("--dataset", required=True, metavar="NAME", help="disbench list datasets; or your own file")
    what.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    what.add_argument("--models", metavar="A,B", help="some of the study's models (default: all)")
    what.add_argument(
        "--seeds",
        metavar="N",
        help="so many train seeds, from 0 on; or a list of them, as 0,3,5 or 0-14 (default: the study's)",
    )
    what.add_argument("--values", type=int, metavar="N", help="only the first N values that each model sweeps")
    what.add_argument("--preset", metavar="NAME", help="changes that each model has for its config, as cpu-minutes")
    what.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change all configs; may be repeated"
    )
    what.add_argument(
        "--score", metavar="PROTOCOL", help="score each model when it is trained: disbench list protocols"
    )
    what.add_argument("--device", metavar="D", help="cpu, cuda ... (default: the trainer's)")
    add_workers(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", default="runs", metavar="DIR", help="folder for the folders of the runs (default: %(default)s)"
    )
    output.add_argument(
        "--records", metavar="FILE.jsonl", help="append the records of --score (default: records.jsonl in --out)"
    )
    output.add_argument("--dry-run", action="store_true", help="print what would be trained and what is there already")
    parser.set_defaults(run=_study)


def add_workers(parser: argparse.ArgumentParser, remark: str = "") -> None:
    """Add the options that say what runs many jobs."""
    group = parser.add_argument_group("workers" + remark)
    group.add_argument("--jobs", type=int, metavar="N", help="processes, -1 for one on each core (default: 1)")
    group.add_argument("--backend", metavar="NAME", help="joblib's: loky, dask ... (default: loky, processes here)")
    group.add_argument("--scheduler", metavar="ADDRESS", help="of dask.distributed, as tcp://host:8786")
    group.add_argument("--threads", type=int, metavar="N", help="of each job (default: 1)")


def workers_of(arguments: argparse.Namespace) -> Workers:
    """What those options ask for."""
    from disbench.jobs import Workers

    threads = 1 if arguments.threads is None else arguments.threads
    return Workers(arguments.jobs, arguments.backend, arguments.scheduler, threads)


def _study(arguments: argparse.Namespace) -> int:
    from disbench.grids import plan_study
    from disbench.settings import parse_pairs
    from disbench.study import overview, run_study

    if arguments.records is not None and arguments.score is None:
        raise UsageError("--records keeps what --score computes; name a protocol with --score.")
    grid: dict[str, Any] = {
        "models": _names(arguments.models),
        "seeds": parse_seeds(arguments.seeds),
        "preset": arguments.preset,
        "settings": parse_pairs(arguments.set),
        "n_values": arguments.values,
        "out": arguments.out,
    }
    workers = workers_of(arguments)
    if arguments.dry_run:
        runs = plan_study(arguments.name, arguments.dataset, **grid)
        print(overview([(run, run.state) for run in runs], ("finished", "begun", "to train")))
        return 0
    with saying_how_to_go_on(arguments), redirect_stdout(sys.stderr):  # what a model prints is no data of ours
        result = run_study(
            arguments.name,
            arguments.dataset,
            data_dir=arguments.data_dir,
            workers=workers,
            device=arguments.device,
            score=arguments.score,
            records=arguments.records,
            command=arguments.command,
            progress=True,
            **grid,
        )
    print(result)
    for found in result.runs:
        if found.undefined:
            print(f"disbench: {found.run.folder.name}: no value for {', '.join(found.undefined)}.", file=sys.stderr)
    failed = [(found.run.folder.name, found.reason, found.trace) for found in result.runs if found.status == "failed"]
    list_failures(failed, "run", arguments)
    return 0 if result.complete else 1


@contextmanager
def saying_how_to_go_on(arguments: argparse.Namespace) -> Iterator[None]:
    """Where a signal stops what is inside, the message is what to type."""
    go_on = f"stopped; what is trained is kept. Go on with: {arguments.command}"
    try:
        yield
    except Stopped as stopped:
        raise Stopped(go_on, stopped.signal) from stopped
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C, or SIGTERM
            print(f"disbench: {go_on}", file=sys.stderr)
        raise


def list_failures(failed: Sequence[tuple[str, str, str]], noun: str, arguments: argparse.Namespace) -> None:
    """Name, reason and traceback of each, on stderr."""
    if failed:
        print(f"disbench: {len(failed)} {noun}{'s' * (len(failed) > 1)} failed:", file=sys.stderr)
    for name, reason, trace in failed:
        shown = trace if getattr(arguments, "debug", False) and trace else reason
        print(f"  {name}: {shown}", file=sys.stderr)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def parse_seeds(text: str | None) -> int | list[int] | None:
    """`3` -> 3, so many; `0,3,5`, `3,` or `0-14` -> these."""
    if text is None:
        return None
    try:
        if "," not in text and not _RANGE.fullmatch(text.strip()):
            return int(text)
        return [seed for part in text.split(",") if part.strip() for seed in _seeds_of_part(part.strip())]
    except ValueError:
        raise UsageError(
            f"--seeds is a number of seeds, as 3, or a list of them, as 0,3,5 or 0-14; got {text!r}."
        ) from None


def _seeds_of_part(part: str) -> Iterable[int]:
    if found := _RANGE.fullmatch(part):
        first, last = map(int, found.groups())
        if last < first:
            raise ValueError("a range that falls")
        return range(first, last + 1)
    return (int(part),)


def is_pattern(model: str) -> bool:
    """Whether `--model` stands for several."""
    return any(letter in model for letter in _MANY)


def score_many(arguments: argparse.Namespace, common: Mapping[str, Any], of_models: Mapping[str, Any]) -> int:
    """`disbench score --model PATTERN`.

    Args:
        arguments: of the command line.
        common: what `evaluate` and `score_codes` are told.
        of_models: what `evaluate` alone is told.
    """
    if arguments.codes_out:
        raise UsageError("--codes-out keeps the codes of one model; name one, or leave it out.")
    from functools import partial
    from pathlib import Path

    from disbench.evaluation import evaluate
    from disbench.jobs import Failure
    from disbench.many import expand, score_models
    from disbench.protocols import resolve
    from disbench.records import RecordFile

    paths = expand(arguments.model)
    resolve(common["protocol"], common["metrics"], common["settings"])
    told = {**common, **of_models, "progress": False}
    if arguments.out:
        told["out"] = str(Path(arguments.out).resolve())
        with RecordFile(told["out"]):  # refused now, if it cannot be written
            pass
    with redirect_stdout(sys.stderr):
        outcomes = score_models(
            paths,
            arguments.dataset,
            partial(evaluate, **told),
            data_dir=arguments.data_dir,
            workers=workers_of(arguments),
            progress=True,
        )
    reports = [(path, found) for path, found in zip(paths, outcomes, strict=True) if not isinstance(found, Failure)]
    failed = [(path, f.reason, f.trace) for path, f in zip(paths, outcomes, strict=True) if isinstance(f, Failure)]
    if reports:
        print("\n".join(found.to_json() for _, found in reports) if arguments.json else _table(reports))
    if not arguments.json:
        _remark(reports)
    list_failures(failed, "model", arguments)
    return 0 if not failed and all(found.complete for _, found in reports) else 1


def _table(reports: Sequence[tuple[str, Report]]) -> str:
    """One row per model, one column per value."""
    from tabulate import tabulate

    columns = list(dict.fromkeys(name for _, found in reports for name in found.values))
    rows = [[name, *_cells(found, columns)] for name, (_, found) in zip(_labels(reports), reports, strict=True)]
    align = ("left", *["right"] * len(columns))
    return tabulate(rows, ["model", *columns], disable_numparse=True, colalign=align)


def _labels(reports: Sequence[tuple[str, Report]]) -> list[str]:
    """The models' names, or their paths where two have one name."""
    names = [found.record["model"]["name"] for _, found in reports]
    return names if len(set(names)) == len(names) else [path for path, _ in reports]


def _cells(report: Report, columns: Iterable[str]) -> list[str]:
    values = report.values
    return [
        "" if name not in values else f"{value:.3f}" if (value := values[name].value) is not None else "-"
        for name in columns
    ]


def _remark(reports: Sequence[tuple[str, Report]]) -> None:
    """Why values are missing, on stderr: each reason once."""
    missing: dict[tuple[str, str, str], int] = {}
    for _, found in reports:
        for name, value in found.values.items():
            if value.status != "ok":
                at = (name, value.status, value.reason)
                missing[at] = missing.get(at, 0) + 1
    for (name, status, reason), n in missing.items():
        print(f"disbench: {name} is {status} for {n} of {len(reports)} models: {reason}.", file=sys.stderr)
