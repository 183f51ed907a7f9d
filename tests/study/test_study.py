"""Studies: the grid, what is done and what is not done again, and what becomes of failures."""

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest

from disbench import records, registry
from disbench.checkpoint import load
from disbench.errors import Stopped, UsageError
from disbench.grids import STUDIES, Run, plan_study
from disbench.jobs import Failure, Workers, run_jobs
from disbench.many import expand
from disbench.protocols import PROTOCOLS
from disbench.study import run_study
from tests.study import ENTRIES, PROTOCOL, STUDY, noted, save_board

ALL = sorted(
    f"{model}-board.npz{swept}-seed{seed}"
    for seed in range(3)
    for model, swept in (("linear", "-beta=1"), ("linear", "-beta=2.5"), ("plain", ""))
)


REGISTERED = registry.models()


@pytest.fixture(autouse=True)
def tiny_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "models", lambda: ENTRIES)
    monkeypatch.setitem(STUDIES, "tiny", STUDY)
    monkeypatch.setitem(PROTOCOLS, "tiny", PROTOCOL)
    monkeypatch.chdir(tmp_path)
    save_board(tmp_path / "board.npz")


def names(runs: list[Run]) -> list[str]:
    return [run.folder.name for run in runs]


def test_a_study_is_all_models_values_and_seeds() -> None:
    runs = plan_study("tiny", "board.npz")
    assert sorted(names(runs)) == ALL
    assert names(runs)[:3] == [
        "linear-board.npz-beta=1-seed0",
        "linear-board.npz-beta=2.5-seed0",
        "plain-board.npz-seed0",
    ]
    assert {run.folder.parent for run in runs} == {Path("runs").resolve()}
    assert [run.config.beta for run in runs[:3]] == [1.0, 2.5, 4.0]
    assert {run.state for run in runs} == {"to train"}
    assert not Path("runs").exists()


def test_the_2019_study_has_six_models_six_values_and_fifty_seeds() -> None:
    study = STUDIES["locatello2019"]
    assert len(study.models) == 6
    assert study.seeds == tuple(range(50))
    for model in study.models:
        (values,) = REGISTERED[model].sweep.values()
        assert len(set(values)) == 6


def test_parts_of_a_study_presets_and_settings() -> None:
    runs = plan_study("tiny", "board.npz", models=["linear"], seeds=[5, 0, 5], n_values=1, preset="brief")
    assert names(runs) == ["linear-board.npz-beta=1-seed5", "linear-board.npz-beta=1-seed0"]
    assert {run.config.steps for run in runs} == {3}
    changed = plan_study("tiny", "board.npz", models=["linear"], seeds=1, preset="brief", settings={"steps": "7"})
    assert {run.config.steps for run in changed} == {7}


def test_every_run_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_study("tiny", "board.npz", command="as typed")
    assert result.complete
    assert sorted(names(result.of("trained"))) == ALL
    assert noted(tmp_path / "runs", "trained") == ALL
    assert load(tmp_path / "runs/plain-board.npz-seed2/ckpt.pt").train == {
        "dataset": "board.npz",
        "train_seed": 2,
        "threads": 1,
    }
    assert capsys.readouterr().out == ""  # what trainers print is no data
    again = run_study("tiny", "board.npz")
    assert sorted(names(again.of("there"))) == ALL
    assert noted(tmp_path / "runs", "trained") == ALL
    more = run_study("tiny", "board.npz", seeds=4)
    assert (len(more.of("there")), len(more.of("trained"))) == (9, 3)


def test_a_failure_takes_no_other_run_with_it(tmp_path: Path) -> None:
    result = run_study("tiny", "board.npz", models=["plain"], settings={"fails_at": 1})
    assert not result.complete
    assert result.failures == {"plain-board.npz-seed1": "the loss is not finite."}
    assert noted(tmp_path / "runs", "trained") == ["plain-board.npz-seed0", "plain-board.npz-seed2"]
    result = run_study("tiny", "board.npz", models=["plain"], settings={"raises_at": 0}, out=tmp_path / "other")
    assert result.failures == {"plain-board.npz-seed0": "ValueError: a defect"}
    assert "in train" in result.runs[0].trace
    assert len(noted(tmp_path / "other", "trained")) == 2


def test_a_failed_run_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> Path:
        raise RuntimeError("out of memory")

    broken = {name: dataclasses.replace(entry, train=out_of_memory) for name, entry in ENTRIES.items()}
    with monkeypatch.context() as patch:
        patch.setattr(registry, "models", lambda: broken)
        assert set(run_study("tiny", "board.npz").failures.values()) == {"RuntimeError: out of memory"}
    assert run_study("tiny", "board.npz").complete
    assert noted(tmp_path / "runs", "trained") == ALL


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run_study("tiny", "board.npz", models=["plain"], settings={"stops_at": 1})
    states = [run.state for run in plan_study("tiny", "board.npz", models=["plain"])]
    assert states == ["finished", "begun", "to train"]
    with pytest.raises(UsageError, match=r"holds a run with stops_at 1, and -1 was asked for; name another"):
        run_study("tiny", "board.npz", models=["plain"])
    (tmp_path / "runs/plain-board.npz-seed0/study.json").write_text('{"model": "pl')  # as a crash leaves it
    (tmp_path / "runs/plain-board.npz-seed1/study.json").unlink()
    assert run_study("tiny", "board.npz", models=["plain"], seeds=[0, 1]).complete
    assert noted(tmp_path / "runs", "began") == [
        "plain-board.npz-seed0",
        "plain-board.npz-seed1",
        "plain-board.npz-seed1",
    ]
    assert json.loads((tmp_path / "runs/plain-board.npz-seed1/study.json").read_text())["train_seed"] == 1


