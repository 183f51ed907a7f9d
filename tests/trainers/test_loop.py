"""The training loop: exact resume, what signals and kills leave behind, several processes."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disbench import DisbenchError, UsageError, checkpoint, records, registry
from disbench.cli import main
from disbench.errors import Stopped
from disbench.files import claimed
from disbench.registry import load_dataset
from disbench.settings import override
from reference_models import finishing, runs, training
from reference_models.stopping import Stopping
from reference_models.training import train

SMALL = {"batch_size": 4, "steps": 4}
MODELS = [name for name, entry in registry.models().items() if entry.train is train]


STARTED_FROM = {"ldm": "vq", "encdiff": "vq", "disdiff": "ldm"}  # what has to be trained before


@pytest.fixture(scope="session", autouse=True)
def trained_before(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("before")
    for name in ("vq", "ldm"):
        STARTS[name] = str(trained_path(name, folder / name, config_of(name, steps=1, warmup_steps=0)))


STARTS: dict[str, str] = {}


def config_of(name: str, **changes: Any) -> Any:
    """A model's config, small, and with what it starts from."""
    entry = registry.models()[name]
    return override(entry.config(), {**entry.presets.get("tiny", {}), **SMALL, **start_of(name), **changes})


def start_of(name: str) -> dict[str, str]:
    before = STARTED_FROM.get(name)
    return {} if before is None else {"first_stage" if before == "vq" else "ldm": STARTS[before]}


def start_of_all() -> dict[str, dict[str, str]]:
    return {name: start_of(name) for name in MODELS}


def trained(name: str, out: Path, config: Any, **options: Any) -> checkpoint.Checkpoint:
    return checkpoint.load(trained_path(name, out, config, **options))


def trained_path(name: str, out: Path, config: Any, **options: Any) -> Path:
    told = {"command": f"disbench train {name}", **options}
    return train(name, config, load_dataset("xysquares"), train_seed=3, out=out, progress=False, score=None, **told)


class InterruptedRun(Exception):  # noqa: N818
    pass


def interrupted(monkeypatch: pytest.MonkeyPatch, steps: int, name: str, out: Path, config: Any) -> None:
    """A run that ends with an error after so many steps, its state saved at each."""
    save = runs.Run.save

    def saving(run: runs.Run, state: Any) -> None:
        save(run, state)
        if state["step"] == steps:
            raise InterruptedRun

    with monkeypatch.context() as patch:
        patch.setattr(runs, "SAVE_EVERY", 0.0)
        patch.setattr(runs.Run, "save", saving)
        with pytest.raises(InterruptedRun):
            trained(name, out, config)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "accumulate": 2}], ids=["plain", "averaged"])
def test_two_and_two_steps_are_four(
    name: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(name, **changes)
    whole = trained(name, tmp_path / "whole", config)
    interrupted(monkeypatch, 2, name, tmp_path / "parts", config)
    assert not (tmp_path / "parts" / "ckpt.pt").exists()
    torch.manual_seed(99)  # the world has gone on meanwhile
    parts = trained(name, tmp_path / "parts", config, resume=True, command="disbench train --resume parts")
    assert parts.train["command"] == whole.train["command"]
    assert parts.state_dict.keys() == whole.state_dict.keys()
    for key, value in whole.state_dict.items():
        assert torch.equal(parts.state_dict[key], value), key
    assert not (tmp_path / "parts" / "state.pt").exists()


def test_resuming_nothing_begins_and_resuming_the_end_is_over(tmp_path: Path) -> None:
    config = config_of("beta_vae")
    first = trained("beta_vae", tmp_path / "run", config, resume=True)
    written = (tmp_path / "run" / "ckpt.pt").stat().st_mtime_ns
    again = trained("beta_vae", tmp_path / "run", config, resume=True)
    assert again.content_hash == first.content_hash
    assert (tmp_path / "run" / "ckpt.pt").stat().st_mtime_ns == written


def test_another_run_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 2, "beta_vae", tmp_path / "run", config_of("beta_vae"))
    with pytest.raises(UsageError, match=r"holds a run with beta 4\.0; it cannot"):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae", beta=7.0), resume=True)
    with pytest.raises(UsageError, match="holds an unfinished run; name another folder with --out, or go on with"):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae"))
    (tmp_path / "run" / "state.pt").write_bytes(b"nothing")
    with pytest.raises(DisbenchError, match=r"state\.pt cannot be read; delete it to begin anew"):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae"), resume=True)


