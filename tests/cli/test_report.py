"""`disbench report` as a user types it."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disbench import records, registry
from disbench.cli_report import add_report
from disbench.entries import folder
from disbench.errors import DisbenchError, UsageError
from disbench.evaluation import evaluate
from disbench.models import load_model
from disbench.neighbours import Neighbour
from disbench.report_file import write_report

SHIPPED = "beta_vae-rooms3d"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: the shipped checkpoint with a record of it."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(registry.checkpoints()[SHIPPED].path, folder / "ckpt.pt")
    dataset = registry.load_dataset("rooms3d")
    out = folder / "score.jsonl"
    evaluate(
        str(folder / "ckpt.pt"), dataset, metrics="mig,sap", settings={"*.num_train": 200, "sap.num_test": 100}, out=out
    )
    return folder


@pytest.fixture
def run(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in a working folder of its own, beside no boards."""
    shutil.copytree(scored, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("disbench.neighbours.neighbours", lambda record, folder: {})
    return tmp_path / "run"


@pytest.fixture
def record(run: Path) -> dict[str, Any]:
    return next(records.read(run / "score.jsonl"))


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    def _keep(*kept: dict[str, Any], then: str = "") -> Path:
        path = tmp_path / "records.jsonl"
        path.write_text("".join(records.to_line(one) + "\n" for one in kept) + then)
        return path

    return _keep


def renamed(record: dict[str, Any], model: str = "", dataset: str = "", value: float | None = None) -> dict[str, Any]:
    key = record["key"] | ({"dataset": record["key"]["dataset"] | {"name": dataset}} if dataset else {})
    scores = (
        record["scores"] if value is None else record["scores"] | {"mig": record["scores"]["mig"] | {"value": value}}
    )
    of_model = record["model"] | ({"name": model} if model else {})
    return record | {"key": key, "identity": records.identity(key), "model": of_model, "scores": scores}


def report(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_report(parser)
    arguments = parser.parse_args(list(map(str, words)))
    return arguments.run(arguments)


def test_a_run_gets_a_page_with_pictures(run: Path, record: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run, "--device", "cpu") == 0
    assert capsys.readouterr().out == "report.html\n"
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "object_<wbr>hue" in page
    assert f"<title>{record['model']['name']} on rooms3d - disbench report</title>" in page
    assert sorted(path.name for path in run.parent.iterdir()) == ["report.html", "run"]


def test_a_record_alone_gets_one_without(run: Path, tmp_path: Path) -> None:
    assert report(run / "score.jsonl", "--out", tmp_path / "new" / "page.html") == 0
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "data:image" not in page.replace("img-src data:", "")
    assert "a record alone does not hold the model" in page


def test_a_page_of_the_same_name_is_replaced(run: Path) -> None:
    Path("report.html").write_text("old")
    assert report(run, "--no-images") == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.endswith("</html>\n")
    assert "Pictures were not asked for." in page


def test_a_page_that_fails_leaves_the_old_one(run: Path, record: dict[str, Any], keep: Callable[..., Path]) -> None:
    Path("report.html").write_text("old")
    with pytest.raises(DisbenchError, match="is not built as one"):
        report(keep(record | {"scores": 3}))
    assert Path("report.html").read_text() == "old"
    assert not list(Path().glob("*.part"))


def test_pictures_of_another_model_are_not_shown(run: Path, record: dict[str, Any]) -> None:
    other = record | {"model": record["model"] | {"content_hash": "0" * 64}}
    (run / "score.jsonl").write_text(records.to_line(other) + "\n")
    assert report(run) == 0
    assert "the checkpoint at hand is not the model that was scored" in Path("report.html").read_text()


def test_a_run_without_checkpoint_data_or_record_says_so(run: Path, record: dict[str, Any]) -> None:
    (run / "score.jsonl").write_text(records.to_line(renamed(record, dataset="/etc/passwd.npz")) + "\n")
    assert report(run) == 0
    assert "the data set &#x27;/etc/passwd.npz&#x27; has no name here" in Path("report.html").read_text()
    checkpoint = (run / "ckpt.pt").rename(run / "elsewhere.pt")
    assert report(run) == 0
    assert "the run has no ckpt.pt" in Path("report.html").read_text()
    (run / "score.jsonl").unlink()
    with pytest.raises(UsageError, match=r"is no run folder: it holds no config\.json, ckpt\.pt or score\.jsonl"):
        report(run)
    checkpoint.rename(run / "ckpt.pt")
    with pytest.raises(UsageError, match=r"holds no score\.jsonl; score the run first"):
        report(run)


def test_of_several_records_one_is_named(run: Path, record: dict[str, Any], keep: Callable[..., Path]) -> None:
    first, last = renamed(record, "a", value=0.1), renamed(record, "a", value=0.2)
    path = keep(first, last, renamed(record, "b"), renamed(record, "b", "dsprites"))
    with pytest.raises(
        UsageError, match=r"'a' on 'rooms3d', 'b' on 'rooms3d', 'b' on 'dsprites'; name one with --model"
    ):
        report(path)
    with pytest.raises(UsageError, match="name one with"):
        report(path, "--model", "b")
    with pytest.raises(UsageError, match=r"holds no record of 'c' on 'rooms3d'; it holds 'a' on 'rooms3d'"):
        report(path, "--model", "c", "--dataset", "rooms3d")
    assert report(path, "--model", "b", "--dataset", "dsprites") == 0
    assert report(path, "--model", "a") == 0
    page = Path("report.html").read_text()
    assert '<span class="number">0.2000</span>' in page
    assert '<span class="number">0.1000</span>' not in page


def test_files_that_are_no_records(run: Path, record: dict[str, Any], keep: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        report("nowhere.jsonl")
    with pytest.raises(DisbenchError, match="holds no whole record"):
        report(keep())
    with pytest.raises(DisbenchError, match="holds no whole record"):
        report(keep(then=records.to_line(record)[:200]))
    assert report(keep(record, then=records.to_line(record)[:200])) == 0
    with pytest.raises(DisbenchError, match="a newer disbench may have written it"):
        report(keep(record | {"schema": "disbench.record/2"}))
    with pytest.raises(DisbenchError, match="it was edited"):
        report(keep(then=records.to_line(record).replace("rooms3d", "rooms4d") + "\n"))
    with pytest.raises(DisbenchError, match=r"it has no model\.name"):
        report(keep(record | {"model": {}}))
    with pytest.raises(UsageError, match="it is a folder or a device"):
        report(keep(record), "--out", run)


def test_neighbours_come_from_the_boards(run: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def neighbours(of: Any, folder: Path) -> dict[str, list[Neighbour]]:
        asked.append((of, folder))
        return {"mig": [Neighbour("<b>paper</b>", "published", 0.5)]}

    monkeypatch.setattr("disbench.neighbours.neighbours", neighbours)
    assert report(run / "score.jsonl") == 0
    assert asked == [(record, folder())]
    assert "&lt;b&gt;paper&lt;/b&gt;" in Path("report.html").read_text()


def test_a_page_can_be_written_of_what_was_just_scored(run: Path, tmp_path: Path) -> None:
    dataset = registry.load_dataset("rooms3d")
    baseline = load_model("random_conv10").fitted(dataset)
    made = evaluate(baseline, dataset, metrics="mig", settings={"mig.num_train": 100}).record
    write_report(made, "page.html", model=baseline, dataset=dataset)
    assert "the model does not go back from codes to images" in Path("page.html").read_text()
    write_report(json.loads(records.to_line(made)), "same.html", model=baseline, dataset=dataset)
    assert Path("same.html").read_bytes() == Path("page.html").read_bytes()
