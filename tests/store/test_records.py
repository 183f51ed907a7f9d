"""Records: one line each, whole, found again."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from disbench import DisbenchError, UsageError, evaluate
from disbench.files import replacing
from disbench.models import Model
from disbench.protocols import PROTOCOLS
from disbench.records import RecordFile, identity, read, to_line
from tests.conftest import TinyDataset, perfect_codes

MIG = {"metrics": "mig", "settings": {"mig.num_train": 100}}


def record_of(tiny: TinyDataset, **options: object) -> dict:
    return dict(evaluate(perfect_codes, tiny, **{**MIG, **options}).record)  # type: ignore[arg-type]


def test_a_record_has_what_repeating_it_takes(tiny: TinyDataset) -> None:
    record = record_of(tiny, command="disbench score --model m")
    assert record["key"]["protocol"] == {"name": "locatello2019+custom", "version": PROTOCOLS["locatello2019"].version}
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
    model = {"content_hash": "abc", "input_range": [0.0, 1.0]}
    with RecordFile(path) as file:
        assert file.find(record["key"], model, [0]) is None
        file.append(record)
        assert file.find(record["key"], model, [0]) == json.loads(json.dumps(record))
        assert file.find(record["key"], model, [1]) is None
        assert file.find(record["key"], {**model, "content_hash": None}, [0]) is None
        assert file.find(record["key"], {**model, "input_range": [-1.0, 1.0]}, [0]) is None
    assert len(list(read(path))) == 1


def test_what_is_there_is_not_run_again_unless_asked(tiny: TinyDataset, tmp_path: Path) -> None:
    model = Model("perfect", perfect_codes, content_hash="abc")
    path = tmp_path / "results.jsonl"
    for rerun, n_lines, encodes in ((False, 1, True), (False, 1, False), (True, 2, True)):
        tiny.served = []
        evaluate(model, tiny, out=path, rerun=rerun, **MIG)
        assert len(list(read(path))) == n_lines
        assert bool(tiny.served) == encodes
    evaluate(model, tiny, out=path, codes_out=tmp_path / "codes.npz", **MIG)
    assert len(np.load(tmp_path / "codes.npz")["codes"]) > 0
    n_lines = len(list(read(path)))
    other_range = evaluate(lambda_of(model), tiny, out=path, **MIG)
    assert other_range.complete
    assert len(list(read(path))) == n_lines + 1  # a function has no content hash: it is always run


def lambda_of(model: Model) -> Callable:
    return lambda images: model(images)


def test_a_record_holds_every_value_and_a_report_those_asked_for(tiny: TinyDataset, tmp_path: Path) -> None:
    model = Model("perfect", perfect_codes, content_hash="abc")
    few = {"dci.num_train": 100, "dci.num_test": 50, "dci.stages": 2}
    one = evaluate(model, tiny, metrics="dci.completeness", settings=few, out=tmp_path / "r.jsonl")
    assert list(one.scores) == ["dci.completeness"]
    tiny.served = []
    whole = evaluate(model, tiny, metrics="dci", settings=few, out=tmp_path / "r.jsonl")
    assert tiny.served == []  # taken from the record
    assert len(whole.scores) == 4
    assert whole.complete


def test_a_failed_evaluation_leaves_no_file(tiny: TinyDataset, tmp_path: Path) -> None:
    path, codes = tmp_path / "results.jsonl", tmp_path / "codes.npz"
    with pytest.raises(DisbenchError):
        evaluate(lambda images: images, tiny, out=path, codes_out=codes, **MIG)
    assert list(tmp_path.iterdir()) == []
    path.touch()  # the user's own empty file stays
    with pytest.raises(DisbenchError):
        evaluate(lambda images: images, tiny, out=path, **MIG)
    assert path.exists()


def test_a_failing_process_does_not_take_the_file_from_another(tiny: TinyDataset, tmp_path: Path) -> None:
    record = record_of(tiny)
    first, second = RecordFile(tmp_path / "r.jsonl"), RecordFile(tmp_path / "r.jsonl")
    with first:
        pass  # nothing was appended: its empty file is removed
    with second:
        second.append(record)
    assert len(list(read(tmp_path / "r.jsonl"))) == 1


def test_names_that_end_lines_elsewhere_stay_in_their_line(tiny: TinyDataset, tmp_path: Path) -> None:
    evaluate(perfect_codes, tiny, out=tmp_path / "r.jsonl", command="a\u2028b\x85c\nd", **MIG)
    assert [r["run"]["command"] for r in read(tmp_path / "r.jsonl")] == ["a\u2028b\x85c\nd"]


@pytest.mark.parametrize("content", [b"import torch\n", b"\xff\xfe\n"])
def test_other_files_are_not_taken_for_records(content: bytes, tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_bytes(content)
    with pytest.raises(DisbenchError, match="record"):
        evaluate(Model("m", perfect_codes, content_hash="abc"), tiny, out=path, **MIG)
    assert path.read_bytes() == content


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
    assert path.read_text().splitlines() == [to_line(record)] * 40


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
