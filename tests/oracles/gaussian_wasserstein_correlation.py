"""Gaussian Wasserstein correlation, the trace of the root taken as a sum of singular values."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def gaussian_wasserstein_correlation(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    rows = codes[draw.indices["train"]].astype(np.float64)
    if len(rows) < 2:
        return {}
    # C = A'A and D is its diagonal; D^1/2 C D^1/2 = B'B with B = A D^1/2, and tr (B'B)^1/2 is the nuclear norm of B.
    a = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    variances = (a**2).sum(axis=0)
    value = 2 * variances.sum() - 2 * np.linalg.norm(a * np.sqrt(variances), "nuc")
    name = "gaussian_wasserstein_correlation"
    if np.ptp(rows, axis=0).any():
        return {name: value, f"{name}.normed": value / variances.sum()}
    return {name: 0.0}
