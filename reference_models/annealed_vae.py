"""AnnealVAE: Burgess et al. 2018, "Understanding disentangling in beta-VAE" (arXiv 1804.03599), eq. 8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from disbench.registry import ModelEntry
from reference_models.distributed import gathered
from reference_models.objectives import capacity
from reference_models.training import TrainConfig, train
from reference_models.vae import PRESETS, Vae


@dataclass(frozen=True)
class Config(TrainConfig):
    """AnnealVAE; the defaults are the study's."""

    max_capacity: float = 25.0  # nats of KL at the end of the ramp; c_max in the study
    ramp_steps: int = 100_000  # optimiser steps until the capacity is at its largest
    gamma: float = 1000.0  # weight of the KL's distance from the capacity


class AnnealedVae(Vae):
    """The KL is held at a capacity that grows with the optimiser steps."""

    config: Config

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """`loss` = `reconstruction` + gamma * |`kl` - `capacity`|, with the KL of all processes' images."""
        terms = self.evidence_terms(images, self.posterior(images, drawn["noise"]))
        kl = gathered(terms["kl"][None]).mean()
        allowed = kl.new_full((), capacity(step, self.config.max_capacity, self.config.ramp_steps))
        loss = terms["reconstruction"] + self.config.gamma * (kl - allowed).abs()
        return {"loss": loss, **terms, "capacity": allowed}


# As in the study, the capacity grows during the first third.
_RAMPS = {"gpu-hour": PRESETS["gpu-hour"]["steps"] // 3, "cpu-minutes": PRESETS["cpu-minutes"]["steps"] // 3}

MODELS = {
    "annealed_vae": ModelEntry(
        "AnnealVAE (Burgess et al. 2018): the KL is held at a growing capacity",
        Config,
        AnnealedVae,
        train,
        {"paper": PRESETS["paper"], **{name: {**PRESETS[name], "ramp_steps": ramp} for name, ramp in _RAMPS.items()}},
        {"max_capacity": (5.0, 10.0, 25.0, 50.0, 75.0, 100.0)},
        "vae",
    )
}
