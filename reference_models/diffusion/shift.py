"""DisDiff's sub-gradient decoder: what each concept adds to the noise that a frozen denoiser predicts.

Yang et al. 2023, "DisDiff: Unsupervised Disentanglement of Diffusion Probabilistic Models" (arXiv 2301.13721), as
released; the layout is that of PDAE (Zhang et al. 2022, arXiv 2212.12990).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from disbench.errors import UsageError
from reference_models.diffusion.unet import Blocks, DecoderHalf


class DoubleScaleShift(nn.Module):
    """Scale and shift of the time step, then those of the condition, as the one scale and shift they amount to.

    h -> (h (1 + s) + b) (1 + s') + b' is h -> h (1 + S) + B with S = (1 + s) (1 + s') - 1 and B = b (1 + s') + b'.
    """

    def __init__(self, time: nn.Linear) -> None:
        super().__init__()
        self.time = time
        self.condition = nn.Linear(time.in_features, time.out_features)

    def forward(self, embedding: Tensor) -> Tensor:
        """S and B side by side (n, 2 width), from the embeddings of time step and condition side by side."""
        of_time, of_condition = embedding.chunk(2, 1)
        scale, shift = self.time(of_time).chunk(2, 1)
        then_scale, then_shift = self.condition(of_condition).chunk(2, 1)
        return torch.cat((scale + then_scale + scale * then_scale, shift * (1 + then_scale) + then_shift), 1)


class ShiftBlocks(Blocks):
    """Residual blocks that take two embeddings side by side, (n, 2 embedding_width): time step and condition."""

    def residual(self, n_inputs: int, n_outputs: int, resample: Literal["up", "down"] | None = None) -> nn.Module:
        """As in the denoiser, but for two scales and shifts behind the second GroupNorm in place of one."""
        block = super().residual(n_inputs, n_outputs, resample)
        assert isinstance(block.time_emb_proj, nn.Linear)
        block.time_emb_proj = DoubleScaleShift(block.time_emb_proj)
        return block


class ShiftBranch(nn.Module):
    """A second middle and decoder on the features of a frozen, unconditional denoiser; untrained, it returns 0.

    One branch serves all units: a unit's vector conditions it, and an embedding of its number is added to that of the
    time step. The embeddings are rows of an orthogonal matrix, through a linear layer.

    Args:
        in_channels: of what is denoised.
        widths: the denoiser's.
        n_units: at most twice the first width.
        unit_width: numbers per unit.
        heads: of attention, the denoiser's.
        dropout: share of activations dropped in each residual block.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 256),
        *,
        n_units: int = 6,
        unit_width: int = 32,
        heads: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        embedding_width, n_rows = 4 * widths[0], 2 * widths[0]
        if not 1 <= n_units <= n_rows:
            raise UsageError(f"a first width of {widths[0]} allows 1 to {n_rows} units; got {n_units}.")
        self.n_units = n_units
        self.unit_width = unit_width
        self.generator = nn.Parameter(torch.randn(n_rows, n_rows))
        self.unit = nn.Linear(n_rows, embedding_width)
        self.condition = nn.Linear(unit_width, embedding_width)
        self.decoder = DecoderHalf(ShiftBlocks(embedding_width, heads, dropout=dropout), in_channels, widths)

    def forward(self, features: Sequence[Tensor], embedding: Tensor, units: Tensor) -> Tensor:
        """What each unit adds to the predicted noise, all units in one pass: (n, N, c, h, w).

        Args:
            features: what `Denoiser.encode` returned; no gradient goes back to them.
            embedding: of the time steps, (n, embedding_width), what `Denoiser.embedding` returned; nor to it.
            units: (n, N, unit_width).

        Raises:
            UsageError: the units have another shape.
        """
        if units.shape[1:] != (self.n_units, self.unit_width):
            raise UsageError(
                f"this branch takes units (n, {self.n_units}, {self.unit_width}); got shape {tuple(units.shape)}."
            )
        of_time = embedding.detach()[:, None] + self.unit_embeddings()
        conditions = torch.cat((of_time, self.condition(units)), 2).flatten(0, 1)
        repeated = [feature.detach().repeat_interleave(self.n_units, 0) for feature in features]
        return self.decoder(repeated, conditions).unflatten(0, (-1, self.n_units))

    def unit_embeddings(self) -> Tensor:
        """The units' embeddings (N, embedding_width)."""
        return self.unit(self.rotation()[: self.n_units])

    def rotation(self) -> Tensor:
        """The orthogonal matrix exp(W - W'), in full precision: half of it would not be orthogonal."""
        with torch.autocast(self.generator.device.type, enabled=False):
            return torch.matrix_exp(self.generator - self.generator.T)
