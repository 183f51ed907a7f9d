"""DIP-VAE-I and -II: Kumar et al. 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled
Observations" (arXiv 1711.00848), eq. 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from disbench.registry import ModelEntry
from reference_models.distributed import gathered
from reference_models.objectives import covariance, diagonal_penalty, off_diagonal_penalty
from reference_models.training import TrainConfig, train
from reference_models.vae import PRESETS, Posterior, Vae


@dataclass(frozen=True)
class Config(TrainConfig):
    """DIP-VAE-I; the defaults are the study's."""

    lambda_od: float = 10.0  # weight of the squared covariances
    lambda_d_ratio: float = 10.0  # lambda_d / lambda_od; lambda_d weighs the variances' squared distances from 1


@dataclass(frozen=True)
class ConfigII(Config):
    """DIP-VAE-II; the defaults are the study's."""

    lambda_d_ratio: float = 1.0  # lambda_d / lambda_od


class DipVae(Vae):
    """DIP-VAE-I: the covariance of the means over the batch is drawn to the identity."""

    config: Config

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` = `reconstruction` + `kl` + lambda_od * `off_diagonal` + lambda_d * `diagonal`."""
        posterior = self.posterior(images, drawn["noise"])
        terms = self.evidence_terms(images, posterior)
        matrix = self.covariance(posterior)
        penalties = {"off_diagonal": off_diagonal_penalty(matrix), "diagonal": diagonal_penalty(matrix)}
        penalty = penalties["off_diagonal"] + self.config.lambda_d_ratio * penalties["diagonal"]
        loss = terms["reconstruction"] + terms["kl"] + self.config.lambda_od * penalty
        return {"loss": loss, **terms, **penalties}

    def covariance(self, posterior: Posterior) -> Tensor:
        """Of the means (d, d), over the images of all processes."""
        return covariance(gathered(posterior.mean))


class DipVaeII(DipVae):
    """DIP-VAE-II: the covariance of the codes under q(code) is drawn to the identity."""

    def covariance(self, posterior: Posterior) -> Tensor:
        """Of the codes: that of the means, plus the mean variance of q(code | image) on the diagonal."""
        return super().covariance(posterior) + gathered(posterior.log_variance.exp()).mean(0).diag()


_SWEEP = {"lambda_od": (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)}
_SUMMARY = "(Kumar et al. 2018): the covariance of the"

MODELS = {
    "dip_vae_i": ModelEntry(
        f"DIP-VAE-I {_SUMMARY} means is the identity's", Config, DipVae, train, PRESETS, _SWEEP, "vae"
    ),
    "dip_vae_ii": ModelEntry(f"DIP-VAE-II {_SUMMARY} codes", ConfigII, DipVaeII, train, PRESETS, _SWEEP, "vae"),
}
