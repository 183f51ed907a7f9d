"""The command line's part about one model's evaluation as a page: report."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disbench.errors import DisbenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disbench.models import Model
    from disbench.types import Dataset

REPORT_EXAMPLES = """the page holds
  scores with their intervals, on a scale beside floor, ceiling, other models and published numbers
  which code knows which factor, as heat maps and in words; dead codes
  reconstructions and traversals, of a run folder whose model decodes
  what was not computed and why; what is needed to make the numbers again
  It is one file and needs no network.

examples:
  disbench report results.jsonl
  disbench report all.jsonl --model beta_vae-rooms3d-seed0 --out beta_vae.html
  disbench report runs/beta_vae-rooms3d-seed0 --out report.html

"""


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench report`."""
    parser.add_argument(
        "source", metavar="RECORD|RUN", help="a file of records that `disbench score --out` wrote, or a run folder"
    )
    parser.add_argument("--model", metavar="NAME", help="whose record, where the file has several; its last one counts")
    parser.add_argument("--dataset", metavar="NAME", help="the record's data set, likewise")
    parser.add_argument(
        "--out", default="report.html", metavar="FILE", help="the page; replaced if it is there (default: %(default)s)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, for a run's pictures")
    parser.add_argument(
        "--device", metavar="D", help="where a run's pictures are made (default: a GPU, if there is one)"
    )
    parser.add_argument("--no-images", action="store_true", help="leave the pictures of a run out")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from disbench.report_file import pick, write_report

    source = Path(arguments.source)
    path = _scores_of(source) if source.is_dir() else source
    record = pick(path, arguments.model, arguments.dataset)
    subject: dict[str, Any] = {}
    if arguments.no_images:
        subject["no_images"] = "Pictures were not asked for."
    elif source.is_dir():
        with redirect_stdout(sys.stderr):  # what a model prints is no data of ours
            subject = _subject(source, record, arguments.data_dir)
    with redirect_stdout(sys.stderr):
        write_report(record, arguments.out, device=arguments.device, progress=True, **subject)
    print(arguments.out, flush=True)
    return 0


def _scores_of(folder: Path) -> Path:
    """The records in a run folder.

    Raises:
        UsageError: there are none.
    """
    path = folder / "score.jsonl"
    if not any((folder / name).is_file() for name in ("config.json", "ckpt.pt", path.name)):
        raise UsageError(f"{folder} is no run folder: it holds no config.json, ckpt.pt or {path.name}.")
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no score.jsonl; score the run first: disbench score --model {folder} --dataset NAME "
            f"--out {path}"
        )
    return path


def _subject(folder: Path, record: Mapping[str, Any], data_dir: str | None) -> dict[str, Any]:
    """The model and data set whose pictures the page shows, or why it shows none."""
    from disbench import registry
    from disbench.models import load_model

    path = folder / "ckpt.pt"
    if not path.is_file():
        return {"no_images": "There are no pictures: the run has no ckpt.pt."}
    try:
        dataset: Dataset = registry.load_dataset(_known(record["key"]["dataset"]["name"]), data_dir)
        model: Model = load_model(str(path)).fitted(dataset)
    except DisbenchError as error:
        return {"no_images": f"There are no pictures: {error}"}
    return {"model": model, "dataset": dataset}


def _known(name: str) -> str:
    """A record's data set, if it has a name here: its text is never taken for a path."""
    from disbench import registry

    if name not in registry.datasets() and name not in registry.aliases():
        raise UsageError(f"the data set {name!r} has no name here.")
    return name
