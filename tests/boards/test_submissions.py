"""A third party's records: what is checked, scored again from codes, and added."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from disbench import DisbenchError, UsageError, evaluate, records
from disbench.board_check import misplaced
from disbench.submissions import submit

MAGIC = {"value": 1, "status": "ok", "reason": ""}
EDITS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("protocol", lambda r: r["key"]["protocol"].update(name="mine"), "there is no protocol 'mine' here"),
    ("custom", lambda r: r["key"]["protocol"].update(name="quick+custom"), "a protocol of their own, which"),
    ("version", lambda r: r["key"]["metrics"]["mig"].update(version=9), "mig is version 9 there, and 1 here"),
    ("settings", lambda r: r["key"]["metrics"]["mig"]["settings"].update(bins=7), "ran with other settings than quick"),
    ("identity", lambda r: r["key"]["metrics"]["mig"].update(identity="0" * 64), "do not fit their settings"),
    ("data set", lambda r: r["key"]["dataset"].update(name="atlantis"), "there is no data set 'atlantis' here"),
    ("content", lambda r: r["key"]["dataset"].update(content_hash="f" * 64), "with another content"),
    ("range", lambda r: r["scores"]["mig"].update(value=1.5), r"mig is 1\.5; expected a number in 0 \.\.\. 1"),
    ("status", lambda r: r["scores"]["mig"].update(status="undefined"), "has the status 'undefined' and the number"),
    ("unknown value", lambda r: r["scores"].update(magic=MAGIC), "magic is no value of a metric that its key names"),
    ("no scores", lambda r: r.update(scores=3), "is not built as one: scores is int; expected dict"),
]  # fmt: skip


def encode(images: Tensor) -> Tensor:
    """Ten numbers of an image: means of ten of its stripes."""
    return images.mean((1, 3)).unflatten(1, (-1, 4)).mean(2)[:, :10]


@pytest.fixture(scope="module")
def submission(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A record of two metrics, and its codes."""
    folder = tmp_path_factory.mktemp("submission")
    codes = folder / "codes.npz"
    report = evaluate(
        encode,
        "xysquares",
        protocol="quick",
        metrics="mig,factor_vae",
        codes_out=codes,
        out=folder / "a.jsonl",
    )
    return json.loads(report.to_json()), codes


def file_of(record: dict[str, Any], folder: Path) -> Path:
    """A file of the record, sealed anew: an edit by someone who knows how hashes are made."""
    record["identity"] = records.identity(record["key"])
    path = folder / "submitted.jsonl"
    path.write_text(records.to_line(record) + "\n")
    return path


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    (tmp_path / "boards" / "results").mkdir(parents=True)
    return tmp_path / "boards"


def copy_of(submission: tuple[dict[str, Any], Path]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(submission[0]))
    return copied


def test_a_record_is_added_once(submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path) -> None:
    path = file_of(copy_of(submission), tmp_path)
    (first,) = submit(path, boards, codes=submission[1])
    assert first.file == boards / "results" / "xysquares" / "encode.jsonl"
    assert (first.was_there, first.rescored) == (False, ("factor_vae", "mig"))
    written = first.file.read_bytes()
    assert written == path.read_bytes()
    (again,) = submit(path, boards)
    assert (again.was_there, again.rescored) == (True, ())
    assert first.file.read_bytes() == written


