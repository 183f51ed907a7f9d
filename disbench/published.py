"""Published numbers: what papers print about methods, each number once, with every table that prints it.

They come as `published.jsonl` in the boards folder, one number a line, and are never mixed with measured ones: what
papers call by one name may differ in the images, the version of the metric and how often it was trained (`note`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from disbench import registry
from disbench.boards import folder
from disbench.errors import DisbenchError, UsageError, did_you_mean


@dataclass(frozen=True)
class Paper:
    """Where numbers are printed: a paper, or a repository or site that publishes some.

    Args:
        title: of the paper; what the repository is.
        arxiv: its number there; empty if not known.
        venue: where it appeared; empty if not known.
        tables: whose numbers are here, in order, by their names there.
    """

    title: str
    arxiv: str = ""
    venue: str = ""
    tables: tuple[str, ...] = ()


PAPERS: Mapping[str, Paper] = MappingProxyType(
    {
        "encdiff": Paper(
            "Diffusion Model with Cross Attention as an Inductive Bias for Disentanglement",
            "2402.09712",
            "NeurIPS 2024",
            tuple(str(number) for number in (*range(1, 8), *range(10, 20))),
        ),
        "dyga": Paper(
            "Disentangling Disentangled Representations: Towards Improved Latent Units via Diffusion Models",
            "2410.23820",
            "WACV 2025",
            ("1", "2"),
        ),
        "fdae": Paper(
            "Factorized Diffusion Autoencoder for Unsupervised Disentangled Representation Learning",
            venue="AAAI 2024",
            tables=("1", "2", "3", "4", "5", "supplement 1", "supplement 2"),
        ),
        "bayes_qlae": Paper(
            "A Bayesian Nonparametric Framework for Learning Disentangled Representations",
            venue="ICLR 2026",
            tables=("1", "2", "4"),
        ),
        "identifiability": Paper(
            "Statistical and Structural Identifiability in Representation Learning", venue="ICLR 2026", tables=("2",)
        ),
        "diverse_dictionary": Paper("Diverse Dictionary Learning", "2604.17568", "ICLR 2026", ("1", "7", "8")),
        "encdiff_replication": Paper(
            "EncDiff, trained again by the owner of a fork (github.com/SelenaGeRuiqi/EncDiff)",
            venue="GitHub",
            tables=("results by time step", "summary"),
        ),
        "encdiff_hybrid": Paper(
            "EncDiff beside a hybrid with InfoDiffusion (github.com/slymonius/EncDiff-InfoDiffusion-MI-Hybrid)",
            venue="GitHub",
            tables=("all_metrics.csv", "dci_all_models_2k1k.csv", "mig_all_models.csv"),
        ),
        "xfactors": Paper(
            "XFactors (github.com/alexandremyara/disdiff_adapters)", venue="GitHub", tables=("best_tab.json",)
        ),
        "disdiff": Paper(
            "DisDiff: Unsupervised Disentanglement of Diffusion Probabilistic Models", "2301.13721", "NeurIPS 2023"
        ),
        "disco": Paper(
            "Learning Disentangled Representation by Exploiting Pretrained Generative Models: A Contrastive Learning "
            "View",
            "2102.10543",
            "ICLR 2022",
        ),
        "dava": Paper("DAVA: Disentangling Adversarial Variational Autoencoder", "2303.01384", "ICLR 2023"),
        "vct": Paper("Visual Concepts Tokenization", "2205.10093", "NeurIPS 2022"),
        "infodiffusion": Paper(
            "InfoDiffusion: Representation Learning Using Information Maximizing Diffusion Models",
            "2306.08757",
            "ICML 2023",
        ),
        "qlae": Paper("Disentanglement via Latent Quantization", "2305.18378", "NeurIPS 2023"),
        "wizwand": Paper("wizwand.com, an index of results", venue="web site"),
    }
)
OTHER_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "cost.params_millions": "parameters of a model, in millions",
        "cost.flops_millions": "floating point operations, in millions, as the paper counts them",
        "cost.seconds_per_sample": "seconds for one sampled image, on the paper's machine",
        "self_mig": "FDAE's score without labels, by which it chooses its number of concepts",
        **{
            f"attribute_accuracy_percent.{name}": f"accuracy of a linear classifier of {what} on codes, in percent"
            for name, what in (
                ("top_color", "the colour of upper clothes"),
                ("bottom_color", "the colour of lower clothes"),
                ("gender", "the gender"),
                ("hair", "the length of hair"),
                ("backpack", "whether there is a backpack"),
                ("average", "five attributes, their mean"),
            )
        },
    }
)
OTHER_DATASETS: Mapping[str, str] = MappingProxyType({"market1501": "Market-1501, photographs of pedestrians"})
FAMILIES = ("diffusion", "vae", "gan", "pretrained-gan", "other")
SPREADS: Mapping[str, str] = MappingProxyType(
    {
        "std": "a standard deviation",
        "ci95": "half of a 95 % confidence interval of the mean",
        "unknown": "what it stands for is not said, or doubtful",
    }
)
READ_FROM: Mapping[str, str] = MappingProxyType(
    {
        "primary": "printed by those who measured it",
        "secondary": "seen in another paper, in notes on the paper or in an index",
        "replication": "measured by others who trained the method again",
    }
)


@dataclass(frozen=True)
class Printed:
    """A cell of a printed table.

    Args:
        paper: its key in PAPERS.
        table: its name there, one of the paper's tables.
        row: from 0, in the order of the table.
        label: of the row, as printed; described where the wording is not known.
        column: from 0, in the order of the table; columns without known numbers are not counted.
        heading: of the column, in our words.
        value: as this table prints it.
        spread: as this table prints it; None without one.
        text: both, with the printed digits.
        remark: what is wrong with the cell; empty if nothing is known to be.
    """

    paper: str
    table: str
    row: int
    label: str
    column: int
    heading: str
    value: float
    spread: float | None
    text: str
    remark: str


@dataclass(frozen=True)
class How:
    """What makes the row: a kind of model, changes to its config, and its method that is scored (empty: its call)."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True)
