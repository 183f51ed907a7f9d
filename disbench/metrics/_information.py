"""Plug-in information between binned codes and factors, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from disbench.types import Codes, Draw, Factors, Score, single_valued

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
        joint = counts.view(len(codes_slice), bins, n_columns).double()
        # The columns of one factor sum to the counts of the code's bins; take the first factor's.
        of_bin = joint[:, :, : int(sizes[0])].sum(2, keepdim=True)
        of_value = joint.sum(1, keepdim=True)
        # Whole numbers up to here: where code and factor are independent the ratio is 1 and its logarithm 0, exactly.
        terms = torch.xlogy(joint, joint * n / (of_bin * of_value).clamp_min(1)) / n
        per_column = terms.sum(1)  # (codes, columns)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=labels.device), sizes)
        sums = torch.zeros(len(codes_slice), len(sizes), dtype=torch.float64, device=labels.device)
        result[codes_slice] = sums.index_add_(1, owner, per_column)
    return result.clamp_min(0)


def entropies(factors: Factors) -> Tensor:
    """Entropy float64 (k,) of every factor, from its frequencies in int64 (n, k)."""
    frequencies = [torch.bincount(column).double() / len(column) for column in factors.T]
    return torch.stack([torch.special.entr(p).sum() for p in frequencies])


def bin_entropies(labels: Tensor, bins: int) -> Tensor:
    """Entropy float64 (d,) of every binned code, labels int64 (n, d) from 0 ... bins-1."""
    n, n_codes = labels.shape
    cells = labels + bins * torch.arange(n_codes, device=labels.device)
    counts = torch.bincount(cells.reshape(-1), minlength=bins * n_codes).view(n_codes, bins)
    return torch.special.entr(counts.double() / n).sum(1)


def undefined_information(what: str, codes: Codes, draw: Draw, bins: int, *, min_codes: int, min_factors: int) -> str:
    """Why a metric of binned codes and factors has no value; empty if it has one.

    Args:
        what: the metric's name, for the message.
        codes: float (n, d), the rows of the part `train`.
        draw: its labels, part `train`, are the factors (n, k).
        bins: number of bins.
        min_codes: 2 where the two most informative codes are compared, else 1.
        min_factors: 2 where the two most informed factors are compared, else 1.
    """
    factors = draw.labels["train"]
    if len(codes) < bins:
        return f"{what} with {bins} bins needs at least {bins} samples; got {len(codes)}"
    if codes.shape[1] < min_codes:
        return f"{what} compares the two most informative codes; there is only one code"
    if factors.shape[1] < min_factors:
        return f"{what} compares the two factors that a code knows most about; there is only one factor"
    if names := single_valued(factors, draw.factor_names):
        return f"{names} takes a single value here, so there is nothing to know about it; leave it out of the factors"
    return ""


def information_gap(name: str, codes: Codes, draw: Draw, bins: int) -> Score:
    """Of the metric `name`: the gap between the two codes that know most about a factor, over its entropy; the mean.

    Args:
        name: `mig` or `rmig`, for the value and for messages.
        codes: float (m, d), of which the draw's part `train` names rows.
        draw: its labels, part `train`, are the factors (n, k).
        bins: equal-width bins per code.
    """
    factors, codes = draw.labels["train"], codes[draw.indices["train"]]
    if reason := undefined_information(name.upper(), codes, draw, bins, min_codes=2, min_factors=1):
        return Score({}, undefined={name: reason})
    information = mutual_information(equal_width_bins(codes, bins), factors, bins)
    entropy = entropies(factors)
    best, second = information.topk(2, dim=0).values
    value = ((best - second) / entropy).mean()
    return Score({name: value.item()}, {"mutual_information": information.tolist(), "entropy": entropy.tolist()})
