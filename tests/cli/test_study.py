"""`disbench study`, and `disbench score` of many models, as a user types them."""

import json
from pathlib import Path

import pytest

from disbench import registry
from disbench.cli import main
from disbench.grids import STUDIES
from disbench.protocols import PROTOCOLS
from tests.study import ENTRIES, PROTOCOL, STUDY, noted, save_board

TINY = ["study", "tiny", "--dataset", "board.npz"]
PLAIN = [*TINY, "--models", "plain"]
SCORE = ["score", "--dataset", "board.npz", "--protocol", "tiny", "--model"]


@pytest.fixture(autouse=True)
def tiny_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "models", lambda: ENTRIES)
    monkeypatch.setitem(STUDIES, "tiny", STUDY)
    monkeypatch.setitem(PROTOCOLS, "tiny", PROTOCOL)
    monkeypatch.chdir(tmp_path)
    save_board(tmp_path / "board.npz")


def rows(table: str) -> list[list[str]]:
    """The words of each line below the rule."""
    return [line.split() for line in table.splitlines()[2:]]


def test_a_dry_run_says_what_would_be_trained_and_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAIN, "--seeds", "1"]) == 0
    Path("runs/plain-board.npz-seed2").mkdir()
    capsys.readouterr()
    assert main([*TINY, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out.split()[:8] == ["model", "setting", "seeds", "finished", "begun", "to", "train", "folders"]
    assert rows(out) == [
        ["linear", "beta=1", *["0", "...", "2", "0", "0", "3"], "runs/linear-board.npz-beta=1-seed*"],
        ["linear", "beta=2.5", *["0", "...", "2", "0", "0", "3"], "runs/linear-board.npz-beta=2.5-seed*"],
        ["plain", *["0", "...", "2", "1", "1", "1"], "runs/plain-board.npz-seed*"],
        ["all", "1", "1", "7"],
    ]
    assert err == ""
    assert noted(Path("runs"), "trained") == ["plain-board.npz-seed0"]


def test_study_prints_a_table_of_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "--values", "1", "--seeds", "0,2", "--set", "steps=5", "--preset", "brief", "--models", "linear"]
    for counts in ("2 0 0", "0 2 0"):
        assert main([*words, "--out", "my runs"]) == 0
        out, err = capsys.readouterr()
        assert rows(out) == [
            ["linear", "beta=1", "0,", "2", *counts.split(), "my", "runs/linear-board.npz-beta=1-seed*"]
        ]
        assert ("2/2" in err) == (counts == "2 0 0")
    told = json.loads(Path("my runs/linear-board.npz-beta=1-seed2/study.json").read_text())
    assert (told["model"], told["dataset"], told["train_seed"]) == ("linear", "board.npz", 2)
    assert (told["steps"], told["beta"]) == (5, 1.0)


def test_failures_are_listed_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAIN, "--set", "fails_at=0"]) == 1
    out, err = capsys.readouterr()
    assert rows(out)[0][:7] == ["plain", *["0", "...", "2", "2", "0", "1"]]
    assert err.endswith("disbench: 1 run failed:\n  plain-board.npz-seed0: the loss is not finite.\n")
    assert main(["--debug", *PLAIN, "--set", "fails_at=0"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_what_to_type_after_an_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*PLAIN, "--set", "stops_at=1"]) == 143
    go_on = "what is trained is kept. Go on with: disbench study tiny --dataset board.npz --models plain"
    assert f"{go_on} --set stops_at=1\n" in capsys.readouterr().err

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("disbench.study.run_jobs", interrupted)
    assert main([*PLAIN, "--out", "other"]) == 130
    assert go_on in capsys.readouterr().err


def test_scores_of_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAIN, "--seeds", "1,", "--score", "tiny", "--records", "scores.jsonl"]) == 0
    (record,) = map(json.loads, Path("scores.jsonl").read_text().splitlines())
    assert record["model"]["train"]["train_seed"] == 1
    assert record["run"]["command"].startswith("disbench study tiny")


def test_a_pattern_scores_many_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAIN, "--seeds", "2"]) == 0
    capsys.readouterr()
    for _ in range(2):  # the second time from the file
        assert main([*SCORE, "runs/*/ckpt.pt", "--out", "all.jsonl"]) == 0
        out, err = capsys.readouterr()
        assert out.split()[:2] == ["model", "mig"]
        assert [row[0] for row in rows(out)] == ["plain-board.npz-seed0", "plain-board.npz-seed1"]
        assert all(0 <= float(row[1]) <= 1 for row in rows(out))
        assert "2/2" in err
    assert len(Path("all.jsonl").read_text().splitlines()) == 2
    assert main([*SCORE, "runs/plain-*-seed?", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["model"]["train"]["train_seed"] for record in found] == [0, 1]


def test_models_that_cannot_be_scored_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAIN, "--seeds", "2"]) == 0
    Path("runs/plain-board.npz-seed0/ckpt.pt").write_bytes(b"")
    assert main([*SCORE, "runs/*/ckpt.pt"]) == 1
    out, err = capsys.readouterr()
    assert [row[0] for row in rows(out)][-1] == "plain-board.npz-seed1"
    assert "1 model failed:\n  runs/plain-board.npz-seed0/ckpt.pt: " in err
    assert "cannot be read as a checkpoint" in err


def test_models_of_one_name_are_told_apart_and_gaps_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("a", "b"):
        assert main([*PLAIN, "--seeds", "1", "--out", out]) == 0
    capsys.readouterr()
    assert main([*SCORE, "?/*/ckpt.pt", "--metrics", "mig,mse"]) == 1
    out, err = capsys.readouterr()
    assert [row[0] for row in rows(out)] == [f"{folder}/plain-board.npz-seed0/ckpt.pt" for folder in "ab"]
    assert [row[2] for row in rows(out)] == ["-", "-"]
    assert "disbench: mse is not applicable for 2 of 2 models: " in err


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["study", "tinny", "--dataset", "board.npz"], "there is no study called 'tinny'"),
        ([*TINY, "--seeds", "two"], "--seeds is a number of seeds, as 3, or a list of them"),
        ([*TINY, "--seeds", "-2"], "seeds are whole numbers from 0 on"),
        ([*TINY, "--models", "plane"], "did you mean 'plain'"),
        ([*TINY, "--set", "steps"], "expected NAME=VALUE"),
        ([*TINY, "--jobs", "0", "--dry-run"], "jobs must be at least 1"),
        ([*TINY, "--records", "a.jsonl"], "name a protocol with --score"),
        ([*TINY, "--backend", "dask"], "--scheduler tcp://host:8786"),
        ([*TINY, "--data-dir", "nowhere"], "there is no folder nowhere"),
        ([*SCORE, "runs/*/ckpt.pt"], "no file fits the pattern 'runs/*/ckpt.pt'"),
        ([*SCORE, "*.npz", "--codes-out", "codes.npz"], "--codes-out keeps the codes of one model"),
        ([*SCORE, "*.npz", "--metrics", "migg"], "did you mean 'mig'"),
        ([*SCORE, "*.npz", "--out", "."], "cannot be opened for writing"),
        ([*SCORE, "board.npz", "--jobs", "2"], "--jobs is for several models"),
    ):
        assert main(words) == 2, words
        assert sentence in capsys.readouterr().err
    assert not Path("runs").exists()
