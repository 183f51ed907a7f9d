"""From images to codes, and from scalar codes to the tokens that a denoiser looks at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder4(nn.Module):
    """The encoder of the released DisDiff and EncDiff: images (n, c, 64, 64) in [-1, 1] -> codes (n, n_outputs).

    Four convolutions with stride 2, all of the same width, then two residual blocks and a linear layer. That the third
    convolution has no ReLU is as released.

    Args:
        n_channels: of the images.
        n_outputs: numbers per image.
        width: channels of every convolution.
    """

    def __init__(self, n_channels: int, n_outputs: int, width: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_halved(n_channels, width), nn.ReLU(),
            *_halved(width, width), nn.ReLU(),
            *_halved(width, width),
            *_halved(width, width), nn.ReLU(),
            ResidualBlock(width), nn.BatchNorm2d(width), nn.ReLU(),
            ResidualBlock(width),
            nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(16 * width, n_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Codes."""
        return self.head(self.trunk(images))


class ResidualBlock(nn.Module):
    """x + the 1 x 1 convolution of ReLU(BatchNorm(the 3 x 3 convolution of ReLU(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # None in place: the sum needs what comes in.
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return features + self.body(features)


class PaperEncoder(nn.Module):
    """The encoder of EncDiff's paper: images (n, c, 64, 64) in [-1, 1] -> codes (n, n_outputs).

    Yang et al. 2024, "Diffusion Model with Cross Attention as an Inductive Bias for Disentanglement" (arXiv
    2402.09712), which mentions no normalisation: there is none here, a choice of ours.

    Args:
        n_channels: of the images.
        n_outputs: numbers per image.
        width: channels of the first convolution; the second has twice as many, the others and the linear layers four
            times.
    """

    def __init__(self, n_channels: int, n_outputs: int, width: int = 64) -> None:
        super().__init__()
        wide = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(n_channels, width, 7, padding=3), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, wide, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(wide, wide, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(wide, wide, 4, 2, 1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * wide, wide), nn.ReLU(),
            nn.Linear(wide, wide), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(wide, n_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Codes."""
        return self.head(self.body(images))


class ImageEncoder(nn.Module):
    """What of a diffusion model is scored: images (n, c, 64, 64) in [0, 1] to codes (n, N), or tokens (n, N, d).

    Args:
        body: images in [-1, 1] -> numbers (n, N or N * d).
        n_codes: N.
        to_tokens: makes tokens of scalar codes; None where the body's numbers are tokens already.
    """

    def __init__(self, body: nn.Module, n_codes: int, to_tokens: ScalarTokens | None = None) -> None:
        super().__init__()
        self.body, self.n_codes, self.to_tokens = body, n_codes, to_tokens

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, N), or tokens (n, N, d) where the body gives them."""
        return self.shaped(self.body(2 * images - 1))

    def shaped(self, numbers: Tensor) -> Tensor:
        """What `forward` returns, of the body's numbers."""
        return numbers.unflatten(1, (self.n_codes, -1)) if self.to_tokens is None else numbers

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens (n, N, d)."""
        return self.as_tokens(self(images))

    def as_tokens(self, codes: Tensor) -> Tensor:
        """Tokens (n, N, d) of what `forward` returned."""
        return codes if self.to_tokens is None else self.to_tokens(codes)


class ScalarTokens(nn.Module):
    """Scalars (n, N) -> tokens (n, N, token_width), each through an MLP of its own, all in one batched product.

    The MLPs have ELU between their layers and nothing behind the last.

    Args:
        n_tokens: N.
        token_width: numbers per token.
        widths: of the hidden layers.
    """

    def __init__(self, n_tokens: int, token_width: int, widths: Sequence[int] = (64, 128)) -> None:
        super().__init__()
        sizes = (1, *widths, token_width)
        self.layers = nn.ModuleList(
            StackedLinear(n_tokens, n_inputs, n_outputs) for n_inputs, n_outputs in itertools.pairwise(sizes)
        )

    def forward(self, scalars: Tensor) -> Tensor:
        """Tokens."""
        hidden = scalars.T[:, :, None]
        for k, layer in enumerate(self.layers):
            hidden = layer(F.elu(hidden) if k else hidden)
        return hidden.transpose(0, 1)


class StackedLinear(nn.Module):
    """Linear layers side by side, (k, n, n_inputs) -> (k, n, n_outputs), each initialised as torch's nn.Linear."""

    def __init__(self, n_layers: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_inputs)
        self.weight = nn.Parameter(torch.empty(n_layers, n_inputs, n_outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_layers, 1, n_outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """What each layer makes of its own inputs."""
        return torch.baddbmm(self.bias, inputs, self.weight)


def _halved(n_inputs: int, n_outputs: int) -> tuple[nn.Module, nn.Module]:
    """A convolution that halves height and width, and BatchNorm."""
    return nn.Conv2d(n_inputs, n_outputs, 4, 2, 1), nn.BatchNorm2d(n_outputs)