def test_scores_along_the_way_change_nothing_and_are_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("beta_vae")
    whole = trained("beta_vae", tmp_path / "whole", config)
    score, scored = finishing.Curve.add, []

    def scoring(curve: finishing.Curve, weights: Any, step: int) -> None:
        if step == 2 and step not in scored:
            scored.append(step)
            raise InterruptedRun
        score(curve, weights, step)

    monkeypatch.setattr(finishing.Curve, "add", scoring)
    options: dict[str, Any] = {"train_seed": 3, "out": tmp_path / "run", "progress": False, "score_every": 2}
    with pytest.raises(InterruptedRun):
        train("beta_vae", config, load_dataset("xysquares"), **options)
    found = checkpoint.load(train("beta_vae", config, load_dataset("xysquares"), **options, resume=True))
    assert found.content_hash == whole.content_hash
    curve, last = (list(records.read(tmp_path / "run" / f"{name}.jsonl")) for name in ("curve", "score"))
    trained_as = [record["model"]["train"] for record in [*curve, *last]]
    assert [(part["steps"], part["planned_steps"]) for part in trained_as] == [(0, 4), (2, 4), (4, 4)]
    assert len({record["model"]["content_hash"] for record in [*curve, *last]}) == 3
    assert len({record["identity"] for record in [*curve, *last]}) == 1


def test_what_has_no_codes_is_not_scored_along_the_way(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vq has no codes that could be scored along the way; leave out score_every"):
        train("vq", config_of("vq"), load_dataset("xysquares"), train_seed=3, out=tmp_path / "run", score_every=2)
    assert not (tmp_path / "run").exists()


def test_statistics_behind_the_state_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STATS_EVERY", 1)
    config = config_of("beta_vae", steps=5)
    interrupted(monkeypatch, 3, "beta_vae", tmp_path / "run", config)
    stats = tmp_path / "run" / "stats.jsonl"
    with open(stats, "a") as file:  # as if the state of steps 4 and 5 had been lost, and the last line cut off
        file.write('{"step": 4, "loss": 1.0}\n{"step": 5, "lo')
    trained("beta_vae", tmp_path / "run", config, resume=True)
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[3]["loss"] > 100


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SAVE_EVERY", 0.0)
    model = type(registry.models()["beta_vae"].build(config_of("beta_vae")))
    losses = model.losses

    def spoilt(self: Any, images: Tensor, drawn: Any, step: int) -> dict[str, Tensor]:
        terms = losses(self, images, drawn, step)
        return {name: term * (float("nan") if step == 2 else 1) for name, term in terms.items()}

    monkeypatch.setattr(model, "losses", spoilt)
    with pytest.raises(
        DisbenchError, match=r"not finite at step 3; lower learning_rate. The state before is in .*state.pt"
    ):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae"))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(torch.isfinite(value).all() for value in state["model"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_the_state_and_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    words = ["train", "beta_vae", "--dataset", "xysquares", "--steps", "100000", "--set", "batch_size=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "disbench", *words, "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    run = tmp_path / "beta_vae-xysquares-seed0"
    while not (run / "stats.jsonl").is_file() or not (run / "stats.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    state = torch.load(run / "state.pt", weights_only=True)
    assert f"stopped at step {state['step']:,}; go on with: disbench train --resume {run}" in err
    assert not list(run.glob("*.part"))


def test_a_signal_after_the_last_step_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", finish)
        with pytest.raises(Stopped, match=r"stopped after the last step, .*; go on with: disbench train --resume"):
            trained("beta_vae", tmp_path / "run", config_of("beta_vae"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert trained("beta_vae", tmp_path / "run", config_of("beta_vae"), resume=True).train["steps"] == 4


def test_what_to_type_names_what_the_folder_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object, step: int, __: object) -> bool:
        return step == 2

    monkeypatch.setattr(Stopping, "wanted", stopped)
    monkeypatch.chdir(tmp_path)
    np.savez("my board.npz", images=np.zeros((8, 64, 64, 3), np.uint8), factors=np.arange(8)[:, None])
    words = ["--dataset", "my board.npz", "--data-dir", "."]
    assert main(["train", "beta_vae", *words, "--steps", "3", "--set", "batch_size=2"]) == 128 + signal.SIGTERM
    go_on = "disbench train --resume 'runs/beta_vae-my board.npz-seed0' --dataset 'my board.npz' --data-dir ."
    assert f"stopped at step 2; go on with: {go_on}\n" in capsys.readouterr().err


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with claimed(tmp_path / "run", "taken"), pytest.raises(UsageError, match="is in use: another process trains there"):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    (tmp_path / "run" / "state.pt.123.part").write_bytes(b"what a killed process left")
    trained("beta_vae", tmp_path / "run", config_of("beta_vae"))
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 2, "beta_vae", tmp_path / "run", config_of("beta_vae"))

    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail] writing file failed\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            DisbenchError,
            match=r"state.pt cannot be written \(\[enforce fail\].*failed\); is the disk full\? The state",
        ):
            trained("beta_vae", tmp_path / "run", config_of("beta_vae"), resume=True)
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2


