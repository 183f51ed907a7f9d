"""The command line's part about citations: cite."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from disbench.errors import UsageError

if TYPE_CHECKING:
    from disbench.citations import Subjects

CITE_EXAMPLES = """examples:
  disbench cite --metric mig,dci --dataset shapes3d --method encdiff
  disbench cite --paper encdiff --table 1
  disbench cite runs/records.jsonl > used.bib

"""


def add_cite(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench cite`."""
    parser.add_argument("records", metavar="RECORDS", nargs="*", help="files of records: what they used")
    parser.add_argument("--metric", metavar="A,B", help="metrics or their values; disbench list metrics")
    parser.add_argument("--dataset", metavar="A,B", help="data sets; disbench list datasets")
    parser.add_argument(
        "--method", metavar="A,B", help="methods of the published numbers, kinds of models, shipped models, or papers"
    )
    parser.add_argument("--paper", metavar="KEY", help="a paper, with what its tables are made of")
    parser.add_argument("--table", metavar="NAME", help="only this table of --paper")
    parser.set_defaults(run=_cite)


def _cite(arguments: argparse.Namespace) -> int:
    from disbench.citations import bibtex
    from disbench.cli_leaderboard import warn_of_cut_off

    if arguments.table is not None and arguments.paper is None:
        raise UsageError("--table is a table of a paper: name the --paper, too.")
    subjects, unknown = _subjects(arguments)
    warn_of_cut_off(arguments.records)
    text = bibtex(subjects)
    for what in unknown:
        print(f"disbench: nothing is known to cite for the {what}.", file=sys.stderr)
    if text:
        print(text, end="")
    return 0


def _subjects(arguments: argparse.Namespace) -> tuple[Subjects, list[str]]:
    """What is asked for, and of what there is nothing to cite.

    Raises:
        UsageError: nothing is asked for.
    """
    from disbench.citations import Subjects, of_records, of_tables

    asked = {name: _names(name, getattr(arguments, name)) for name in ("metric", "dataset", "method")}
    if not arguments.records and arguments.paper is None and not any(asked.values()):
        raise UsageError("say what to cite: files of records, --metric, --dataset, --method or --paper.")
    subjects, unknown = of_records(arguments.records)
    subjects += Subjects(asked["metric"], asked["dataset"], asked["method"])
    if arguments.paper is not None:
        subjects += of_tables(arguments.paper, arguments.table)
    return subjects, unknown


def _names(option: str, text: str | None) -> tuple[str, ...]:
    """The names in A,B."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if text is not None and not names:
        raise UsageError(f"--{option} takes names with commas between them; got {text!r}.")
    return names
