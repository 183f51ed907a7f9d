"""Code-by-factor matrices as tables whose cells are coloured by what they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from disbench.carriers import Matrix
from disbench.markup import Html, breakable, tag

N_COLOURS = 11  # as the style sheet has them
MOST_CODES = 64  # columns


def heat_map(matrix: Matrix, names: Sequence[str], dead: frozenset[int]) -> Html:
    """A matrix as a table with coloured cells, in a box of its own that scrolls where it is wide.

    Args:
        matrix: with the same number of codes in every row.
        names: of its factors.
        dead: codes that are marked.
    """
    codes = _shown(matrix)
    header = tag(
        "tr",
        tag("th", "factor", scope="col"),
        *(tag("th", k, tag("span", "dead") if k in dead else None, scope="col") for k in codes),
    )
    rows = [
        tag(
            "tr",
            tag("th", breakable(name), scope="row"),
            *(_cell(row[k], k, name, matrix.full, k in dead) for k in codes),
        )
        for name, row in zip(names, matrix.cells, strict=True)
    ]
    note = f" {matrix.note} Columns are codes."
    if left_out := matrix.n_codes - len(codes):
        note += f" {left_out} codes that hold less are left out."
    caption = tag(
        "figcaption",
        tag("strong", matrix.title),
        tag("span", f" {matrix.metric}", class_="metric"),
        tag("span", note),
    )
    table = tag("table", tag("thead", header), tag("tbody", *rows), class_="heat")
    return tag(
        "figure", caption, tag("div", table, class_="wide", tabindex="0", role="region", aria_label=matrix.title)
    )


def _shown(matrix: Matrix) -> list[int]:
    """The codes of a heat map: all, or those with the greatest numbers."""
    if matrix.n_codes <= MOST_CODES:
        return list(range(matrix.n_codes))
    most = [
        max((value for value in column if value is not None), default=-math.inf)
        for column in zip(*matrix.cells, strict=True)
    ]
    return sorted(sorted(range(matrix.n_codes), key=lambda k: -most[k])[:MOST_CODES])


def _cell(value: float | None, code: int, factor: str, full: float, is_dead: bool) -> Html:
    if value is None:
        return tag("td", "-", class_="none", title=f"code {code}, {factor}: no number")
    level = round(min(1.0, max(0.0, value / full)) * (N_COLOURS - 1))
    classes = f"q{level}" + " dead" * is_dead
    return tag("td", f"{value:.2f}", class_=classes, title=f"code {code}, {factor}: {value:.4f}")
