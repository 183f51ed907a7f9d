"""MIG, one pair of code and factor at a time."""

from typing import Any

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def mig(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    gaps = []
    for factor in draw.labels["train"].T:
        information = sorted(
            mutual_information(histogram_labels(code, settings.bins), factor) for code in codes[draw.indices["train"]].T
        )
        gaps.append((information[-1] - information[-2]) / mutual_information(factor, factor))
    return {"mig": float(np.mean(gaps))}


def histogram_labels(code: np.ndarray, bins: int) -> np.ndarray:
    return np.digitize(code, np.histogram(code, bins)[1][:-1])


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for x in np.unique(a):
        for y in np.unique(b):
            joint = np.mean((a == x) & (b == y))
            if joint:
                total += joint * np.log(joint / (np.mean(a == x) * np.mean(b == y)))
    return total
