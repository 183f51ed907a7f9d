"""The denoiser of the diffusion models: a U-Net of residual and attention blocks, made of diffusers' parts.

Its layout is that of latent diffusion (Rombach et al. 2022, arXiv 2112.10752), as DisDiff and EncDiff use it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disbench.errors import UsageError, did_you_mean
from reference_models.diffusion import diffusers_part

Conditioning = Literal["none", "cross_attention", "adagn"]

LEVELS_WITH_ATTENTION = 3  # from the highest resolution down, and the middle besides
BLOCKS_PER_LEVEL = 2  # residual blocks on the way down; one more on the way up


def n_groups(width: int) -> int:
    """Groups of a GroupNorm: 32, or fewer so that each has two channels or more."""
    return math.gcd(32, width // 2)


def zeroed(layer: nn.Module) -> None:
    """Fill a layer's parameters with zeros."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


@dataclass(frozen=True)
class Blocks:
    """Makes the blocks of one network; an embedding that conditions them has `embedding_width` numbers."""

    embedding_width: int
    heads: int = 8  # of attention, at most: each has 8 channels or more
    token_width: int = 0  # of the tokens that cross-attention looks at; 0 for plain self-attention
    dropout: float = 0.0  # in residual blocks

    def residual(self, n_inputs: int, n_outputs: int, resample: Literal["up", "down"] | None = None) -> nn.Module:
        """A block (n, n_inputs, h, w), (n, embedding_width) -> (n, n_outputs, h', w') that starts as its shortcut."""
        block: Any = diffusers_part("models.resnet").ResnetBlock2D(
            in_channels=n_inputs,
            out_channels=n_outputs,
            temb_channels=self.embedding_width,
            groups=n_groups(n_inputs),
            groups_out=n_groups(n_outputs),
            eps=1e-5,
            time_embedding_norm="scale_shift",
            dropout=self.dropout,
            up=resample == "up",
            down=resample == "down",
        )
        zeroed(block.conv2)
        return cast(nn.Module, block)

    def attention(self, width: int) -> nn.Module:
        """A block (n, width, h, w) -> the same shape that starts as the identity."""
        heads = math.gcd(self.heads, max(1, width // 8))
        if self.token_width:
            return TokenTransformer(width, heads, self.token_width)
        block: Any = diffusers_part("models.attention_processor").Attention(
            query_dim=width,
            heads=heads,
            dim_head=width // heads,
            norm_num_groups=n_groups(width),
            eps=1e-5,
            bias=True,
            residual_connection=True,
        )
        zeroed(block.to_out[0])
        return cast(nn.Module, block)


class TokenTransformer(nn.Module):
    """A transformer of one layer between two 1 x 1 convolutions: among positions, then from positions to tokens.

    It is diffusers' Transformer2DModel, whose module needs torchvision to be imported; the layer is diffusers' own.
    """

    def __init__(self, width: int, heads: int, token_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(n_groups(width), width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.layer = diffusers_part("models.attention").BasicTransformerBlock(
            width, heads, width // heads, cross_attention_dim=token_width
        )
        self.proj_out = nn.Conv2d(width, width, 1)
        zeroed(self.proj_out)

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Features (n, width, h, w) that have looked at tokens (n, N, token_width)."""
        positions = self.proj_in(self.norm(hidden)).flatten(2).transpose(1, 2)
        positions = self.layer(positions, encoder_hidden_states=tokens)
        return hidden + self.proj_out(positions.transpose(1, 2).unflatten(2, hidden.shape[2:]))


class Stage(nn.Module):
    """A residual block, then attention and a residual block that changes the resolution, where there are such."""

    def __init__(
        self, residual: nn.Module, attention: nn.Module | None = None, resample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.residual = residual
        self.attention = attention
        self.resample = resample

    def forward(self, hidden: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        """The features (n, c, h, w) behind the blocks."""
        hidden = self.residual(hidden, embedding)
        if self.attention is not None:
            hidden = self.attention(hidden) if tokens is None else self.attention(hidden, tokens)
        return hidden if self.resample is None else self.resample(hidden, embedding)


class EncoderHalf(nn.Module):
    """From an image or latent down to the lowest resolution."""

    def __init__(self, blocks: Blocks, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList()
        before = widths[0]
        for level, width in enumerate(widths):
            for _ in range(BLOCKS_PER_LEVEL):
                attention = blocks.attention(width) if level < LEVELS_WITH_ATTENTION else None
                self.stages.append(Stage(blocks.residual(before, width), attention))
                before = width
            if level < len(widths) - 1:
                self.stages.append(Stage(blocks.residual(width, width, "down")))

    def forward(self, noisy: Tensor, embedding: Tensor, tokens: Tensor | None = None) -> list[Tensor]:
        """Features behind the first convolution and every stage; the last is what the middle gets."""
        features = [self.stem(noisy)]
        for stage in self.stages:
            features.append(stage(features[-1], embedding, tokens))
        return features


class DecoderHalf(nn.Module):
    """The middle, the way up beside the encoder's features, and a last convolution that starts at zero."""

    def __init__(self, blocks: Blocks, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        before = widths[-1]
        self.middle = nn.ModuleList(
            (Stage(blocks.residual(before, before), blocks.attention(before)), Stage(blocks.residual(before, before)))
        )
        self.stages = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            below = widths[max(level - 1, 0)]
            skips = [width] * BLOCKS_PER_LEVEL + [below]
            for k, skip in enumerate(skips):
                attention = blocks.attention(width) if level < LEVELS_WITH_ATTENTION else None
                up = blocks.residual(width, width, "up") if level and k == BLOCKS_PER_LEVEL else None
                self.stages.append(Stage(blocks.residual(before + skip, width), attention, up))
                before = width
        self.norm = nn.GroupNorm(n_groups(before), before, eps=1e-5)
        self.out = nn.Conv2d(before, out_channels, 3, padding=1)
        zeroed(self.out)

    def forward(self, features: Sequence[Tensor], embedding: Tensor, tokens: Tensor | None = None) -> Tensor:
        """(n, out_channels, h, w), from the features that `EncoderHalf` returned."""
        hidden = features[-1]
        for stage in self.middle:
            hidden = stage(hidden, embedding, tokens)
        for stage, skip in zip(self.stages, reversed(features), strict=True):
            hidden = stage(torch.cat((hidden, skip), 1), embedding, tokens)
        return self.out(F.silu(self.norm(hidden)))


class Denoiser(nn.Module):
    """Predicts the noise in an image or latent (n, in_channels, h, w); an untrained one predicts 0.

    With the default widths on a latent of 16 x 16: 2 residual blocks per level (3 on the way up) at 16, 8, 4 and 2,
    attention at 16, 8, 4 and in the middle, resampling by residual blocks, and the time step through scale and shift
    behind each second GroupNorm. Attention sits at the same levels whatever the input: on images of 64 x 64 these are
    64, 32, 16 and the middle, with 16 times as many positions and 256 times as many pairs of them: one prediction with
    cross-attention is 55 GFLOP in place of 2.0, nearly half of it products of pairs. Attention goes through torch's
    scaled_dot_product_attention, so that memory need not grow with the pairs where the device has a kernel for it.

    Conditioning:
        none: plain self-attention; no tokens.
        cross_attention: a transformer in place of each self-attention: self-attention, cross-attention on tokens
            (n, N, token_width), feed-forward. N is free.
        adagn: plain self-attention; the n_tokens tokens, side by side, go through one linear layer and are added to
            the embedding of the time step, which sets the scales and shifts. The papers name the variant without its
            details: this is our reading of it.

    Args:
        in_channels: of what is denoised, and of the prediction.
        widths: channels at each resolution, from the highest; multiples of 8.
        conditioning: see above.
        n_tokens: for adagn; the other two do not need it.
        token_width: numbers per token.
        heads: of attention, at most; a level of fewer than 64 channels has fewer, of 8 channels or more each.
        dropout: share of activations dropped in each residual block; none in attention.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 256),
        *,
        conditioning: str = "none",
        n_tokens: int = 0,
        token_width: int = 0,
        heads: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(widths, conditioning, n_tokens, token_width)
        self.conditioning = conditioning
        self.token_width = token_width
        self.n_levels = len(widths)
        self.embedding_width = 4 * widths[0]
        embeddings = diffusers_part("models.embeddings")
        self.waves = embeddings.Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = embeddings.TimestepEmbedding(widths[0], self.embedding_width)
        if conditioning == "adagn":
            self.condition = nn.Linear(n_tokens * token_width, self.embedding_width)
        crossed = token_width if conditioning == "cross_attention" else 0
        blocks = Blocks(self.embedding_width, heads, crossed, dropout)
        self.encoder = EncoderHalf(blocks, in_channels, widths)
        self.decoder = DecoderHalf(blocks, in_channels, widths)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The noise (n, c, h, w) predicted in `noisy` (n, c, h, w) at time steps (n,) from 0, given tokens (n, N, d).

        Raises:
            UsageError: tokens are missing, are not wanted, or have another shape; h or w cannot be halved often enough.
        """
        embedding = self.embedding(timesteps, tokens)
        return self.decode(self.encode(noisy, embedding, tokens), embedding, tokens)

    def embedding(self, timesteps: Tensor, tokens: Tensor | None = None) -> Tensor:
        """What the residual blocks are told: (n, embedding_width), of time steps (n,), with adagn of tokens too."""
        self._check_tokens(tokens)
        embedding = self.time(self.waves(timesteps).to(self.encoder.stem.weight.dtype))
        if self.conditioning == "adagn" and tokens is not None:
            embedding = embedding + self.condition(tokens.flatten(1))
        return embedding

    def encode(self, noisy: Tensor, embedding: Tensor, tokens: Tensor | None = None) -> list[Tensor]:
        """The features of the way down, one behind the first convolution and behind each stage."""
        multiple = 2 ** (self.n_levels - 1)
        if noisy.shape[-2] % multiple or noisy.shape[-1] % multiple:
            raise UsageError(
                f"a denoiser of {self.n_levels} widths takes heights and widths that are multiples of {multiple}; got "
                f"{noisy.shape[-2]} x {noisy.shape[-1]}. Give it fewer widths."
            )
        return self.encoder(noisy, embedding, self._crossed(tokens))

    def decode(self, features: Sequence[Tensor], embedding: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The prediction, from the features that `encode` returned."""
        return self.decoder(features, embedding, self._crossed(tokens))

    @contextlib.contextmanager
    def recorded_attention(self) -> Iterator[AttentionMaps]:
        """Notes where the positions look among the tokens, in all predictions made meanwhile; changes none of them.

        Raises:
            UsageError: the denoiser has no cross-attention.
        """
        if self.conditioning != "cross_attention":
            raise UsageError(
                f"attention maps need conditioning=cross_attention; this denoiser has conditioning={self.conditioning}."
            )
        maps = AttentionMaps()
        kind = diffusers_part("models.attention_processor").Attention
        hooks = [
            module.register_forward_pre_hook(partial(_note, maps), with_kwargs=True)
            for module in self.modules()
            if isinstance(module, kind) and module.is_cross_attention
        ]
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()

    def _crossed(self, tokens: Tensor | None) -> Tensor | None:
        return tokens if self.conditioning == "cross_attention" else None

    def _check_tokens(self, tokens: Tensor | None) -> None:
        if (tokens is None) != (self.conditioning == "none"):
            given = "none" if tokens is None else f"tokens of shape {tuple(tokens.shape)}"
            raise UsageError(
                f"a denoiser with conditioning={self.conditioning} takes "
                f"{'no tokens' if tokens is not None else f'tokens (n, N, {self.token_width})'}; got {given}."
            )
        if tokens is None:
            return
        n_tokens = self.condition.in_features // self.token_width if self.conditioning == "adagn" else tokens.shape[1]
        if tokens.ndim != 3 or tokens.shape[1:] != (n_tokens, self.token_width):
            wanted = n_tokens if self.conditioning == "adagn" else "N"
            raise UsageError(
                f"this denoiser takes tokens (n, {wanted}, {self.token_width}); got shape {tuple(tokens.shape)}."
            )


class AttentionMaps:
    """Sums of the weights of cross-attention, by resolution; `Denoiser.recorded_attention` fills one."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}  # side length -> (n, N, side, side)
        self.counts: dict[int, int] = {}

    def add(self, weights: Tensor) -> None:
        """Note weights (n, side * side, N) of one site, whose rows sum to 1."""
        side = math.isqrt(weights.shape[1])
        weights = weights.transpose(1, 2).unflatten(2, (side, side))
        self.sums[side] = self.sums.get(side, torch.zeros_like(weights)) + weights
        self.counts[side] = self.counts.get(side, 0) + 1

    def mean(self) -> Tensor:
        """The mean over sites and predictions, at the highest resolution: (n, N, h, w); sums to 1 over tokens.

        Raises:
            UsageError: nothing was recorded.
        """
        if not self.sums:
            raise UsageError("no attention was recorded; call the denoiser within `recorded_attention`.")
        largest = max(self.sums)
        resized = [F.interpolate(total, (largest, largest), mode="bilinear") for total in self.sums.values()]
        return torch.stack(resized).sum(0) / sum(self.counts.values())


@torch.no_grad()
def _note(maps: AttentionMaps, attention: Any, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Add the weights of one cross-attention, a mean over its heads, as it is about to be computed."""
    queries, keys = attention.to_q(inputs[0]), attention.to_k(options["encoder_hidden_states"])
    queries, keys = (values.unflatten(2, (attention.heads, -1)).transpose(1, 2).float() for values in (queries, keys))
    maps.add((queries @ keys.transpose(2, 3) * attention.scale).softmax(3, torch.float32).mean(1))


def _check(widths: Sequence[int], conditioning: str, n_tokens: int, token_width: int) -> None:
    """Refuse what no denoiser can be made of."""
    if not widths or any(width < 8 or width % 8 for width in widths):
        raise UsageError(f"the denoiser's widths must be multiples of 8, from 8 on; got {list(widths)}.")
    if conditioning not in get_args(Conditioning):
        near = did_you_mean(conditioning, get_args(Conditioning))
        raise UsageError(f"there is no conditioning={conditioning}; {near}")
    if conditioning != "none" and token_width < 1:
        raise UsageError(f"conditioning={conditioning} needs a token_width of 1 or more; got {token_width}.")
    if conditioning == "adagn" and n_tokens < 1:
        raise UsageError(f"conditioning=adagn needs n_tokens of 1 or more; got {n_tokens}.")
