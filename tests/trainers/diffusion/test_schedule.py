"""Noise schedules against plain ones; DDIM on data whose noise is known, and beside diffusers' own settings."""

import math
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor

from disbench import UsageError
from reference_models.diffusion.schedule import Denoise, Schedule, sampling_timesteps
from tests.oracles import diffusion as plain

NAMES = list(plain.BETAS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(schedule: Schedule, deviation: float) -> Denoise:
    """The exact prediction of noise for data N(0, deviation^2)."""
    factors = torch.tensor([plain.noise_of_normal(p, deviation) for p in schedule.alphas_cumprod.tolist()])

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return factors.to(noisy.dtype)[timesteps].view(-1, *[1] * (noisy.ndim - 1)) * noisy

    return denoise


@pytest.mark.parametrize("name", NAMES)
def test_products(name: str) -> None:
    np.testing.assert_allclose(Schedule(name).alphas_cumprod.numpy(), plain.products(name), rtol=plain.TOLERANCE)


def test_final_product_of_the_released_models() -> None:
    assert f"{Schedule().alphas_cumprod[-1]:.3e}" == "6.687e-04"


@pytest.mark.parametrize(
    ("name", "theirs"), [("scaled_linear", "scaled_linear"), ("linear", "linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_products_are_those_of_diffusers(name: str, theirs: str) -> None:
    scheduler = import_module("diffusers.schedulers.scheduling_ddim").DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule=theirs
    )
    torch.testing.assert_close(Schedule(name).alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_factors_keep_their_precision(name: str) -> None:
    """Where the last product is too small for float32 too, as under sqrt."""
    expected = torch.from_numpy(np.sqrt(plain.products(name)))
    torch.testing.assert_close(Schedule(name).signal.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_noised_and_back(name: str) -> None:
    schedule = Schedule(name)
    clean, noise = torch.randn(2, 4, 3, 5, 5, generator=generator())
    timesteps = torch.tensor([0, 1, 30, 90])
    noisy = schedule.noised(clean, noise, timesteps)
    for k, t in enumerate(timesteps.tolist()):
        product = plain.products(name)[t]
        torch.testing.assert_close(noisy[k], math.sqrt(product) * clean[k] + math.sqrt(1 - product) * noise[k])
    torch.testing.assert_close(schedule.predicted_clean(noisy, noise, timesteps), clean, rtol=1e-4, atol=1e-5)


def test_noise_at_the_end_is_all_that_is_left_and_finite() -> None:
    for name in NAMES:
        schedule = Schedule(name)
        noise = torch.randn(1, 3, generator=generator())
        noisy = schedule.noised(torch.zeros(1, 3), noise, torch.tensor([999]))
        assert torch.isfinite(schedule.predicted_clean(noisy, 0.9 * noise, torch.tensor([999]))).all()
        torch.testing.assert_close(noisy, noise, rtol=1e-3, atol=0)


def test_shift_weights() -> None:
    """Of DisDiff, at a few time steps."""
    schedule, products = Schedule(), plain.products("scaled_linear")
    for t in (0, 1, 500, 999):
        before = products[t - 1] if t else 1.0
        alpha = 1 - plain.BETAS["scaled_linear"](t)
        in_training = -math.sqrt(alpha) * (1 - before) / math.sqrt(1 - products[t])
        assert schedule.shift_in_training(torch.tensor([t])).item() == pytest.approx(in_training, rel=1e-5)
        assert schedule.shift_in_sampling(torch.tensor([t])).item() == pytest.approx(-math.sqrt(1 - products[t]))


@pytest.mark.parametrize("n_steps", [1, 3, 50, 300, 600, 999, 1000])
@pytest.mark.parametrize("name", ["scaled_linear", "cosine"])
def test_ddim_on_normal_data(name: str, n_steps: int) -> None:
    """Every step multiplies by a known number, whatever the number of steps."""
    schedule, deviation = Schedule(name), 0.3
    start = torch.randn(2, 3, dtype=torch.float64, generator=generator())
    samples = schedule.sample(exact(schedule, deviation), start, n_steps)
    levels = plain.levels(name, sampling_timesteps(n_steps).tolist())
    factor = plain.ddim_factor_of_normal(levels, deviation)
    torch.testing.assert_close(samples, factor * start, rtol=1e-4, atol=0)  # the predictor's factors are float32


def test_ddim_ends_at_the_deviation_of_the_data() -> None:
    """With many steps the factor is the deviation at the noise level where sampling ends."""
    schedule, deviation = Schedule(), 0.3
    start = torch.ones(1, 1, dtype=torch.float64)
    samples = schedule.sample(exact(schedule, deviation), start, 1000)
    last = schedule.alphas_cumprod[0].item()
    assert samples.item() == pytest.approx(math.sqrt(last * deviation**2 + 1 - last), rel=0.01)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_fresh_noise_on_normal_data(eta: float) -> None:
    schedule, deviation, n = Schedule(), 0.3, 20_000
    start = torch.randn(n, generator=generator())
    samples = schedule.sample(exact(schedule, deviation), start, 20, eta, generator(1))
    variance = plain.ddim_variance_of_normal(
        plain.levels("scaled_linear", sampling_timesteps(20).tolist()), deviation, eta
    )
    assert samples.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("n_steps", [50, 200])
def test_sampling_is_that_of_diffusers(n_steps: int, eta: float) -> None:
    """With the settings that equal latent diffusion's sampler."""
    schedule = Schedule()
    scheduler = import_module("diffusers.schedulers.scheduling_ddim").DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    scheduler.set_timesteps(n_steps)
    assert scheduler.timesteps.tolist() == sampling_timesteps(n_steps).tolist()[::-1]
    start = torch.randn(4, 3, 2, 2, generator=generator())

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return torch.sin(noisy + timesteps.view(-1, 1, 1, 1) / 100)

    expected, draws = start, generator(1)
    for t in scheduler.timesteps:
        expected = scheduler.step(denoise(expected, t.expand(4)), t, expected, eta, generator=draws).prev_sample
    samples = schedule.sample(denoise, start, n_steps, eta, generator(1))
    torch.testing.assert_close(samples, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 50, 300, 501, 999, 1000])
def test_sampling_timesteps_are_spread_over_all(n_steps: int) -> None:
    timesteps = sampling_timesteps(n_steps)
    assert len(timesteps) == n_steps
    assert timesteps[0] == (0 if n_steps == 1000 else 1)
    assert timesteps[-1] <= 999
    gaps = timesteps.diff().tolist()
    assert all(1000 // n_steps <= gap <= -(-1000 // n_steps) for gap in gaps)
    assert 1000 - timesteps[-1] <= -(-1000 // n_steps)


def test_under_sqrt_sampling_stays_finite() -> None:
    schedule = Schedule("sqrt")
    start = torch.randn(8, generator=generator())
    samples = schedule.sample(lambda noisy, _: 0.9 * noisy, start, 100)
    assert torch.isfinite(samples).all()


def test_fresh_noise_comes_from_the_generator() -> None:
    schedule, start = Schedule(), torch.randn(2, 3, generator=generator())
    state = torch.random.get_rng_state()
    first, again, other = (schedule.sample(exact(schedule, 1.0), start, 10, 1.0, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_schedule_adds_nothing_to_a_state_dict() -> None:
    assert not Schedule().state_dict()


@pytest.mark.parametrize(
    ("n_steps", "eta", "message"),
    [
        (0, 0.0, "must lie in 1 ... 1000; got 0"),
        (1001, 0.0, "must lie in 1 ... 1000; got 1001"),
        (10, -0.1, "must lie in 0 ... 1; got -0.1"),
        (10, 1.5, "must lie in 0 ... 1; got 1.5"),
        (10, float("nan"), "must lie in 0 ... 1; got nan"),
        (10, 0.5, "needs a generator"),
    ],
)
def test_refuses(n_steps: int, eta: float, message: str) -> None:
    schedule = Schedule()
    with pytest.raises(UsageError, match=message):
        schedule.sample(exact(schedule, 1.0), torch.zeros(1, 1), n_steps, eta)


def test_refuses_unknown_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        Schedule("cosin")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setitem(sys.modules, "diffusers.schedulers.scheduling_ddim", None)
    schedule = Schedule()
    with pytest.raises(
        UsageError, match=r"sampling needs diffusers; install it with: pip install 'disbench\[models\]'"
    ):
        schedule.sample(exact(schedule, 1.0), torch.zeros(1, 1), 1)
