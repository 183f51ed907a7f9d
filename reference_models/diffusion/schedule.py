"""How much noise there is at each time step, and sampling by DDIM (Song et al. 2021, arXiv 2010.02502)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from disbench.errors import UsageError, did_you_mean
from reference_models.diffusion import diffusers_part

Name = Literal["scaled_linear", "cosine", "linear", "sqrt"]

N_TIMESTEPS = 1000  # T
FIRST_BETA, LAST_BETA = 0.0015, 0.0155  # of all schedules but cosine

# (noisy images or latents (n, ...), time steps (n,)) -> the noise in them
Denoise = Callable[[Tensor, Tensor], Tensor]


class Schedule(nn.Module):
    """The variances of T = 1000 time steps; step 0 has the least noise.

    Names: what each beta_t is, from 0.0015 to 0.0155, and what latent diffusion's code, in whose names EncDiff's paper
    compares them, calls it:
        scaled_linear: linear in the square root of beta; the default of the released models, there "linear".
        linear: linear in beta; there "sqrt_linear".
        sqrt: the square root of linear, whose product is down to 0.008 by step 100; there "sqrt".
        cosine: Nichol and Dhariwal 2021 (arXiv 2102.09672), at most 0.999; there "cosine".

    Nothing of it is trained, nor kept in a state dict.

    Raises:
        UsageError: there is no such schedule.
    """

    def __init__(self, name: str = "scaled_linear") -> None:
        super().__init__()
        self.name = name
        self.betas = betas(name)  # float64 on the CPU, as is the next: diffusers indexes them by numbers
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
        before = torch.cat((torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]))
        shift = -(1 - self.betas).sqrt() * (1 - before) / (1 - self.alphas_cumprod).sqrt()
        self.signal: Tensor
        self.spread: Tensor
        self.shift: Tensor
        # Roots in float64 first: under `sqrt` the last products are too small for float32, their roots are not.
        self.register_buffer("signal", self.alphas_cumprod.sqrt().float(), persistent=False)
        self.register_buffer("spread", (1 - self.alphas_cumprod).sqrt().float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """clean (n, ...) with noise of the same shape, as much as time steps (n,) have."""
        signal, spread = self._at(timesteps, clean)
        return signal * clean + spread * noise

    def predicted_clean(self, noisy: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The inverse of `noised`: what is clean in noisy (n, ...) if the noise in it is `noise`."""
        signal, spread = self._at(timesteps, noisy)
        return (noisy - spread * noise) / signal

    def shift_in_training(self, timesteps: Tensor) -> Tensor:
        """DisDiff's weight of a shift of the prediction in its reconstruction loss, at time steps (n,).

        -sqrt(alpha_t) (1 - product_{t-1}) / sqrt(1 - product_t), products of alphas; 0 at step 0.
        """
        return self.shift[timesteps]

    def shift_in_sampling(self, timesteps: Tensor) -> Tensor:
        """The same in sampling and in its disentangling loss: -sqrt(1 - product_t)."""
        return -self.spread[timesteps]

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        start: Tensor,
        n_steps: int,
        eta: float = 0.0,
        generator: Generator | None = None,
        *,
        alike: bool = False,
    ) -> Tensor:
        """Images or latents (n, ...) from noise of the same shape, by DDIM; nothing is clipped.

        It ends at the noise level of time step 0, as the released samplers do.

        Args:
            denoise: the prediction of the noise.
            start: standard normal noise.
            n_steps: predictions, 1 to 1000, at time steps spread as `sampling_timesteps` does.
            eta: 0 for no fresh noise, 1 for as much as ancestral sampling adds.
            generator: of the fresh noise, on the CPU; needed where eta is above 0.
            alike: all rows get the same fresh noise.

        Raises:
            UsageError: n_steps or eta lie outside, the generator is missing, or diffusers is not installed.
        """
        timesteps = sampling_timesteps(n_steps)
        if not 0 <= eta <= 1:
            raise UsageError(f"eta, the share of fresh noise in a step, must lie in 0 ... 1; got {eta}.")
        if eta and generator is None:
            raise UsageError(f"eta={eta} adds fresh noise at every step, which needs a generator on the CPU; got none.")
        scheduler = diffusers_part("schedulers.scheduling_ddim", "sampling").DDIMScheduler(
            num_train_timesteps=n_steps + 1, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )
        # One step of this scheduler is one of ours, whose numbers need not be evenly spaced.
        scheduler.alphas_cumprod = self.alphas_cumprod[torch.cat((torch.zeros(1, dtype=torch.int64), timesteps))]
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
        scheduler.set_timesteps(n_steps)
        samples, timesteps = start, timesteps.to(start.device)
        shape = (1, *start.shape[1:]) if alike else start.shape
        for k in range(n_steps, 0, -1):
            noise = denoise(samples, timesteps[k - 1].expand(len(start)))
            fresh = torch.randn(shape, generator=generator, dtype=start.dtype).to(start.device) if eta else None
            samples = scheduler.step(noise.to(start.dtype), k, samples, eta, variance_noise=fresh).prev_sample
        return samples

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of the clean and of the noise at time steps (n,), shaped to multiply (n, ...)."""
        shape = (-1, *[1] * (like.ndim - 1))
        return self.signal[timesteps].view(shape).to(like.dtype), self.spread[timesteps].view(shape).to(like.dtype)


def betas(name: str) -> Tensor:
    """The variances that each time step adds, (1000,) in float64.

    Raises:
        UsageError: there is no such schedule.
    """
    if name not in get_args(Name):
        raise UsageError(f"there is no schedule={name}; {did_you_mean(name, get_args(Name))}")
    if name == "cosine":
        edges = torch.arange(N_TIMESTEPS + 1, dtype=torch.float64) / N_TIMESTEPS
        products = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - products[1:] / products[:-1]).clamp(max=0.999)
    if name == "scaled_linear":
        return torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, N_TIMESTEPS, dtype=torch.float64) ** 2
    linear = torch.linspace(FIRST_BETA, LAST_BETA, N_TIMESTEPS, dtype=torch.float64)
    return linear.sqrt() if name == "sqrt" else linear


def sampling_timesteps(n_steps: int) -> Tensor:
    """The time steps at which DDIM predicts, ascending: 1 + floor(1000 k / n_steps).

    Where n_steps divides 1000 they are those of latent diffusion's sampler, a stride of floor(1000 / n_steps) from 1
    on. Elsewhere that stride would leave the last time steps out, and sampling begin with less noise than it assumes;
    these stay spread over all of them. With n_steps = 1000 each time step is taken once, 0 too.

    Raises:
        UsageError: n_steps lies outside 1 ... 1000.
    """
    if not 1 <= n_steps <= N_TIMESTEPS:
        raise UsageError(f"the number of sampling steps must lie in 1 ... {N_TIMESTEPS}; got {n_steps}.")
    timesteps = torch.arange(n_steps) * N_TIMESTEPS // n_steps
    return timesteps if n_steps == N_TIMESTEPS else timesteps + 1
