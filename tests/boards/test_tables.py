"""Boards as text, Markdown, LaTeX, CSV and JSON: what stands in cells, and what hostile strings become."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from disbench.board_tables import Shown, Table, latex, markdown, measured_table, render
from disbench.boards import make_boards
from disbench.entries import read_entries
from disbench.errors import printable
from tests.boards.test_boards import put, record, seeds

__all__ = ["put"]
HOSTILE = "<script>alert(1)</script>|`x`\\input{a}$\x1b[31m\u202ered\n* _b_"


@pytest.fixture
def table(put: Callable[..., Path]) -> Table:
    put("best", seeds("a-rooms3d", [0.80, 0.81, 0.82]))
    put("worse", seeds("b-rooms3d", [0.5, 0.51, 0.52]))
    put("none", seeds("c-rooms3d", [None]))
    place = put("true_factors", [record("true_factors", 1.0, kind="true_factors", seed=None)])
    (board,) = make_boards(read_entries(place))
    return measured_table(board)


def test_text(table: Table) -> None:
    text = render([table], "text")
    assert text.startswith("rooms3d, locatello2019: measured\n\nmethod ")
    assert [line.split() for line in text.splitlines()[4:8]] == [
        ["best", "3", "*0.810", "±", "0.010", "[1]*"],
        ["none", "1", "undefined"],
        ["worse", "3", "0.510", "±", "0.010", "[2]"],
        ["true_factors", "(ceiling)", "1.000"],
    ]
    assert "undefined: no code is alive." in text


def test_wide_tables_are_cut_into_blocks() -> None:
    wide = Table(
        "t", ("method", *(f"column{k}" for k in range(6))), ((Shown("row"), *(Shown("0.123") for _ in range(6))),)
    )
    text = render([wide], "text", 40)
    assert max(len(line) for line in text.splitlines()) <= 40
    assert text.count("method") == 3
    assert all(f"column{k}" in text for k in range(6))


def test_a_block_has_the_rows_that_have_numbers_in_it() -> None:
    rows = ((Shown("early"), Shown("0.123"), Shown("")), (Shown("late"), Shown(""), Shown("0.456")))
    text = render([Table("t", ("method", "a_long_name", "another_name"), rows)], "text", 24)
    assert (text.count("method"), text.count("early"), text.count("late")) == (2, 1, 1)


def test_long_tables_are_cut(put: Callable[..., Path]) -> None:
    (board,) = make_boards(read_entries(put("many", [record(f"model{k}", k / 7, seed=None) for k in range(7)])))
    assert len(measured_table(board).rows) == 7
    text = render([measured_table(board, 5)], "text")
    assert "model4 " in text
    assert "model5 " not in text
    assert "5 of 7 rows; `disbench leaderboard --format csv` gives all of them." in text


def test_markdown_and_latex_mark_the_best(table: Table) -> None:
    assert "| best | 3 | **0.810 ± 0.010 \\[1\\]** |" in render([table], "md")
    assert "best & 3 & \\textbf{0.810 $\\pm$ 0.010 {[}1{]}} \\\\" in render([table], "latex")


def test_csv_has_a_line_for_each_number(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(render([table], "csv"))))
    assert [(row["method"], row["kind"], row["rank"], row["interval_low"] != "") for row in rows] == [
        ("best", "trained", "1", True),
        ("none", "trained", "", False),
        ("worse", "trained", "2", True),
        ("true_factors", "ceiling", "", False),
    ]
    assert float(rows[0]["mean"]) == pytest.approx(0.81)
    assert rows[0]["records"].split() == [f"results/rooms3d/best.jsonl:{k}" for k in (1, 2, 3)]


def test_json_is_strict(table: Table) -> None:
    (found,) = json.loads(render([table], "json"))
    assert found["data"][0]["method"] == "best"


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    assert printable(HOSTILE).isprintable()
    assert "<" not in markdown(HOSTILE)
    assert markdown("a|b*c_d`e[f](g)") == "a\\|b\\*c\\_d\\`e\\[f\\](g)"
    assert latex("\\input{a}$x_y^z%&#~") == (
        "\\textbackslash{}input\\{a\\}\\$x\\_y\\textasciicircum{}z\\%\\&\\#\\textasciitilde{}"
    )
    table = Table(HOSTILE, (HOSTILE,), ((Shown(HOSTILE),),), (HOSTILE,), data=({"method": "=cmd()", "note": HOSTILE},))
    assert latex("β-TCVAE") == "$\\beta$-TCVAE"
    assert latex("[x]*") == "{[}x{]}{*}"
    assert "://" not in markdown("http://evil.example www.evil.example $x$")
    assert "$" not in markdown("$x$")
    for style in ("text", "md", "latex", "csv"):
        text = render([table], style)  # type: ignore[arg-type]
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in render([table], "md")
    assert "\\input{" not in render([table], "latex")
    assert render([table], "csv").splitlines()[1].startswith("'=cmd()")
