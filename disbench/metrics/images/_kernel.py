"""Maximum mean discrepancy with the polynomial kernel (x.y / d + 1)^3, on all images and on many subsets at once.

The kernel of all pairs is made block by block. What a subset's estimate needs are sums over its own pairs, quadratic
forms of the 0/1 vector that marks the subset; for all subsets together they are a product of each block with the
matrix of marks. So every pair is looked at once, however many subsets it lies in.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

_ROWS = 1024  # images of each set in a block: 8 MB of kernel, 33 MB of features in float64 at d = 2048


def subset_marks(n: int, size: int, subsets: int, generator: Generator) -> Tensor:
    """float64 (n, subsets), each column 1 at `size` images drawn without replacement, 0 elsewhere."""
    marks = torch.zeros(n, subsets, dtype=torch.float64)
    for column in marks.unbind(1):
        column[torch.randperm(n, generator=generator)[:size]] = 1
    return marks


def discrepancies(real: Tensor, made: Tensor, real_marks: Tensor, made_marks: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of every pair of subsets, float64 (s,), as the marks name them.

    Args:
        real: features (n, d).
        made: features (m, d).
        real_marks: float64 (n, s) of 0 and 1, at least two 1 in each column.
        made_marks: float64 (m, s), likewise.
    """
    sizes = [marks.sum(0) for marks in (real_marks, made_marks)]
    within = [_within(rows, marks) for rows, marks in ((real, real_marks), (made, made_marks))]
    means = [total / (size * (size - 1)) for total, size in zip(within, sizes, strict=True)]
    return means[0] + means[1] - 2 * _between(real, made, real_marks, made_marks) / (sizes[0] * sizes[1])


def _within(rows: Tensor, marks: Tensor) -> Tensor:
    """Sums of the kernel over ordered pairs of different images of each subset, float64 (s,)."""
    parts, marked = rows.split(_ROWS), marks.split(_ROWS)
    total = torch.zeros(marks.shape[1], dtype=torch.float64)
    for i, (part, own) in enumerate(zip(parts, marked, strict=True)):
        left = part.double()
        kernel = _kernel(left, left)
        kernel.fill_diagonal_(0)
        total += (own * (kernel @ own)).sum(0)
        for other, theirs in zip(parts[i + 1 :], marked[i + 1 :], strict=True):
            total += 2 * (own * (_kernel(left, other.double()) @ theirs)).sum(0)
    return total


def _between(real: Tensor, made: Tensor, real_marks: Tensor, made_marks: Tensor) -> Tensor:
    """Sums of the kernel over pairs of a real and a made image of each pair of subsets, float64 (s,)."""
    total = torch.zeros(real_marks.shape[1], dtype=torch.float64)
    for part, own in zip(real.split(_ROWS), real_marks.split(_ROWS), strict=True):
        left = part.double()
        for other, theirs in zip(made.split(_ROWS), made_marks.split(_ROWS), strict=True):
            total += (own * (_kernel(left, other.double()) @ theirs)).sum(0)
    return total


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    """(x.y / d + 1)^3 of rows (p, d) and (q, d), float64."""
    base = torch.addmm(torch.ones((), dtype=torch.float64), left, right.T, alpha=1 / left.shape[1])
    return base * base * base
