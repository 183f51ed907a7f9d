"""Modularity, one code at a time."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import labelled

TOLERANCE = 1e-9


def modularity(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None or found[2].shape[1] < 2:
        return {}
    scores = []
    for row in found[2]:
        best = row.max()
        others = (row**2).sum() - best**2
        scores.append(1 - others / (best**2 * (len(row) - 1)) if best else 0.0)
    return {"modularity": float(np.mean(scores))}
