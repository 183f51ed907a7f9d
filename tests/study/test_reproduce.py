"""Reproductions: what is planned, trained and scored, and the table beside the published values."""

import dataclasses
import json
import signal
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch

from disbench import records, registry
from disbench.errors import DisbenchError, Stopped, UsageError
from disbench.estimate import estimate
from disbench.protocols import PROTOCOLS
from disbench.reproduce import Result, run_reproduction
from disbench.reproductions import RECIPES, Plan, plan_reproduction
from disbench.settings import override
from tests.study import noted, save_board
from tests.study.reproductions import ENTRIES, PROTOCOL, RECIPE

MODELS = registry.models()
PUBLISHED = dict(RECIPES)


@pytest.fixture(autouse=True)
def small_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "models", lambda: ENTRIES)
    monkeypatch.setattr("disbench.reproductions.RECIPES", {"small": RECIPE})
    monkeypatch.setitem(PROTOCOLS, "tiny two", PROTOCOL)
    monkeypatch.chdir(tmp_path)
    save_board(tmp_path / "board.npz")


def plan(**choices: Any) -> Plan:
    return plan_reproduction("small", "board.npz", **choices)


def reproduce(**choices: Any) -> Result:
    return run_reproduction(plan(**choices), "board.npz")


def cells(result: Result) -> list[list[str]]:
    lines = result.markdown().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]


def test_rows_that_are_the_same_model_share_its_runs() -> None:
    found = plan(ablation="scored", seeds=[3, 5], preset="brief")
    assert [run.folder.name for run in found.trainings] == [
        "plain-board.npz-seed0",
        "small-board.npz-seed3",
        "small-board.npz-beta=8-seed3",
        "small-board.npz-seed5",
        "small-board.npz-beta=8-seed5",
    ]
    assert [found.methods(run) for run in found.runs[:2]] == [("pairs", ""), ("",)]
    assert [run.config.steps for run in found.trainings[:2]] == [2, 3]
    assert found.runs[0].config.base_steps == 2
    assert found.runs[0].told.base == str(found.stages[0].folder)
    assert "base" not in found.runs[0].asked or not found.runs[0].asked["base"]
    assert not Path("runs").exists()
    assert len(plan().runs) == len(RECIPE.seeds)


def test_steps_are_those_of_the_rows() -> None:
    assert [run.config.steps for run in plan(steps=7).trainings] == [10, 7, 7]
    found = plan(preset="other")
    assert [run.config.steps for run in found.trainings] == [4, 10, 10]
    assert "small has no preset other: it runs with its defaults." in found.remarks


def test_a_table_is_made_and_nothing_is_done_twice() -> None:
    first = reproduce(ablation="scored")
    assert first.complete
    everything = list(records.read("runs/records.jsonl"))
    assert len(everything) == 6
    for after in (first, reproduce(ablation="scored")):
        assert cells(after) == cells(first)
    assert len(list(records.read("runs/records.jsonl"))) == 6
    assert noted(Path("runs"), "trained") == sorted(
        ["plain-board.npz-seed0", *(f"small-board.npz{b}-seed{s}" for b in ("", "-beta=8") for s in (0, 1))]
    )
    of_row = {
        name: [r["scores"]["factor_vae"]["value"] for r in everything if r["model"]["name"] in names]
        for name, names in {
            "pairs": ["small-board.npz-seed0:pairs", "small-board.npz-seed1:pairs"],
            "codes": ["small-board.npz-seed0", "small-board.npz-seed1"],
        }.items()
    }
    mean, spread = fmean(of_row["pairs"]), stdev(of_row["pairs"])
    pairs, codes, _ = cells(first)
    assert pairs[:6] == ["pairs", "2", "0, 1", f"{mean:.3f} ± {spread:.3f}", "0.500 ± 0.100", f"{mean - 0.5:+.3f}"]
    assert codes[:2] == ["codes", "-"]
    assert codes[3].startswith(f"{fmean(of_row['codes']):.3f} ± ")
    assert codes[4:6] == ["not published", "-"]
    assert Path("runs/small-board.npz-scored.md").read_text() == first.markdown()


