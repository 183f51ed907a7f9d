"""HTML in which text cannot become markup: an element's children and attributes are escaped unless made here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"meta", "img", "br", "hr"})
_TURNS_TEXT_AROUND = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REPLACEMENT = "\ufffd"


class Html(str):
    """Markup that this module or our own files made: it is not escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def text(value: object) -> Html:
    """Any text as text: escaped, and without control characters, lone surrogates or what turns its direction."""
    written = str(value)
    if not written.isprintable():
        written = "".join(map(_harmless, written))
    return Html(escape(written, quote=True))


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        name: of the element; ours, never a record's.
        children: `Html` as it is, other values as text; of iterables each; None is left out.
        attributes: `class_` stands for class, `aria_label` for aria-label; None and False are left
            out, True has no value.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Children one after another."""
    return Html("".join(_one(child) for child in children))


def breakable(name: object) -> Html:
    """A name that a line may break in, behind `_`, `.` and `@`."""
    written = str(text(name))
    for mark in "_.@":
        written = written.replace(mark, f"{mark}<wbr>")
    return Html(written)


def _one(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int | float):
        return text(child)
    return joined(*child)


def _harmless(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    return _REPLACEMENT if category in ("Cc", "Cs") or character in _TURNS_TEXT_AROUND else character
