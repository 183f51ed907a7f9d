"""First stages of latent diffusion: images (c, 64, 64) to latents (3 or 4, 16, 16) and back, VQ-GAN and KL.

Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis" (arXiv 2012.09841), and Rombach et al.
2022, "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752), as DisDiff, EncDiff and DyGA
run them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from disbench.registry import ModelEntry
from reference_models.diffusion import diffusers_part
from reference_models.diffusion.first_stage import (
    SIDE,
    FirstStage,
    FirstStageConfig,
    architecture,
    perplexity,
)
from reference_models.objectives import full_precision, kl_to_standard_normal
from reference_models.training import train

# "gpu-minutes" is untried. A step of "cpu-hour" takes 0.4 s on two cores.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "gpu-minutes": {"steps": 4_000, "batch_size": 128, "accumulate": 1, "learning_rate": 5.76e-4},
    "cpu-hour": {
        "steps": 3_000, "batch_size": 16, "accumulate": 1, "width": 16, "perceptual_weight": 0.0,
        "adversary_weight": 0.0,
    },
    "tiny": {
        "steps": 30, "batch_size": 8, "accumulate": 1, "learning_rate": 2e-3, "width": 8, "perceptual_weight": 0.0,
        "adversary_filters": 8, "adversary_start": 15,
    },
}  # fmt: skip


@dataclass(frozen=True)
class VqConfig(FirstStageConfig):
    """VQ-GAN."""

    codebook_size: int = 2_048  # vectors
    codebook_beta: float = 0.25  # how much the codebook is drawn to the latents; they are drawn to it with 1


@dataclass(frozen=True)
class KlConfig(FirstStageConfig):
    """KL; what is not published for it is VQ-GAN's."""

    adversary_weight: float = 0.5  # the discriminator's pull on the last layer, in those of the fidelity; 0 for none
    adversary_start: int = 50_001  # optimiser steps before the discriminator begins
    kl_weight: float = 1e-6  # of the KL, summed over latents, beside the fidelity, summed over pixels


class Vq(FirstStage):
    """VQ-GAN: every latent (3,) becomes the nearest vector of a codebook."""

    config: VqConfig
    latent_channels = 3

    def __init__(self, config: VqConfig) -> None:
        network = diffusers_part("models.autoencoders", "vq").VQModel(
            latent_channels=self.latent_channels, vq_embed_dim=self.latent_channels,
            num_vq_embeddings=config.codebook_size, **architecture(config),
        )  # fmt: skip
        network.quantize.beta = config.codebook_beta
        super().__init__(config, network)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, 3, 16, 16), not quantised, of images (n, c, 64, 64) in [0, 1]."""
        latents: Tensor = self.autoencoder.encode(2 * images - 1).latents
        return latents

    def reconstruct(self, latents: Tensor, *, quantise: bool = True) -> Tensor:
        """Images (n, c, 64, 64), about in [-1, 1]."""
        sample: Tensor = self.autoencoder.decode(latents, force_not_quantize=not quantise).sample
        return sample

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` is that of `objective` with `quantisation`; `perplexity` says how many vectors are in even use."""
        latents = full_precision(self.encode(images))
        with torch.autocast(images.device.type, enabled=False):
            quantised, quantisation, (_, _, chosen) = self.autoencoder.quantize(latents)
        terms = self.objective(2 * images - 1, self.reconstruct(quantised, quantise=False), quantisation, step)
        return {**terms, "quantisation": quantisation, "perplexity": perplexity(chosen, self.config.codebook_size)}


class Kl(FirstStage):
    """The latents (4, 16, 16) of an image have a normal distribution, drawn to N(0, 1) with a very small weight."""

    config: KlConfig
    latent_channels = 4

    def __init__(self, config: KlConfig) -> None:
        network = diffusers_part("models.autoencoders", "kl").AutoencoderKL(
            latent_channels=self.latent_channels, **architecture(config)
        )
        super().__init__(config, network)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, 4, 16, 16), the means, of images (n, c, 64, 64) in [0, 1]."""
        mean: Tensor = self.autoencoder.encode(2 * images - 1).latent_dist.mean
        return mean

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        """The random numbers of one step for n images, on the CPU: `noise` (n, 4, 16, 16), standard normal."""
        return {"noise": torch.randn(n, self.latent_channels, SIDE, SIDE, generator=generator)}

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """`loss` is that of `objective`, fidelity summed over pixels and channels, with kl_weight * `kl`."""
        posterior = self.autoencoder.encode(2 * images - 1).latent_dist
        mean, log_variance = full_precision(posterior.mean), full_precision(posterior.logvar)
        kl = kl_to_standard_normal(mean.flatten(1), log_variance.flatten(1))
        latents = mean + (log_variance / 2).exp() * drawn["noise"]
        scale = math.prod(images.shape[1:])
        terms = self.objective(2 * images - 1, self.reconstruct(latents), self.config.kl_weight * kl, step, scale)
        return {**terms, "kl": kl}


MODELS = {
    "vq": ModelEntry(
        "VQ-GAN, a first stage of latent diffusion: latents 3 x 16 x 16",
        VqConfig,
        Vq,
        train,
        PRESETS,
        family="autoencoder",
    ),
    "kl": ModelEntry(
        "autoencoder with a KL term, a first stage of latent diffusion: latents 4 x 16 x 16",
        KlConfig,
        Kl,
        train,
        PRESETS,
        family="autoencoder",
    ),
}
