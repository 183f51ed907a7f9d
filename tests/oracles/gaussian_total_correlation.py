"""Gaussian total correlation: code after code is explained by those before it."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-6  # codes may be nearly dependent


def gaussian_total_correlation(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    rows = codes[draw.indices["train"]].astype(np.float64)
    rows = rows[:, np.ptp(rows, axis=0) > 0]
    n, d = rows.shape
    if len(codes[draw.indices["train"]]) < 2:
        return {}
    if d < 2:
        return {"gaussian_total_correlation": 0.0}
    centred = rows - rows.mean(axis=0)
    standard = centred / np.sqrt((centred**2).mean(axis=0))
    if n <= d or np.linalg.matrix_rank(standard) < d:
        return {}
    # -ln det(R) / 2 is the sum of -ln(1 - R^2) / 2 of the regressions of each code on those before it.
    total = 0.0
    for k in range(1, d):
        fitted = np.linalg.lstsq(standard[:, :k], standard[:, k], rcond=None)[0]
        residual = standard[:, k] - standard[:, :k] @ fitted
        total -= 0.5 * np.log((residual**2).mean())
    return {"gaussian_total_correlation": total}
