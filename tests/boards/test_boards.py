"""Boards of records: rows, columns by identity, ranks, what is on the way, and what may contradict."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from disbench import DisbenchError, UsageError, board_check, boards, records
from disbench.boards import Board, Cell, make_boards, make_curves
from disbench.entries import read_entries

SETTINGS = {"num_train": 10_000, "bins": 20}


def record(name: str, mig: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    """A record of one value, mig, by default of train seed 0 of a beta_vae."""
    dataset = {"name": changes.get("dataset", "rooms3d"), "content_hash": changes.get("content", "c" * 64)}
    metrics = {"mig": {"version": changes.get("version", 1), "settings": changes.get("settings", SETTINGS)}}
    protocol = {"name": changes.get("protocol", "locatello2019"), "version": changes.get("protocol_version", 3)}
    key = records.make_key(protocol, dataset, metrics, changes.get("reducer"))
    train = {"dataset": dataset["name"], "train_seed": changes.get("seed", 0), "steps": changes.get("steps", 10)}
    if "planned" in changes:
        train["planned_steps"] = changes["planned"]
    status = "ok" if mig is not None else "undefined"
    return {
        "schema": records.SCHEMA,
        "key": key,
        "identity": records.identity(key),
        "model": {
            "name": name, "kind": changes.get("kind", "beta_vae"), "config": changes.get("config", {}),
            "method": changes.get("method", ""), "train": train, "input_range": [0.0, 1.0],
            "content_hash": changes.get("model", f"{name} {changes}"), "n_codes": 10,
        },
        "sample": {"eval_seeds": changes.get("eval_seeds", [0])},
        "scores": {"mig": {"value": mig, "status": status, "reason": "" if mig is not None else "no code is alive"}},
        "details": {"mig": {}},
        "run": {"versions": {"disbench": "0.1.0"}, "command": "disbench score", "seconds": {}, "device": "cpu"},
    }  # fmt: skip


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write records to results/DATASET/ROW.jsonl of a boards folder; returns the folder."""

    def write(row: str, found: Iterable[Mapping[str, Any]], dataset: str = "rooms3d") -> Path:
        path = tmp_path / "results" / dataset / f"{row}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(records.to_line(one) + "\n" for one in found))
        return tmp_path

    return write


def only(place: Path) -> Board:
    (board,) = make_boards(read_entries(place))
    return board


def cells(board: Board) -> dict[str, Cell]:
    (column,) = board.columns
    return {row.label: row.cells[column.key] for row in board.rows}


def seeds(name: str, values: Iterable[float | None], **changes: Any) -> list[dict[str, Any]]:
    return [record(f"{name}-seed{seed}", value, seed=seed, **changes) for seed, value in enumerate(values)]


def test_train_seeds_are_a_row_with_an_interval(put: Callable[..., Path]) -> None:
    found = cells(only(put("quiet", seeds("beta_vae-rooms3d", [0.4, 0.5, 0.6]))))["quiet"]
    assert found.mean == pytest.approx(0.5)
    assert found.std == pytest.approx(0.1)
    assert found.n_seeds == 3
    assert found.interval == pytest.approx((0.5 - 4.302653 * 0.1 / 3**0.5, 0.5 + 4.302653 * 0.1 / 3**0.5))
    assert [origin.train_seed for origin in found.origins] == [0, 1, 2]
    assert found.origins[1].file == "results/rooms3d/quiet.jsonl"
    assert found.origins[1].line == 2


def test_ranks_need_three_seeds_and_overlapping_intervals_tie(put: Callable[..., Path]) -> None:
    put("best", seeds("a", [0.80, 0.81, 0.82]))
    put("equal", seeds("b", [0.79, 0.81, 0.82]))
    put("worse", seeds("c", [0.50, 0.51, 0.52]))
    put("single", seeds("d", [0.99]))
    found = cells(only(put("pca10", [record("pca10", 1.0, kind="pca10", seed=None)])))
    assert {label: cell.rank for label, cell in found.items()} == {
        "best": 1, "equal": 1, "worse": 3, "single": None, "pca10": None,
    }  # fmt: skip
    assert {label for label, cell in found.items() if cell.is_best} == {"best", "equal"}


def test_of_a_metric_where_less_is_better_the_least_is_best() -> None:
    cells = {
        label: Cell(mean, (mean - 1, mean + 1), 1.0, 3, None, False, "", ())
        for label, mean in {"high": 30.0, "low": 10.0}.items()
    }
    ranked = boards._ranked(cells, "lower")
    assert {label: (cell.rank, cell.is_best) for label, cell in ranked.items()} == {
        "high": (2, False),
        "low": (1, True),
    }
    assert boards._ranked(cells, "") == {}


