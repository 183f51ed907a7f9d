"""FactorVAE: Kim and Mnih 2018, "Disentangling by Factorising" (arXiv 1802.05983), as the 2019 study ran it.

A discriminator learns to tell codes of images from codes whose dimensions were permuted over the batch; its logits
estimate the total correlation, which the encoder makes small. Both learn in the same step, from the same codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor
from torch.func import functional_call

from disbench.errors import UsageError, did_you_mean
from disbench.registry import ModelEntry
from reference_models.distributed import gathered, own_rows
from reference_models.networks import Discriminator
from reference_models.objectives import discriminator_loss, full_precision, log_density_ratio, permuted
from reference_models.training import TrainConfig, train
from reference_models.vae import PRESETS, Vae

Permute = Literal["same", "second"]


@dataclass(frozen=True)
class Config(TrainConfig):
    """FactorVAE; the defaults are the study's.

    With permute=same the permuted codes are those of the batch itself. With permute=second, Kim and Mnih's, a batch is
    two independent halves: its images 0, 2, 4, ... train the VAE, and 1, 3, 5, ... give the codes to permute, so that
    batch_size=128 is what they call 64.
    """

    gamma: float = 10.0  # weight of the total correlation
    permute: str = "same"  # same | second: whose codes are permuted
    discriminator_learning_rate: float = 1e-4  # of Adam, constant
    discriminator_beta1: float = 0.5  # of Adam
    discriminator_beta2: float = 0.9  # of Adam

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.permute not in get_args(Permute):
            near = did_you_mean(self.permute, get_args(Permute))
            raise UsageError(f"there is no permute={self.permute}; {near}")
        if self.permute == "second" and self.batch_size // self.accumulate % 2:
            raise UsageError(
                "permute=second splits a batch, or each of its parts, into halves: batch_size / accumulate must be "
                f"even; got {self.batch_size} / {self.accumulate}."
            )
        if not self.discriminator_learning_rate:
            raise UsageError("discriminator_learning_rate must be above 0.")
        if max(self.discriminator_beta1, self.discriminator_beta2) >= 1:
            raise UsageError("discriminator_beta1 and discriminator_beta2 must be below 1.")


class FactorVae(Vae):
    """A VAE and the discriminator whose logits estimate the total correlation of the VAE's codes."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.discriminator = Discriminator(config.n_codes)

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        """`noise` (n, d), and `keys` (n, d), uniform, whose order in each column permutes the codes."""
        return super().draw(n, generator) | {"keys": torch.rand(n, self.config.n_codes, generator=generator)}

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` = `reconstruction` + `kl` + gamma * `total_correlation` + `discriminator`.

        The total correlation goes through the discriminator with its weights held fixed, and the discriminator's own
        loss sees detached codes: one backward pass gives each part the gradient of its own objective.
        """
        noise, keys = drawn["noise"], drawn["keys"]
        if self.config.permute == "second":
            if len(images) % 2:
                raise UsageError(f"permute=second halves what a process computes at once; got {len(images)} images.")
            # Every other image, so that the halves of processes are the halves of the whole batch.
            with torch.no_grad():
                others = self.posterior(images[1::2], noise[1::2]).codes
            images, noise, keys = images[::2], noise[::2], keys[1::2]
        posterior = self.posterior(images, noise)
        codes = posterior.codes
        if self.config.permute == "same":
            others = codes.detach()
        shuffled = own_rows(permuted(gathered(others), gathered(keys)))

        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        total_correlation = log_density_ratio(full_precision(functional_call(self.discriminator, fixed, (codes,))))
        logits = full_precision(self.discriminator(torch.cat((codes.detach(), shuffled))))
        discriminator = discriminator_loss(logits[: len(codes)], logits[len(codes) :])

        terms = self.evidence_terms(images, posterior)
        loss = terms["reconstruction"] + terms["kl"] + self.config.gamma * total_correlation + discriminator
        return {"loss": loss, **terms, "total_correlation": total_correlation, "discriminator": discriminator}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The VAE's parameters, and the discriminator's with their own learning rate and betas."""
        betas = (self.config.discriminator_beta1, self.config.discriminator_beta2)
        return [
            {"params": [*self.encoder.parameters(), *self.decoder.parameters()]},
            {
                "params": list(self.discriminator.parameters()),
                "lr": self.config.discriminator_learning_rate,
                "betas": betas,
            },
        ]


# The discriminator makes a step on a CPU about half as long again.
_PRESETS = {**PRESETS, "cpu-minutes": {**PRESETS["cpu-minutes"], "steps": 2_000}}

MODELS = {
    "factor_vae": ModelEntry(
        "FactorVAE (Kim and Mnih 2018): total correlation from a discriminator",
        Config, FactorVae, train, _PRESETS, {"gamma": (10.0, 20.0, 30.0, 40.0, 50.0, 100.0)}, "vae",
    )
}  # fmt: skip
