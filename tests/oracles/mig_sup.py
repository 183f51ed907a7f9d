"""MIG-sup, one code at a time."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import entropy, labelled

TOLERANCE = 1e-9


def mig_sup(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None or found[2].shape[1] < 2:
        return {}
    labels, factors, information = found
    gaps = []
    for code, row in zip(labels.T, information, strict=True):
        normed = []
        for factor, value in zip(factors.T, row, strict=True):
            unit = entropy(factor) if settings.unit == "factor" else entropy(code)
            normed.append(value / unit if value else 0.0)
        second, best = sorted(normed)[-2:]
        gaps.append(best - second)
    return {"mig_sup": float(np.mean(gaps))}
