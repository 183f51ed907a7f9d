"""beta-TCVAE: Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders".

arXiv 1802.04942.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from disbench.errors import UsageError, did_you_mean
from disbench.registry import ModelEntry
from reference_models.distributed import gathered
from reference_models.objectives import stratified, total_correlation, weighted
from reference_models.training import TrainConfig, train
from reference_models.vae import PRESETS, Posterior, Vae

Estimator = Literal["minibatch", "weighted", "stratified"]


@dataclass(frozen=True)
class Config(TrainConfig):
    """beta-TCVAE; the defaults are the study's.

    Estimators of the total correlation: `minibatch` is disentanglement_lib's and leaves out a constant, so that its
    value is shifted and its gradient is that of `weighted`; `weighted` and `stratified` are Chen et al.'s minibatch
    weighted and stratified sampling, which need n_images.
    """

    beta: float = 6.0  # weight of the total correlation; 1 makes it a VAE
    estimator: str = "minibatch"  # minibatch | weighted | stratified: of the total correlation

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator not in get_args(Estimator):
            near = did_you_mean(self.estimator, get_args(Estimator))
            raise UsageError(f"there is no estimator {self.estimator!r}; {near}")


class BetaTcvae(Vae):
    """The total correlation of the codes, a part of the KL, weighs beta times as much as in a VAE."""

    config: Config

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` = `reconstruction` + `kl` + (beta - 1) * `total_correlation`."""
        posterior = self.posterior(images, drawn["noise"])
        terms = self.evidence_terms(images, posterior)
        correlation = self._total_correlation(posterior)
        loss = terms["reconstruction"] + terms["kl"] + (self.config.beta - 1) * correlation
        return {"loss": loss, **terms, "total_correlation": correlation}

    def _total_correlation(self, posterior: Posterior) -> Tensor:
        """Estimated over the images of all processes."""
        mean, log_variance, codes = gathered(torch.stack(posterior, dim=1)).unbind(1)
        weights: Tensor | float = 0.0
        if self.config.estimator == "weighted":
            weights = weighted(len(codes), self.config.n_images)
        elif self.config.estimator == "stratified":
            weights = stratified(len(codes), self.config.n_images, dtype=codes.dtype, device=codes.device)
        return total_correlation(codes, mean, log_variance, weights)


MODELS = {
    "beta_tcvae": ModelEntry(
        "beta-TCVAE (Chen et al. 2018): total correlation from the pairs of a batch",
        Config, BetaTcvae, train, PRESETS, {"beta": (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)}, "vae",
    )
}  # fmt: skip
