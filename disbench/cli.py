"""The command line: parses, calls the API, prints. stdout carries data only, stderr progress and messages."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from disbench import __version__
from disbench.cli_cite import CITE_EXAMPLES, add_cite
from disbench.cli_datasets import add_datasets, list_of_datasets
from disbench.cli_images import FID_EXAMPLES, add_fid
from disbench.cli_leaderboard import LEADERBOARD_EXAMPLES, add_leaderboard
from disbench.cli_report import REPORT_EXAMPLES, add_report
from disbench.cli_reproduce import REPRODUCE_EXAMPLES, add_reproduce
from disbench.cli_show import SHOW_EXAMPLES, add_show
from disbench.cli_study import STUDY_EXAMPLES, add_study, add_workers, is_pattern, score_many
from disbench.cli_train import TRAIN_EXAMPLES, add_train
from disbench.errors import DisbenchError, Stopped, UsageError

if TYPE_CHECKING:
    from disbench.registry import ModelEntry

EXIT_CODES = """exit status:
  0   every value that was asked for was computed
  1   something failed, or a value is undefined; with --metrics also: not applicable
  2   wrong usage: an unknown name, option or file
  130 interrupted; 143 terminated
"""

MAIN_EXAMPLES = """examples:
  disbench score --model beta_vae-rooms3d --dataset rooms3d --protocol quick
  disbench score --model my_model.py:encode --dataset dsprites_regen
  disbench score --codes codes.npz
  disbench score --model pca10 --dataset shapes3d
  disbench datasets prepare mpi3d_toy --from mpi3d_toy.npz
  disbench datasets show rooms3d --out rooms3d.png
  disbench train beta_vae --dataset rooms3d --steps 15000
  disbench show runs/beta_vae-rooms3d-seed0 --what traversals,swaps
  disbench study locatello2019 --dataset rooms3d --preset cpu-minutes --seeds 3 --jobs 2
  disbench reproduce encdiff --dataset shapes3d --seeds 0-14 --device cuda --dry-run
  disbench fid celeba samples/ --num-images 10000
  disbench leaderboard --paper encdiff --table 1

environment:
  DISBENCH_DATA    folder with data files, for data sets that need any
  DISBENCH_CACHE   folder for prepared files; by default in the user's cache folder

"""

SCORE_EXAMPLES = """a model is one of
  NAME                      a shipped checkpoint or a baseline (pca10): disbench list models
  PATH                      a checkpoint, or a run folder that `disbench train` made
  PATH:METHOD, NAME:METHOD  another of its methods, as :tokens of an encdiff
  'PATTERN'                 several of them: a path with * or ?; ** stands for any folders
  FILE.py:CALLABLE          your own: from images float32 (n, c, h, w) in [0, 1]
  PACKAGE.MODULE:CALLABLE   to codes (n, d), or tokens (n, t, e) with --reducer

examples:
  disbench score --model beta_vae-rooms3d --dataset rooms3d --protocol quick
  disbench score --model model.py:encode --dataset rooms3d --metrics mig,dci --out results.jsonl
  disbench score --model model.py:encode --dataset rooms3d --input-range -1,1 --repeats 5
  disbench score --codes codes.npz --set mig.bins=30
  disbench score --model 'runs/*/ckpt.pt' --dataset rooms3d --out records.jsonl --jobs 2

"""


COMPARE_EXAMPLES = """examples:
  disbench score --model a.py:encode --dataset rooms3d --repeats 10 --out a.jsonl
  disbench score --model b.py:encode --dataset rooms3d --repeats 10 --out b.jsonl
  disbench compare a.jsonl b.jsonl
  disbench compare all.jsonl all.jsonl --model a.py:encode,b.py:encode --metrics mig,dci

"""


class _Terminated(BaseException):
    """SIGTERM arrived. Not a SystemExit, which a model may raise, and which is then the model's fault."""


