"""What the diffusion models share: settings of denoiser and sampling, one step's loss, and sampling."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from disbench.errors import UsageError, did_you_mean
from disbench.types import Dataset, Indices
from reference_models.diffusion.latents import LatentConfig, LatentSpace, first_stage_at
from reference_models.diffusion.schedule import N_TIMESTEPS, Denoise, Schedule
from reference_models.diffusion.unet import Denoiser
from reference_models.objectives import full_precision
from reference_models.trainable import Trainable

Loss = Literal["l1", "l2"]
DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss}


@dataclass(frozen=True)
class DiffusionConfig(LatentConfig):
    """The released settings; the lengths are our choice, as none is published."""

    steps: int = 40_000  # optimiser steps
    batch_size: int = 128  # images a step, of all processes together
    learning_rate: float = 2.56e-4  # of AdamW, after the warm-up
    warmup_steps: int = 10_000  # over which the learning rate grows from a millionth of itself, linearly
    weight_decay: float = 0.01  # of AdamW
    ema: float = 0.9999  # decay a step of the averaged denoiser, less at first; the encoder is never averaged
    schedule: str = "scaled_linear"  # scaled_linear | cosine | linear | sqrt: of the noise's variances
    loss: str = "l1"  # l1 | l2: distance of the predicted noise from the noise
    width: int = 64  # channels of the denoiser's first level; of the others 2, 4 and 4 times as many
    heads: int = 8  # of attention, at most
    dropout: float = 0.0  # share of activations dropped in the denoiser's residual blocks
    sampling_steps: int = 200  # predictions a sample, by DDIM
    eta: float = 1.0  # share of fresh noise in a step of sampling; 0 for none

    def __post_init__(self) -> None:
        super().__post_init__()
        Schedule(self.schedule)  # refuses what there is not
        if self.loss not in get_args(Loss):
            raise UsageError(f"there is no loss={self.loss}; {did_you_mean(self.loss, get_args(Loss))}")
        if self.width % 8:
            raise UsageError(f"width must be a multiple of 8; got {self.width}.")
        if self.sampling_steps > N_TIMESTEPS:
            raise UsageError(f"steps of sampling must lie in 1 ... {N_TIMESTEPS}; got {self.sampling_steps}.")
        if self.eta > 1:
            raise UsageError(f"eta, the share of fresh noise, must lie in 0 ... 1; got {self.eta}.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the denoiser's levels."""
        return (self.width, 2 * self.width, 4 * self.width, 4 * self.width)


class Diffusion(Trainable):
    """A denoiser in a latent space, and what conditions it."""

    config: DiffusionConfig
    frozen: tuple[str, ...] = ("space",)
    averaged = ("denoiser.",)

    def __init__(self, config: DiffusionConfig, **conditioning: Any) -> None:
        super().__init__()
        self.config = config
        self.space = LatentSpace(config)
        self.schedule = Schedule(config.schedule)
        self.denoiser = Denoiser(
            self.space.shape[0], config.widths, heads=config.heads, dropout=config.dropout, **conditioning
        )
        self.freeze()

    @property
    def decoding_cost(self) -> int:
        """Predictions of a large network that `decode` makes for one image."""
        return self.config.sampling_steps

    def taken_over(self, dataset: Dataset) -> tuple[Any, dict[str, Tensor]]:
        """The first stage that the config names by its path."""
        config = self.config
        if config.space == "pixel" or config.first_stage_hash:
            return config, {}
        decided, tensors = first_stage_at(config, dataset)
        return dataclasses.replace(config, **decided), {f"space.{name}": value for name, value in tensors.items()}

    def pretend(self) -> None:
        """Latents drawn at random."""
        self.space.pretend(self.config.n_images)

    def prepare(self, dataset: Dataset, device: torch.device) -> None:
        """Encode the data set, if it is to be encoded once."""
        self.space.prepare(dataset, device)

    def look_up(self, index: Indices) -> dict[str, Tensor]:
        """`latents`, if the data set was encoded."""
        return self.space.look_up(index)

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        """`timesteps` (n,), uniform, and `noise` (n, ...) of the latents' shape, standard normal."""
        return {
            "timesteps": torch.randint(N_TIMESTEPS, (n,), generator=generator),
            "noise": torch.randn(n, *self.space.shape, generator=generator),
        }

    def distance(self, predicted: Tensor, noise: Tensor) -> Tensor:
        """Of the prediction from the noise: the mean over everything, 0-d."""
        found: Tensor = DISTANCES[self.config.loss](full_precision(predicted), noise)
        return found

    @contextlib.contextmanager
    def sampling(self, n_steps: int | None = None, eta: float | None = None) -> Iterator[None]:
        """Sample in so many steps, with this share of fresh noise, while the block lasts; None: as the config says.

        Raises:
            UsageError: they lie outside.
        """
        changes: dict[str, Any] = {"sampling_steps": n_steps, "eta": eta}
        before = self.config
        self.config = dataclasses.replace(before, **{k: v for k, v in changes.items() if v is not None})
        try:
            yield
        finally:
            self.config = before

    def sample(self, denoise: Denoise, n: int, generator: Generator, *, alike: bool = False) -> Tensor:
        """n images in [0, 1], by DDIM from standard normal noise.

        Args:
            denoise: predicts the noise.
            n: how many.
            generator: of all noise, on the CPU.
            alike: all rows get the same noise, that to begin at and the fresh one.
        """
        start = torch.randn(1 if alike else n, *self.space.shape, generator=generator).to(self.space.scale.device)
        start = start.expand(n, -1, -1, -1)
        steps, eta = self.config.sampling_steps, self.config.eta
        return self.space.decode(self.schedule.sample(denoise, start, steps, eta, generator, alike=alike))

    def noisy(self, images: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
        """The latents of a batch with the noise of their time steps."""
        return self.schedule.noised(self.space.of(images, drawn), drawn["noise"], drawn["timesteps"])