def test_the_same_record_twice_in_one_file_is_added_once(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    path = file_of(copy_of(submission), tmp_path)
    path.write_text(2 * path.read_text())
    first, second = submit(path, boards)
    assert (first.was_there, second.was_there) == (False, True)
    assert len(first.file.read_text().splitlines()) == 1


@pytest.mark.parametrize(("edit", "message"), [pytest.param(e, m, id=name) for name, e, m in EDITS])
def test_what_a_board_cannot_take_is_refused(
    edit: Callable[[dict[str, Any]], Any],
    message: str,
    submission: tuple[dict[str, Any], Path],
    boards: Path,
    tmp_path: Path,
) -> None:
    record = copy_of(submission)
    edit(record)
    with pytest.raises(DisbenchError, match=rf"submitted\.jsonl, line 1: .*{message}"):
        submit(file_of(record, tmp_path), boards)
    assert not list((boards / "results").iterdir())


def test_an_identity_that_does_not_fit_is_found_out(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    record = copy_of(submission) | {"identity": "0" * 64}
    path = tmp_path / "submitted.jsonl"
    path.write_text(records.to_line(record) + "\n")
    with pytest.raises(DisbenchError, match="identity hash does not fit its key"):
        submit(path, boards)
    kept = boards / "results" / "xysquares" / "encode.jsonl"
    kept.parent.mkdir()
    path.rename(kept)
    assert misplaced(boards) == [
        "results/xysquares/encode.jsonl, line 1: its identity does not fit its key; score the model again."
    ]


def test_of_two_records_none_is_added_if_one_is_wrong(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    good = file_of(copy_of(submission), tmp_path).read_text()
    bad = copy_of(submission)
    bad["scores"]["mig"]["value"] = 2.0
    path = file_of(bad, tmp_path)
    path.write_text(good + path.read_text())
    with pytest.raises(DisbenchError, match=r"line 2: mig is 2\.0"):
        submit(path, boards)
    assert not list((boards / "results").iterdir())


def test_codes_that_give_other_scores_are_found_out(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    record = copy_of(submission)
    record["scores"]["mig"]["value"] = 0.99
    with pytest.raises(DisbenchError, match=r"mig of the given codes is 0\.0\d*, and the record says 0\.99"):
        submit(file_of(record, tmp_path), boards, codes=submission[1])


def test_codes_that_lack_images_are_found_out(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    with np.load(submission[1]) as arrays:
        np.savez(tmp_path / "few.npz", codes=arrays["codes"][:100], index=arrays["index"][:100])
    with pytest.raises(DisbenchError, match="lacks the codes of image"):
        submit(file_of(copy_of(submission), tmp_path), boards, codes=tmp_path / "few.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UsageError, match="is no table of codes as --codes-out writes it"):
        submit(file_of(copy_of(submission), tmp_path), boards, codes=tmp_path / "text.npz")


def test_codes_are_of_one_record(submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path) -> None:
    path = file_of(copy_of(submission), tmp_path)
    path.write_text(2 * path.read_text())
    with pytest.raises(UsageError, match="holds 2 records"):
        submit(path, boards, codes=submission[1])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DisbenchError, match="holds no record"):
        submit(tmp_path / "empty.jsonl", boards)


def test_a_hostile_name_stays_in_its_folder(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    record = copy_of(submission)
    record["model"]["name"] = "../../../etc/<script>\x1b[31m"
    (found,) = submit(file_of(record, tmp_path), boards)
    assert found.file.parent == boards / "results" / "xysquares"
    assert found.file.name.isprintable()


def test_a_record_without_a_hash_needs_its_codes(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    record = copy_of(submission)
    del record["hash"]
    path = tmp_path / "bare.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(DisbenchError, match="has no hash of its own"):
        submit(path, boards)
    (found,) = submit(path, boards, codes=submission[1])
    assert '"hash": "' in found.file.read_text()


def test_baselines_and_contradictions_are_refused(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    record = copy_of(submission)
    record["model"] |= {"name": "random_codes10", "kind": "random_codes10"}
    with pytest.raises(DisbenchError, match="random_codes10 is a baseline, which everybody can measure"):
        submit(file_of(record, tmp_path), boards)
    submit(file_of(copy_of(submission), tmp_path), boards)
    record = copy_of(submission)
    record["scores"]["mig"]["value"] = 0.5
    with pytest.raises(DisbenchError, match=r"contradicts the boards: .* disagree on mig of encode"):
        submit(file_of(record, tmp_path), boards)


def test_a_record_that_is_cut_off_is_named(
    submission: tuple[dict[str, Any], Path], boards: Path, tmp_path: Path
) -> None:
    path = file_of(copy_of(submission), tmp_path)
    path.write_text(path.read_text() + path.read_text()[:200])
    with pytest.raises(DisbenchError, match="line 2: this is the beginning of a record"):
        submit(path, boards)
    with pytest.raises(UsageError, match="there is no folder of boards"):
        submit(file_of(copy_of(submission), tmp_path), tmp_path / "nowhere")