def test_what_is_not_applicable_anywhere_has_no_column(put: Callable[..., Path]) -> None:
    lacking = record("a", None)
    lacking["scores"]["mig"]["status"] = "not applicable"
    assert make_boards(read_entries(put("lacking", [lacking]))) == []
    board = only(put("there", [record("b", 0.5)]))
    assert [column.value for column in board.columns] == ["mig"]
    assert [row.cells[board.columns[0].key].mean for row in board.rows] == [None, 0.5]


def test_without_ranks_the_best_trained_row_is_marked(put: Callable[..., Path]) -> None:
    put("one", seeds("a", [0.3]))
    put("two", seeds("b", [0.4]))
    found = cells(only(put("true_factors", [record("true_factors", 1.0, kind="true_factors", seed=None)])))
    assert [label for label, cell in found.items() if cell.is_best] == ["two"]
    assert list(found) == ["one", "two", "true_factors"]


@pytest.mark.parametrize(
    ("changes", "header"),
    [({"version": 2}, "mig (version 1)"), ({"reducer": "pca"}, "mig (no reducer)"),
     ({"settings": {"num_train": 10_000, "bins": 30}}, "mig (bins=20)")],
)  # fmt: skip
def test_numbers_of_another_identity_have_a_column_of_their_own(
    changes: dict[str, Any], header: str, put: Callable[..., Path]
) -> None:
    board = only(put("row", [record("a"), record("a", 0.7, **changes)]))
    assert len(board.columns) == 2
    assert header in [column.header for column in board.columns]
    (row,) = board.rows
    assert sorted(cell.mean or 0 for cell in row.cells.values()) == [0.5, 0.7]


def test_the_version_of_a_protocol_is_no_part_of_a_number(put: Callable[..., Path]) -> None:
    board = only(put("row", [record("a", protocol_version=1), record("a", protocol_version=2)]))
    assert len(board.columns) == 1
    assert cells(board)["row"].n_seeds == 1


def test_another_content_or_protocol_is_another_board(put: Callable[..., Path]) -> None:
    put("row", [record("a"), record("a", content="d" * 64), record("a", protocol="quick")])
    found = [(b.dataset_hash[0], b.protocol) for b in make_boards(read_entries(put("other", [record("b")])))]
    assert found == [("c", "locatello2019"), ("c", "quick"), ("d", "locatello2019")]


def test_a_file_of_several_models_names_its_rows_by_them(put: Callable[..., Path]) -> None:
    board = only(put("all", [*seeds("beta_vae-rooms3d", [0.1, 0.2]), record("factor_vae-rooms3d-seed0")]))
    assert [row.label for row in board.rows] == ["beta_vae-rooms3d", "factor_vae-rooms3d"]
    assert [row.family for row in board.rows] == ["vae", "vae"]


def test_rows_differ_by_settings_method_and_length(put: Callable[..., Path]) -> None:
    found = [
        *seeds("a-rooms3d", [0.1, 0.2, 0.3]),
        *seeds("a-rooms3d", [0.4, 0.5, 0.6], steps=20),
        *seeds("a-rooms3d", [0.7, 0.8, 0.9], config={"beta": 8.0}),
        *[record(f"a-rooms3d-seed{k}:tokens", 0.5, seed=k, method="tokens") for k in range(3)],
    ]
    board = only(put("row", found))
    assert {label: (cell.n_seeds, round(cell.mean or 0, 1)) for label, cell in cells(board).items()} == {
        "a-rooms3d": (3, 0.2), "a-rooms3d, 20 steps": (3, 0.5), "a-rooms3d, 10 steps": (3, 0.8),
        "a-rooms3d:tokens": (3, 0.5),
    }  # fmt: skip
    assert {(row.method, row.config.get("beta")) for row in board.rows} == {("", None), ("", 8.0), ("tokens", None)}


def test_an_undefined_number_leaves_the_row_without_one(put: Callable[..., Path]) -> None:
    found = cells(only(put("row", seeds("a", [0.1, None, 0.3]))))["row"]
    assert (found.mean, found.rank, found.reason) == (None, None, "undefined: no code is alive")


def test_the_record_of_most_eval_seeds_counts(put: Callable[..., Path]) -> None:
    many = record("a-seed0", 0.6, eval_seeds=[0, 1, 2])
    assert cells(only(put("row", [many, record("a-seed0", 0.5)])))["row"].mean == 0.6


def test_what_was_scored_on_the_way_is_a_curve_and_no_row(put: Callable[..., Path]) -> None:
    along = [record("a-seed0", value, steps=step, planned=30) for step, value in ((0, 0.1), (10, 0.2), (30, 0.4))]
    place = put("row", along)
    assert cells(only(place))["row"].mean == 0.4
    (curve,) = make_curves(read_entries(place))
    assert curve.points == {"mig": ((0, 0.1), (10, 0.2), (30, 0.4))}


