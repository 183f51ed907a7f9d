"""The unconditional latent diffusion model that DisDiff starts from: Rombach et al. 2022 (arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Generator, Tensor

from disbench.registry import ModelEntry
from reference_models.diffusion.conditioned import Diffusion, DiffusionConfig
from reference_models.training import train


class Ldm(Diffusion):
    """It has no codes: called with images it returns their latents, flattened."""

    scored = False
    decoding_cost = 0
    generated_from = "noise"

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, c * h * w): the latents."""
        return self.space.encode(images).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images in [0, 1] of such codes, by the first stage alone."""
        return self.space.decode(codes.unflatten(1, self.space.shape))

    def generate(self, n: int, generator: Generator) -> Tensor:
        """Images (n, c, 64, 64) in [0, 1]; the generator is on the CPU."""
        return self.sample(self.denoiser, n, generator)

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` is the distance of the predicted noise from the noise."""
        predicted = self.denoiser(self.noisy(images, drawn), drawn["timesteps"])
        return {"loss": self.distance(predicted, drawn["noise"])}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "gpu-minutes": {"steps": 3_000, "warmup_steps": 500},
    "cpu-hour": {"steps": 4_000, "warmup_steps": 500, "batch_size": 32, "learning_rate": 5e-4, "width": 16,
                 "ema": 0.999, "sampling_steps": 25, "eta": 0.0},
    "tiny": {"steps": 40, "warmup_steps": 5, "batch_size": 8, "learning_rate": 1e-3, "width": 8, "sampling_steps": 4,
             "eta": 0.0},
}  # fmt: skip

MODELS = {
    "ldm": ModelEntry(
        "unconditional latent diffusion (Rombach et al. 2022), which DisDiff starts from",
        DiffusionConfig,
        Ldm,
        train,
        PRESETS,
        family="diffusion",
    )
}
