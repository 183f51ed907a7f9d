"""How long a step takes is measured without a run, a data set or a first stage."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from disbench import UsageError, registry
from disbench.settings import override
from reference_models import timing

TINY = {"width": 8, "batch_size": 2, "steps": 1_000_000}


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(timing, "N_STEPS", 2)
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def measured(name: str, **changes: Any) -> float:
    entry = registry.models()[name]
    assert entry.seconds_per_step is not None
    return entry.seconds_per_step(name, override(entry.config(), changes), (64, 64, 1), "cpu")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("beta_vae", {"batch_size": 4}),
        ("vq", {**TINY, "accumulate": 1, "perceptual_weight": 0.0, "adversary_filters": 8}),
        ("ldm", {**TINY, "first_stage_width": 8, "ema": 0.5}),
        ("encdiff", {**TINY, "first_stage_width": 8, "encoder_width": 8}),
    ],
)
def test_a_step_is_timed_and_nothing_is_left_behind(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    if name != "beta_vae":
        pytest.importorskip("diffusers")
    state = torch.get_rng_state()
    started = time.perf_counter()
    assert 0 < measured(name, **changes) < time.perf_counter() - started
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(tmp_path.iterdir())


def test_latents_are_looked_up_where_training_looks_them_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    from reference_models.diffusion.latents import LatentSpace

    encoded = []
    monkeypatch.setattr(LatentSpace, "encode", lambda self, images: encoded.append(1) or torch.zeros(2, 3, 16, 16))
    for choice, n_encoded in (("auto", 0), ("no", 3)):
        measured("ldm", **TINY, first_stage_width=8, cache_latents=choice)
        assert len(encoded) == n_encoded


def test_one_slow_step_on_a_processor_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SLOW", 0.0)
    monkeypatch.setattr(timing, "LONG", -1.0)  # any second step would be one too many
    assert measured("beta_vae", batch_size=2) > 0


def test_a_device_that_there_is_not() -> None:
    entry = registry.models()["beta_vae"]
    assert entry.seconds_per_step is not None
    with pytest.raises(UsageError, match="device 'nowhere' cannot be used here"):
        entry.seconds_per_step("beta_vae", entry.config(), (64, 64, 3), "nowhere")
