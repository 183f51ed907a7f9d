"""Features that a network finds in images, and their statistics: gathered in one pass, mergeable, kept in files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Number, mean and scatter of features.

    Args:
        n: how many images.
        mean: float64 (d,).
        scatter: float64 (d, d), the sum over images of the outer square of what is left without the mean.
    """

    n: int
    mean: Tensor
    scatter: Tensor


@dataclass(frozen=True)
class Features:
    """What an extractor found in a set of images.

    Args:
        statistics: of all of them.
        rows: float32 (n, d), every image's, where they were kept.
    """

    statistics: Statistics
    rows: Tensor | None = None
