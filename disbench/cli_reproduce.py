"""The command line's part about published tables: reproduce."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from disbench.cli_study import add_workers, list_failures, parse_seeds, saying_how_to_go_on, workers_of

if TYPE_CHECKING:
    from disbench.estimate import Estimate
    from disbench.reproductions import Plan

REPRODUCE_EXAMPLES = """recipes
  encdiff   EncDiff's table 1; ablations: tokens (table 12), vectors (5, 17), scored-on (11), schedule (4),
            conditioning (3, 15, 16), space (6)
  disdiff   DisDiff's row there

What a table starts from, a first stage and for DisDiff an unconditional model, is trained once with train seed 0. Every
run has a folder, as in a study, in which whatever stopped is gone on with: run the same command again. Records go to
records.jsonl in --out, and the table, beside the published values, to RECIPE-DATASET[-ABLATION].md there.

examples:
  disbench reproduce encdiff --dataset shapes3d --seeds 0-14 --device cuda --dry-run
  disbench reproduce encdiff --dataset shapes3d --ablation tokens --seeds 0-4 --device cuda
  disbench reproduce encdiff --dataset rooms3d --preset tiny --seeds 2
  disbench reproduce disdiff --dataset mpi3d_toy --data-dir data --device cuda

"""


def add_reproduce(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench reproduce`."""
    parser.add_argument("name", metavar="RECIPE", help="which paper's tables, see below")
    what = parser.add_argument_group("what to train")
    what.add_argument("--dataset", required=True, metavar="NAME", help="disbench list datasets; or your own file")
    what.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    what.add_argument("--ablation", metavar="NAME", help="another table than the main one, see below")
    what.add_argument(
        "--seeds",
        metavar="N",
        help="so many train seeds, from 0 on; or a list of them, as 0-14 or 0,3,5 (default: as many as published)",
    )
    what.add_argument("--preset", metavar="NAME", help="changes to the config of every model that has one of that name")
    what.add_argument("--steps", type=int, metavar="N", help="of the rows' models; not of those that they start from")
    what.add_argument("--device", metavar="D", help="cpu, cuda ... (default: the trainer's)")
    add_workers(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", default="runs", metavar="DIR", help="folder for runs, records and the table (default: %(default)s)"
    )
    output.add_argument(
        "--dry-run", action="store_true", help="print the plan and how long it takes, by steps timed on the device"
    )
    parser.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from disbench.estimate import estimate
    from disbench.reproduce import run_reproduction
    from disbench.reproductions import plan_reproduction

    workers = workers_of(arguments)
    plan = plan_reproduction(
        arguments.name,
        arguments.dataset,
        ablation=arguments.ablation,
        seeds=parse_seeds(arguments.seeds),
        preset=arguments.preset,
        steps=arguments.steps,
        out=arguments.out,
    )
    if arguments.dry_run:
        with redirect_stdout(sys.stderr):  # what a model prints is no data of ours
            found = estimate(plan, arguments.dataset, device=arguments.device, threads=workers.threads, progress=True)
        print(_described(plan, found))
        return 0
    with saying_how_to_go_on(arguments), redirect_stdout(sys.stderr):
        result = run_reproduction(
            plan,
            arguments.dataset,
            data_dir=arguments.data_dir,
            workers=workers,
            device=arguments.device,
            command=arguments.command,
            progress=True,
            show_steps=workers.jobs in (None, 1) and workers.scheduler is None,
        )
    print(result)
    for remark in plan.remarks:
        print(f"disbench: {remark}", file=sys.stderr)
    print(f"disbench: the table is in {plan.table}.", file=sys.stderr)
    list_failures([(name, why.reason, why.trace) for name, why in result.failures.items()], "run", arguments)
    return 0 if result.complete else 1


def _described(plan: Plan, found: Estimate) -> str:
    """The rows, the runs that make them, and what they take."""
    from disbench.study import overview

    more = {
        "steps": lambda runs: _one({f"{run.config.steps:,}" for run in runs}),
        "s/step": lambda runs: _one({_number(seconds, 3) for seconds in found.seconds_per_step(runs)}),
        "hours": lambda runs: _number(found.hours(runs), 2),
    }
    trainings = overview([(run, run.state) for run in plan.trainings], ("finished", "begun", "to train"), more)
    remarks = "\n".join(f"- {remark}" for remark in (*plan.remarks, *found.remarks, *_not_measured(plan, found)))
    return f"{plan.recipe.paper}, on {plan.dataset}\n\n{_rows(plan)}\n\n{trainings}\n\n{remarks}"


def _rows(plan: Plan) -> str:
    from tabulate import tabulate

    from disbench.reproductions import VALUES
    from disbench.study import folders

    rows = []
    for planned in plan.rows:
        published = planned.row.published.get(plan.dataset)
        values = ["{:.3f} ± {:.3f}".format(*published.values[letter]) if published else "-" for letter in VALUES]
        scored = planned.row.method or "output"
        table = published.table if published else "-"
        rows.append([planned.row.label, table, *values, scored, folders(planned.runs[0].folder)])
    headers = ["row", "table", *(f"{letter} published" for letter in VALUES), "scored", "of"]
    align = ("left", "left", "right", "right", "left", "left")
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def _one(texts: set[str]) -> str:
    return texts.pop() if len(texts) == 1 else ""


def _number(value: float | None, n_decimals: int) -> str:
    return "?" if value is None else f"{value:,.{n_decimals}f}"


def _not_measured(plan: Plan, found: Estimate) -> list[str]:
    """What the hours are, and what is not in them."""
    begun = sum(run.state == "begun" for run in plan.trainings)
    threads = f" with {found.threads} thread{'s' * (found.threads > 1)}" if found.device == "cpu" else ""
    said = [
        f"Hours are steps times the seconds of one, timed on {found.device}{threads} with random weights and blank "
        "images, runs one after the other. Not in them: preparing, reading and encoding the data set, and the sheets "
        "of images at the end of a run."
    ]
    if begun:
        said.append(f"{begun} run{'s' * (begun > 1)} begun already: counted in full.")
    if not found.n_scores:
        return said
    if found.per_score is None:
        said.append(f"Not in them either: {found.n_scores} scores, as none is recorded yet that could say how long.")
    else:
        hours = found.n_scores * found.per_score / 3600
        said.append(
            f"{found.n_scores} scores come on top: {hours:,.2f} hours, at {found.per_score:,.0f} s each, the mean of "
            f"those recorded in {plan.records.name}."
        )
    return said
