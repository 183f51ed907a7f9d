"""Records: one line each, whole, found again."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from disbench import DisbenchError, UsageError, evaluate
from disbench.files import replacing
from disbench.records import RecordFile, identity, read
from tests.conftest import TinyDataset, perfect_codes

MIG = {"metrics": "mig", "settings": {"mig.num_train": 100}}


def record_of(tiny: TinyDataset, **options: object) -> dict:
    return dict(evaluate(perfect_codes, tiny, **{**MIG, **options}).record)  # type: ignore[arg-type]


def test_a_record_has_what_repeating_it_takes(tiny: TinyDataset) -> None:
    record = record_of(tiny, command="disbench score --model m")
    assert record["key"]["protocol"] == {"name": "locatello2019+custom", "version": 1}
    assert record["key"]["dataset"] == {"name": "tiny", "content_hash": "0" * 64}
    mig = record["key"]["metrics"]["mig"]
    assert (mig["version"], mig["settings"]) == (1, {"num_train": 100, "bins": 20})
    assert record["identity"] == identity(record["key"])
    assert record["sample"]["eval_seeds"] == [0]
    assert record["run"]["command"] == "disbench score --model m"
    assert {"disbench", "torch", "numpy", "scikit-learn"} <= record["run"]["versions"].keys()


def test_identity_of_a_number_depends_on_what_may_share_a_column(tiny: TinyDataset) -> None:
    def own(record: dict) -> str:
        return record["key"]["metrics"]["mig"]["identity"]

    base = record_of(tiny)
    assert own(record_of(tiny, eval_seed=1, repeats=2)) == own(base)
    assert own(record_of(tiny, settings={"mig.num_train": 101})) != own(base)
    assert own(record_of(tiny, settings={})) != own(base)


def test_appending_finding_and_reading(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    record = record_of(tiny)
    record["model"]["content_hash"] = "abc"
    with RecordFile(path) as file:
        assert file.find(record["identity"], "abc", [0]) is None
        file.append(record)
        assert file.find(record["identity"], "abc", [0]) == json.loads(json.dumps(record))
        assert file.find(record["identity"], "abc", [1]) is None
        assert file.find(record["identity"], None, [0]) is None
    assert len(list(read(path))) == 1


def test_what_is_there_is_not_run_again_unless_asked(tiny: TinyDataset, tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    path = tmp_path / "results.jsonl"
    for rerun, n_lines, encodes in ((False, 1, True), (False, 1, False), (True, 2, True)):
        tiny.served = []
        with RecordFile(path) as file:
            evaluate(module, tiny, out=file, rerun=rerun, **MIG)
        assert len(list(read(path))) == n_lines
        assert bool(tiny.served) == encodes
    with RecordFile(path) as file, open(tmp_path / "codes.npz", "wb") as codes:
        evaluate(module, tiny, out=file, codes_out=codes, **MIG)
    assert len(np.load(tmp_path / "codes.npz")["codes"]) > 0


def test_a_failed_evaluation_leaves_no_file(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(DisbenchError), RecordFile(path) as file:
        evaluate(lambda images: images, tiny, out=file, **MIG)
    assert not path.exists()


def test_a_truncated_last_line_is_closed_and_passed_over(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    record = record_of(tiny)
    with RecordFile(path) as file:
        file.append(record)
    with open(path, "a") as damaged:
        damaged.write('{"schema": "disbench.rec')
    with RecordFile(path) as file:
        file.append(record)
    assert len(path.read_text().splitlines()) == 3
    assert len(list(read(path))) == 2


def test_edited_and_newer_records_are_refused(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    edited = record_of(tiny)
    edited["key"]["dataset"] = {"name": "shapes3d", "content_hash": "0"}
    path.write_text(json.dumps(edited) + "\n")
    with pytest.raises(DisbenchError, match=r"line 1: .* was edited"):
        list(read(path))
    path.write_text('{"schema": "disbench.record/2"}\n')
    with pytest.raises(DisbenchError, match="newer disbench"):
        list(read(path))


def append_many(path: Path, record: dict, n: int) -> None:
    with RecordFile(path) as file:
        for _ in range(n):
            file.append(record)


def test_two_writers_do_not_interleave(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    record = record_of(tiny)
    record["details"]["padding"] = "x" * 100_000
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, record, 20)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert [json.loads(line) == json.loads(json.dumps(record)) for line in path.read_text().splitlines()] == [True] * 40


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be opened for writing"):
        RecordFile(tmp_path / "file" / "results.jsonl")
    with pytest.raises(UsageError, match="cannot be written"), replacing(tmp_path):
        pass


def test_replacing_keeps_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as file:
            file.write(b"half of the ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
