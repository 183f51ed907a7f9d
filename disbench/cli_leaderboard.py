"""The command line's part about boards: leaderboard, and leaderboard submit."""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from disbench.errors import UsageError

if TYPE_CHECKING:
    from disbench.board_tables import Table
    from disbench.boards import Board
    from disbench.entries import Entry
    from disbench.leaderboard import Choice
    from disbench.published_numbers import PublishedNumber

LEADERBOARD_EXAMPLES = """examples:
  disbench leaderboard
  disbench leaderboard --dataset rooms3d --metric mig,dci --measured
  disbench leaderboard --paper encdiff --table 1 --format latex
  disbench leaderboard --explain beta_tcvae-cpu-minutes/rooms3d/mig
  disbench leaderboard --records runs/records.jsonl --measured
  disbench leaderboard --format html --out board.html
  disbench leaderboard submit results.jsonl --codes codes.npz

"""


def add_leaderboard(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench leaderboard`."""
    what = parser.add_argument_group("what to show")
    what.add_argument("--dataset", metavar="NAMES", help="these data sets only, with commas")
    what.add_argument("--metric", metavar="NAMES", help="these metrics or values only, with commas")
    what.add_argument("--family", metavar="NAMES", help="these families of methods only: vae, gan, diffusion ...")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--measured", action="store_true", help="measured numbers only")
    which.add_argument("--published", action="store_true", help="published numbers only")
    what.add_argument("--paper", metavar="NAME", help="a paper's table, with --table")
    what.add_argument("--table", metavar="N", help="the table's number")
    what.add_argument("--explain", metavar="METHOD/DATASET/METRIC", help="say where a number comes from")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--format", choices=("text", "md", "latex", "csv", "json", "html"), default="text", help="default: text"
    )
    how.add_argument("--out", metavar="FILE", help="write there, not to stdout")
    source = parser.add_argument_group("where from")
    source.add_argument("--boards", metavar="DIR", help="folder of boards (default: the one that came with disbench)")
    source.add_argument(
        "--records", metavar="FILE", action="append", default=[], help="more records, such as your own; may be repeated"
    )
    keep = parser.add_argument_group("keeping a folder of boards")
    doing = keep.add_mutually_exclusive_group()
    doing.add_argument("--write", action="store_true", help="make README.md and index.html of the folder anew")
    doing.add_argument(
        "--check", action="store_true", help="fail if they are not what the records give, or records contradict"
    )
    parser.set_defaults(run=_leaderboard)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    submit = commands.add_parser(
        "submit", parents=[shared], help="check records and add them to the boards",
        description="Check the records of a file, score them again from their codes where these are given, and add "
        "them to a folder of boards: all of them, or none.",
    )  # fmt: skip
    submit.add_argument("file", metavar="FILE.jsonl", help="as `disbench score --out` writes it")
    submit.add_argument("--codes", metavar="FILE.npz", help="its codes, as `disbench score --codes-out` writes them")
    submit.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    submit.add_argument("--boards", dest="to", metavar="DIR", help="folder of boards to add to")
    submit.add_argument("--dry-run", action="store_true", help="check only")
    submit.set_defaults(run=_submit)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic collector: the records are all kept to the end, and it takes most of the time to find so."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@uncollected()
def _leaderboard(arguments: argparse.Namespace) -> int:
    from disbench.entries import folder, read_entries

    place = Path(arguments.boards) if arguments.boards else folder()
    if arguments.write or arguments.check:
        if given := [f"--{name}" for name in _NARROWING if getattr(arguments, name)]:
            raise UsageError(f"the pages show everything there is; leave out {', '.join(given)}.")
        return _write(place) if arguments.write else _check(place)
    if (arguments.paper is None) != (arguments.table is None):
        raise UsageError("--paper and --table go together: --paper encdiff --table 1.")
    for name, excluded in _ALONE.items():
        if getattr(arguments, name) and (given := [other for other in excluded if getattr(arguments, other)]):
            raise UsageError(f"--{name} says what to show by itself; leave out --{given[0]}.")
    if arguments.format != "text" and arguments.explain:
        raise UsageError("--explain is text; leave out --format.")
    if arguments.format == "html" and arguments.paper:
        raise UsageError("a page shows boards; --paper is text, md, latex, csv or json.")
    entries = [] if arguments.published else read_entries(place, map(Path, arguments.records))
    _remark(arguments, entries)
    if arguments.explain:
        text = _explained(place, entries, arguments)
    elif arguments.format == "html":
        text = _page(place, entries, arguments)
    else:
        text = _rendered(_tables(place, entries, arguments), arguments)
    _put(text, arguments.out)
    return 0


_NARROWING = ("dataset", "metric", "family", "measured", "published", "paper", "table", "explain", "records", "out")


def _remark(arguments: argparse.Namespace, entries: Sequence[Entry]) -> None:
    """Say on stderr what of the user's own records is not shown."""
    warn_of_cut_off(arguments.records)
    for path in arguments.records:
        on_the_way = sum(entry.is_on_the_way and entry.file == str(Path(path)) for entry in entries)
        if on_the_way and arguments.format != "html":
            said = f"{on_the_way} records are of models whose training went on: only a page (--format html) shows them"
            print(f"disbench: {path}: {said}, as curves.", file=sys.stderr)


def warn_of_cut_off(paths: Iterable[str]) -> None:
    """Say on stderr what of files of records is passed over."""
    from disbench.records import cut_off

    for path in paths:
        for line in cut_off(path):
            print(f"disbench: {path}, line {line}: passed over, as it is the beginning of a record.", file=sys.stderr)


def _explained(place: Path, entries: Sequence[Entry], arguments: argparse.Namespace) -> str:
    from disbench import published
    from disbench.boards import make_boards
    from disbench.errors import printable
    from disbench.leaderboard import explained

    numbers = [] if arguments.measured else published.of_boards(place)
    text = explained(arguments.explain, make_boards(entries), numbers)
    return "\n".join(map(printable, text.splitlines())) + "\n"


_ALONE = {
    "paper": ("dataset", "metric", "family", "measured", "explain"),
    "explain": ("dataset", "metric", "family"),
}


def _put(text: str, out: str | None) -> None:
    from disbench.files import replacing

    if out is None:
        sys.stdout.write(text)
        return
    with replacing(out) as file:
        file.write(text.encode())
    print(f"disbench: written to {out}.", file=sys.stderr)


def _rendered(tables: Sequence[Table], arguments: argparse.Namespace) -> str:
    from disbench.board_tables import WIDTH, render

    if not tables:
        raise UsageError("nothing on the boards is all of that; ask for less, or see disbench leaderboard.")
    is_terminal = arguments.out is None and sys.stdout.isatty()
    return render(tables, arguments.format, shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal else WIDTH)


def _tables(place: Path, entries: Sequence[Entry], arguments: argparse.Namespace) -> list[Table]:
    from disbench import leaderboard, published
    from disbench.board_tables import MOST_ROWS
    from disbench.boards import make_boards
    from disbench.published_tables import paper_table

    numbers = [] if arguments.measured else published.of_boards(place)
    boards = make_boards(entries)
    if arguments.paper is not None:
        return [paper_table(numbers, arguments.paper, arguments.table, boards)]
    most_rows = MOST_ROWS if arguments.format == "text" else None
    return leaderboard.tables(boards, numbers, _choice(arguments, place, boards, numbers), most_rows)


def _choice(
    arguments: argparse.Namespace, place: Path, boards: Sequence[Board], numbers: Sequence[PublishedNumber]
) -> Choice:
    """What was asked for; a name is refused if all that is measured and published has none like it."""
    from disbench import published
    from disbench.boards import make_boards
    from disbench.entries import read_entries
    from disbench.leaderboard import Choice

    def names(text: str | None) -> frozenset[str] | None:
        return None if text is None else frozenset(filter(None, (name.strip() for name in text.split(","))))

    choice = Choice(names(arguments.dataset), names(arguments.metric), names(arguments.family))
    if choice != Choice():
        choice.check(boards or make_boards(read_entries(place)), numbers or published.of_boards(place))
    return choice


def _page(place: Path, entries: Sequence[Entry], arguments: argparse.Namespace) -> str:
    """The page, of what was chosen."""
    from disbench import published
    from disbench.board_page import page
    from disbench.boards import make_boards, make_curves

    numbers = [] if arguments.measured else published.of_boards(place)
    boards = make_boards(entries)
    choice = _choice(arguments, place, boards, numbers)
    curves = [c for c in make_curves(entries) if choice.datasets is None or c.dataset in choice.datasets]
    return page(choice.boards(boards), curves, choice.numbers(numbers))


def _write(place: Path) -> int:
    from disbench.files import replacing
    from disbench.leaderboard import pages

    for path, text in pages(place).items():
        with replacing(path) as file:
            file.write(text.encode())
        print(path)
    return 0


def _check(place: Path) -> int:
    from disbench.errors import printable
    from disbench.leaderboard import problems

    found = problems(place)
    for problem in found:
        print(f"disbench: {printable(problem)}", file=sys.stderr)
    if not found:
        print(f"disbench: the boards in {place} are what their records give.", file=sys.stderr)
    return 1 if found else 0


def _submit(arguments: argparse.Namespace) -> int:
    from disbench.entries import folder
    from disbench.errors import printable
    from disbench.submissions import submit

    given = arguments.to or arguments.boards
    place = Path(given) if given else folder()
    results = submit(
        Path(arguments.file),
        place,
        codes=Path(arguments.codes) if arguments.codes else None,
        data_dir=arguments.data_dir,
        check_only=arguments.dry_run,
    )
    for result in results:
        done = "is there already" if result.was_there else "would be added" if arguments.dry_run else "added"
        how = f"its codes give {', '.join(result.rescored)}" if result.rescored else "not scored again (--codes)"
        print(f"disbench: {printable(result.name)}: {done}; {how}.", file=sys.stderr)
        print(result.file)
    if not arguments.dry_run and not all(result.was_there for result in results):
        print(f"disbench: now make the pages anew: disbench leaderboard --write --boards {place}", file=sys.stderr)
    return 0
