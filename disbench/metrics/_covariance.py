"""Deviations from the mean, and the eigenvalues of their covariance to full precision."""

from __future__ import annotations

import torch
from torch import Tensor

from disbench.metrics._memory import require_memory
from disbench.types import Codes

_WELL_CONDITIONED = 1e-4  # smallest over largest eigenvalue: above, each has at least ten digits


def deviations(codes: Codes) -> tuple[Tensor, Tensor]:
    """Codes less their mean, float64 (n, d), and their standard deviations (d,) with ddof 1.

    Both are exactly 0 for a constant code. There must be two rows.
    """
    centred = codes.double() - codes[0].double()
    centred -= centred.mean(0)
    return centred, (centred.square().sum(0) / (len(codes) - 1)).sqrt()


def singular_values(deviations: Tensor) -> Tensor:
    """Roots of the eigenvalues of the covariance of deviations (n, d), largest first.

    Eigenvalues of the covariance itself are quick and lose their digits where codes are nearly dependent; the singular
    values of the deviations keep them.
    """
    n, d = deviations.shape
    require_memory(8 * (2 * n * d + 3 * min(n, d) * d), deviations.device, f"the covariance of {d:,} codes")
    if d < n:
        eigenvalues = torch.linalg.eigvalsh(deviations.T @ deviations).flip(0)
        if eigenvalues[-1] > _WELL_CONDITIONED * eigenvalues[0]:
            return (eigenvalues / (n - 1)).sqrt()
    return torch.linalg.svdvals(deviations) / (n - 1) ** 0.5
