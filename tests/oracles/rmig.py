"""RMIG, one factor at a time."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import entropy, labelled

TOLERANCE = 1e-9


def rmig(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None or found[2].shape[0] < 2:
        return {}
    _, factors, information = found
    gaps = []
    for factor, column in zip(factors.T, information.T, strict=True):
        second, best = sorted(column)[-2:]
        gaps.append((best - second) / entropy(factor))
    return {"rmig": float(np.mean(gaps))}
