"""How far rows of an importance matrix concentrate on one column: what DCI and MED have in common."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMOOTHING = 1e-11  # added to importances before they are normalised, as in the reference


def disentanglement(importance: Tensor) -> float:
    """Weighted mean over rows of 1 - entropy, the base being the number of columns.

    Of importances (d, k) it is disentanglement, of their transpose completeness. A matrix of zeros gives 0.
    """
    importance = importance.double()
    p = importance + _SMOOTHING
    p = p / p.sum(1, keepdim=True)
    per_row = 1 - torch.special.entr(p).sum(1) / math.log(importance.shape[1])
    total = importance.sum()
    weights = importance.sum(1) / total if total > 0 else torch.full_like(per_row, 1 / len(per_row))
    return (weights * per_row).sum().clamp(0, 1).item()
