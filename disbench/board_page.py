"""The boards as one HTML page that needs nothing else: no network, no other file but the records that it links to.

What records and papers say reaches the page as text only (`disbench.markup`), or as JSON that cannot end its element;
the page runs no script but its own, by hash. The same boards give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from disbench.board_measured import measured_block
from disbench.board_parts import HASH_SHOWN, RESULTS, PageData, chip, clean, count_of
from disbench.board_plots import heat_maps, panels
from disbench.board_published import papers, published_blocks, unclear_blocks
from disbench.boards import N_FOR_INTERVAL, Board, Curve
from disbench.markup import Html, tag
from disbench.published_numbers import PublishedNumber

_NOT_CERTAIN = "not-certain"  # what stands for no data set in filters and links


def page(
    boards: Sequence[Board],
    curves: Sequence[Curve],
    published: Sequence[PublishedNumber],
    *,
    records_at: str = RESULTS,
) -> str:
    """The page.

    Args:
        boards: measured, as `disbench.boards.make_boards` gives them.
        curves: scores over training steps, as `disbench.boards.make_curves` gives them.
        published: numbers, as `disbench.published.of_boards` gives them.
        records_at: where the folder `results` is, seen from the page; ends with a slash.
    """
    data = PageData()
    names = _in_order(boards, published)
    sections = [
        _unclear_section([number for number in published if number.dataset is None], data)
        if name is None
        else _section(name, [board for board in boards if board.dataset == name], curves, published, data, records_at)
        for name in names
    ]
    ids = dict(zip(names, map(_anchor, names), strict=True))
    main = tag("main", *sections, papers(published))
    body = tag(
        "body",
        tag("a", "To the boards", href="#boards", class_="skip"),
        _top(boards, published),
        _navigation(boards, published, ids),
        _filters(boards, published, names),
        tag("div", main, id="boards"),
        tag("div", id="card", role="tooltip", hidden=True),
        data.element(),
        Html(f"<script>{_own('board.js')}</script>"),
    )
    return "<!DOCTYPE html>\n" + tag("html", _head(), body, lang="en") + "\n"


def _in_order(boards: Sequence[Board], published: Sequence[PublishedNumber]) -> list[str | None]:
    """Data sets: with trained models first, with published numbers, None for numbers of none, the others."""
    measured = list(dict.fromkeys(board.dataset for board in boards))
    trained = {board.dataset for board in boards if any(row.kind == "trained" for row in board.rows)}
    numbered = sorted({number.dataset for number in published if number.dataset is not None})
    unclear = [None] if any(number.dataset is None for number in published) else []
    first = [name for name in measured if name in trained]
    return list(dict.fromkeys([*first, *numbered, *unclear, *measured]))


def _head() -> Html:
    policy = f"default-src 'none'; style-src '{_sha256(_own('board.css'))}'; script-src '{_sha256(_own('board.js'))}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "disbench leaderboards"),
        Html(f"<style>{_own('board.css')}</style>"),
    )


def _own(name: str) -> str:
    """Our own style sheet or script."""
    return (Path(__file__).parent / "pages" / name).read_text(encoding="utf-8")


def _sha256(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _anchor(name: str | None) -> str:
    """An element's id: the name where it is one plain word."""
    name = name or _NOT_CERTAIN
    if re.fullmatch(r"[a-z0-9_-]+", name):
        return f"at-{name}"
    return "at-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:HASH_SHOWN]


def _top(boards: Sequence[Board], published: Sequence[PublishedNumber]) -> Html:
    records = {
        origin.hash for board in boards for row in board.rows for cell in row.cells.values() for origin in cell.origins
    }
    n_rows = sum(len(board.rows) for board in boards)
    n_papers = len({number.source.paper for number in published})
    rules = (
        tag("li", chip("measured"), " by disbench: ", count_of(n_rows, "method"), ", ",
            count_of(len(records), "record"), ". Numbers share a column only if data set, protocol, metric, version "
            "and settings are the same."),
        tag("li", chip("published"), f": {len(published):,} numbers of ", count_of(n_papers, "source"),
            ", as printed. They stand beside what was measured and are never ranked with it."),
        tag("li", _sample_bar(), "Mean over train seeds and its 95 % interval, from the lower to the upper end of the "
            "scale; thin lines are the floor (random codes) and the ceiling (the true factors)."),
        tag("li", tag("span", "★ #1", class_="best-sample"), f" Ranks need {N_FOR_INTERVAL} train seeds: 1 + how many "
            "are better with intervals that do not overlap. Where there are none, ★ marks the best mean."),
    )  # fmt: skip
    return tag(
        "header",
        tag("p", "disbench", class_="kicker"),
        tag("h1", "Leaderboards of disentanglement"),
        tag(
            "p", "Point at a number, tap it or move to it with the keyboard to see where it comes from.", class_="lede"
        ),
        tag("ul", *rules, class_="rules"),
        class_="top",
    )


def _sample_bar() -> Html:
    return Html(
        '<svg class="bar" aria-hidden="true"><line class="track" x1="0" x2="100%" y1="6" y2="6"/>'
        '<line class="edge" x1="12%" x2="12%" y1="1" y2="11"/><line class="edge" x1="90%" x2="90%" y1="1" y2="11"/>'
        '<line class="interval" x1="45%" x2="75%" y1="6" y2="6"/><circle cx="60%" cy="6" r="3.5"/></svg>'
    )