def test_a_whole_run_alone_is_no_curve(put: Callable[..., Path]) -> None:
    assert not make_curves(read_entries(put("row", [record("a-seed0", steps=30, planned=30)])))


def test_contradictions_are_found(put: Callable[..., Path]) -> None:
    twice = [record("a-seed0", 0.5), record("a-seed0", 0.5004), record("a-seed0", 0.51)]
    found = board_check.contradictions(read_entries(put("row", twice)))
    (said,) = found
    assert said.startswith("results/rooms3d/row.jsonl, line 1 and results/rooms3d/row.jsonl, line 3 disagree on mig")
    assert said.endswith("of a-seed0: 0.5 and 0.51.")
    two = [record("a-seed0", model="x"), record("a-seed0", model="y")]
    found = board_check.contradictions(read_entries(put("row", two)))
    assert [said.partition(", line 2 ")[2] for said in found] == ["are two models of one name, train seed and length."]


def test_records_in_the_wrong_place_are_found(put: Callable[..., Path]) -> None:
    place = put("row", [record("a"), record("a"), record("b", dataset="shapes3d")])
    path = place / "results" / "rooms3d" / "row.jsonl"
    path.write_text(path.read_text() + json.dumps(record("c")) + "\n" + records.to_line(record("d"))[:90])
    assert board_check.misplaced(place) == [
        "results/rooms3d/row.jsonl, line 2 is results/rooms3d/row.jsonl, line 1 once more.",
        "results/rooms3d/row.jsonl, line 3 is of shapes3d, and lies in the folder of rooms3d.",
        "results/rooms3d/row.jsonl, line 4 has no hash: score the model again, or submit it.",
        "results/rooms3d/row.jsonl, line 5 is the beginning of a record; delete it.",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [('"value": 0.5', '"value": 0.9'), ('"train_seed": 0', '"train_seed": 1'), ('"command": "', '"command": "sudo ')],
)
def test_an_edited_record_is_refused(old: str, new: str, put: Callable[..., Path]) -> None:
    place = put("row", [record("a")])
    path = place / "results" / "rooms3d" / "row.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DisbenchError, match=r"row\.jsonl, line 1: the record's hash does not fit what is in it"):
        read_entries(place)


def test_a_truncated_last_line_is_passed_over(put: Callable[..., Path]) -> None:
    place = put("row", [record("a"), record("b")])
    path = place / "results" / "rooms3d" / "row.jsonl"
    path.write_text(path.read_text()[:-200])
    assert len(read_entries(place)) == 1


def test_a_record_of_a_newer_schema_is_refused(put: Callable[..., Path]) -> None:
    place = put("row", [{**record("a"), "schema": "disbench.record/2"}])
    with pytest.raises(DisbenchError, match="a newer disbench may have written it"):
        read_entries(place)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder of boards at"):
        read_entries(tmp_path / "nowhere")


SHAPES: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("train", lambda r: r["model"].update(train=None), r"model\.train is NoneType; expected dict"),
    ("steps", lambda r: r["model"]["train"].update(steps="10"), r"model\.train\.steps is str; expected int or null"),
    ("name", lambda r: r["model"].update(name=3), r"model\.name is int; expected str"),
    ("long name", lambda r: r["model"].update(name="n" * 300), "name has more than 200 characters"),
    ("kind", lambda r: r["model"].update(kind=["a"]), r"model\.kind is list; expected str"),
    ("data set", lambda r: r["key"].pop("dataset"), r"it has no key\.dataset\."),
    ("value", lambda r: r["scores"]["mig"].update(value="0.5"), "value is str; expected int or float or null"),
    ("truth", lambda r: r["scores"]["mig"].update(value=True), "value is bool; expected int or float or null"),
    ("command", lambda r: r["run"].update(command=None), r"run\.command is NoneType; expected str"),
    ("metric", lambda r: r["key"]["metrics"].update(mig=3), r"key\.metrics\.mig is int; expected dict"),
]


@pytest.mark.parametrize(("edit", "message"), [pytest.param(e, m, id=name) for name, e, m in SHAPES])
def test_a_record_of_another_shape_is_named_and_refused(
    edit: Callable[[dict[str, Any]], Any], message: str, put: Callable[..., Path]
) -> None:
    one = record("a")
    edit(one)
    with pytest.raises(DisbenchError, match=rf"row\.jsonl, line 1: .*{message}"):
        read_entries(put("row", [one]))


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"schema": ' + "9" * 5_000 + "}", '{"schema": NaN}', '{"schema": 1e999}', "3", "null", "[]"],
)
def test_json_that_is_no_record_is_refused(line: str, put: Callable[..., Path]) -> None:
    place = put("row", [])
    (place / "results" / "rooms3d" / "row.jsonl").write_text(line + "\n")
    with pytest.raises(DisbenchError, match="line 1: "):
        read_entries(place)
