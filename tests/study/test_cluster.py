"""A study on a dask cluster, one worker of which is killed."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from disbench import registry
from disbench.errors import UsageError
from disbench.grids import STUDIES
from disbench.jobs import Workers
from disbench.study import run_study
from tests.study import ENTRIES, STUDY, noted, save_board

distributed = pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'disbench[cluster]'")

KILLED = "plain-board.npz-seed1"


def kill_who_waits(runs: Path) -> None:
    """Kill the process that works on a run which waits for that."""
    for _ in range(400):
        if (runs / "waits").exists():
            os.kill(int((runs / "waits").read_text()), signal.SIGKILL)
            return
        time.sleep(0.05)


def test_a_study_outlives_a_worker_and_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "models", lambda: ENTRIES)
    monkeypatch.setitem(STUDIES, "tiny", STUDY)
    board, runs = save_board(tmp_path / "board.npz"), tmp_path / "runs"
    killer = threading.Thread(target=kill_who_waits, args=(runs,))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        killer.start()
        result = run_study(
            "tiny", board, settings={"waits_at": 1}, models=["plain"], seeds=8, out=runs,
            workers=Workers(scheduler=cluster.scheduler_address),
        )  # fmt: skip
        killer.join()
    assert result.failures == {}
    assert (runs / "waits").exists()
    assert noted(runs, "trained") == [f"plain-board.npz-seed{seed}" for seed in range(8)]
    assert noted(runs, "began").count(KILLED) == 2
    assert all((runs / f"plain-board.npz-seed{seed}" / "ckpt.pt").exists() for seed in range(8))


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disbench.jobs.CONNECT_WITHIN", 1)
    with (
        pytest.raises(UsageError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"),
        Workers(scheduler="tcp://127.0.0.1:9").ready(),
    ):
        pass