class Source:
    """Who reports the number first, as far as known: a key of PAPERS, and the table, None if it is not known."""

    paper: str
    table: str | None

    @property
    def title(self) -> str:
        """Of the paper."""
        return PAPERS[self.paper].title


@dataclass(frozen=True)
class PublishedNumber:
    """One published number.

    Args:
        method: its name as printed.
        method_key: names the method wherever it is printed.
        family: one of FAMILIES.
        dataset_as_reported: as printed; None for numbers of no data set.
        dataset: its name here or in OTHER_DATASETS; None for no data set, several, or a variant that is not known.
        metric_as_reported: as printed.
        metric: name of a value, as `dci.disentanglement`, or one of OTHER_METRICS.
        value: the number; the mean over trainings where there are several.
        spread: what stands after ±; None without one.
        text: both, with the printed digits.
        spread_kind: one of SPREADS; None without a spread.
        n_seeds: trainings behind it; None if not stated.
        variant: empty for the main result of a method, else what was changed.
        source: who reports it first.
        read_from: one of READ_FROM.
        note: what to know before it is compared.
        printed_in: the tables that are known to print it; empty if it is known from elsewhere only.
        how: what makes it with disbench; None if nothing does.
        line: of the file, from 1.
    """

    method: str
    method_key: str
    family: str
    dataset_as_reported: str | None
    dataset: str | None
    metric_as_reported: str
    metric: str
    value: float
    spread: float | None
    text: str
    spread_kind: str | None
    n_seeds: int | None
    variant: str
    source: Source
    read_from: str
    note: str
    printed_in: tuple[Printed, ...]
    how: How | None
    line: int


@dataclass(frozen=True)
class PrintedTable:
    """A table of a paper as printed: headings of its columns, and rows of a label and cells, None where there is no
    known number."""

    paper: str
    table: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Printed | None, ...]], ...]


def file() -> Path:
    """The published numbers that came with disbench."""
    return folder() / "published.jsonl"


@cache
def shipped() -> tuple[PublishedNumber, ...]:
    """What `file` holds, read once."""
    return tuple(read(file()))


