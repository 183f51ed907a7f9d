"""Sorting and what follows from ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ascending(values: Tensor) -> Tensor:
    """Values sorted along the last axis; on a CPU by numpy, which is several times faster than torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(-1).values


def auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve of every column, float64 (c,): how often a positive outranks a negative, ties half.

    Args:
        scores: float (n, c); -inf is allowed.
        positive: bool (n, c).

    Returns:
        NaN for a column without positives or without negatives.
    """
    scores, positive = scores.T.contiguous(), positive.T
    n_positive = positive.sum(1)
    # The scores of the positives, padded in front to equal lengths, in order: that makes looking up quick.
    column, row = positive.nonzero(as_tuple=True)
    width = int(n_positive.amax())
    place = torch.arange(len(row), device=row.device) - n_positive.cumsum(0)[column] + width
    padded = torch.full((len(scores), width), -torch.inf, dtype=scores.dtype, device=scores.device)
    padded[column, place] = scores[column, row]
    ordered, padded = ascending(scores), ascending(padded)
    below = torch.searchsorted(ordered, padded)
    has_ties = not (ordered[:, 1:] > ordered[:, :-1]).all()
    not_above = torch.searchsorted(ordered, padded, right=True) if has_ties else below + 1
    is_real = torch.arange(width, device=row.device) >= width - n_positive[:, None]
    doubled_ranks = torch.where(is_real, below + not_above, 0).sum(1)
    pairs = n_positive * (positive.shape[1] - n_positive)
    return (doubled_ranks - n_positive.square()).double() / (2 * pairs)