def test_the_main_table_takes_over_what_another_trained() -> None:
    reproduce(ablation="scored", seeds=1)
    result = reproduce(seeds=1)
    assert len(noted(Path("runs"), "trained")) == 3
    assert len(list(records.read("runs/records.jsonl"))) == 3
    text = Path("runs/small-board.npz.md").read_text()
    assert "(10 steps)" in text
    assert "- Everything is made up.\n- misprinted\n" in text
    assert "±" not in cells(result)[0][3]  # of one seed


def test_what_was_stopped_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(name: str, config: Any, dataset: Any, *, train_seed: int, **told: Any) -> Path:
        if train_seed == 1:
            raise Stopped("stopped at step 3", signal.SIGINT)
        return ENTRIES[name].train(name, config, dataset, train_seed=train_seed, **told)  # type: ignore[misc]

    with monkeypatch.context() as patch:
        stopping = {name: dataclasses.replace(entry, train=stops) for name, entry in ENTRIES.items()}
        patch.setattr(registry, "models", lambda: stopping)
        with pytest.raises(Stopped):
            reproduce()
    assert len(list(records.read("runs/records.jsonl"))) == 1
    assert not Path("runs/small-board.npz.md").exists()
    assert reproduce().complete
    assert len(noted(Path("runs"), "trained")) == 3


def test_runs_that_were_moved_are_still_the_same() -> None:
    reproduce()
    Path("runs").rename("moved")
    assert run_reproduction(plan(out="moved"), "board.npz").complete
    assert len(noted(Path("moved"), "trained")) == 3


def test_a_failure_takes_no_other_run_with_it() -> None:
    result = reproduce(ablation="fails")
    assert not result.complete
    assert [(name, why.reason) for name, why in result.failures.items()] == [
        ("small-board.npz-fails_at=1-seed1", "the loss is not finite.")
    ]
    assert cells(result)[0][2] == "0"
    assert "Nothing is published of these rows on board.npz, only on elsewhere." in result.markdown()
    assert cells(reproduce(ablation="fails", seeds=[1]))[0][2:5] == ["", "not scored", "not published"]


def test_without_the_first_stage_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Path:
        raise DisbenchError("the loss is not finite.")

    broken = ENTRIES | {"plain": dataclasses.replace(ENTRIES["plain"], train=fails)}
    monkeypatch.setattr(registry, "models", lambda: broken)
    with pytest.raises(DisbenchError, match=r"plain-board.npz-seed0, from which the others start, failed: the loss"):
        reproduce()


def test_values_that_are_undefined_are_said_to_be() -> None:
    values = {(0, "F"): {0: None, 1: None}, (0, "D"): {0: 0.5, 1: None}}
    result = Result(plan(), values, {})
    assert not result.complete
    assert cells(result)[0][3:6] == ["undefined for 2 of 2", "0.500 ± 0.100", "-"]
    assert cells(result)[0][6:] == ["0.500 (undefined for 1 of 2)", "0.250 ± 0.125", "+0.250"]


def test_a_folder_with_another_run_is_refused() -> None:
    reproduce(seeds=1)
    with pytest.raises(UsageError, match="holds a run with steps 10, and 3 was asked for"):
        reproduce(seeds=1, steps=3)


def test_a_finished_run_of_nobody_is_checked_by_its_trainer() -> None:
    reproduce(seeds=1)
    Path("runs/small-board.npz-seed0/study.json").unlink()
    reproduce(seeds=1)
    assert noted(Path("runs"), "began").count("small-board.npz-seed0") == 2
    assert json.loads(Path("runs/small-board.npz-seed0/study.json").read_text())["steps"] == 10