def read(path: str | Path) -> list[PublishedNumber]:
    """The published numbers of a file, in order.

    Args:
        path: of JSON lines; the fields are those of PublishedNumber without `text` and `line`.

    Raises:
        UsageError: there is no such file.
        DisbenchError: a line is not what it should be; the message names it and says why.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DisbenchError(f"{path} holds no published numbers: it is not UTF-8 text.") from None
    found = []
    seen = _Seen()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_number(line, number))
            seen.add(found[-1])
        except _Wrong as wrong:
            raise DisbenchError(f"{path}, line {number}: {wrong}") from None
    return found


def printed(numbers: Iterable[PublishedNumber], paper: str, table: str) -> Iterator[tuple[PublishedNumber, Printed]]:
    """The numbers that a table prints, each with its cell.

    Raises:
        UsageError: there is no such paper, or no number of such a table is known.
    """
    known = registry.pick("paper", paper, PAPERS).tables
    if table not in known:
        raise UsageError(f"no numbers of a table {table!r} of {paper} are known; {did_you_mean(table, known)}")
    return (
        (number, cell) for number in numbers for cell in number.printed_in if (cell.paper, cell.table) == (paper, table)
    )


def table(numbers: Iterable[PublishedNumber], paper: str, table: str) -> PrintedTable:
    """A table as it is printed.

    Raises:
        UsageError: there is no such paper, or no number of such a table is known.
    """
    cells = {(cell.row, cell.column): cell for _, cell in printed(numbers, paper, table)}
    labels = {cell.row: cell.label for cell in cells.values()}
    headings = {cell.column: cell.heading for cell in cells.values()}
    rows = ((labels[row], tuple(cells.get((row, column)) for column in sorted(headings))) for row in sorted(labels))
    return PrintedTable(paper, table, tuple(headings[column] for column in sorted(headings)), tuple(rows))


class _Wrong(Exception):  # noqa: N818 (becomes part of an error's message)
    """What is wrong with a line."""


class _Literal(float):
    """A number that remembers its digits."""

    text: str

    def __new__(cls, text: str) -> _Literal:
        number = super().__new__(cls, text)
        number.text = text
        return number


class _Seen:
    """What the tables have so far: a cell once, a row with one label, a column with one heading."""

    def __init__(self) -> None:
        self._said: dict[tuple[object, ...], str] = {}

    def add(self, number: PublishedNumber) -> None:
        for cell in number.printed_in:
            where = f"table {cell.table} of {cell.paper}"
            at = (cell.paper, cell.table)
            if (*at, cell.row, cell.column) in self._said:
                raise _Wrong(f"row {cell.row}, column {cell.column} of {where} has a number already.")
            self._said[(*at, cell.row, cell.column)] = ""
            for what, index, name in (("row", cell.row, cell.label), ("column", cell.column, cell.heading)):
                known = self._said.setdefault((*at, what, index), name)
                if known != name:
                    raise _Wrong(f"{what} {index} of {where} is called {known!r} before and {name!r} here.")


def _number(line: str, at: int) -> PublishedNumber:
    try:
        found = json.loads(line, parse_float=_Literal)
    except ValueError as error:
        raise _Wrong(f"it is not JSON: {error}.") from None
    names = set(PublishedNumber.__dataclass_fields__) - {"text", "line"}
    _check_fields(found, names, "")
    for name in ("method", "method_key", "metric_as_reported"):
        _check_text(found, name)
    for name in ("variant", "note"):
        _check_text(found, name, empty=True)
    if found["dataset_as_reported"] is not None:
        _check_text(found, "dataset_as_reported")
    _check_one_of(found, "family", FAMILIES)
    _check_one_of(found, "read_from", READ_FROM)
    _check_one_of(found, "metric", _metrics())
    if found["dataset"] is not None:
        _check_one_of(found, "dataset", {*registry.datasets(), *OTHER_DATASETS})
    text = _check_numbers(found, "")
    if (found["spread_kind"] is None) != (found["spread"] is None):
        raise _Wrong("spread and spread_kind go together: give both or neither.")
    if found["spread_kind"] is not None:
        _check_one_of(found, "spread_kind", SPREADS)
    if found["n_seeds"] is not None:
        _check_count(found, "n_seeds", 1)
    parts = {
        "source": _source(found["source"]),
        "printed_in": tuple(_cell(cell, k) for k, cell in enumerate(_list(found["printed_in"], "printed_in"))),
        "how": None if found["how"] is None else _how(found["how"]),
    }
    return PublishedNumber(**{**found, **_plain(found), **parts, "text": text, "line": at})


@cache
def _metrics() -> frozenset[str]:
    values = {value.name for metric in registry.metrics().values() for value in metric.values}
    return frozenset(values | set(OTHER_METRICS))


def _source(found: Any) -> Source:
    _check_fields(found, {"paper", "table"}, "source: ")
    _check_one_of(found, "paper", PAPERS, "source: ")
    if found["table"] is not None:
        _check_one_of(found, "table", PAPERS[found["paper"]].tables, "source: ")
    return Source(**found)


def _cell(found: Any, index: int) -> Printed:
    where = f"printed_in[{index}]: "
    _check_fields(found, set(Printed.__dataclass_fields__) - {"text"}, where)
    for name in ("label", "heading"):
        _check_text(found, name, where)
    _check_text(found, "remark", where, empty=True)
    _check_one_of(found, "paper", PAPERS, where)
    _check_one_of(found, "table", PAPERS[found["paper"]].tables, where)
    for name in ("row", "column"):
        _check_count(found, name, 0, where)
    text = _check_numbers(found, where)
    return Printed(**{**found, **_plain(found), "text": text})


def _how(found: Any) -> How:
    _check_fields(found, set(How.__dataclass_fields__), "how: ")
    _check_text(found, "model", "how: ")
    _check_text(found, "method", "how: ", empty=True)
    if not isinstance(found["settings"], dict):
        raise _Wrong(f"how: settings must be an object; got {found['settings']!r}.")
    return How(**found)


def _plain(found: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if found[name] is None else float(found[name]) for name in ("value", "spread")}


def _check_fields(found: Any, names: set[str], where: str) -> None:
    if not isinstance(found, dict):
        raise _Wrong(f"{where}it must be an object with the fields {', '.join(sorted(names))}; got {found!r}.")
    if lacking := sorted(names - set(found)):
        raise _Wrong(f"{where}it lacks {', '.join(lacking)}.")
    for name in found:
        if name not in names:
            raise _Wrong(f"{where}there is no field {name!r}; {did_you_mean(name, names)}")


def _check_text(found: Mapping[str, Any], name: str, where: str = "", empty: bool = False) -> None:
    if not isinstance(found[name], str) or not (empty or found[name]):
        raise _Wrong(f"{where}{name} must be a text{'' if empty else ', not empty'}; got {found[name]!r}.")


def _check_one_of(found: Mapping[str, Any], name: str, known: Iterable[str], where: str = "") -> None:
    known = tuple(known)
    if found[name] not in known:
        raise _Wrong(f"{where}there is no {name} {found[name]!r}; {did_you_mean(str(found[name]), known)}")


def _check_count(found: Mapping[str, Any], name: str, least: int, where: str = "") -> None:
    count = found[name]
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise _Wrong(f"{where}{name} must be a whole number from {least} on; got {count!r}.")


def _check_numbers(found: Mapping[str, Any], where: str) -> str:
    """Check value and spread; both as text, with the digits that the file has."""
    texts = []
    for name in ("value", "spread"):
        number = found[name]
        if name == "spread" and number is None:
            continue
        if not isinstance(number, int | float) or isinstance(number, bool) or not abs(number) <= sys.float_info.max:
            raise _Wrong(f"{where}{name} must be a number; got {number!r}.")
        texts.append(number.text if isinstance(number, _Literal) else str(number))
    if found["spread"] is not None and found["spread"] < 0:
        raise _Wrong(f"{where}spread must not be negative; got {texts[1]}.")
    return " ± ".join(texts)


def _list(found: Any, name: str) -> list[Any]:
    if not isinstance(found, list):
        raise _Wrong(f"{name} must be a list; got {found!r}.")
    return found