def test_too_little_memory_says_what_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = type(registry.models()["beta_vae"].build(config_of("beta_vae")))
    losses = model.losses

    def limited(largest: int) -> Any:
        def of_few(self: Any, images: Tensor, drawn: Any, step: int) -> dict[str, Tensor]:
            if len(images) > largest:
                raise torch.OutOfMemoryError("tried to allocate much\nand so on")
            return losses(self, images, drawn, step)

        return of_few

    monkeypatch.setattr(model, "losses", limited(3))
    told = r"batch of 16 is too large for .*; 2 images at once fit: --set accumulate=8, or --set batch_size=2\. \(tried"
    with pytest.raises(DisbenchError, match=told):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae", batch_size=16))
    trained("beta_vae", tmp_path / "less", config_of("beta_vae", batch_size=16, accumulate=8))
    monkeypatch.setattr(model, "losses", limited(0))
    with pytest.raises(DisbenchError, match="not even a few images fit, so the model is too large for it"):
        trained("beta_vae", tmp_path / "none", config_of("beta_vae"))


def test_a_state_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 2, "beta_vae", tmp_path / "run", config_of("beta_vae"))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    del state["format"]
    torch.save(state, tmp_path / "run" / "state.pt")
    with pytest.raises(DisbenchError, match="was kept by another version of disbench, and cannot be gone on with"):
        trained("beta_vae", tmp_path / "run", config_of("beta_vae"), resume=True)


def test_a_run_begun_before_a_field_came_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 2, "beta_vae", tmp_path / "run", config_of("beta_vae"))
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    del described["accumulate"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(described))
    trained("beta_vae", tmp_path / "run", config_of("beta_vae"), resume=True)


def _run_in_a_child(out: Path, config: Any) -> None:
    torch.set_num_threads(1)
    runs.SAVE_EVERY = 0.0
    trained("beta_vae", out, config, resume=True)


def test_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    config = config_of("beta_vae", steps=60, batch_size=2)
    whole = trained("beta_vae", tmp_path / "whole", config)
    chance, steps = random.Random(0), []
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        child = context.Process(target=_run_in_a_child, args=(tmp_path / "killed", config))
        child.start()
        child.join(chance.uniform(0.02, 0.4))
        if child.is_alive():
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
        if (tmp_path / "killed" / "state.pt").exists():
            steps.append(torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["step"])
    assert steps == sorted(steps)
    killed = trained("beta_vae", tmp_path / "killed", config, resume=True)
    assert all(torch.equal(killed.state_dict[key], value) for key, value in whole.state_dict.items())


