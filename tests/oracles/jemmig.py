"""JEMMIG, one factor at a time."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import entropy, labelled

TOLERANCE = 1e-9


def jemmig(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None or found[2].shape[0] < 2:
        return {}
    labels, factors, information = found
    values = []
    for factor, column in zip(factors.T, information.T, strict=True):
        second, best = sorted(column)[-2:]
        tied = [code for code, value in zip(labels.T, column, strict=True) if value >= best - 1e-9]
        joint = min(entropy(code * 10_000 + factor) for code in tied)
        values.append((joint - best + second) / (entropy(factor) + np.log(settings.bins)))
    value = float(np.mean(values))
    return {"jemmig": 1 - value if settings.complement else value}
