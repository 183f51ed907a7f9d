"""What a data set draws for an image, as a function of the image's number: no generator, the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from disbench.types import Indices


def noise(index: Indices, n_bytes: int, stream: int) -> Tensor:
    """Bytes uint8 (n, n_bytes), uniform and independent, for images (n,).

    Eight at a time from a counter by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).

    Args:
        index: int64 (n,), at most 2**40.
        n_bytes: for each image.
        stream: tells one use of an index from another.
    """
    n_words = -(-n_bytes // 8)
    counter = index[:, None] * n_words + torch.arange(n_words, device=index.device)
    words = _mix(counter + _mix(torch.full_like(counter[:1, :1], stream)))
    return words.view(torch.uint8)[:, :n_bytes]


def _mix(state: Tensor) -> Tensor:
    """SplitMix64 on int64, whose products wrap around as those of unsigned numbers do."""
    state = state + (0x9E3779B97F4A7C15 - (1 << 64))
    state = (state ^ _shifted(state, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    state = (state ^ _shifted(state, 27)) * (0x94D049BB133111EB - (1 << 64))
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, n: int) -> Tensor:
    """Shifted right, filled with zeros."""
    return state >> n & (1 << 64 - n) - 1
