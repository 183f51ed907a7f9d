"""Continuous SAP score, one pair of code and factor at a time."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def sap_continuous(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    rows, factors = codes[draw.indices["train"]].astype(np.float64), draw.labels["train"]
    if rows.shape[1] < 2 or (factors == factors[0]).all(axis=0).any():
        return {}
    gaps = []
    for factor in factors.T:
        scores = [np.corrcoef(code, factor)[0, 1] ** 2 if np.ptp(code) else 0.0 for code in rows.T]
        second, best = sorted(scores)[-2:]
        gaps.append(best - second)
    return {"sap_continuous": float(np.mean(gaps))}