def test_other_data_under_the_same_name_is_another_study(tmp_path: Path) -> None:
    run_study("tiny", "board.npz", models=["plain"], seeds=1)
    with np.load(tmp_path / "board.npz") as arrays:
        changed = dict(arrays)
    changed["images"] = 255 - changed["images"]
    np.savez(tmp_path / "board.npz", **changed)
    with pytest.raises(UsageError, match="holds a run with dataset_hash"):
        run_study("tiny", "board.npz", models=["plain"], seeds=1)


def test_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path) -> None:
    result = run_study("tiny", "board.npz", settings={"dies_at": 1}, models=["plain"], workers=Workers(2))
    assert result.complete
    assert noted(tmp_path / "runs", "trained") == [name for name in ALL if name.startswith("plain")]
    assert noted(tmp_path / "runs", "began").count("plain-board.npz-seed1") == 2


def test_the_backend_is_the_one_that_joblib_is_given(tmp_path: Path) -> None:
    with joblib.parallel_config("threading", n_jobs=3):
        assert run_study("tiny", "board.npz").complete
    assert noted(tmp_path / "runs", "trained") == ALL


def test_runs_are_scored_in_the_same_job_and_once(tmp_path: Path) -> None:
    for trained in (2, 0):
        result = run_study("tiny", "board.npz", models=["plain"], seeds=2, score="tiny")
        assert len(result.of("trained")) == trained
        found = list(records.read(tmp_path / "runs/records.jsonl"))
        assert [record["model"]["name"] for record in found] == ["plain-board.npz-seed0", "plain-board.npz-seed1"]
    unscored = run_study("tiny", "board.npz", models=["plain"], seeds=3, score="tiny", records="other.jsonl")
    assert len(unscored.of("there")) == 2
    assert len(list(records.read("other.jsonl"))) == 3


def test_what_cannot_be_meant_is_refused_before_any_work() -> None:
    for arguments, sentence in (
        ({"name": "locatelo2019"}, "there is no study called 'locatelo2019'; did you mean 'locatello2019'"),
        ({"dataset": "rooms"}, "did you mean 'rooms3d'"),
        ({"dataset": "no/such.npz"}, "no data set called|no data file"),
        ({"models": ["linar"]}, "did you mean 'linear'"),
        ({"preset": "breif", "models": ["linear"]}, "no preset of linear called 'breif'; did you mean 'brief'"),
        ({"settings": {"stepps": "3"}}, "no setting linear.stepps; did you mean 'steps'"),
        ({"settings": {"beta": "3"}}, "beta of linear is what the study sweeps"),
        ({"settings": {"steps": "many"}}, "steps is a whole number"),
        ({"seeds": 0}, "seeds are whole numbers from 0 on"),
        ({"seeds": [-1]}, "seeds are whole numbers from 0 on"),
        ({"n_values": 0}, "at least 1"),
        ({"score": "tinny"}, "did you mean 'tiny'"),
        ({"score": "tiny", "records": "."}, "cannot be opened for writing"),
        ({"workers": Workers(2, "lokyy")}, "joblib cannot use the backend 'lokyy'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            run_study(**{"name": "tiny", "dataset": "board.npz", **arguments})  # type: ignore[arg-type]
    assert not list(Path().glob("runs/*/*"))


def test_workers_that_cannot_be_had() -> None:
    for wrong, sentence in (
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"backend": "loky", "scheduler": "tcp://host:1"}, "is for the backend dask"),
        ({"backend": "dask"}, "needs the address of a scheduler"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Workers(**wrong)


def test_without_dask_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'disbench\[cluster\]'"):
        run_study("tiny", "board.npz", workers=Workers(scheduler="tcp://host:8786"))


def test_jobs_that_cannot_be_sent_fail_one_by_one() -> None:
    outcomes = dict(run_jobs(lambda job: 1 / job, [1, 0, 2], Workers()))
    assert (outcomes[0], outcomes[2]) == (1, 0.5)
    assert outcomes[1].reason == "ZeroDivisionError: division by zero"  # type: ignore[union-attr]
    lost = [outcome for _, outcome in run_jobs(repr, [threading.Lock(), threading.Lock()], Workers(2))]
    assert len(lost) == 2
    assert all(isinstance(outcome, Failure) and "its worker was lost" in outcome.reason for outcome in lost)


def deadly(number: int) -> int:
    """A job of which the first kills whoever does it."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.filterwarnings("ignore")  # of joblib, about workers that were lost
def test_a_job_that_kills_its_worker_fails_alone() -> None:
    outcomes = dict(run_jobs(deadly, range(4), Workers(jobs=2, backend="loky")))
    assert isinstance(outcomes[0], Failure)
    assert "its worker was lost" in outcomes[0].reason
    assert [outcomes[k] for k in (1, 2, 3)] == [1, 2, 3]


def test_a_pattern_may_name_a_method_of_each(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ckpt.pt").write_bytes(b"")
    assert expand(f"{tmp_path}/*/ckpt.pt:tokens") == [f"{tmp_path}/{name}/ckpt.pt:tokens" for name in ("a", "b")]
    assert expand(f"{tmp_path}/?/ckpt.pt") == [f"{tmp_path}/{name}/ckpt.pt" for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"no file fits the pattern '.*/\*\.pt'"):
        expand(f"{tmp_path}/*.pt:tokens")
