"""The command line's part about data sets: list, info, prepare, verify, show."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from disbench.errors import UsageError

if TYPE_CHECKING:
    from disbench.types import DatasetSpec

PREPARE_EXAMPLES = """examples:
  disbench datasets prepare shapes3d                             download, verify, convert
  disbench datasets prepare mpi3d_toy --from ~/mpi3d_toy.npz     convert the file that you have
  disbench datasets prepare celeba --data-dir /data/celeba       look for the files there
"""

MAX_NAMED = 12  # factors; of more, only their number is listed


def list_of_datasets() -> tuple[list[str], list[list[str]]]:
    """Headers and rows of `disbench list datasets`."""
    from disbench import registry

    rows = [
        [name, _number_of_images(e.spec), fill(_factors(e.spec), 70), fill(e.spec.licence, 30), e.here(None)]
        for name, e in registry.datasets().items()
    ]
    rows += [[name, "", f"another name of {meant}", "", ""] for name, meant in registry.aliases().items()]
    return ["data set", "images", "factors", "licence", "here"], rows


def _number_of_images(spec: DatasetSpec) -> str:
    if spec.kind == "labelled":
        return "labelled"
    return f"{len(spec.space):,}" + (f" x {spec.n_hidden:,}" if spec.n_hidden > 1 else "")


def _factors(spec: DatasetSpec) -> str:
    if spec.space.n_factors > MAX_NAMED:
        return f"{spec.space.n_factors} labels"
    return ", ".join(f"{f.name} {f.size} {f.kind}" for f in spec.space.factors)


def add_datasets(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Add the commands below `disbench datasets`."""
    shape = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    info = commands.add_parser(
        "info", parents=[shared], help="factors, licence, citation, known defects, files",
        description="Print all that is known of a data set.",
    )  # fmt: skip
    info.set_defaults(run=_info)
    prepare = commands.add_parser(
        "prepare", parents=[shared], formatter_class=shape, epilog=PREPARE_EXAMPLES,
        help="fetch, verify and convert a data set's files",
        description="Fetch a data set's files (or take those that are here), verify them, and convert them once to an\n"
        "array that is read fast and in little memory. Prints the folder that holds it.",
    )  # fmt: skip
    prepare.add_argument("--from", dest="source", metavar="PATH", help="the file, or the folder with the files")
    prepare.set_defaults(run=_prepare)
    verify = commands.add_parser(
        "verify", parents=[shared], help="compare hashes, numbers of images and known statistics",
        description="Compare what is here of a data set with what is known of it. Exit status 1: something differs.",
    )  # fmt: skip
    verify.set_defaults(run=_verify)
    show = commands.add_parser(
        "show", parents=[shared], help="draw samples and a traversal of every factor",
        description="Draw a sheet: random samples, then one row per factor in which it alone changes.",
    )  # fmt: skip
    show.add_argument("--out", required=True, metavar="FILE.png", help="where to write the sheet")
    show.add_argument("--seed", type=int, default=0, metavar="S", help="which samples (default: %(default)s)")
    show.set_defaults(run=_show)
    for command in (info, prepare, verify, show):
        command.add_argument("name", metavar="NAME", help="disbench list datasets")
        command.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")


def _data_dir(arguments: argparse.Namespace) -> Path | None:
    if arguments.data_dir is None:
        return None
    if not Path(arguments.data_dir).is_dir():
        raise UsageError(f"there is no folder {arguments.data_dir}, in which the data set's files should be.")
    return Path(arguments.data_dir)


def _info(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from disbench.registry import pick_dataset

    entry = pick_dataset(arguments.name)
    spec = entry.spec
    rows = [
        ("name", spec.name),
        ("about", spec.summary),
        ("observation", f"{' x '.join(map(str, spec.image_shape))} {spec.dtype}"),
        ("images", _number_of_images(spec)),
        ("factors", "\n".join(f"{f.name}: {f.size}, {f.kind}" for f in spec.space.factors)),
        ("licence", spec.licence),
        ("homepage", spec.homepage),
        ("citation", spec.citation),
        ("known defects", "\n".join(f"- {defect}" for defect in spec.known_defects)),
        ("here", entry.here(_data_dir(arguments))),
    ]
    if entry.recipe is not None:
        forms = [
            ["\n".join([file.describe(), *file.urls, file.page]).strip() for file in source.files]
            for source in entry.recipe.sources
        ]
        rows += [
            ("files", "\nor\n".join("\n".join(form) for form in forms)),
            ("resized", entry.recipe.resize),
            ("prepared in", str(entry.recipe.folder)),
        ]
    wrapped = [(what, "\n".join(fill(line, 100) for line in text.splitlines())) for what, text in rows]
    print(tabulate(wrapped, tablefmt="plain", disable_numparse=True))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from disbench.datasets._preparing import prepare
    from disbench.registry import pick_dataset

    entry = pick_dataset(arguments.name)
    if entry.recipe is None:
        raise UsageError(
            f"{entry.spec.name} is not prepared from files beforehand: {entry.here(_data_dir(arguments))}."
        )
    source = Path(arguments.source) if arguments.source is not None else None
    print(prepare(entry.recipe, source=source, data_dir=_data_dir(arguments)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from disbench.datasets._verify import verify

    checks = list(verify(arguments.name, _data_dir(arguments), progress=True))
    rows: Iterable[list[str]] = [[c.what, c.expected, c.found, "yes" if c.holds else "NO"] for c in checks]
    print(tabulate(rows, headers=["of " + arguments.name, "expected", "found", "holds"], disable_numparse=True))
    return 0 if all(check.holds for check in checks) else 1


def _show(arguments: argparse.Namespace) -> int:
    from disbench.pictures import samples_and_traversals, save_png
    from disbench.registry import load_dataset

    dataset = load_dataset(arguments.name, arguments.data_dir)
    save_png(samples_and_traversals(dataset, seed=arguments.seed), arguments.out)
    print(arguments.out)
    return 0
