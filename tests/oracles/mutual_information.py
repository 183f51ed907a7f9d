"""Mean mutual information between codes, one pair of codes at a time; and the parts that its family shares."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def mutual_information(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    labels = binned(codes[draw.indices["train"]], settings.bins)
    n, d = labels.shape
    if n < settings.bins or d < 2:
        return {}
    pairs = [information(labels[:, a], labels[:, b]) for a in range(d) for b in range(d) if a != b]
    return {"mutual_information": float(np.mean(pairs))}


def binned(codes: np.ndarray, bins: int) -> np.ndarray:
    """Labels (n, d), each code in equal-width bins over its own range."""
    return np.stack([np.digitize(code, np.histogram(code, bins)[1][:-1]) for code in codes.T], axis=1)


def information(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for x in np.unique(a):
        for y in np.unique(b):
            joint = np.mean((a == x) & (b == y))
            if joint:
                total += joint * np.log(joint / (np.mean(a == x) * np.mean(b == y)))
    return total


def entropy(a: np.ndarray) -> float:
    return information(a, a)


def labelled(codes: np.ndarray, draw: Draw, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Binned codes, factors, and the information (d, k) between them; None with too few samples or a constant factor.

    What is below rounding is 0.
    """
    rows, factors = codes[draw.indices["train"]], draw.labels["train"]
    if len(rows) < bins or (factors == factors[0]).all(axis=0).any():
        return None
    labels = binned(rows, bins)
    matrix = np.array([[information(code, factor) for factor in factors.T] for code in labels.T])
    return labels, factors, np.where(matrix < 1e-12, 0, matrix)