def _terminate(*_: object) -> None:
    raise _Terminated


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = _join_input_range(list(sys.argv[1:] if argv is None else argv))
    arguments = _parser().parse_args(words)
    arguments.command = "disbench " + shlex.join(words)
    if argv is None:  # as a program: end as on Ctrl-C, with nothing left half-written
        signal.signal(signal.SIGTERM, _terminate)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("disbench: interrupted.", file=sys.stderr)
        return 130
    except _Terminated:
        print("disbench: terminated.", file=sys.stderr)
        return 143
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if getattr(arguments, "debug", False):
            traceback.print_exc()
        elif isinstance(error, DisbenchError):
            print(f"disbench: {error}", file=sys.stderr)
        else:
            print(f"disbench: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 128 + error.signal if isinstance(error, Stopped) else 2 if isinstance(error, UsageError) else 1


def _join_input_range(words: list[str]) -> list[str]:
    """`--input-range -1,1` -> `--input-range=-1,1`, as argparse takes a word that begins with a dash for an option."""
    if "--input-range" in words[:-1]:
        at = words.index("--input-range")
        words[at : at + 2] = [f"--input-range={words[at + 1]}"]
    return words


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    shared = argparse.ArgumentParser(add_help=False)
    # Taken before the command and after it; a default here would undo the one before.
    shared.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback when something fails"
    )
    parser = argparse.ArgumentParser(
        prog="disbench",
        description="Benchmarks for disentangled representations: score a model against data sets with known factors.",
        epilog=MAIN_EXAMPLES + EXIT_CODES,
        formatter_class=shape,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"disbench {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_score(commands.add_parser(
        "score", parents=[shared], formatter_class=shape, epilog=SCORE_EXAMPLES + EXIT_CODES,
        help="score a model, or codes that exist already",
        description="Score a representation: encode every image that the metrics need once, print a table of scores.",
    ))  # fmt: skip
    _add_compare(commands.add_parser(
        "compare", parents=[shared], formatter_class=shape, epilog=COMPARE_EXAMPLES + EXIT_CODES,
        help="say which differences between two models are larger than the evaluation noise",
        description="Compare the records of two models, each scored with --repeats: which differences are larger than "
        "the evaluation noise? That is not the spread over training seeds.",
    ))  # fmt: skip
    add_fid(commands.add_parser(
        "fid", parents=[shared], formatter_class=shape, epilog=FID_EXAMPLES + EXIT_CODES,
        help="compare two sets of images: FID, KID, precision and recall, density and coverage",
        description="Compare two sets of images through the features that a network finds in them.",
    ))  # fmt: skip
    add_train(commands.add_parser(
        "train", parents=[shared], formatter_class=shape, epilog=TRAIN_EXAMPLES + EXIT_CODES,
        help="train a reference model",
        description="Train a reference model; the run folder gets config.json, stats.jsonl, ckpt.pt and "
        "reconstructions.png. Prints the path of the checkpoint.",
    ))  # fmt: skip
    add_show(commands.add_parser(
        "show", parents=[shared], formatter_class=shape, epilog=SHOW_EXAMPLES + EXIT_CODES,
        help="look at what a trained model makes: reconstructions, traversals, swaps, attention",
        description="Draw sheets of what a trained model makes of images and codes, as PNG. Prints their paths.",
    ))  # fmt: skip
    add_study(commands.add_parser(
        "study", parents=[shared], formatter_class=shape, epilog=STUDY_EXAMPLES + EXIT_CODES,
        help="train a grid of reference models: kinds, hyper-parameters and seeds",
        description="Train what is missing of a study, on this machine or on a cluster. Prints a table of the runs.",
    ))  # fmt: skip
    add_reproduce(commands.add_parser(
        "reproduce", parents=[shared], formatter_class=shape, epilog=REPRODUCE_EXAMPLES + EXIT_CODES,
        help="make a paper's table anew: train, score, and set beside what is published",
        description="Train and score what makes the rows of a published table. Prints it beside the paper's values.",
    ))  # fmt: skip
    add_report(commands.add_parser(
        "report", parents=[shared], formatter_class=shape, epilog=REPORT_EXAMPLES + EXIT_CODES,
        help="make a page about one model: scores, which code carries which factor, pictures",
        description="Make one HTML page about a model's evaluation, that needs no network.",
    ))  # fmt: skip
    add_leaderboard(
        commands.add_parser(
            "leaderboard", parents=[shared], formatter_class=shape, epilog=LEADERBOARD_EXAMPLES + EXIT_CODES,
            help="put what was measured beside what is published",
            description="Show the leaderboards: measured numbers, published ones, and the papers' tables.",
        ),
        shared,
    )  # fmt: skip
    add_cite(commands.add_parser(
        "cite", parents=[shared], formatter_class=shape, epilog=CITE_EXAMPLES,
        help="print the BibTeX of metrics, data sets and methods",
        description="Print the BibTeX of metrics, data sets and methods, of a paper's table, or of records.",
    ))  # fmt: skip
    _add_list(commands.add_parser(
        "list", parents=[shared], formatter_class=shape,
        help="list metrics, data sets, models or protocols", description="List what there is, one line each.",
    ))  # fmt: skip
    add_datasets(
        commands.add_parser(
            "datasets", help="prepare, check or look at a data set", description="Prepare, check or look at a data set."
        ),
        shared,
    )
    return parser


