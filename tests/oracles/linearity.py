"""Linearity, one traversal at a time."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def linearity(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    if not len(draw.labels["varying"]) or codes.shape[1] < 2:
        return {}
    per_factor = []
    for part in draw.indices.values():
        ratios = []
        for traversal in part:
            points = codes[traversal].astype(np.float64)
            if not np.ptp(points, axis=0).any():
                ratios.append((0.0, 0.0, 0.0))
                continue
            covariance = np.cov((points / np.abs(points).max()).T)
            axis, line = ratio(np.diag(covariance)), ratio(np.linalg.eigvalsh(covariance))
            ratios.append((axis, line, axis / line if line > 1e-12 else 0.0))
        per_factor.append(np.mean(ratios, axis=0))
    means = np.prod(per_factor, axis=0) ** (1 / len(per_factor))
    names = ("linearity.axis_ratio", "linearity.linear_ratio", "linearity.axis_alignment")
    return dict(zip(names, means.tolist(), strict=True))


def ratio(variances: np.ndarray) -> float:
    lowest = 1 / len(variances)
    found = (variances.max() / variances.sum() - lowest) / (1 - lowest)
    return found if found > 1e-12 else 0.0
