"""What the first stages of latent diffusion share: settings, diffusers' networks, the way there and back, the loss."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from disbench.types import Dataset
from reference_models.diffusion import adversary, perceptual
from reference_models.distributed import gathered
from reference_models.objectives import full_precision
from reference_models.trainable import Trainable
from reference_models.training import TrainConfig

SIDE = 16  # of the latents
_MULTIPLIERS = (1, 2, 4)  # of the width: at 64 x 64, 32 x 32 and 16 x 16


@dataclass(frozen=True)
class FirstStageConfig(TrainConfig):
    """What both first stages can be told; the defaults are the released settings.

    A batch is 2 parts of 128 images, each with a discriminator's statistics of its own. The length is our choice, as
    none is published: 100 epochs of Shapes3D, after which DyGA's first stages were taken.
    """

    steps: int = 187_500  # optimiser steps
    batch_size: int = 256  # images a step, of all processes together
    accumulate: int = 2  # parts that a batch is computed in
    learning_rate: float = 1.152e-3  # of Adam, constant; of the discriminator, too
    beta1: float = 0.5  # of Adam: decay of the mean gradient
    beta2: float = 0.9  # of Adam: decay of the mean square
    width: int = 32  # channels at 64 x 64; twice as many at 32 x 32, four times at 16 x 16
    perceptual_weight: float = 1.0  # of LPIPS beside the absolute error; 0 where its weights are not at hand
    adversary_weight: float = 0.75  # the discriminator's pull on the last layer, in those of the fidelity; 0 for none
    adversary_start: int = 0  # optimiser steps before the discriminator begins
    adversary_filters: int = 64  # of the discriminator's first layer

    may_be_zero: ClassVar[frozenset[str]] = TrainConfig.may_be_zero | {"adversary_start"}


class FirstStage(Trainable):
    """An autoencoder of diffusers and the discriminator that it is trained against.

    One optimiser trains both: two Adams of the same settings are one.
    """

    scored = False  # its latents are no representation of factors
    config: FirstStageConfig
    latent_channels: int

    def __init__(self, config: FirstStageConfig, autoencoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.autoencoder: Any = autoencoder
        self.discriminator = (
            adversary.PatchDiscriminator(config.n_channels, config.adversary_filters)
            if config.adversary_weight
            else None
        )

    def taken_over(self, dataset: Dataset) -> tuple[FirstStageConfig, dict[str, Tensor]]:  # noqa: ARG002
        """Nothing; where LPIPS cannot be had, this is said once, and its weight is 0."""
        if self.config.perceptual_weight and not perceptual.is_available():
            return dataclasses.replace(self.config, perceptual_weight=0.0), {}
        return self.config, {}

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, c * 16 * 16): the latents of images in [0, 1], flattened."""
        return self.encode(images).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images in [0, 1] of such codes."""
        return self.decode_latents(codes.unflatten(1, (self.latent_channels, SIDE, SIDE)))

    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, c, 16, 16), not quantised, of images (n, c, 64, 64) in [0, 1]."""
        raise NotImplementedError

    def reconstruct(self, latents: Tensor, *, quantise: bool = True) -> Tensor:  # noqa: ARG002
        """Images (n, c, 64, 64), about in [-1, 1]; a stage without a codebook does not quantise."""
        sample: Tensor = self.autoencoder.decode(latents).sample
        return sample

    def decode_latents(self, latents: Tensor, quantise: bool = True) -> Tensor:
        """Images (n, c, 64, 64) in [0, 1] of latents (n, c, 16, 16)."""
        return (full_precision(self.reconstruct(latents, quantise=quantise)) / 2 + 0.5).clamp(0, 1)

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:  # noqa: ARG002
        """The random numbers of one step: none."""
        return {}

    def objective(
        self, images: Tensor, reconstructions: Tensor, regulariser: Tensor, step: int, scale: float = 1.0
    ) -> dict[str, Tensor]:
        """The loss, of images and reconstructions in [-1, 1], and its terms.

        `loss` = scale * (`reconstruction` + perceptual_weight * `perceptual`) + regulariser
        + `adaptive_weight` * `generator` + `discriminator`.
        The discriminator learns from the reconstructions that the autoencoder's step is computed from, where the
        released code computes them anew after that step.
        """
        reconstructions = full_precision(reconstructions)
        terms = {"reconstruction": (images - reconstructions).abs().mean()}
        fidelity = terms["reconstruction"]
        if self.config.perceptual_weight and perceptual.is_available():
            terms["perceptual"] = perceptual.distances(images, reconstructions).mean()
            fidelity = fidelity + self.config.perceptual_weight * terms["perceptual"]
        loss = scale * fidelity + regulariser
        if self.discriminator is not None:
            if step < self.config.adversary_start:
                players = adversary.terms_at_rest(self.discriminator)
            else:
                last_layer, weight = self.autoencoder.decoder.conv_out.weight, self.config.adversary_weight
                players = adversary.adversarial_terms(
                    self.discriminator, images, reconstructions, scale * fidelity, last_layer, weight
                )
            loss = loss + players["adaptive_weight"] * players["generator"] + players["discriminator"]
            terms |= players
        return {"loss": loss, **terms}


def architecture(config: FirstStageConfig) -> dict[str, Any]:
    """What diffusers is told of the networks that both first stages have; up to 32 groups in each normalisation."""
    return {
        "in_channels": config.n_channels,
        "out_channels": config.n_channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(_MULTIPLIERS),
        "up_block_types": ("UpDecoderBlock2D",) * len(_MULTIPLIERS),
        "block_out_channels": tuple(config.width * multiplier for multiplier in _MULTIPLIERS),
        "layers_per_block": 2,
        "norm_num_groups": math.gcd(config.width, 32),
    }


def perplexity(chosen: Tensor, n_choices: int) -> Tensor:
    """exp of the entropy of how often each of `n_choices` was chosen in the batch of all processes, 0-d.

    It is as many as would be in even use.
    """
    counts = torch.zeros(n_choices, device=chosen.device)
    counts.index_add_(0, chosen.flatten(), torch.ones(chosen.numel(), device=chosen.device))
    shares = gathered(counts[None] / chosen.numel()).mean(0)
    return torch.special.entr(shares).sum().exp()
