"""`disbench leaderboard` as typed: what it prints, keeps, checks and refuses."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from disbench import registry
from disbench.cli import main
from disbench.entries import folder
from disbench.records import read
from tests.boards.test_boards import put, record, seeds

__all__ = ["put"]


@pytest.fixture
def boards(put: Callable[..., Path]) -> Path:
    """A folder of two rows and the published numbers, its pages written."""
    put("quiet", seeds("beta_vae-rooms3d", [0.4, 0.5, 0.6]))
    place = put("loud", seeds("factor_vae-rooms3d", [0.1, 0.2, 0.3], kind="factor_vae"))
    shutil.copy(folder() / "published.jsonl", place)
    assert main(["leaderboard", "--boards", str(place), "--write"]) == 0
    return place


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["leaderboard", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["leaderboard", *words]) == 2
    found = capsys.readouterr()
    assert not found.out
    return found.err


def test_measured_and_published_are_told_apart(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--boards", str(boards))
    assert "rooms3d, locatello2019: measured" in text
    assert "shapes3d: published, not measured here" in text
    assert "published" not in printed(capsys, "--boards", str(boards), "--measured")
    assert ": measured" not in printed(capsys, "--boards", str(boards), "--published")


def test_choices_narrow_it_down(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--boards", str(boards), "--format", "csv")
    rows = list(
        csv.DictReader(io.StringIO(printed(capsys, *words, "--dataset", "shapes3d,rooms3d", "--metric", "dci")))
    )
    assert {row["dataset"] for row in rows} == {"shapes3d"}
    assert {row["value"].partition(".")[0] for row in rows} == {"dci"}
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *words, "--family", "diffusion", "--dataset", "cars3d"))))
    assert {row["method"] for row in rows} >= {"EncDiff", "DisDiff-VQ"}
    assert "FactorVAE" not in {row["method"] for row in rows}


def test_a_papers_table_as_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--paper", "dyga", "--table", "1", "--format", "md")
    assert "| EncDiff | 0.773 ± 0.060 | 0.279 ± 0.022 | 0.999 ± 0.000 | **0.969 ± 0.030** |" in text
    assert "Misprint" in text


def test_measured_columns_stand_beside_published_ones(
    put: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = registry.models()["encdiff"].config()
    of_ours = {"kind": "encdiff", "dataset": "shapes3d", "protocol": "encdiff2024", "config": asdict(config)}
    put("encdiff", seeds("encdiff-shapes3d", [0.9, 0.95, 1.0], steps=config.steps, **of_ours), dataset="shapes3d")
    put("short", seeds("encdiff-shapes3d", 5 * [0.1], steps=40, **of_ours), dataset="shapes3d")
    tokens = [
        record(f"e-seed{k}:tokens", 0.2, seed=k, steps=config.steps, method="tokens", **of_ours) for k in range(9)
    ]
    put("tokens", tokens, dataset="shapes3d")
    other = {**of_ours, "config": {**asdict(config), "n_codes": 5}}
    place = put("fewer", seeds("e-shapes3d", 9 * [0.3], steps=config.steps, **other), dataset="shapes3d")
    line = json.loads((folder() / "published.jsonl").read_text().splitlines()[0])
    cell = {**line["printed_in"][0], "value": 0.9, "spread": 0.1, "row": 0, "column": 0, "label": "EncDiff"}
    how = {"model": "encdiff", "settings": {}, "method": ""}
    line |= {"metric": "mig", "dataset": "shapes3d", "value": 0.9, "spread": 0.1, "how": how, "printed_in": [cell]}
    (place / "published.jsonl").write_text(json.dumps(line) + "\n")
    text = printed(capsys, "--boards", str(place), "--paper", cell["paper"], "--table", cell["table"])
    row = next(line for line in text.splitlines() if line.startswith("EncDiff"))
    assert row.split() == ["EncDiff", "0.9", "±", "0.1", "0.950", "±", "0.050", "+0.5"]
    assert "Measured: encdiff (3 train seeds), protocol encdiff2024." in text


def test_explain_goes_down_to_the_commands(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--boards", str(boards), "--explain", "quiet/rooms3d/mig")
    assert text.startswith("quiet, mig on rooms3d: 0.5, the mean of 3 train seeds (measured)")
    assert "results/rooms3d/quiet.jsonl, line 2" in text
    assert text.count("scored by   disbench score") == 3
    text = printed(capsys, "--explain", "EncDiff/cars3d/factor_vae")
    assert "0.773 ± 0.060 (published)" in text
    assert "misaligned labels" in text


def test_your_own_records_can_be_shown(boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.jsonl"
    shutil.copy(boards / "results" / "rooms3d" / "quiet.jsonl", own)
    text = printed(capsys, "--boards", str(boards), "--records", str(own), "--measured")
    assert "beta_vae-rooms3d" in text


def test_html_and_files(boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "board.html"
    assert not printed(capsys, "--boards", str(boards), "--format", "html", "--measured", "--out", str(out))
    assert out.read_text().lower().startswith("<!doctype html>")


def test_check_finds_what_is_not_as_the_records_give_it(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["leaderboard", "--boards", str(boards), "--check"]
    assert main(check) == 0
    page = boards / "README.md"
    page.write_text(page.read_text().replace("0.500", "0.501"))
    assert main(check) == 1
    assert (
        f"README.md is not what the records give: disbench leaderboard --write --boards {boards}"
        in capsys.readouterr().err
    )
    assert main([*check[:-1], "--write"]) == 0
    (boards / "index.html").unlink()
    assert main(check) == 1
    assert "index.html is missing" in capsys.readouterr().err


def test_the_boards_that_came_with_disbench_are_sound() -> None:
    assert main(["leaderboard", "--check"]) == 0


def test_wrong_words_are_refused(boards: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = ("--boards", str(boards))
    assert "did you mean 'shapes3d'" in refused(capsys, *place, "--dataset", "shapes4d")
    assert "no metric 'migg'; did you mean 'mig'" in refused(capsys, *place, "--metric", "migg")
    assert "no family 'vea'; did you mean 'vae'" in refused(capsys, *place, "--family", "vea")
    assert "nothing on the boards is all of that" in refused(capsys, *place, "--dataset", "rooms3d", "--family", "gan")
    assert "nothing on the boards is all of that" in refused(capsys, *place, "--dataset", "rooms3d", "--published")
    assert "--explain is text; leave out --format" in refused(capsys, "--explain", "a/b/c", "--format", "json")
    assert "--paper and --table go together" in refused(capsys, "--paper", "encdiff")
    assert "did you mean 'encdiff'" in refused(capsys, "--paper", "encdif", "--table", "1")
    assert "no numbers of a table '9'" in refused(capsys, "--paper", "encdiff", "--table", "9")
    assert "--explain takes METHOD/DATASET/METRIC" in refused(capsys, "--explain", "rooms3d")
    assert "did you mean 'quiet'" in refused(capsys, *place, "--explain", "quie/rooms3d/mig")
    assert "there is no folder of boards at" in refused(capsys, "--boards", str(tmp_path / "nowhere"))
    assert "leave out --metric" in refused(capsys, *place, "--check", "--metric", "mig")
    assert "cannot be read" in refused(capsys, *place, "--records", str(tmp_path / "nowhere.jsonl"))


def test_submit(boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.jsonl"
    model = tmp_path / "mine.py"
    model.write_text("def encode(images):\n    return images.mean((1, 3))[:, :10]\n")
    words = ["--model", f"{model}:encode", "--dataset", "xysquares", "--protocol", "quick", "--metrics", "mig"]
    assert main(["score", *words, "--out", str(out)]) == 0
    assert main(["leaderboard", "submit", str(out), "--boards", str(boards), "--dry-run"]) == 0
    target = boards / "results" / "xysquares" / "mine.py_encode.jsonl"
    assert not target.exists()
    assert main(["leaderboard", "submit", str(out), "--boards", str(boards)]) == 0
    assert "added; not scored again (--codes)" in capsys.readouterr().err
    assert list(read(target)) == list(read(out))
    assert main(["leaderboard", "submit", str(tmp_path / "nowhere.jsonl"), "--boards", str(boards)]) == 2
    (tmp_path / "bad.jsonl").write_text(json.dumps(record("a")) + "\n")
    assert main(["leaderboard", "submit", str(tmp_path / "bad.jsonl"), "--boards", str(boards)]) == 1
    assert "bad.jsonl, line 1: it has no hash of its own" in capsys.readouterr().err
