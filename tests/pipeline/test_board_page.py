"""The page of the boards: what is on it, that what a record says stays text, and how it works in a browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from disbench.board_page import page
from disbench.board_plots import correlations
from disbench.boards import Board, Cell, Column, Curve, Row, make_boards, make_curves
from disbench.entries import Entry, Origin, folder, read_entries
from disbench.published import shipped
from disbench.published_numbers import Printed, PublishedNumber, Source

from . import chromium

HOSTILE = (
    "</script><script>alert(1)</script>", '" onmouseover="x', "javascript:alert(1)", "<img src=x onerror=alert(1)>",
    "\u2028\u2029\u202e", "\x1b[31m", "</style>", "]]>-->",
)  # fmt: skip
ALL_HOSTILE = "".join(HOSTILE)
WORDS_OF_SCRIPT = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch(")


def make_column(value: str = "mig", direction: Any = "higher", **changes: Any) -> Column:
    column = Column(value, "1" * 64, value.partition(".")[0], 1, {}, None, value, direction, 0.0, 1.0, "a meaning")
    return replace(column, **changes)


def make_origin(file: str, line: int, value: float, model: str, scored: str, trained: str, **of: Any) -> Origin:
    train = {"train_seed": of.get("train_seed", line), "command": trained}
    described = {"name": model, "content_hash": None, "train": train}
    record = {"hash": of.get("hash", f"{line:064x}"), "model": described, "run": {"command": scored}}
    return Origin(Entry(record, file, line), value)


def make_cell(numbers: list[float], file: str = "results/dots/a.jsonl", **changes: Any) -> Cell:
    origins = tuple(
        make_origin(file, line, number, f"model-seed{line}", "disbench score", "disbench train")
        for line, number in enumerate(numbers, 1)
    )
    return Cell(float(np.mean(numbers)), None, None, len(numbers), None, False, "", origins)._replace(**changes)


def make_board(rows: dict[str, list[float]], dataset: str = "dots") -> Board:
    """A board of one number, and of twice that; each row is of the family that its name begins with."""
    columns = (make_column(), make_column("mse", "lower", high=float("inf")))
    made = []
    for label, numbers in rows.items():
        file = f"results/{dataset}/{label}.jsonl"
        cells = {
            columns[0].key: make_cell(numbers, file),
            columns[1].key: make_cell([2 * number for number in numbers], file),
        }
        made.append(Row(label, "trained", "beta_vae", {}, "", label.partition("-")[0], 1000, cells))
    return Board(dataset, "2" * 64, "locatello2019", columns, tuple(made))


def make_number(**changes: Any) -> PublishedNumber:
    cell = Printed("encdiff", "1", 0, "VCT", 0, "MIG", 0.5, None, "0.500", "")
    number = PublishedNumber(
        "VCT", "vct", "other", "Dots", "dots", "MIG", "mig", 0.5, 0.1, "0.500 ± 0.100", "std", 3, "",
        Source("encdiff", "1"), "secondary", "a note", (cell,), None, 1,
    )  # fmt: skip
    return replace(number, **changes)


@pytest.fixture(scope="module")
def shipped_page() -> str:
    entries = read_entries(folder())
    return page(make_boards(entries), make_curves(entries), shipped())


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.data: Any = None
        self._inside = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside = "data" if attributes.get("id") == "data" else tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data = json.loads(data)
        elif not self._inside:
            self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_record_is_on_the_page_and_linked(shipped_page: str) -> None:
    reader = Reader(shipped_page)
    named = {(record[0], record[2]) for record in reader.data["records"]}
    links = {attributes["href"] for attributes in reader.all("a")}
    on_the_way = {(entry.file, entry.line) for entry in read_entries(folder()) if entry.is_on_the_way}
    shown = {
        (origin.file, origin.line)
        for board in make_boards(read_entries(folder()))
        for row in board.rows
        for cell in row.cells.values()
        for origin in cell.origins
    }
    assert shown
    assert named == shown
    files = {entry.file for entry in read_entries(folder()) if (entry.file, entry.line) not in on_the_way}
    assert files <= links
    assert all((folder() / file).is_file() for file in files)


def test_every_published_number_is_on_the_page_once(shipped_page: str) -> None:
    reader = Reader(shipped_page)
    places = [
        int(attributes["data-number"] or "") for attributes in reader.all("button") if "data-number" in attributes
    ]
    assert sorted(places) == list(range(len(shipped())))
    on_page = sorted((number[0], number[1]) for number in reader.data["numbers"])
    assert on_page == sorted((number.method, number.text) for number in shipped())
    said = set(reader.said)
    for number in shipped():
        assert number.text in said, number
        assert number.method in said
        assert not number.note or number.note in said


def test_numbers_of_no_certain_data_set_are_apart(shipped_page: str) -> None:
    _, apart = shipped_page.split('data-dataset="not-certain"')
    for name in {number.dataset_as_reported for number in shipped() if number.dataset is None}:
        assert f"reported as {name}" in apart if name else "reported for no data set" in apart


def test_main_results_stand_before_replications_and_variants() -> None:
    main = make_number(method="first")
    others = {
        "trained again by others": replace(main, read_from="replication"),
        "without attention": replace(main, variant="without attention"),
        "with noise, trained again by others": replace(main, variant="with noise", read_from="replication"),
    }
    made = page([], [], [*others.values(), main])
    section = Reader(made).data["sections"][0]
    assert [row[1] for row in section["published"]] == ["", *others]
    open_table, replicated, variants = made.split('class="block published"')[1:]
    assert open_table.count("<tr") == replicated.count("<tr") == 2
    assert variants.count("<tr") == 3
    assert "trained again by others" in replicated
    assert "without attention" in variants
    assert made.count("<details") == 2


def test_the_same_boards_give_the_same_bytes(shipped_page: str) -> None:
    entries = read_entries(folder())
    assert page(make_boards(entries), make_curves(entries), shipped()) == shipped_page
    assert len(shipped_page.encode()) < 1_500_000


def test_the_page_loads_nothing_and_runs_only_its_own_script(shipped_page: str) -> None:
    reader = Reader(shipped_page)
    assert not [attributes for _, attributes in reader.elements if "src" in attributes or "style" in attributes]
    assert {name for name, _ in reader.elements} & {"link", "img", "iframe", "object", "base"} == set()
    for link in reader.all("a"):
        assert re.fullmatch(r"#[a-z0-9_-]+|results/[\w./%=-]+", link["href"] or ""), link
    script = (Path(page.__code__.co_filename).parent / "pages" / "board.js").read_text(encoding="utf-8")
    assert not [word for word in WORDS_OF_SCRIPT if word in script]
    policy = next(meta["content"] or "" for meta in reader.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("said", [*HOSTILE, ALL_HOSTILE])
def test_what_is_said_stays_text(said: str) -> None:
    harmless, hostile = (Reader(hostile_page(words)) for words in ("plain", said))
    assert [name for name, _ in hostile.elements] == [name for name, _ in harmless.elements]
    for (_, one), (_, other) in zip(hostile.elements, harmless.elements, strict=True):
        assert set(one) == set(other)
        assert not [name for name in one if name.startswith("on")]
    for link in hostile.all("a"):
        assert (link["href"] or "").startswith(("#", "results/"))
    assert not set(hostile_page(said)) & set("\x1b\u202e")
    assert hostile.data["sections"][0]["boards"][0]["rows"][0][0] == "".join(
        c if c.isprintable() else "�" for c in said
    )


def hostile_page(said: str) -> str:
    """A page of boards, curves and numbers whose every text is the same."""
    column = make_column(said, header=said, metric=said, meaning=said)
    said_by = {"value": 0.5, "model": said, "scored": said, "trained": said, "hash": said, "train_seed": 0}
    origins = (make_origin(f"results/{said}/{said}.jsonl", 1, **said_by), make_origin(said, 2, **said_by))
    cells = {
        column.key: Cell(0.5, (0.4, 0.6), 0.1, 3, 1, True, "", origins),
    }
    lacking = {column.key: Cell(None, None, None, 1, None, False, f"{said}: {said}", origins[1:])}
    rows = (
        Row(said, "trained", said, {said: said}, said, said, 10, cells),
        Row(said, "baseline", said, {said: said}, said, said, 10, lacking),
    )
    board = Board(said, said, said, (column,), rows)
    curve = Curve(said, said, said, {said: ((1, 0.5), (2, 0.6))})
    cell = Printed(said, said, 0, said, 0, said, 0.5, None, said, said)
    number = make_number(
        method=said, family=said, dataset=said, dataset_as_reported=said, metric=said, metric_as_reported=said,
        text=said, spread_kind=said, read_from=said, note=said, printed_in=(cell,), source=Source("encdiff", said),
    )  # fmt: skip
    variants = [replace(number, variant=said), replace(number, read_from="replication"), replace(number, dataset=None)]
    return page([board], [curve], [number, *variants])


def test_files_outside_the_boards_folder_are_named_and_not_linked() -> None:
    board = make_board({"vae-a": [0.1]})
    cell = make_cell([0.25], "/elsewhere/results/x.jsonl")
    rows = tuple(replace(row, cells={board.columns[0].key: cell}) for row in board.rows)
    reader = Reader(page([replace(board, rows=rows)], [], []))
    assert reader.data["records"][0][:2] == ["/elsewhere/results/x.jsonl", None]
    assert all((link["href"] or "").startswith("#") for link in reader.all("a"))


def test_links_lead_to_where_the_records_are() -> None:
    reader = Reader(page([make_board({"vae-a b": [0.1]})], [], [], records_at="../boards/results/"))
    assert "../boards/results/dots/vae-a%20b.jsonl" in [link["href"] for link in reader.all("a")]


def test_rank_correlations_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    rows = {f"vae-{k}": generator.integers(0, 6, 3).tolist() for k in range(4)}
    board = make_board(rows)
    other = [generator.integers(0, 6, 3).tolist() for _ in rows]
    changed = tuple(
        replace(row, cells={**row.cells, board.columns[1].key: make_cell(numbers)})
        for row, numbers in zip(board.rows, other, strict=True)
    )
    found = correlations(replace(board, rows=changed))
    assert found is not None
    expected = spearmanr(np.concatenate(list(rows.values())), np.concatenate(other)).statistic
    assert found.values[0][1] == pytest.approx(expected, abs=1e-6)
    assert found.n_models == (12, 12)


def test_rank_correlations_need_five_models_and_numbers_that_vary() -> None:
    assert correlations(make_board({"vae-a": [0.1, 0.2], "vae-b": [0.3, 0.4]})) is None
    assert "need 5 trained models" in page([make_board({"vae-a": [0.1]})], [], [])
    constant = correlations(make_board({"vae-a": [0.5] * 6}))
    assert constant is not None
    assert constant.values[0][0] is None


def test_without_trained_models_there_are_no_plots() -> None:
    board = make_board({"a": [0.1], "b": [0.2]})
    references = replace(board, rows=tuple(replace(row, kind="floor") for row in board.rows))
    made = page([references], [], [])
    assert "no trained model was scored on this data set" in made
    assert "<figure" not in made
    both = page([references, replace(board, protocol="quick")], [], [])
    assert both.count("Which metrics agree?") == 1
    published = page([], [], [make_number(dataset="dots")])
    assert "Score against score" in published
    assert "Which metrics agree?" not in published


def test_curves_stand_beside_the_published_one_of_another_data_set() -> None:
    numbers = [
        make_number(dataset="shapes3d", variant=f"learning curve: step {step}", value=step / 100) for step in (20, 3)
    ]
    curve = Curve("vae-seed0", "dots", "locatello2019", {"mig": ((1, 0.5), (2, 0.6))})
    reader = Reader(page([make_board({"vae-a": [0.1]})], [curve], numbers))
    ours, other = reader.data["sections"][0]["panels"]
    assert ours["source"] == "measured"
    assert other["title"] == "another data set, published: shapes3d"
    assert other["series"][0]["points"]["mig"] == [[3, 0.03], [20, 0.2]]


def test_many_rows_are_cut_and_said_to_be() -> None:
    board = make_board({f"vae-{k:06d}": [k / 1e5] for k in range(5_000)})
    start = time.perf_counter()
    made = page([board], [], [])
    assert time.perf_counter() - start < 5
    assert "500 of 5,000 rows" in made


def test_an_empty_page_is_a_page() -> None:
    assert "Leaderboards" in page([], [], [])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip(f"there is no browser here: none of {', '.join(chromium.NAMES)}")
    with chromium.Browser(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def opened(browser: chromium.Browser, shipped_page: str, tmp_path: Path) -> tuple[chromium.Browser, Path]:
    path = tmp_path / "index.html"
    path.write_text(shipped_page, encoding="utf-8")
    browser.errors.clear()
    browser.open(path)
    return browser, path


METHODS = "Array.from(document.querySelectorAll('.measured .ranked tr:not([hidden]) th')).map(th => th.firstChild.data)"
FIRST = "Array.from(document.querySelector('.measured .ranked').rows).map(row => row.cells[0].firstChild.data)"
VALUES = (
    "Array.from(document.querySelector('.measured .ranked').rows)"
    ".map(row => row.cells[2].dataset.v).filter(Boolean).map(Number)"
)


def set_to(control: str, value: str) -> str:
    event = f"document.getElementById('filters').dispatchEvent(new Event('input')); {METHODS}"
    return f"document.getElementById({control!r}).value = {value!r}; {event}"


def test_headers_sort(opened: tuple[chromium.Browser, Path]) -> None:
    browser, _ = opened
    header = "document.querySelector('.measured .ranked').closest('table').querySelectorAll('thead th')[2]"
    methods = browser.run(FIRST)
    browser.run(f"{header}.firstElementChild.click()")
    values = browser.run(VALUES)
    assert len(values) > 3
    assert values == sorted(values, reverse=True)
    assert browser.run(f"{header}.getAttribute('aria-sort')") == "descending"
    browser.run(f"{header}.firstElementChild.focus()")
    browser.press("Enter", 13)
    assert browser.run(VALUES) == sorted(values)
    assert browser.run(f"{header}.getAttribute('aria-sort')") == "ascending"
    assert sorted(browser.run(FIRST)) == sorted(methods)
    browser.run("document.querySelector('.measured .ranked').closest('table').querySelector('thead th button').click()")
    assert browser.run(f"{header}.getAttribute('aria-sort')") == "none"
    assert browser.run(FIRST) == sorted(methods)
    assert browser.errors == []


def test_filters_narrow_and_clear(opened: tuple[chromium.Browser, Path]) -> None:
    browser, _ = opened
    all_methods = browser.run(METHODS)
    found = browser.run(set_to("find", "FACTOR"))
    assert found == [method for method in all_methods if "factor" in method]
    assert browser.run(set_to("find", "no such method")) == []
    assert "Nothing fits" in browser.run("document.getElementById('count').textContent")
    browser.run("document.querySelector('#filters button').click()")
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert browser.run(METHODS) == all_methods
    visible = "Array.from(document.querySelectorAll('.block')).filter(b => b.offsetParent).map(b => b.dataset.source)"
    browser.run(set_to("source", "published"))
    assert set(browser.run(visible)) == {"published"}
    browser.run(set_to("source", "measured"))
    assert set(browser.run(visible)) == {"measured"}
    browser.run(set_to("source", "both"))
    browser.run(set_to("metric", "dci"))
    headers = (
        "Array.from(document.querySelectorAll('[data-metric]')).filter(h => h.offsetParent).map(h => h.dataset.metric)"
    )
    assert set(browser.run(headers)) == {"dci"}
    browser.run(set_to("dataset", "shapes3d"))
    sections = (
        "Array.from(document.querySelectorAll('[data-dataset]')).filter(s => !s.hidden).map(s => s.dataset.dataset)"
    )
    assert browser.run(sections) == ["shapes3d"]
    browser.run(set_to("family", "diffusion"))
    visible = "Array.from(document.querySelectorAll('tr[data-family]')).filter(row => row.offsetParent)"
    assert set(browser.run(f"{visible}.map(row => row.dataset.family)")) == {"diffusion"}
    assert browser.errors == []


def test_a_number_says_where_it_comes_from(opened: tuple[chromium.Browser, Path]) -> None:
    browser, path = opened
    number = "document.querySelector('.measured .ranked .number')"
    place = f"(() => {{ {number}.scrollIntoView({{block: 'center'}}); const box = {number}.getBoundingClientRect();"
    place += " return [box.x + 5, box.y + 5]; })()"
    card = "document.getElementById('card')"
    waiting = f"new Promise(done => setTimeout(() => done({card}.hidden ? '' : {card}.textContent), 400))"
    browser.move(*browser.run(place))
    said = browser.run(waiting)
    assert re.search(r"results/\w+/[\w.=-]+\.jsonl:\d+, hash [0-9a-f]{12}", said)
    assert "disbench score" in said
    browser.press("Escape", 27)
    assert browser.run(f"{card}.hidden")
    browser.run(f"{number}.focus({{focusVisible: true}}); scrollBy(0, 40)")
    assert "disbench score" in browser.run(waiting)
    browser.open(path, 390, 844, touch=True)
    browser.tap(*browser.run(place))
    assert "hash" in browser.run(waiting)
    assert browser.run("location.href").endswith("index.html")
    browser.run("document.querySelector('.published .number').click()")
    assert "From " in browser.run(waiting)
    assert browser.errors == []


def test_plots_are_drawn(opened: tuple[chromium.Browser, Path]) -> None:
    browser, _ = opened
    group = "document.querySelector('#at-rooms3d .scatter select')"
    browser.run(
        f"{group}.selectedIndex = Array.from({group}.options).findIndex(one => one.text.includes('locatello2019'));"
        f"{group}.dispatchEvent(new Event('change'))"
    )
    assert browser.run("document.querySelectorAll('#at-rooms3d .scatter .point').length") >= 5
    chosen = "document.querySelectorAll('#at-rooms3d .scatter select')[1]"
    browser.run(f"{chosen}.value = 'sap'; {chosen}.dispatchEvent(new Event('change'))")
    assert browser.run("document.querySelector('#at-rooms3d .scatter .axis').textContent") == "sap"
    assert browser.run("document.querySelectorAll('#at-shapes3d .steps .dot').length") > 5
    assert browser.run("document.querySelectorAll('#at-rooms3d .heat td').length") > 25
    assert browser.errors == []


def test_the_page_does_not_scroll_sideways(opened: tuple[chromium.Browser, Path]) -> None:
    browser, path = opened
    for width in (320, 390, 1280):
        browser.open(path, width, 844, dark=width == 390, touch=width < 800)
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("document.body.scrollWidth") <= width
    assert browser.errors == []


def test_hostile_words_do_nothing_in_a_browser(browser: chromium.Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(hostile_page(ALL_HOSTILE), encoding="utf-8")
    browser.errors.clear()
    browser.open(path)
    touch = "one.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true, pointerType: 'touch'}))"
    browser.run(f"document.querySelectorAll('.number').forEach(one => {{ {touch}; one.click(); }})")
    assert "alert(1)" in browser.run("document.getElementById('card').textContent")
    assert browser.run("document.querySelectorAll('img, [onmouseover], [onerror]').length") == 0
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.run("document.querySelectorAll('.dot').length") > 0
    assert browser.errors == []
