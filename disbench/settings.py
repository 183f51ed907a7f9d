"""Settings from the command line: NAME=VALUE pairs checked against a frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from disbench.errors import UsageError, did_you_mean

C = TypeVar("C")


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`["a=1", "b=2"]` -> `{"a": "1", "b": "2"}`."""
    parsed = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{pair!r} is not a setting; expected NAME=VALUE.")
        parsed[name.strip()] = value.strip()
    return parsed


def override(config: C, changes: Mapping[str, Any], *, prefix: str = "") -> C:
    """A copy of a frozen dataclass with some fields changed; texts are read as the field's type.

    Args:
        config: the dataclass instance.
        changes: field name -> value or its text.
        prefix: put before field names in messages.

    Raises:
        UsageError: there is no such field, or the value does not fit it.
    """
    types = get_type_hints(type(config))
    known = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    values = {}
    for name, value in changes.items():
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(f"there is no setting {prefix}{name}; {near}")
        values[name] = _read(prefix + name, value, types[name])
    return dataclasses.replace(config, **values)  # type: ignore[type-var]


def _read(name: str, value: Any, kind: type) -> Any:
    if kind is str:
        if not isinstance(value, str | Path):
            raise UsageError(f"{name} is a text; got an object of type {type(value).__name__}.")
        return str(value)
    if kind is bool:
        if str(value).lower() not in ("true", "false"):
            raise UsageError(f"{name} is true or false; got {value!r}.")
        return str(value).lower() == "true"
    try:
        return kind(str(value))
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} is {noun}; got {value!r}.") from None


def check_numbers(config: Any, prefix: str = "", may_be_zero: Collection[str] = ()) -> None:
    """Check a settings dataclass, from its `__post_init__`: whole numbers from 1 on, others finite and not negative.

    Args:
        config: the dataclass.
        prefix: of the names in messages.
        may_be_zero: fields with whole numbers from 0 on.

    Raises:
        UsageError: a number is neither.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            is_whole = isinstance(field.default, int)
            least = 1 if is_whole and field.name not in may_be_zero else 0
            if not math.isfinite(value) or value < least:
                wanted = f"at least {least}" if is_whole else "finite and not negative"
                raise UsageError(f"{prefix}{field.name} must be {wanted}; got {value}.")
