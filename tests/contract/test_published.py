"""The published numbers that came with disbench: read, complete, and as the papers print them."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from disbench import published, registry
from disbench.errors import DisbenchError, UsageError
from disbench.published_file import read
from disbench.published_numbers import PAPERS, PublishedNumber, Source
from disbench.reproductions import RECIPES
from disbench.settings import override

NUMBERS = published.shipped()
GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "published" / "printed_tables.json").read_text(encoding="utf-8")
)
LINE: dict[str, Any] = {
    "method": "EncDiff",
    "method_key": "encdiff",
    "family": "diffusion",
    "dataset_as_reported": "Shapes3D",
    "dataset": "shapes3d",
    "metric_as_reported": "DCI",
    "metric": "dci.disentanglement",
    "value": 0.5,
    "spread": 0.1,
    "spread_kind": "std",
    "n_seeds": 15,
    "variant": "",
    "source": {"paper": "encdiff", "table": "1"},
    "read_from": "primary",
    "note": "",
    "printed_in": [],
    "how": None,
}
CELL: dict[str, Any] = {
    "paper": "encdiff",
    "table": "1",
    "row": 0,
    "label": "EncDiff",
    "column": 0,
    "heading": "D",
    "value": 0.5,
    "spread": 0.1,
    "remark": "",
}


Cells = list[str | None]


def as_printed(numbers: Iterable[PublishedNumber], paper: str, table: str) -> tuple[list[str], list[tuple[str, Cells]]]:
    """Headings, and rows: labels and the texts of cells, None where no number is known."""
    cells = {(cell.row, cell.column): cell for _, cell in published.printed(numbers, paper, table)}
    headings = dict(sorted({column: cell.heading for (_, column), cell in cells.items()}.items()))
    labels = dict(sorted({row: cell.label for (row, _), cell in cells.items()}.items()))
    found = {at: cell.text for at, cell in cells.items()}
    return [*headings.values()], [(name, [found.get((row, c)) for c in headings]) for row, name in labels.items()]


def save(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", GOLDEN)
def test_a_table_is_as_printed(name: str) -> None:
    paper, _, at = name.partition(" ")
    _, rows = as_printed(NUMBERS, paper, at)
    assert [[label, cells] for label, cells in rows] == GOLDEN[name]


def test_every_table_of_a_paper_was_entered_twice() -> None:
    papers = ("encdiff", "dyga", "fdae", "bayes_qlae", "identifiability", "diverse_dictionary")
    assert set(GOLDEN) == {f"{paper} {at}" for paper in papers for at in PAPERS[paper].tables}


def test_counts() -> None:
    assert len(NUMBERS) == 623
    assert sum(len(number.printed_in) for number in NUMBERS) == 782
    assert Counter(number.read_from for number in NUMBERS) == {"secondary": 314, "primary": 210, "replication": 99}
    assert sum(number.how is not None for number in NUMBERS) == 142
    assert sum(not number.printed_in for number in NUMBERS) == 5
    cells = {(cell.paper, cell.table) for number in NUMBERS for cell in number.printed_in}
    assert cells == {(key, at) for key, paper in PAPERS.items() for at in paper.tables}
    keys = [(n.method_key, n.variant, n.dataset_as_reported, n.metric, n.source) for n in NUMBERS]
    assert len(set(keys)) == len(keys)


def test_the_file_is_in_order() -> None:
    tables = [(key, at) for key, paper in PAPERS.items() for at in paper.tables]
    places = [
        [(tables.index((cell.paper, cell.table)), cell.row, cell.column) for cell in number.printed_in]
        for number in NUMBERS
    ]
    assert all(place == sorted(place) for place in places)
    first = [place[0] for place in places if place]
    assert first == sorted(first)
    assert all(places[: len(first)])


def test_digits_are_kept() -> None:
    texts = {(n.method, n.metric): n.text for n in NUMBERS if n.source == Source("encdiff", "10")}
    assert texts["PDAE", "ssim"] == "0.9830"
    assert texts["Diff-AE", "mse"] == "8.1983e-05"
    assert {type(number.value) for number in NUMBERS} == {float}


def test_misprints_are_marked() -> None:
    marked = {
        (cell.paper, cell.table, cell.label, cell.text, number.text)
        for number in NUMBERS
        for cell in number.printed_in
        if cell.remark.startswith("Misprint")
    }
    assert marked == {
        ("encdiff", "10", "EncDiff", "0.999", "0.969 ± 0.030"),
        ("encdiff", "10", "EncDiff", "0.969", "0.999 ± 0.000"),
        ("encdiff", "19", "EncDiff", "0.872", "0.872 ± 0.049"),
        ("encdiff", "19", "EncDiff", "0.685", "0.685 ± 0.044"),
        ("dyga", "1", "FDAE", "0.232 ± 0.418", "0.418 ± 0.036"),
    }


def test_a_cell_that_differs_from_its_number_says_why() -> None:
    for number in NUMBERS:
        for cell in number.printed_in:
            if cell.value != number.value or cell.spread not in (number.spread, None):
                assert cell.remark, cell
    spreads = {
        cell.table
        for number in NUMBERS
        for cell in number.printed_in
        if cell.paper == "encdiff" and "this spread as 0.000" in cell.remark
    }
    assert spreads == {"4", "5", "11", "12", "13", "14"}


def test_what_must_be_known_before_comparing_is_noted() -> None:
    for number in NUMBERS:
        if number.source.paper == "encdiff" and number.dataset == "cars3d" and number.method_key == "encdiff":
            assert "misaligned labels" in number.note
        if number.metric in ("tad", "fid"):
            assert "differs from paper to paper" in number.note
        if number.dataset is None and (number.dataset_as_reported or "").startswith("MPI3D"):
            assert "Which MPI3D is ambiguous" in number.note


def test_what_disbench_makes_can_be_made() -> None:
    models = registry.models()
    for number in NUMBERS:
        if number.how is not None:
            override(models[number.how.model].config(), number.how.settings)
            assert number.method_key.startswith(number.how.model)


def test_recipes_make_what_the_numbers_say() -> None:
    by_cell = {
        (cell.paper, cell.table, cell.label, number.dataset): number for number in NUMBERS for cell in number.printed_in
    }
    found = 0
    for model, recipe in RECIPES.items():
        base = registry.models()[model].config()
        for row in (row for rows in (recipe.rows, *recipe.ablations.values()) for row in rows):
            for cells in (printed.values for printed in row.published.values()):
                number = by_cell[cells.paper, cells.table, cells.label, cells.dataset]  # type: ignore[attr-defined]
                assert number.how is not None
                assert number.how.model == model
                if number.variant:
                    found += 1
                    assert override(base, number.how.settings) == override(base, row.settings)
                    assert number.how.method == row.method
    assert found == 15


def test_an_unknown_paper_or_table_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no paper called 'encdif'; did you mean 'encdiff'"):
        published.printed(NUMBERS, "encdif", "1")
    with pytest.raises(UsageError, match="no numbers of a table '9' of dyga are known; known: 1, 2"):
        published.printed(NUMBERS, "dyga", "9")


def test_a_table_has_gaps_where_nothing_is_known(tmp_path: Path) -> None:
    corner = {**CELL, "row": 2, "label": "second", "column": 1, "heading": "F", "value": 1}
    path = save(tmp_path / "n.jsonl", {**LINE, "printed_in": [CELL]}, {**LINE, "printed_in": [corner], "spread": 0})
    headings, rows = as_printed(read(path), "encdiff", "1")
    assert headings == ["D", "F"]
    assert rows == [("EncDiff", ["0.5 ± 0.1", None]), ("second", [None, "1 ± 0.1"])]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": "0.5"}, "value must be a number; got '0.5'."),
        ({"value": True}, "value must be a number; got True."),
        ({"value": float("nan")}, "value must be a number; got nan."),
        ({"value": 10**400}, "value must be a number; got 1000"),
        ({"spread": -0.1}, "spread must not be negative; got -0.1."),
        ({"spread": None}, "spread and spread_kind go together: give both or neither."),
        ({"spread_kind": "sd"}, "there is no spread_kind 'sd'; did you mean 'std'?"),
        ({"metric": "dci.disentanglment"}, "did you mean 'dci.disentanglement'"),
        ({"metric": None}, "there is no metric None"),
        ({"dataset": "shape3d"}, "there is no dataset 'shape3d'; did you mean 'shapes3d'"),
        ({"family": "flow"}, "there is no family 'flow'"),
        ({"read_from": "hearsay"}, "there is no read_from 'hearsay'"),
        ({"method": ""}, "method must be a text, not empty; got ''."),
        ({"note": None}, "note must be a text; got None."),
        ({"n_seeds": 0}, "n_seeds must be a whole number from 1 on; got 0."),
        ({"values": 1}, "there is no field 'values'; did you mean 'value'"),
        ({"source": "encdiff"}, "source: it must be an object with the fields paper, table; got 'encdiff'."),
        ({"source": {"paper": "encdif", "table": None}}, "source: there is no paper 'encdif'; did you mean 'encdiff'"),
        ({"source": {"paper": "encdiff", "table": "9"}}, "source: there is no table '9'"),
        ({"how": {"model": "encdiff", "settings": []}}, "how: it lacks method."),
        ({"how": {"model": "encdiff", "settings": [], "method": ""}}, "how: settings must be an object; got []."),
        ({"printed_in": {}}, "printed_in must be a list; got {}."),
        ({"printed_in": [{**CELL, "row": -1}]}, "printed_in[0]: row must be a whole number from 0 on; got -1."),
        ({"printed_in": [{**CELL, "paper": "x"}]}, "printed_in[0]: there is no paper 'x'"),
        ({"printed_in": [CELL, CELL]}, "row 0, column 0 of table 1 of encdiff has a number already."),
        (
            {"printed_in": [CELL, {**CELL, "column": 1, "label": "Other"}]},
            "row 0 of table 1 of encdiff is called 'EncDiff' before and 'Other' here.",
        ),
        (
            {"printed_in": [CELL, {**CELL, "row": 1, "label": "Other", "heading": "F"}]},
            "column 0 of table 1 of encdiff is called 'D' before and 'F' here.",
        ),
    ],
)
def test_a_broken_line_is_named(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = save(tmp_path / "n.jsonl", LINE, {**LINE, **change})
    with pytest.raises(DisbenchError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert sentence in str(caught.value)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.jsonl cannot be read: No such file"):
        read(tmp_path / "nowhere.jsonl")
    for line, sentence in (
        ({key: value for key, value in LINE.items() if key not in ("note", "how")}, "line 1: it lacks how, note."),
        ([1], "line 1: it must be an object with the fields"),
    ):
        with pytest.raises(DisbenchError, match=sentence):
            read(save(tmp_path / "n.jsonl", line))
    path = tmp_path / "n.jsonl"
    path.write_text('{"method": \n')
    with pytest.raises(DisbenchError, match="line 1: it is not JSON"):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DisbenchError, match="not UTF-8"):
        read(path)
