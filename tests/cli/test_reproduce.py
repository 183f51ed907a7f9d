"""`disbench reproduce`, as a user types it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from disbench import registry
from disbench.cli import main
from disbench.cli_study import parse_seeds
from disbench.errors import UsageError
from disbench.protocols import PROTOCOLS
from tests.study import noted, save_board
from tests.study.reproductions import ENTRIES, PROTOCOL, RECIPE, seconds_per_step

SMALL = ["reproduce", "small", "--dataset", "board.npz"]


@pytest.fixture(autouse=True)
def small_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timed = {name: dataclasses.replace(entry, seconds_per_step=seconds_per_step) for name, entry in ENTRIES.items()}
    timed["plain"] = dataclasses.replace(timed["plain"], train=quietly)
    monkeypatch.setattr(registry, "models", lambda: timed)
    monkeypatch.setattr("disbench.reproductions.RECIPES", {"small": RECIPE})
    monkeypatch.setitem(PROTOCOLS, "tiny two", PROTOCOL)
    monkeypatch.chdir(tmp_path)
    save_board(tmp_path / "board.npz")


def quietly(*of_run: Any, **told: Any) -> Path:
    train = ENTRIES["plain"].train
    assert train is not None
    return train(*of_run, **{**told, "progress": False})


def words(text: str) -> list[str]:
    return text.split()


def rows(table: str) -> list[list[str]]:
    """The words of each line below the first rule."""
    return [line.split() for line in table.split("-\n", 1)[1].splitlines()]


def test_a_dry_run_prints_the_plan_and_its_hours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seeds", "0-9", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Nobody 1900, on board.npz\n")
    assert ["Small", "1", *words("0.500 ± 0.100 0.250 ± 0.125 output runs/small-board.npz-seed*")] in rows(out)
    assert ["plain", *words("0 0 0 1 10 36.000 0.10 runs/plain-board.npz-seed*")] in rows(out)
    assert ["small", *words("0 ... 9 0 0 10 10 36.000 1.00 runs/small-board.npz-seed*")] in rows(out)
    assert ["all", *words("0 0 11 10 36.000 1.10")] in rows(out)
    assert "- misprinted\n" in out
    assert "timed on cpu with 1 thread with random weights" in out
    assert "Not in them either: 10 scores" in out
    assert "config timed" in err
    assert not Path("runs").exists()


def test_the_table_is_printed_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main([*SMALL, "--ablation", "scored", "--out", "my runs"]) == 0
        out, err = capsys.readouterr()
        assert out.split()[:4] == ["row", "table", "seeds", "F"]
        assert [row[:4] for row in rows(out)] == [["pairs", "2", "0,", "1"], ["codes", "-", "0,", "1"],
                                                  ["hot", "3", "0,", "1"]]  # fmt: skip
        assert "small-board.npz-scored.md" in err
    assert len(noted(Path("my runs"), "trained")) == 5
    assert Path("my runs/small-board.npz-scored.md").is_file()
    assert main([*SMALL, "--ablation", "scored", "--out", "my runs", "--seeds", "3,", "--dry-run"]) == 0
    assert "2 scores come on top" not in capsys.readouterr().out


def test_failures_are_listed_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--ablation", "fails"]) == 1
    out, err = capsys.readouterr()
    assert "not published" in out
    assert err.endswith("disbench: 1 run failed:\n  small-board.npz-fails_at=1-seed1: the loss is not finite.\n")


def test_what_to_type_after_an_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("disbench.reproduce.run_jobs", interrupted)
    assert main([*SMALL, "--seeds", "0-1"]) == 130
    assert "Go on with: disbench reproduce small --dataset board.npz --seeds 0-1\n" in capsys.readouterr().err


def test_seeds_are_numbers_lists_and_ranges() -> None:
    assert parse_seeds("3") == 3
    assert parse_seeds("3,") == [3]
    assert parse_seeds("0-14") == list(range(15))
    assert parse_seeds("0-2, 7,9-9") == [0, 1, 2, 7, 9]
    for text in ("3-1", "a-b", "1-", "0-2-4", "1,x"):
        with pytest.raises(UsageError, match="--seeds is a number of seeds"):
            parse_seeds(text)


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["reproduce", "smal", "--dataset", "board.npz"], "there is no recipe called 'smal'; did you mean 'small'?"),
        ([*SMALL, "--ablation", "scord"], "did you mean 'scored'?"),
        ([*SMALL, "--seeds", "two"], "--seeds is a number of seeds"),
        ([*SMALL, "--preset", "breif"], "did you mean 'brief'?"),
        ([*SMALL, "--data-dir", "nowhere"], "there is no folder nowhere"),
        ([*SMALL, "--device", "nowhere", "--dry-run"], "device 'nowhere' cannot be used here"),
        ([*SMALL, "--jobs", "0"], "jobs must be at least 1"),
    ):
        assert main(words) == 2, words
        assert sentence in capsys.readouterr().err
