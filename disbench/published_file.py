"""The file of published numbers: JSON lines, read and checked, so that what is wrong is named with its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from disbench import registry
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.published_numbers import (
    FAMILIES,
    OTHER_DATASETS,
    OTHER_METRICS,
    PAPERS,
    READ_FROM,
    SPREADS,
    How,
    Printed,
    PublishedNumber,
    Source,
)


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
    return frozenset({*registry.values(), *OTHER_METRICS})


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
