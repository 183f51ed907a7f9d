"""What the VAE family shares, with the architecture of the 2019 study (Locatello et al., arXiv 1811.12359); beta-VAE.

beta-VAE: Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework".
The code of an image is the mean of q(code | image).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from disbench.registry import CheckpointEntry, ModelEntry
from reference_models.networks import ConvEncoder, DeconvDecoder
from reference_models.objectives import bernoulli_nll, full_precision, kl_to_standard_normal
from reference_models.trainable import Trainable
from reference_models.training import TrainConfig, train

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "gpu-hour": {"steps": 100_000, "learning_rate": 3e-4},
    "cpu-minutes": {"steps": 3_000, "learning_rate": 1e-3},
}


class Posterior(NamedTuple):
    """q(code | image) of a batch, and one sample of it for each image: (n, d) each, at least float32."""

    mean: Tensor
    log_variance: Tensor
    codes: Tensor


class Vae(Trainable):
    """Called with Images (n, c, 64, 64) it returns Codes (n, d); `decode` goes back, `generate` makes new ones.

    Losses are in nats: `loss`, `reconstruction`, `kl`, and what else the model has.
    """

    generated_from = "codes drawn from the prior N(0, 1)"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(config.n_channels, config.n_codes)
        self.decoder = DeconvDecoder(config.n_channels, config.n_codes)

    def forward(self, images: Tensor) -> Tensor:
        """Codes: the means of q(code | image)."""
        return self.encoder(images)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Images in [0, 1]: the means of p(image | code)."""
        return torch.sigmoid(self.decoder(codes))

    def generate(self, n: int, generator: torch.Generator) -> Tensor:
        """Images (n, c, 64, 64) in [0, 1], decoded from codes drawn from the prior; the generator is on the CPU."""
        codes = torch.randn(n, self.config.n_codes, generator=generator)
        return self.decode(codes.to(next(self.parameters()).device))

    def draw(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The random numbers of one step for n images, on the CPU: `noise` (n, d), standard normal."""
        return {"noise": torch.randn(n, self.config.n_codes, generator=generator)}

    def posterior(self, images: Tensor, noise: Tensor) -> Posterior:
        """q(code | image), and the samples that the noise (n, d) makes."""
        mean, log_variance = (full_precision(values) for values in self.encoder(images))
        return Posterior(mean, log_variance, mean + (log_variance / 2).exp() * noise)

    def evidence_terms(self, images: Tensor, posterior: Posterior) -> dict[str, Tensor]:
        """The two terms of the evidence lower bound, `reconstruction` and `kl`, both to be made small."""
        return {
            "reconstruction": bernoulli_nll(full_precision(self.decoder(posterior.codes)), images),
            "kl": kl_to_standard_normal(posterior.mean, posterior.log_variance),
        }


@dataclass(frozen=True)
class Config(TrainConfig):
    """beta-VAE; the defaults are the study's."""

    beta: float = 4.0  # weight of the KL term


class BetaVAE(Vae):
    """The KL weighs beta times as much as in a VAE."""

    config: Config

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` = `reconstruction` + beta * `kl`."""
        terms = self.evidence_terms(images, self.posterior(images, drawn["noise"]))
        return {"loss": terms["reconstruction"] + self.config.beta * terms["kl"], **terms}


MODELS = {
    "beta_vae": ModelEntry(
        "beta-VAE (Higgins et al. 2017), the 2019 study's network",
        Config, BetaVAE, train, PRESETS, {"beta": (1.0, 2.0, 4.0, 6.0, 8.0, 16.0)}, "vae",
    )
}  # fmt: skip
CHECKPOINTS = {
    "beta_vae-rooms3d": CheckpointEntry(
        "beta-VAE (beta 8, 15,000 steps) trained on rooms3d",
        Path(__file__).parent / "checkpoints" / "beta_vae-rooms3d.pt",
    )
}
