"""EncDiff: Yang et al. 2024, "Diffusion Model with Cross Attention as an Inductive Bias for Disentanglement".

arXiv 2402.09712. The default is what the authors released, which has the number of parameters that the paper prints;
`paper` is what the paper says (docs/diffusion.md has them side by side).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from disbench.errors import UsageError, did_you_mean
from disbench.images import serve, to_images
from disbench.registry import CheckpointEntry, ModelEntry
from disbench.types import Dataset
from reference_models.diffusion.conditioned import Diffusion, DiffusionConfig
from reference_models.diffusion.encoders import Encoder4, ImageEncoder, PaperEncoder, ScalarTokens
from reference_models.training import train

Tokens = Literal["scalars", "vectors"]
Conditioning = Literal["cross_attention", "adagn"]
ENCODERS = {"released": Encoder4, "paper": PaperEncoder}
N_KEPT = 2_048  # random images of the data set whose codes samples are made from


@dataclass(frozen=True)
class Config(DiffusionConfig):
    """EncDiff as released."""

    n_codes: int = 20  # tokens
    token_width: int = 16  # numbers per token
    tokens: str = "scalars"  # scalars | vectors: each token an MLP's of one number, or a part of the encoder's output
    conditioning: str = "cross_attention"  # cross_attention | adagn: how tokens reach the denoiser
    encoder: str = "released"  # released | paper
    encoder_width: int = 0  # channels of the encoder's first convolution; 0 for 128 (released) or 64 (paper)

    may_be_zero: ClassVar[frozenset[str]] = DiffusionConfig.may_be_zero | {"encoder_width"}

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {"tokens": get_args(Tokens), "conditioning": get_args(Conditioning), "encoder": tuple(ENCODERS)}
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"there is no {name}={value}; {did_you_mean(value, known)}")


def n_outputs(config: Config) -> int:
    """Numbers that the encoder gives for an image."""
    return config.n_codes * (config.token_width if config.tokens == "vectors" else 1)


def encoder_of(config: Config) -> ImageEncoder:
    """The encoder, with the MLPs that make tokens of its scalars."""
    sizes = {"width": config.encoder_width} if config.encoder_width else {}
    body = ENCODERS[config.encoder](config.n_channels, n_outputs(config), **sizes)
    to_tokens = ScalarTokens(config.n_codes, config.token_width) if config.tokens == "scalars" else None
    return ImageEncoder(body, config.n_codes, to_tokens)


class EncDiff(Diffusion):
    """Called with Images it returns the scalars (n, N), or the tokens (n, N, d) where tokens are vectors."""

    config: Config
    generated_from = "codes of random images of the data set that it was trained on, with fresh noise"

    def __init__(self, config: Config) -> None:
        super().__init__(
            config, conditioning=config.conditioning, n_tokens=config.n_codes, token_width=config.token_width
        )
        self.encoder = encoder_of(config)
        self.register_buffer("kept", torch.zeros(N_KEPT, n_outputs(config)))
        self.kept: Tensor  # codes of images of the data set

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, N), or tokens (n, N, d) where they are vectors."""
        codes: Tensor = self.encoder(images)
        return codes

    def tokens(self, images: Tensor) -> Tensor:
        """The tokens (n, N, d) that the denoiser looks at."""
        return self.encoder.tokens(images)

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """`loss` is the distance of the predicted noise from the noise."""
        predicted = self.denoiser(self.noisy(images, drawn), drawn["timesteps"], self.tokens(images))
        return {"loss": self.distance(predicted, drawn["noise"])}

    def denoise(self, codes: Tensor) -> partial[Tensor]:
        """What predicts the noise given codes: (noisy, timesteps) -> noise."""
        return partial(self.denoiser, tokens=self.encoder.as_tokens(codes))

    def decode(self, codes: Tensor) -> Tensor:
        """Images in [0, 1] of codes or tokens, as `forward` returns them; all noise is the same in every row."""
        return self.sample(self.denoise(codes), len(codes), Generator().manual_seed(0), alike=True)

    @property
    def has_attention(self) -> bool:
        """Whether the denoiser looks at tokens by cross-attention."""
        return self.config.conditioning == "cross_attention"

    def attention(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """What `decode` makes, and how much places looked at tokens (n, N, h, w), a mean over layers and time steps."""
        with self.denoiser.recorded_attention() as maps:
            images = self.decode(codes)
        return images, maps.mean()

    def generate(self, n: int, generator: Generator) -> Tensor:
        """Images (n, c, 64, 64) in [0, 1] of codes of random images; the generator is on the CPU."""
        codes = self.kept[torch.randint(N_KEPT, (n,), generator=generator).to(self.kept.device)]
        return self.sample(self.denoise(self.encoder.shaped(codes)), n, generator)

    @torch.no_grad()
    def conclude(self, dataset: Dataset, device: torch.device) -> None:
        """Keep the codes of random images, to make samples from."""
        index = torch.randint(len(dataset), (N_KEPT,), generator=Generator().manual_seed(0))
        self.eval()
        rows = [self(to_images(serve(dataset, part, device))).flatten(1) for part in index.split(256)]
        self.kept.copy_(torch.cat(rows))


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "encdiff-code": {},
    "encdiff-paper": {
        "batch_size": 64, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "cosine", "loss": "l2",
        "token_width": 32, "encoder": "paper", "dropout": 0.1, "steps": 80_000,
    },
    "paper": {},
    "gpu-minutes": {"steps": 3_000, "warmup_steps": 500, "sampling_steps": 50, "eta": 0.0},
    "cpu-hour": {"steps": 6_000, "warmup_steps": 500, "batch_size": 32, "learning_rate": 5e-4, "width": 16,
                 "encoder_width": 64, "ema": 0.999, "sampling_steps": 25, "eta": 0.0},
    "tiny": {"steps": 40, "warmup_steps": 5, "batch_size": 8, "learning_rate": 1e-3, "width": 8, "encoder_width": 8,
             "sampling_steps": 4, "eta": 0.0},
}  # fmt: skip

MODELS = {
    "encdiff": ModelEntry(
        "EncDiff (Yang et al. 2024): a token per factor, which a denoiser looks at by cross-attention",
        Config, EncDiff, train, PRESETS, family="diffusion",
    ),
    "encdiff-encoder": ModelEntry(
        "EncDiff's encoder alone, of a trained model", Config, encoder_of, family="diffusion"
    ),
}  # fmt: skip
CHECKPOINTS = {
    "encdiff-rooms3d": CheckpointEntry(
        "EncDiff's encoder (cpu-hour: a narrow denoiser, 6,000 steps) trained on rooms3d",
        Path(__file__).parent / "checkpoints" / "encdiff-rooms3d.pt",
    )
}
