"""disbench compare, as a user types it."""

import json
from pathlib import Path

import pytest

from disbench.cli import main

MODEL = """
import torch

def weights(seed):
    return torch.randn(3 * 64 * 64, 4, generator=torch.Generator().manual_seed(seed))

def one(images, weights=weights(1)):
    return images.flatten(1) @ weights

def two(images, weights=weights(2)):
    return images.flatten(1) @ weights
"""


def record(name: str, *words: str) -> None:
    score = ["score", "--model", f"model.py:{name}", "--dataset", "rooms3d", "--metrics", "mig"]
    assert main([*score, "--set", "mig.num_train=99", "--out", f"{name}.jsonl", *words]) == 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    record("one", "--repeats", "3")
    record("two", "--repeats", "3")
    capsys.readouterr()
    return tmp_path


def test_a_table_and_what_its_noise_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one.jsonl", "two.jsonl"]) == 0
    out, err = capsys.readouterr()
    for text in (
        "A  model.py:one on rooms3d",
        "B  model.py:two",
        "95 % interval",
        "paired",
        "not the spread over training",
    ):
        assert text in out
    assert err == ""


def test_json_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one.jsonl", "two.jsonl", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["values"]["mig"]["verdict"] in ("larger than the noise", "within the noise")


def test_one_file_can_hold_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("all.jsonl").write_text(Path("one.jsonl").read_text() + Path("two.jsonl").read_text())
    assert main(["compare", "all.jsonl", "all.jsonl", "--model", "model.py:one,model.py:two"]) == 0
    out, err = capsys.readouterr()
    assert "A  model.py:one" in out
    assert "B  model.py:two" in out
    assert err == ""
    assert main(["compare", "all.jsonl", "one.jsonl"]) == 0
    assert "2 records of the same numbers" in capsys.readouterr().err


def test_without_a_verdict_the_status_is_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record("two", "--rerun")
    capsys.readouterr()
    assert main(["compare", "one.jsonl", "two.jsonl"]) == 1
    assert "score both with --repeats" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["one.jsonl", "no.jsonl"], 2, "no.jsonl cannot be read"),
        (["one.jsonl", "model.py"], 1, "this is no record"),
        (["one.jsonl", "two.jsonl", "--metrics", "mgi"], 2, "did you mean 'mig'?"),
        (["one.jsonl", "two.jsonl", "--model", "model.py:on"], 2, "did you mean 'model.py:one'?"),
        (["one.jsonl", "two.jsonl", "--model", "a,b,c"], 2, "one name or two"),
    ],
)
def test_wrong_input_ends_with_one_sentence(
    words: list[str], status: int, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err
