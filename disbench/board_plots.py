"""What the plots of the boards' page show: rank correlations, score against score, scores over training steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from disbench.boards import Board, Curve, Row
from disbench.errors import printable
from disbench.markup import Html, tag

if TYPE_CHECKING:
    from disbench.published_numbers import PublishedNumber

N_FOR_CORRELATION = 5  # models
N_COLOURS = 5  # on each side of no correlation, as the style sheet has them
BESIDE_OURS = "shapes3d"  # whose published curve stands beside the curves of other data sets
_AGREE = "Which metrics agree? "
_STEP = re.compile(r"learning curve: step (\d+)")


@dataclass(frozen=True)
class Correlations:
    """Spearman's rank correlation of each two columns over trained models.

    Args:
        headers: of the columns with numbers of enough models.
        values: of each two; None where one of them does not vary, or too few models have both.
        n_models: the least and the largest number of models behind a value.
    """

    headers: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    n_models: tuple[int, int]


def correlations(board: Board) -> Correlations | None:
    """Rank correlations over the trained models of a board, each train seed a model; None with fewer than five."""
    table = _by_model([row for row in board.rows if row.kind == "trained"], [column.key for column in board.columns])
    kept = [k for k, numbers in enumerate(table) if np.count_nonzero(~np.isnan(numbers)) >= N_FOR_CORRELATION]
    if not kept:
        return None
    values, counts = _spearman(table[kept])
    return Correlations(tuple(board.columns[k].header for k in kept), values, (min(counts), max(counts)))


def _by_model(rows: Iterable[Row], keys: Sequence[str]) -> np.ndarray:
    """Numbers [column, model], NaN where there are none."""
    models: list[list[float | None]] = []
    for row in rows:
        by_seed: dict[int | None, list[float | None]] = {}
        for k, key in enumerate(keys):
            cell = row.cells.get(key)
            for origin in cell.origins if cell is not None else ():
                numbers = by_seed.get(origin.train_seed)
                if numbers is None:
                    numbers = by_seed[origin.train_seed] = [None] * len(keys)
                    models.append(numbers)
                numbers[k] = origin.value
    return np.array(models, dtype=float).reshape(-1, len(keys)).T


def _spearman(table: np.ndarray) -> tuple[tuple[tuple[float | None, ...], ...], list[int]]:
    """Of each two rows where both have numbers, and of how many numbers each that is of enough."""
    has = ~np.isnan(table)
    ranked: dict[tuple[int, bytes], np.ndarray] = {}

    def ranks(k: int, both: np.ndarray) -> np.ndarray:
        key = (k, both.tobytes())
        if key not in ranked:
            ranked[key] = _centred_ranks(table[k, both])
        return ranked[key]

    found: list[list[float | None]] = [[None] * len(table) for _ in table]
    counts = []
    for j in range(len(table)):
        for k in range(j, len(table)):
            both = has[j] & has[k]
            n_both = int(both.sum())
            if n_both < N_FOR_CORRELATION:
                continue
            counts.append(n_both)
            one, other = ranks(j, both), ranks(k, both)
            scale = float(np.sqrt((one @ one) * (other @ other)))
            if scale:
                found[j][k] = found[k][j] = round(float(one @ other) / scale, 6)
    return tuple(map(tuple, found)), counts


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks less their mean; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse] - (len(values) + 1) / 2


def heat_maps(boards: Iterable[Board]) -> list[Html]:
    """The rank correlations of boards that have some as figures; of none, a figure that says why."""
    found = [(board, its) for board in boards if (its := correlations(board)) is not None]
    if found:
        return [_heat_map(board, its) for board, its in found]
    said = f"Rank correlations need {N_FOR_CORRELATION} trained models with numbers of one metric; there are fewer."
    return [tag("figure", tag("figcaption", tag("strong", _AGREE), said), class_="correlation none")]


def _heat_map(board: Board, found: Correlations) -> Html:
    low, high = found.n_models
    over = f"{low}" if low == high else f"{low} to {high}"
    said = (
        f"Spearman's rank correlation over {over} trained models of {board.protocol}, each train seed a model. "
        "Numbers as they are: one of which lower is better should correlate negatively with the others."
    )
    head = tag("tr", tag("td"), *(tag("th", tag("span", header), scope="col") for header in found.headers))
    body = [
        tag("tr", tag("th", header, scope="row"), *map(_square, values))
        for header, values in zip(found.headers, found.values, strict=True)
    ]
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="heat")
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="rank correlations")
    return tag("figure", tag("figcaption", tag("strong", _AGREE), said), box, class_="correlation")


def _square(value: float | None) -> Html:
    if value is None:
        return Html('<td class="none"></td>')
    strength = min(N_COLOURS, int(abs(value) * (N_COLOURS + 1)))
    colour = f"{'p' if value > 0 else 'm'}{strength}" if strength else "p0"
    return Html(f'<td class="{colour}">{round(value, 2) + 0.0:.2f}</td>')


def panels(dataset: str, curves: Iterable[Curve], published: Iterable[PublishedNumber]) -> list[dict[str, Any]]:
    """Panels of scores over steps: our runs, and what was published, of this data set or else of Shapes3D."""
    ours: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.dataset == dataset:
            ours.setdefault(curve.protocol, []).append(curve)
    found = [
        {
            "title": printable(f"measured: {dataset}, {protocol}"),
            "source": "measured",
            "series": [{"label": printable(one.label), "points": _points(one.points)} for one in members],
        }
        for protocol, members in sorted(ours.items())
    ]
    own = _published_panel(dataset, published, "published")
    if own is not None:
        found.append(own)
    elif found:
        other = _published_panel(BESIDE_OURS, published, "another data set, published")
        found += [other] if other is not None else []
    return found


def _points(points: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[tuple[int, float | None]]]:
    return {value: [(step, short(number)) for step, number in found] for value, found in sorted(points.items())}


def _published_panel(dataset: str, published: Iterable[PublishedNumber], said: str) -> dict[str, Any] | None:
    series: dict[tuple[str, str, str], dict[str, list[tuple[int, float]]]] = {}
    for number in published:
        step = _STEP.match(number.variant)
        if step is None or number.dataset != dataset:
            continue
        key = (number.method, number.source.paper, number.source.table or "")
        series.setdefault(key, {}).setdefault(number.metric, []).append((int(step[1]), number.value))
    if not series:
        return None
    return {
        "title": f"{said}: {printable(dataset)}",
        "source": "published",
        "series": [
            {
                "label": printable(f"{method} ({paper})"),
                "points": _points({value: sorted(found) for value, found in points.items()}),
            }
            for (method, paper, _), points in sorted(series.items())
        ],
    }


def short(value: float | None) -> float | None:
    """A number with the six digits that a page needs."""
    return None if value is None else float(f"{value:.6g}")
