"""Sorting and what follows from ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MAX_CELLS = 2**22  # ranks held in one go; bounds memory, not the result


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


def auroc_of_pairs(codes: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve float64 (d, a) of every code as a detector of every label, ties half.

    Each code is ranked once. A label's sum of ranks is a multiple of a half and far below 2**53, so it is exact.

    Args:
        codes: float (n, d), finite.
        positive: bool (n, a).

    Returns:
        NaN for a label without positives or without negatives.
    """
    n, n_codes = codes.shape
    labels = positive.double()
    n_positive = labels.sum(0)
    result = torch.empty(n_codes, labels.shape[1], dtype=torch.float64, device=codes.device)
    at_once = max(1, _MAX_CELLS // n)
    for start in range(0, n_codes, at_once):
        some = codes[:, start : start + at_once].T.contiguous()
        ranks = torch.stack([mid_ranks(code) for code in some])
        result[start : start + at_once] = ranks @ labels
    return (result - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))


def mid_ranks(values: Tensor) -> Tensor:
    """Places float64 (n,) of finite values (n,) in ascending order, from 1; equal ones share the mean of theirs."""
    ordered, rows = _in_order(values)
    starts = torch.cat([torch.zeros_like(rows[:1]), (ordered[1:] != ordered[:-1]).nonzero()[:, 0] + 1])
    sizes = starts.diff(append=starts.new_tensor([len(rows)]))
    places = starts + (sizes + 1).double() / 2
    ranks = places.new_empty(len(rows))
    ranks[rows] = places.repeat_interleave(sizes)
    return ranks


def _in_order(values: Tensor) -> tuple[Tensor, Tensor]:
    """Something that is equal where values are, in their ascending order, and the rows int64 (n,) they come from.

    Of float32 on a CPU, numbers that order as the values do and the row below them make one whole number to sort, which
    is several times faster than sorting values along with their rows.
    """
    if values.device.type != "cpu":
        return values.sort()
    found = values.numpy()
    if found.dtype != np.float32:
        rows = np.argsort(found)
        return torch.from_numpy(found[rows]), torch.from_numpy(rows)
    bits = (found + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    ascending_bits = np.where(
        bits < 0, bits ^ np.int32(2**31 - 1), bits
    )  # the bits of negative numbers order them backwards
    keys = ascending_bits.astype(np.int64)
    keys <<= 32
    keys |= np.arange(len(keys))
    keys.sort()
    return torch.from_numpy(keys >> 32), torch.from_numpy(keys & (2**32 - 1))
