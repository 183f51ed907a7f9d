"""Plug-in information between binned codes and factors, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from disbench.types import Codes, Factors

_MAX_CELLS = 2**24  # counted in one go; bounds memory, not the result


def equal_width_bins(codes: Codes, bins: int) -> Tensor:
    """Labels 0 ... bins-1 (n, d) of each code in equal-width bins over its own range.

    The edges are computed in the dtype of the codes, as numpy >= 2 does: a value on an edge belongs to the bin above
    it, the maximum to the last bin, and a constant code to a single bin.
    """
    low, high = codes.amin(0), codes.amax(0)
    left_edges = torch.arange(bins, dtype=codes.dtype, device=codes.device)[:, None] * ((high - low) / bins) + low
    return torch.searchsorted(left_edges.T.contiguous(), codes.T.contiguous(), right=True).T - 1


def mutual_information(labels: Tensor, factors: Factors, bins: int) -> Tensor:
    """Mutual information float64 (d, k) of every binned code with every factor.

    Args:
        labels: int64 (n, d), 0 ... bins-1.
        factors: int64 (n, k), from 0.
        bins: number of bins.
    """
    (n, n_codes), sizes = labels.shape, factors.amax(0) + 1
    offsets = sizes.cumsum(0) - sizes
    columns = factors + offsets  # every factor value its own column
    n_columns = int(sizes.sum())
    result = torch.empty(n_codes, len(sizes), dtype=torch.float64, device=labels.device)
    at_once = max(1, _MAX_CELLS // max(n * len(sizes), bins * n_columns))
    for codes_slice in torch.arange(n_codes, device=labels.device).split(at_once):
        rows = labels[:, codes_slice] + bins * torch.arange(len(codes_slice), device=labels.device)
        cells = rows[:, :, None] * n_columns + columns[:, None, :]
        counts = torch.bincount(cells.reshape(-1), minlength=len(codes_slice) * bins * n_columns)
        joint = counts.view(len(codes_slice), bins, n_columns).double() / n
        # The columns of one factor sum to the distribution of the code; take the first factor's.
        p_code = joint[:, :, : int(sizes[0])].sum(2, keepdim=True)
        p_value = joint.sum(1, keepdim=True)
        terms = torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, p_code * p_value)
        per_column = terms.sum(1)  # (codes, columns)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=labels.device), sizes)
        sums = torch.zeros(len(codes_slice), len(sizes), dtype=torch.float64, device=labels.device)
        result[codes_slice] = sums.index_add_(1, owner, per_column)
    return result.clamp_min(0)


def entropies(factors: Factors) -> Tensor:
    """Entropy float64 (k,) of every factor, from its frequencies in int64 (n, k)."""
    frequencies = [torch.bincount(column).double() / len(column) for column in factors.T]
    return torch.stack([torch.special.entr(p).sum() for p in frequencies])