def test_what_the_trainer_refuses_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> Path:
        raise UsageError("it holds a run with steps 10; it cannot go on with 3.")

    reproduce(seeds=1)
    Path("runs/small-board.npz-seed0/study.json").unlink()
    refusing = ENTRIES | {"small": dataclasses.replace(ENTRIES["small"], train=refuses)}
    monkeypatch.setattr(registry, "models", lambda: refusing)
    for _ in range(2):
        assert list(reproduce(seeds=1, steps=3).failures) == ["small-board.npz-seed0"]


def test_hours_are_steps_times_the_seconds_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load("board.npz") as board:
        assert board["images"].shape[1:] == (8, 8, 1)
    from tests.study.reproductions import seconds_per_step

    timed = {name: dataclasses.replace(entry, seconds_per_step=seconds_per_step) for name, entry in ENTRIES.items()}
    assert "small" in " ".join(estimate(plan(), "board.npz").remarks)
    monkeypatch.setattr(registry, "models", lambda: timed)
    found = estimate(plan(), "board.npz")
    assert found.seconds_per_step(plan().runs) == {36.0}
    assert found.hours(plan().trainings) == pytest.approx(0.3)
    assert (found.n_scores, found.per_score, found.remarks) == (2, None, ())
    reproduce(seeds=1)
    found = estimate(plan(), "board.npz")
    assert found.hours(plan().trainings) == pytest.approx(0.1)
    assert found.n_scores == 1
    assert found.per_score is not None
    assert found.per_score > 0
    found = estimate(plan(ablation="scored"), "board.npz")
    assert found.hours(plan(ablation="scored").runs) is None
    assert found.remarks == ("A step of small could not be timed: RuntimeError: out of memory",)
    with pytest.raises(UsageError, match="device 'nowhere' cannot be used here"):
        estimate(plan(), "board.npz", device="nowhere")


def test_what_cannot_be_meant_is_refused() -> None:
    for choices, sentence in (
        ({"name": "smal"}, "no recipe called 'smal'; did you mean 'small'"),
        ({"dataset": "rooms"}, "did you mean 'rooms3d'"),
        ({"ablation": "score"}, "no ablation of small called 'score'; did you mean 'scored'"),
        ({"preset": "breif"}, "no preset of plain, small called 'breif'; did you mean 'brief'"),
        ({"seeds": []}, "seeds are whole numbers from 0 on"),
    ):
        with pytest.raises(UsageError, match=sentence):
            plan_reproduction(**{"name": "small", "dataset": "board.npz", **choices})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "ablation"), [(n, a) for n, r in PUBLISHED.items() for a in (None, *r.ablations)])
@pytest.mark.parametrize("preset", [None, "tiny"])
def test_every_row_of_every_recipe_can_be_built(
    name: str, ablation: str | None, preset: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr(registry, "models", lambda: MODELS)
    monkeypatch.setattr("disbench.reproductions.RECIPES", PUBLISHED)
    found = plan_reproduction(name, "shapes3d", ablation=ablation, seeds=1, preset=preset)
    built: dict[Path, Any] = {}
    for run in found.trainings:
        config = override(run.config, {})
        with torch.device("meta"):
            built[run.folder] = MODELS[run.model].build(config)
    for planned in found.rows:
        model = built[planned.runs[0].folder]
        assert not planned.row.method or callable(getattr(model, planned.row.method))
        assert "shapes3d" in planned.row.published
        for published in planned.row.published.values():
            assert set(published.values) == {"F", "D"}
            assert all(0 <= number <= 1 for pair in published.values.values() for number in pair)
            assert set(planned.row.published) <= {"cars3d", "shapes3d", "mpi3d_toy"}
    sizes = {sum(p.numel() for p in built[run.folder].parameters()) for run in found.runs}
    assert len(sizes) == len({run.folder for run in found.runs}) or ablation == "schedule"
