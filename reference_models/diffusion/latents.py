"""Where diffusion happens: in the latents of a frozen first stage, or in pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor, nn

from disbench import checkpoint, registry
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.images import to_images
from disbench.settings import override
from disbench.types import Dataset, Indices
from reference_models.diffusion.before import FIRST_STAGES, trained_before
from reference_models.diffusion.encoded import latents_of
from reference_models.diffusion.first_stage import SIDE
from reference_models.objectives import full_precision
from reference_models.training import TrainConfig

Space = Literal["latent", "pixel"]
N_FOR_SCALE = 128  # images whose latents' spread sets the scale: a training batch, as released


@dataclass(frozen=True)
class LatentConfig(TrainConfig):
    """What every diffusion model is told of where it works.

    A trained first stage is given as the path of its checkpoint or run; what is found there replaces it: its kind, its
    sizes and the hash of its content.
    """

    space: str = "latent"  # latent | pixel
    first_stage: str = "vq"  # path of a trained first stage; vq or kl once it is known
    first_stage_width: int = 32  # its channels at 64 x 64; found there
    codebook_size: int = 2_048  # its vectors, if it is vq; found there
    first_stage_hash: str = ""  # of its content; found there
    cache_latents: str = "auto"  # yes | no | auto: encode the data set once, if that is less work than every batch

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in {"space": get_args(Space), "cache_latents": ("yes", "no", "auto")}.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"there is no {name}={value}; {did_you_mean(value, choices)}")


class LatentSpace(nn.Module):
    """Images in [0, 1] to what is diffused, of a spread of about 1, and back.

    Args:
        config: of the model that works in it.
    """

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.stage = _stage(config) if config.space == "latent" else None
        self.register_buffer("scale", torch.ones(()) * (config.space == "pixel"))
        self.scale: Tensor  # 0 until the first stage is known
        self._table: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what is diffused, per image."""
        if self.stage is None:
            return (self.config.n_channels, 64, 64)
        return (self.stage.latent_channels, SIDE, SIDE)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, c, 16, 16), or pixels in [-1, 1], of images (n, c, 64, 64) in [0, 1]."""
        if self.stage is None:
            return 2 * images - 1
        with torch.no_grad():
            latents = full_precision(self.stage.encode(images))
        return latents * self.scale

    def decode(self, latents: Tensor, quantise: bool = True) -> Tensor:
        """Images in [0, 1] of what was diffused."""
        if self.stage is None:
            return (latents / 2 + 0.5).clamp(0, 1)
        images: Tensor = self.stage.decode_latents(latents / self.scale, quantise)
        return images

    def pictures(self, latents: Tensor) -> Tensor:
        """Images about in [-1, 1], neither quantised nor clamped, so that gradients pass."""
        if self.stage is None:
            return latents
        images: Tensor = self.stage.reconstruct(latents / self.scale, quantise=False)
        return images

    def of(self, images: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
        """The latents of a batch: those that were looked up, or else computed."""
        return drawn["latents"].float() * self.scale if "latents" in drawn else self.encode(images)

    def look_up(self, index: Indices) -> dict[str, Tensor]:
        """Latents of images (n,), before scaling, in half precision, if the data set was encoded."""
        if self._table is None:
            return {}
        device = self.scale.device
        return {"latents": self._table[index.to(self._table.device)].to(device, non_blocking=True)}

    def pretend(self, n_images: int) -> None:
        """Be as if a first stage had been found, and so many images encoded, if any would be."""
        self.scale.fill_(1.0)
        if self.config.cache_latents != "no" and self.stage is not None:
            self._table = torch.randn(n_images, *self.shape).half()

    def prepare(self, dataset: Dataset, device: torch.device) -> None:
        """Encode the data set, if that is to be done once.

        Raises:
            UsageError: the first stage is not known: the run was stopped before its first state.
        """
        if not self.scale:
            raise UsageError("the run has no state to go on from; begin it again.")
        config = self.config
        n_seen = config.steps * config.batch_size
        is_less = config.cache_latents == "auto" and n_seen >= len(dataset)
        if self.stage is not None and (config.cache_latents == "yes" or is_less):
            self._table = latents_of(dataset, self.stage.encode, self.shape, config.first_stage_hash, device)


def first_stage_at(config: LatentConfig, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a trained first stage decides of the config, and the tensors of a `LatentSpace` with it.

    Args:
        config: names it by its path.
        dataset: that it has to have been trained on.

    Raises:
        UsageError: there is none, it is not a first stage, or it was trained on something else.
    """
    found = _load_stage(config.first_stage, dataset)
    decided = {
        "first_stage": found.model,
        "first_stage_width": found.config["width"],
        "codebook_size": found.config.get("codebook_size", config.codebook_size),
        "first_stage_hash": found.content_hash[:16],
    }
    stage = _stage(dataclasses.replace(config, **decided))
    weights = {k: v.float() if v.is_floating_point() else v for k, v in found.state_dict.items()}
    missing, _ = stage.load_state_dict(weights, strict=False)  # its discriminator is left behind
    if missing:
        raise DisbenchError(f"the first stage at {config.first_stage} lacks {missing[0]}; train it again.")
    index = torch.randint(len(dataset), (N_FOR_SCALE,), generator=Generator().manual_seed(0))
    with torch.no_grad():
        latents = stage.encode(to_images(dataset.images(index)))
    tensors = {f"stage.{name}": weight for name, weight in stage.state_dict().items()}
    return decided, tensors | {"scale": 1 / latents.std()}


def _stage(config: LatentConfig) -> Any:
    """The network of a first stage, without what it is trained with."""
    if config.first_stage not in FIRST_STAGES:  # a path, whose network is built when it is read
        config = dataclasses.replace(config, first_stage="vq")
    entry = registry.models()[config.first_stage]
    sizes = {"n_channels": config.n_channels, "width": config.first_stage_width}
    if config.first_stage == "vq":
        sizes["codebook_size"] = config.codebook_size
    stage: Any = entry.build(override(entry.config(), {**sizes, "perceptual_weight": 0.0, "adversary_weight": 0.0}))
    return stage.requires_grad_(False).eval()


def _load_stage(place: str, dataset: Dataset) -> checkpoint.Checkpoint:
    """The checkpoint of a first stage that can encode a data set."""
    name = dataset.spec.name
    train_one = f"train one with: disbench train vq --dataset {name}"
    name_it = f"; and name it by --set first_stage=runs/vq-{name}-seed0, or use --set space=pixel."
    return trained_before(place, FIRST_STAGES, dataset, "a first stage", train_one, name_it)
