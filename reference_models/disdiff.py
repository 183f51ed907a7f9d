"""DisDiff: Yang et al. 2023, "DisDiff: Unsupervised Disentanglement of Diffusion Probabilistic Models".

arXiv 2301.13721, as released: a frozen unconditional denoiser (`ldm`), an encoder to units, and a branch that gives for
each unit what it adds to the predicted noise.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from disbench.errors import UsageError, did_you_mean
from disbench.registry import CheckpointEntry, ModelEntry
from disbench.types import Dataset
from reference_models.diffusion.before import DECIDED_BY_LDM, ldm_at
from reference_models.diffusion.conditioned import Diffusion, DiffusionConfig
from reference_models.diffusion.encoders import Encoder4, ImageEncoder
from reference_models.diffusion.shift import ShiftBranch
from reference_models.objectives import full_precision
from reference_models.training import train

Weighting = Literal["latent", "image"]


@dataclass(frozen=True)
class Config(DiffusionConfig):
    """DisDiff as released, with the weight that its README asks for.

    Where the first stage and the denoiser come from is one path: of a trained `ldm`.
    """

    ldm: str = ""  # path of a trained ldm; the hash of its content once it is known
    n_codes: int = 6  # units
    unit_width: int = 32  # numbers per unit
    encoder_width: int = 128  # channels of the encoder
    disentangling_weight: float = 0.05  # of the invariant and the variant loss
    weighted_by: str = "latent"  # latent | image: where it is measured how much a unit changes, which weighs an image

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighted_by not in get_args(Weighting):
            near = did_you_mean(self.weighted_by, get_args(Weighting))
            raise UsageError(f"there is no weighted_by={self.weighted_by}; {near}")


def encoder_of(config: Config) -> ImageEncoder:
    """The encoder, whose numbers are the units."""
    body = Encoder4(config.n_channels, config.n_codes * config.unit_width, config.encoder_width)
    return ImageEncoder(body, config.n_codes)


class DisDiff(Diffusion):
    """Called with Images it returns the units (n, units, width)."""

    config: Config
    frozen = ("space", "denoiser")
    averaged = ("branch.",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.encoder = encoder_of(config)
        self.branch = ShiftBranch(
            self.space.shape[0],
            config.widths,
            n_units=config.n_codes,
            unit_width=config.unit_width,
            heads=config.heads,
            dropout=config.dropout,
        )

    def taken_over(self, dataset: Dataset) -> tuple[Any, dict[str, Tensor]]:
        """The trained ldm that the config names by its path, with its first stage."""
        if re.fullmatch("[0-9a-f]{16}", self.config.ldm):  # of one that was found
            return self.config, {}
        found = ldm_at(self.config.ldm, self.config, dataset)
        decided = {name: found.config[name] for name in DECIDED_BY_LDM}
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in found.state_dict.items()}
        return dataclasses.replace(self.config, **decided, ldm=found.content_hash[:16]), tensors

    def prepare(self, dataset: Dataset, device: torch.device) -> None:
        """As in any diffusion; refuses a denoiser that was never trained, whose last layer is 0."""
        if not self.denoiser.decoder.out.weight.any():
            raise UsageError("the run has no state to go on from; begin it again.")
        super().prepare(dataset, device)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens: the units (n, units, width)."""
        units: Tensor = self.encoder(images)
        return units

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        """As in any diffusion, and `unit` (n,), uniform: the one that is told from the others."""
        return super().draw(n, generator) | {"unit": torch.randint(self.config.n_codes, (n,), generator=generator)}

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` = `noise`, the distance of the predicted noise, + `disentangling`, weighted by image.

        `invariant` and `variant` are its parts before weighting, means over the batch.
        """
        timesteps, unit = drawn["timesteps"], drawn["unit"]
        noisy, units = self.noisy(images, drawn), self(images)
        before, shifts = (full_precision(found) for found in self.predicted(noisy, timesteps, units))
        weight = self.schedule.shift_in_training(timesteps).view(-1, 1, 1, 1)
        terms = {"noise": self.distance(before + weight * shifts.sum(1), drawn["noise"])}

        rows = torch.arange(len(unit), device=unit.device)
        weight = self.schedule.shift_in_sampling(timesteps).view(-1, 1, 1, 1)
        clean = self.schedule.predicted_clean(noisy, before, timesteps)
        moved = self.schedule.predicted_clean(noisy, before + weight * shifts[rows, unit], timesteps)
        invariant, variant, change = self._told_apart(clean, moved, units.detach(), unit)
        disentangling = (self.config.disentangling_weight * change * (invariant + variant)).mean()
        loss = terms["noise"] + disentangling
        return {
            "loss": loss, **terms, "disentangling": disentangling,
            "invariant": invariant.mean(), "variant": variant.mean(),
        }  # fmt: skip

    def predicted(self, noisy: Tensor, timesteps: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """The frozen denoiser's noise (n, ...), without gradient, and each unit's shift of it (n, units, ...)."""
        with torch.no_grad():
            embedding = self.denoiser.embedding(timesteps)
            features = self.denoiser.encode(noisy, embedding)
            before = self.denoiser.decode(features, embedding)
        return before, self.branch(features, embedding, units)

    def _told_apart(self, clean: Tensor, moved: Tensor, units: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Invariant and variant loss, and the mean squared change, of each image (n,).

        Args:
            clean: latents predicted by the frozen denoiser.
            moved: the same, shifted by one unit.
            units: of the images, without gradient.
            unit: which one shifted (n,).
        """
        judge = copy.deepcopy(self.encoder.body).requires_grad_(False).eval()
        images, moved_images = (self.space.pictures(latents) for latents in (clean, moved))
        found, found_moved = (judge(x).view_as(units) for x in (images, moved_images))
        from_before, from_moved = (found - units).norm(dim=2), (found_moved - units).norm(dim=2)
        invariant = F.cross_entropy((found - found_moved).norm(dim=2), unit, reduction="none")
        variant = F.cross_entropy(from_before - from_moved, unit, reduction="none")
        pair = (clean, moved) if self.config.weighted_by == "latent" else (images, moved_images)
        return invariant, variant, (pair[0] - pair[1]).square().flatten(1).mean(1).detach()

    def denoise(self, units: Tensor) -> Any:
        """What predicts the noise given units: (noisy, timesteps) -> noise."""

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            before, shifts = self.predicted(noisy, timesteps, units)
            return before + self.schedule.shift_in_sampling(timesteps).view(-1, 1, 1, 1) * shifts.sum(1)

        return predict

    def decode(self, units: Tensor) -> Tensor:
        """Images in [0, 1] of units, as `forward` returns them; all noise is the same in every row."""
        return self.sample(self.denoise(units), len(units), Generator().manual_seed(0), alike=True)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "gpu-minutes": {"steps": 3_000, "warmup_steps": 500, "sampling_steps": 50, "eta": 0.0},
    "cpu-hour": {"steps": 2_000, "warmup_steps": 200, "batch_size": 16, "learning_rate": 5e-4, "encoder_width": 64,
                 "ema": 0.999, "sampling_steps": 25, "eta": 0.0},
    "tiny": {
        "steps": 40, "warmup_steps": 5, "batch_size": 8, "learning_rate": 1e-3, "encoder_width": 8,
        "sampling_steps": 4, "eta": 0.0,
    },
}  # fmt: skip

MODELS = {
    "disdiff": ModelEntry(
        "DisDiff (Yang et al. 2023): units whose shifts of a frozen denoiser's noise can be told apart",
        Config, DisDiff, train, PRESETS, family="diffusion",
    ),
    "disdiff-encoder": ModelEntry(
        "DisDiff's encoder alone, of a trained model", Config, encoder_of, family="diffusion"
    ),
}  # fmt: skip
CHECKPOINTS = {
    "disdiff-rooms3d": CheckpointEntry(
        "DisDiff's encoder (cpu-hour: a narrow denoiser, 2,000 steps) trained on rooms3d",
        Path(__file__).parent / "checkpoints" / "disdiff-rooms3d.pt",
    )
}
