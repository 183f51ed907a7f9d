"""The VAE family, with the architecture of the 2019 study (Locatello et al., arXiv 1811.12359).

beta-VAE: Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework".
The code of an image is the mean of q(code | image).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disbench.registry import CheckpointEntry, ModelEntry
from reference_models.networks import ConvEncoder, DeconvDecoder
from reference_models.training import TrainConfig, train


@dataclass(frozen=True)
class Config(TrainConfig):
    """beta-VAE; the defaults are the study's."""

    beta: float = 4.0  # weight of the KL term


class BetaVAE(nn.Module):
    """Called with Images (n, c, 64, 64) it returns Codes (n, d); `decode` goes back, `generate` makes new ones."""

    generated_from = "codes drawn from the prior N(0, 1)"

    def __init__(self, config: Config) -> None:
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

    def loss(self, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Loss terms, means over the batch, in nats.

        Args:
            images: (n, c, 64, 64) in [0, 1].
            noise: (n, d) standard normal.

        Returns:
            `loss` = `reconstruction` + beta * `kl`.
        """
        mean, log_variance = self.encoder(images)
        logits = self.decoder(mean + (log_variance / 2).exp() * noise)
        reconstruction = bernoulli_nll(logits, images)
        kl = kl_to_standard_normal(mean, log_variance)
        return {"loss": reconstruction + self.config.beta * kl, "reconstruction": reconstruction, "kl": kl}


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(image | code), summed over pixels and channels, mean over the batch; the targets' entropy stays in."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) to N(0, 1), summed over codes, mean over the batch."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()


MODELS = {"beta_vae": ModelEntry("beta-VAE (Higgins et al. 2017), the 2019 study's network", Config, BetaVAE, train)}
CHECKPOINTS = {
    "beta_vae-rooms3d": CheckpointEntry(
        "beta-VAE (beta 8, 15,000 steps) trained on rooms3d",
        Path(__file__).parent / "checkpoints" / "beta_vae-rooms3d.pt",
    )
}