def _add_score(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to score")
    source = what.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="MODEL", help="a name, a path or FILE.py:CALLABLE, see below")
    source.add_argument(
        "--codes", metavar="FILE.npz", help="arrays codes (n, d), factors (n, k), optionally test_codes, test_factors"
    )
    what.add_argument(
        "--dataset", metavar="NAME", help="needed with --model: disbench list datasets; or your own file or folder"
    )
    what.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--protocol", default="locatello2019", metavar="NAME", help="named settings (default: %(default)s)"
    )
    how.add_argument("--metrics", metavar="A,B", help="metrics or values, as mig,dci.completeness (default: all)")
    how.add_argument(
        "--set", action="append", default=[], metavar="METRIC.SETTING=VALUE",
        help="change a setting, as mig.bins=30; the protocol is then called NAME+custom; may be repeated",
    )  # fmt: skip
    how.add_argument("--eval-seed", type=int, default=0, metavar="S", help="seed of the draws (default: %(default)s)")
    how.add_argument("--repeats", type=int, default=1, metavar="R", help="eval seeds to average over (default: 1)")
    how.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1 ... (default: a GPU for checkpoints, if there is one)"
    )
    how.add_argument("--batch-size", type=int, metavar="N", help="images per call of the model (default: 256 on a CPU)")
    how.add_argument(
        "--reducer",
        metavar="NAME",
        help="makes codes of tokens: pca, pca_all or flatten (default: what the protocol says)",
    )
    how.add_argument("--array", choices=("torch", "numpy"), help="what a callable takes and returns (default: torch)")
    how.add_argument("--input-range", metavar="LOW,HIGH", help="what the model expects of images (default: 0,1)")
    how.add_argument(
        "--trust", action="store_true", help="load TorchScript or torch.export archives, which can run code"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE.jsonl", help="append the record; what is there already is not run again")
    output.add_argument("--rerun", action="store_true", help="run even if --out has the record already")
    output.add_argument(
        "--codes-out", metavar="FILE.npz", help="keep the codes of all images drawn, with factors and index"
    )
    output.add_argument("--html", metavar="FILE.html", help="make a page about the model, as disbench report does")
    output.add_argument("--json", action="store_true", help="print each record on one line instead of the table")
    add_workers(parser, " for several models")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> int:
    if arguments.model and not arguments.dataset:
        raise UsageError("--model needs a --dataset to be scored on: disbench list datasets.")
    of_models = ("dataset", "data_dir", "device", "batch_size", "reducer", "array", "input_range", "trust", "codes_out")
    if arguments.codes and (idle := [name for name in of_models if getattr(arguments, name)]):
        options = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise UsageError(f"--codes brings codes and factors and needs no model; leave out {options}.")
    is_many = arguments.model is not None and is_pattern(arguments.model)
    if arguments.html and is_many:
        raise UsageError("--html is a page about one model; make those of several with disbench report.")
    from disbench.evaluation import evaluate, score_codes
    from disbench.files import check_can_write
    from disbench.models import load_model
    from disbench.registry import load_dataset
    from disbench.report_file import write_report
    from disbench.rows import read_npz
    from disbench.settings import parse_pairs

    if arguments.html:
        check_can_write(arguments.html)
    of_many = ("jobs", "backend", "scheduler", "threads")
    if not is_many and (idle := [name for name in of_many if getattr(arguments, name) is not None]):
        raise UsageError(f"--{idle[0]} is for several models; leave it out, or name a pattern, as 'runs/*/ckpt.pt'.")
    common: dict[str, Any] = {
        "protocol": arguments.protocol,
        "metrics": arguments.metrics,
        "eval_seed": arguments.eval_seed,
        "repeats": arguments.repeats,
        "settings": parse_pairs(arguments.set),
        "out": arguments.out,
        "rerun": arguments.rerun,
        "command": arguments.command,
        "progress": True,
    }
    of_model: dict[str, Any] = {
        "device": arguments.device,
        "batch_size": arguments.batch_size,
        "reducer": arguments.reducer,
        "array": arguments.array or "torch",
        "input_range": _range(arguments.input_range or "0,1"),
        "trust": arguments.trust,
    }
    if is_many:
        return score_many(arguments, common, of_model)
    with redirect_stdout(sys.stderr):  # what a model prints is no data of ours
        if arguments.codes:
            report = score_codes(**read_npz(arguments.codes), **common)  # type: ignore[arg-type]
            subject: dict[str, Any] = {"no_images": "There are no pictures: codes were given, and no model."}
        else:
            dataset = load_dataset(arguments.dataset, arguments.data_dir)
            report = evaluate(arguments.model, dataset, codes_out=arguments.codes_out, **of_model, **common)
            subject = {"dataset": dataset}
        if arguments.html:
            if not arguments.codes:
                loaded = load_model(arguments.model, array=of_model["array"], trust=of_model["trust"])
                subject["model"] = loaded.fitted(dataset)
            write_report(report.record, arguments.html, device=arguments.device, progress=True, **subject)
            print(f"disbench: the page is {arguments.html}.", file=sys.stderr)
    print(report.to_json() if arguments.json else report)
    return 0 if report.complete else 1


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--input-range is LOW,HIGH, as -1,1; got {text!r}.") from None
    return low, high


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A.jsonl", help="records that `disbench score --out` wrote")
    parser.add_argument("b", metavar="B.jsonl", help="likewise; may be the same file")
    parser.add_argument(
        "--model", metavar="NAME[,NAME]", help="the model's name in both files, or in A and in B (default: the last)"
    )
    parser.add_argument("--metrics", metavar="A,B", help="metrics or values, as mig,dci.completeness (default: all)")
    parser.add_argument("--json", action="store_true", help="print each comparison on one line instead of a table")
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    models = arguments.model.split(",") if arguments.model else []
    if len(models) > 2:
        raise UsageError(f"--model is one name or two, one for each file; got {arguments.model!r}.")
    from disbench.comparison import compare_files

    metrics = [name.strip() for name in arguments.metrics.split(",") if name.strip()] if arguments.metrics else None
    found, remarks = compare_files(arguments.a, arguments.b, models=models, metrics=metrics)
    for remark in remarks:
        print(f"disbench: {remark}", file=sys.stderr)
    print("\n".join(c.to_json() for c in found) if arguments.json else "\n\n\n".join(map(str, found)))
    return 0 if all(comparison.complete for comparison in found) else 1


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("metrics", "datasets", "models", "protocols"))
    parser.set_defaults(run=_list)