def test_presets_and_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "beta_vae", "--dataset", "xysquares", "--out", str(tmp_path / "runs")]
    assert main([*words, "--preset", "cpu-minutes", "--set", "beta=2", "--dry-run"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["config"]["steps"] == registry.models()["beta_vae"].presets["cpu-minutes"]["steps"]
    assert described["config"]["beta"] == 2.0
    assert described["parameters"] == 692_567
    assert not (tmp_path / "runs").exists()
    assert main(["train", "beta_vae", "--dataset", "dsprites", "--dry-run"]) == 0  # none of its files is here
    described = json.loads(capsys.readouterr().out)
    assert (described["config"]["n_channels"], described["config"]["n_images"]) == (1, 737_280)
    for more, sentence in (
        (["--preset", "cpu-minute"], "there is no preset called 'cpu-minute'; did you mean 'cpu-minutes'"),
        (["--set", "betta=2"], "did you mean 'beta'"),
        (["--set", "precision=half"], "precision is float32 or bfloat16; got 'half'"),
        (["--set", "accumulate=3"], "a batch of 64 cannot be computed in 3 equal parts"),
        (["--resume", str(tmp_path)], "leave out MODEL, --out"),
    ):
        assert main([*words, *more]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "holds no config.json that can be read" in capsys.readouterr().err
    assert main(["train"]) == 2
    assert "name a MODEL and its --dataset, or a run to --resume" in capsys.readouterr().err


def test_bfloat16(tmp_path: Path) -> None:
    exact, rough = (trained("beta_vae", tmp_path / p, config_of("beta_vae", precision=p)) for p in training.PRECISIONS)
    moved = [(exact.state_dict[key].float() - value.float()).abs().max() for key, value in rough.state_dict.items()]
    assert 0 < max(moved) < 1e-2


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.slow
def test_compiled_losses_are_the_same(tmp_path: Path) -> None:
    plain, compiled = (
        trained("factor_vae", tmp_path / str(flag), config_of("factor_vae", compile=flag)) for flag in (False, True)
    )
    for key, value in plain.state_dict.items():
        assert torch.allclose(compiled.state_dict[key].float(), value.float(), atol=1e-3), key


TWO_PROCESSES = """
import json, os, pathlib, sys
import torch
from disbench import registry
from disbench.registry import load_dataset
from disbench.settings import override
from reference_models import distributed, training
torch.set_num_threads(1)
training.STATS_EVERY = 1
START = json.loads(os.environ["START"])
dataset = load_dataset("xysquares")
with distributed.processes(torch.device("cpu")):
    for name in sys.argv[2:]:
        entry = registry.models()[name]
        small = {**entry.presets.get("tiny", {}), "batch_size": 8, "steps": 4}
        config = override(entry.config(), {**small, **START.get(name, {})})
        out = pathlib.Path(sys.argv[1]) / name
        training.train(name, config, dataset, train_seed=3, out=out, progress=False, score=None)
"""


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    """Of every model; what couples the images of a batch couples those of both processes, but for BatchNorm."""
    (tmp_path / "program.py").write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for out, launcher in {"one": [sys.executable], "two": torchrun}.items():
        words = [*launcher, str(tmp_path / "program.py"), str(tmp_path / out), *MODELS]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "START": json.dumps(start_of_all())}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3_000:]
    for name in MODELS:
        one, two = (losses_in(tmp_path / out / name) for out in ("one", "two"))
        assert len(one) == 4
        # Deep networks magnify the rounding of convolutions, which depends on the size of a batch.
        tolerance = 1e-4 if name in ("vq", "kl", *STARTED_FROM) else 1e-5
        for expected, found in zip(one, two, strict=True):
            assert found == pytest.approx(expected, rel=tolerance, abs=2e-4), name  # written with four digits


SIGNALLED = """
import dataclasses, os, pathlib, signal, sys
import torch
from disbench import registry
from disbench.errors import Stopped
from disbench.registry import load_dataset
from reference_models import distributed, training
torch.set_num_threads(1)
with distributed.processes(torch.device("cpu")):
    if distributed.rank() == 1:  # the one that does not write
        def tell(*_):
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # training has not begun
                signal.alarm(1)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGALRM, tell)
        signal.alarm(1)
    config = dataclasses.replace(registry.models()["beta_vae"].config(), batch_size=2, steps=100_000)
    try:
        training.train("beta_vae", config, load_dataset("xysquares"), train_seed=3, out=pathlib.Path(sys.argv[1]),
                       progress=False, score=None)
    except Stopped as stopped:
        print(distributed.rank(), stopped, flush=True)
"""


def test_a_signal_to_one_process_stops_them_all(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SIGNALLED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(tmp_path / "program.py"), str(tmp_path / "run")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    step = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"]
    assert sorted(line[:1] for line in done.stdout.splitlines() if f"stopped at step {step:,};" in line) == ["0", "1"]


def losses_in(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "waiting")} for line in lines]
