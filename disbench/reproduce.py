"""Carries out the plan of a reproduction: trains, scores, and sets the values beside the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from disbench.errors import DisbenchError
from disbench.files import replacing
from disbench.grids import Run, trainer
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import Source, with_bar
from disbench.report import Report
from disbench.reproductions import VALUES, Plan, Planned
from disbench.study import Job, check_folders, check_scoring, do_job, seed_range


@dataclass(frozen=True)
class Result:
    """What became of a plan: values by row, letter and train seed, and why runs failed, by their folders' names."""

    plan: Plan
    values: Mapping[tuple[int, str], Mapping[int, float | None]]
    failures: Mapping[str, Failure]

    @property
    def complete(self) -> bool:
        """Whether every row has all its values."""
        n_seeds = len(self.plan.rows[0].runs)
        return all(len(found) == n_seeds and None not in found.values() for found in self.values.values())

    def __str__(self) -> str:
        return self._as("simple")

    def markdown(self) -> str:
        """The table with its title and remarks."""
        plan = self.plan
        name = f", {plan.ablation}" if plan.ablation else ""
        lengths = " or ".join(f"{steps:,}" for steps in sorted({run.config.steps for run in plan.runs}))
        preset = f"preset {plan.preset}, " if plan.preset else ""
        about = (
            f"Trained ({preset}{lengths} steps) and scored by disbench under the protocol {plan.recipe.protocol}, "
            f"beside the values of {plan.recipe.paper}. F: {VALUES['F']}, D: {VALUES['D']}; means ± standard "
            "deviations over train seeds."
        )
        remarks = "".join(f"- {remark}\n" for remark in plan.remarks)
        parts = (f"# {plan.recipe.model} on {plan.dataset}{name}", about, self._as("github"), remarks)
        return "\n\n".join(parts).rstrip() + "\n"

    def _as(self, style: str) -> str:
        from tabulate import tabulate

        headers = ["row", "table", "seeds"]
        for letter in VALUES:
            headers += [letter, f"{letter} published", "difference"]
        rows = [self._row(k, planned) for k, planned in enumerate(self.plan.rows)]
        align = ("left", "left", "left", *["right"] * (3 * len(VALUES)))
        return tabulate(rows, headers, style, disable_numparse=True, colalign=align)

    def _row(self, k: int, planned: Planned) -> list[str]:
        published = planned.row.published.get(self.plan.dataset)
        seeds = sorted({seed for letter in VALUES for seed in self.values[k, letter]})
        cells = [planned.row.label, published.table if published else "-", seed_range(seeds)]
        for letter in VALUES:
            found = self.values[k, letter]
            defined = [value for value in found.values() if value is not None]
            cells.append(_measured(defined, len(found)))
            if published is None:
                cells += ["not published", "-"]
                continue
            mean, spread = published.values[letter]
            cells += [f"{mean:.3f} ± {spread:.3f}", f"{fmean(defined) - mean:+.3f}" if defined else "-"]
        return cells


def _measured(values: Sequence[float], n_scored: int) -> str:
    """`0.912 ± 0.034`, with how many are lacking."""
    if not n_scored:
        return "not scored"
    lacking = f"undefined for {n_scored - len(values)} of {n_scored}" if len(values) < n_scored else ""
    if not values:
        return lacking
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}" + (f" ({lacking})" if lacking else "")


def run_reproduction(
    plan: Plan,
    dataset: str,
    *,
    data_dir: str | Path | None = None,
    workers: Workers | None = None,
    device: str | None = None,
    command: str = "",
    progress: bool = False,
    show_steps: bool = False,
) -> Result:
    """Carry out what is left of a plan, and write its table; what is trained or recorded already stays as it is.

    Args:
        plan: what to do.
        dataset: name or path, as the plan was made with.
        data_dir: folder with the data set's files, where it needs any.
        workers: what trains and scores the rows; by default as in a study. What comes before is done one by one.
        device: where torch computes; by default what the trainer takes.
        command: recorded.
        progress: show a bar of the runs on stderr.
        show_steps: show the trainer's bars, too.

    Raises:
        UsageError: the data set cannot be had; a folder holds another run.
        DisbenchError: what everything starts from could not be trained.
        Stopped: a signal stopped it; what was done is kept.
    """
    check_folders(plan.trainings)
    check_scoring(plan.recipe.protocol, plan.records)
    source = Source.checked(dataset, data_dir)

    def job(run: Run, score: str | None, methods: tuple[str, ...]) -> Job:
        return Job(run, trainer(run.model), source, device, command, score, plan.records, methods, show_steps)

    for stage in plan.stages:
        alone = Workers(1, threads=(workers or Workers()).threads)
        for _, outcome in run_jobs(do_job, [job(stage, None, ())], alone):
            if isinstance(outcome, Failure):
                raise DisbenchError(f"{stage.folder}, from which the others start, failed: {outcome.reason}")
    plan = replace(plan, remarks=(*plan.remarks, *_without_perceptual(plan)))
    runs = plan.runs
    jobs = [job(run, plan.recipe.protocol, plan.methods(run)) for run in runs]
    found: dict[tuple[Path, str], Report] = {}
    failures: dict[str, Failure] = {}
    for k, outcome in with_bar(run_jobs(do_job, jobs, workers or Workers()), len(jobs), "run", progress):
        if isinstance(outcome, Failure):
            failures[runs[k].folder.name] = outcome
        else:
            found |= {(runs[k].folder, m): report for m, report in zip(jobs[k].methods, outcome, strict=True)}
    result = Result(plan, _values(plan, found), failures)
    with replacing(plan.table) as file:
        file.write(result.markdown().encode())
    return result


def _without_perceptual(plan: Plan) -> list[str]:
    """Which of what was trained before lacks the perceptual loss that it was to have."""
    return [
        f"{stage.folder.name} was trained without the perceptual loss, whose weights were not at hand."
        for stage in plan.stages
        if getattr(stage.config, "perceptual_weight", 0) and not _told(stage.folder).get("perceptual_weight", 1)
    ]


def _told(folder: Path) -> Mapping[str, Any]:
    """What config.json of a run says."""
    try:
        return dict(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError):
        return {}


def _values(plan: Plan, reports: Mapping[tuple[Path, str], Report]) -> dict[tuple[int, str], dict[int, float | None]]:
    """By row and letter: the values of the train seeds that were scored."""
    return {
        (k, letter): {
            run.train_seed: reports[run.folder, planned.row.method].scores[value]
            for run in planned.runs
            if (run.folder, planned.row.method) in reports
        }
        for k, planned in enumerate(plan.rows)
        for letter, value in VALUES.items()
    }