def _with_presets(entry: ModelEntry) -> str:
    """A kind of model in a line, and its presets."""
    return f"{entry.summary}; presets: {', '.join(entry.presets)}" if entry.presets else entry.summary


def _list(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from disbench import registry

    rows: list[list[Any]]
    if arguments.what == "metrics":
        headers = ["value", "version", "range", "direction", "needs", "meaning"]
        rows = [
            [v.name, m.version, f"{v.low:g} ... {v.high:g}", v.direction, m.needs, v.meaning]
            for m in registry.metrics().values()
            for v in m.values
        ]
    elif arguments.what == "datasets":
        headers, rows = list_of_datasets()
    elif arguments.what == "models":
        from disbench.baselines import BASELINES

        headers = ["model", "use", "about"]
        rows = [[name, "disbench score --model", e.summary] for name, e in registry.checkpoints().items()]
        rows += [[name, "disbench score --model", e.summary] for name, e in BASELINES.items()]
        rows += [
            [name, "disbench train" if e.train else "a checkpoint of it", _with_presets(e)]
            for name, e in registry.models().items()
        ]
    else:
        from disbench.protocols import PROTOCOLS

        headers = ["protocol", "version", "metrics", "about"]
        rows = [[p.name, p.version, ", ".join(p.settings), p.summary] for p in PROTOCOLS.values()]
    widths = None if arguments.what == "datasets" else 60  # those come wrapped: tabulate stumbles over "17,568"
    print(tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=widths))
    if arguments.what == "datasets":
        print("\nMore on one of them, its licence and its defects included: disbench datasets info NAME")
    return 0
