"""Frechet distance of two normal distributions, without a matrix square root.

With S1 = L1 L1^T and S2 = L2 L2^T, tr (S1 S2)^(1/2) is the sum of the singular values of C = L1^T L2: the roots of the
eigenvalues of C C^T. Pivoted Cholesky factors cost a fraction of an eigendecomposition, have as many columns as the
covariance has rank, and their columns fall in size, so that C C^T is graded and even its small eigenvalues are found
well. What rounding adds behind the rank is never looked at.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from disbench.errors import DisbenchError
from disbench.features import Features, Statistics, check_comparable
from disbench.types import Score

_LOST = 1e-4  # what a covariance's factor may leave of it, relative: more than rounding to float32 explains


def frechet_distance(real: Statistics, made: Statistics) -> float:
    """Squared Frechet distance of the normal distributions with these means and covariances, at least 0.

    Raises:
        DisbenchError: they are of different features, of one image, or a covariance is none.
    """
    return max(0.0, sum(frechet_terms(real, made)))


def frechet_terms(real: Statistics, made: Statistics) -> tuple[float, float]:
    """What means and covariances contribute: |m1 - m2|^2 and tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), each at least 0."""
    check_comparable(real, made)
    shift = (real.mean.cpu() - made.mean.cpu()).square().sum().item()
    covariances = [statistics.covariance.cpu() for statistics in (real, made)]
    factors = [_factor(s.n, c) for s, c in zip((real, made), covariances, strict=True)]
    traces = sum(covariance.trace().item() for covariance in covariances)
    return shift, max(0.0, traces - 2 * _nuclear_norm(factors[0].T @ factors[1]))


def score_of(name: str, real: Features, made: Features) -> Score:
    """The distance as the value `name`, with its two terms and the numbers of images behind it."""
    check_comparable(real.statistics, made.statistics)
    counts = {"n_real": real.statistics.n or None, "n_made": made.statistics.n or None}
    if 1 in counts.values():
        return Score({}, counts, {name: "a set has one image; a covariance needs at least 2"})
    mean_term, covariance_term = frechet_terms(real.statistics, made.statistics)
    details = counts | {"mean_term": mean_term, "covariance_term": covariance_term}
    remarks = _remarks(real.statistics, made.statistics)
    return Score({name: mean_term + covariance_term}, details | {"remarks": remarks})


def _remarks(real: Statistics, made: Statistics) -> list[str]:
    """What to know of the numbers of images before the distance is compared with another."""
    known = [statistics.n for statistics in (real, made) if statistics.n]
    remarks = []
    if len({*known}) > 1:
        remarks.append(f"the sets have {known[0]:,} and {known[1]:,} images; it compares only with such a pair.")
    if known and min(known) <= len(real.mean):
        remarks.append(
            f"{min(known):,} images are few for {len(real.mean):,} features: it is too large by far, and compares only "
            "with as many."
        )
    return remarks


def _factor(n: int, covariance: Tensor) -> Tensor:
    """L (d, rank) with L L^T = covariance (d, d); the rank is at most n - 1, where n is known (not 0)."""
    from scipy.linalg import lapack

    d = len(covariance)
    tolerance = d * float(np.finfo(np.float64).eps) * covariance.diagonal().max().item()
    packed, order, rank, _ = lapack.dpstrf(covariance.numpy(), lower=1, tol=tolerance)
    rank = min(rank, n - 1) if n else rank
    factor = np.empty((d, rank))
    factor[order - 1] = np.tril(packed)[:, :rank]
    probe = np.cos(np.arange(d))  # L L^T itself would take as long as all the rest
    lost = np.linalg.norm(covariance.numpy() @ probe - factor @ (factor.T @ probe)) / np.linalg.norm(probe)
    if lost > _LOST * np.linalg.norm(covariance):
        raise DisbenchError(
            "a covariance has negative eigenvalues, or a higher rank than its number of images "
            "allows; make the statistics again."
        )
    return torch.from_numpy(factor)


def _nuclear_norm(matrix: Tensor) -> float:
    """Sum of the singular values of (p, q)."""
    if 0 in matrix.shape:
        return 0.0
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return torch.linalg.eigvalsh(matrix @ matrix.T).clamp(min=0).sqrt().sum().item()