def _navigation(boards: Sequence[Board], published: Sequence[PublishedNumber], ids: Mapping[str | None, str]) -> Html:
    n_rows: dict[str | None, int] = {}
    for board in boards:
        n_rows[board.dataset] = n_rows.get(board.dataset, 0) + len(board.rows)
    n_numbers: dict[str | None, int] = {}
    for number in published:
        n_numbers[number.dataset] = n_numbers.get(number.dataset, 0) + 1
    links = []
    for name, at in ids.items():
        counts = [
            tag("span", f"{counted[name]:,}", class_=f"n {source}", title=f"{counted[name]:,} {what} {source}")
            for counted, source, what in ((n_rows, "measured", "methods"), (n_numbers, "published", "numbers"))
            if name in counted
        ]
        links.append(tag("li", tag("a", _named(name), *counts, href=f"#{at}")))
    return tag("nav", tag("ul", *links), aria_label="Data sets")


def _named(name: str | None) -> str:
    return "data set not certain" if name is None else name


def _filters(boards: Sequence[Board], published: Sequence[PublishedNumber], names: Sequence[str | None]) -> Html:
    metrics = {column.metric for board in boards for column in board.columns}
    metrics |= {number.metric.partition(".")[0] for number in published}
    families = {row.family for board in boards for row in board.rows} | {number.family for number in published}
    sources = (("both", "both"), ("measured", "measured"), ("published", "published"))
    find = Html('<input type="search" id="find" placeholder="e.g. vae" autocomplete="off" spellcheck="false">')
    return tag(
        "form",
        tag("label", "Method", find),
        _select("family", "Family", [("", "all"), *((name, name) for name in sorted(families))]),
        _select("source", "Numbers", sources),
        _select("dataset", "Data set", [("", "all"), *((name or _NOT_CERTAIN, _named(name)) for name in names)]),
        _select("metric", "Metric", [("", "all"), *((name, name) for name in sorted(metrics))]),
        tag("button", "Clear", type="reset"),
        tag("output", id="count", aria_live="polite"),
        id="filters",
        class_="filters",
        hidden=True,
        role="search",
    )


def _select(name: str, label: str, choices: Iterable[tuple[str, str]]) -> Html:
    options = [tag("option", shown, value=value) for value, shown in choices]
    return tag("label", label, tag("select", *options, id=name, autocomplete="off"))


def _section(
    name: str,
    boards: Sequence[Board],
    curves: Sequence[Curve],
    published: Sequence[PublishedNumber],
    data: PageData,
    records_at: str,
) -> Html:
    at = len(data.sections)
    described: dict[str, Any] = {"name": clean(name), "boards": [], "published": [], "panels": []}
    data.sections.append(described)
    blocks = [measured_block(board, f"{at} {k}", described, data, records_at) for k, board in enumerate(boards)]
    numbers = [number for number in published if number.dataset == name]
    blocks += published_blocks(numbers, described, data)
    described["panels"] = panels(name, curves, published)
    return tag(
        "section",
        tag("h2", name),
        *blocks,
        _plots(at, boards, described),
        id=_anchor(name),
        data_dataset=name,
    )


def _plots(at: int, boards: Sequence[Board], described: Mapping[str, Any]) -> Html:
    is_trained = any(row.kind == "trained" for board in boards for row in board.rows)
    if not is_trained and not described["published"]:
        said = "There are no plots yet: no trained model was scored on this data set."
        return tag("p", said, data_source="measured", class_="quiet of-measured")
    scatter = tag(
        "figure",
        tag("figcaption", tag("strong", "Score against score. "), tag("span", class_="said")),
        tag("div", class_="controls"),
        tag("div", class_="drawing"),
        class_="scatter",
        data_section=str(at),
    )
    maps = [tag("div", each, data_source="measured", class_="of-measured") for each in heat_maps(boards) if is_trained]
    said = "" if described["panels"] else "No model of this data set was scored along its training."
    over_steps = tag(
        "figure",
        tag("figcaption", tag("strong", "Score over training steps. "), tag("span", said, class_="said")),
        tag("div", class_="controls"),
        tag("div", class_="drawing"),
        class_=" ".join(["steps", *(["wide"] if len(described["panels"]) > 1 else [])]),
        data_section=str(at),
    )
    layout = "plots pair" if len(described["panels"]) == 1 else "plots"
    return tag("div", tag("div", scatter, over_steps, class_=layout), *maps, class_="figures")


def _unclear_section(numbers: Sequence[PublishedNumber], data: PageData) -> Html:
    """Numbers that belong to no data set of ours, under what their papers call it."""
    described: dict[str, Any] = {"name": _named(None), "boards": [], "published": [], "panels": []}
    data.sections.append(described)
    said = (
        "Sources do not say which variant of a data set they mean, contradict each other, or print means over several. "
        "The remarks say which. These numbers are beside no others, as nobody knows what they may be compared with."
    )
    return tag(
        "section",
        tag("h2", "Data set not certain"),
        tag("p", said, class_="quiet"),
        *unclear_blocks(numbers, described, data),
        id=_anchor(None),
        data_dataset=_NOT_CERTAIN,
    )
