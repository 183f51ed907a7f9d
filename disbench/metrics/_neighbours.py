"""Mutual information between continuous codes and factors, from nearest neighbours, in nats.

Distances are taken in whole numbers, so that they are exact: the range of every code becomes 0 ... 2**61. The compiled
pass walks each class in the order of a code; where its neighbours begin and end, and where the samples nearer than they
do, only ever moves forward.

This module imports no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma

from disbench.metrics._compile import compiled

_UNITS = 2.0**61  # in the range of a code
_NOISE = 1e-10  # standard deviation of what parts equal codes, in standard deviations of the code
_MAX_VALUES = 2**21  # codes times samples taken at once; bounds memory, not the result


def neighbour_information(codes: np.ndarray, factors: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    """Mutual information float64 (d, k) of every code with every factor, at least 0.

    Ross 2014: for each sample r is the distance, in one code, to the `neighbours`-th nearest sample of the same class
    (to the last of them, if the class has fewer), and m the number of samples nearer than r, itself included;
    I = psi(n) + mean psi(neighbours) - mean psi(size of the class) - mean psi(m). Classes of one sample are left out;
    where no class has more, and for a constant code, the information is 0.

    Equal codes are parted by noise, too small to matter otherwise: numpy's RandomState(seed) gives it factor by factor
    and code by code, as scikit-learn's `mutual_info_classif` would take it if it were called in that order.

    Args:
        codes: (n, d).
        factors: whole numbers (n, k), from 0.
        neighbours: at least 1.
        seed: 0 ... 2**32-1, of the noise.
    """
    random = np.random.RandomState(seed)
    n_samples, n_codes = codes.shape
    at_once = max(1, _MAX_VALUES // n_samples)
    chunks = [codes[:, i : i + at_once].T.astype(np.float64) for i in range(0, n_codes, at_once)]
    information = np.empty((n_codes, factors.shape[1]))
    for k, classes in enumerate(factors.T):
        sizes = np.bincount(classes)
        kept = sizes[classes] > 1
        found = [_information(_to_units(rows, random)[:, kept], classes[kept], neighbours) for rows in chunks]
        information[:, k] = np.concatenate(found)
    information[np.ptp(codes, axis=0) == 0] = 0
    return information.clip(0)


def _to_units(rows: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Codes (d, n) as int64, every row's range 0 ... 2**61, with noise added."""
    low, span = rows.min(1, keepdims=True), np.ptp(rows, axis=1, keepdims=True)
    unit = np.where(span > 0, span, 1) / _UNITS
    noise = random.standard_normal(rows.shape) * (_NOISE * rows.std(1, keepdims=True))
    return np.rint((rows - low) / unit).astype(np.int64) + np.rint(noise / unit).astype(np.int64)


def _information(units: np.ndarray, classes: np.ndarray, neighbours: int) -> np.ndarray:
    """float64 (d,): information of codes int64 (d, n) with one factor (n,), none of whose classes has one sample."""
    n = len(classes)
    if n == 0:
        return np.zeros(len(units))
    order = units.argsort(axis=1)
    sizes = np.bincount(classes)
    psi = np.concatenate([[0.0], digamma(np.arange(1, n + 1))])
    own = psi[np.minimum(neighbours, sizes - 1)] - psi[sizes]
    nearer = _mean_over_samples(np.take_along_axis(units, order, axis=1), classes[order], sizes, neighbours, psi)
    return psi[n] + (sizes * own)[sizes > 0].sum() / n - nearer


@compiled
def _mean_over_samples(units: Any, classes: Any, sizes: Any, neighbours: Any, psi: Any) -> Any:
    """Mean of psi(m), float64 (d,); units ascend in every row, and classes are in the order of each."""
    n = units.shape[1]
    means = np.zeros(len(units))
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    own = np.empty(n, np.int64)  # the units of one class after another
    for code in range(len(units)):
        row, filled = units[code], first[:-1].copy()
        for i in range(n):
            c = classes[code, i]
            own[filled[c]] = row[i]
            filled[c] += 1
        total = 0.0
        for c in range(len(sizes)):
            start, end = first[c], first[c + 1]
            k = min(neighbours, end - start - 1)
            window, low, high = start, 0, 0
            for i in range(start, end):
                window = max(window, i - k)
                radius = max(own[i] - own[window], own[window + k] - own[i])
                while window < i and window + k + 1 < end:
                    other = max(own[i] - own[window + 1], own[window + k + 1] - own[i])
                    if other > radius:
                        break
                    radius, window = other, window + 1
                inside = max(radius - 1, 0)  # the neighbour itself does not count
                low = _advance(row, low, own[i] - inside)
                high = _advance(row, high, own[i] + inside + 1)
                total += psi[high - low]
        means[code] = total / n
    return means


@compiled
def _advance(row: Any, at: Any, least: Any) -> Any:
    """The first place from `at` on whose value is at least `least`: in doubling steps, then in halves."""
    n, step = len(row), 1
    if at >= n or row[at] >= least:
        return at
    while at + step < n and row[at + step] < least:
        at += step
        step *= 2
    end = min(at + step, n)  # row[at] < least, and row[end] is not, or there is none
    while end - at > 1:
        middle = (at + end) // 2
        if row[middle] < least:
            at = middle
        else:
            end = middle
    return end
