"""DCIMIG, one code at a time."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import entropy, labelled

TOLERANCE = 1e-9


def dcimig(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None or found[2].shape[1] < 2:
        return {}
    _, factors, information = found
    largest_gap = np.zeros(information.shape[1])
    for row in information:
        second, best = sorted(row)[-2:]
        largest_gap[row.argmax()] = max(largest_gap[row.argmax()], best - second)
    return {"dcimig": float(largest_gap.sum() / sum(entropy(factor) for factor in factors.T))}
