"""FactorVAE score, one vote at a time."""

import numpy as np


def factor_vae(
    codes: np.ndarray,
    variance_rows: np.ndarray,
    votes: dict[str, tuple[np.ndarray, np.ndarray]],
    n_factors: int,
    threshold: float = 0.05,
) -> float:
    """votes: part (`train`, `eval`) -> rows (n, batch) and shared factor (n,)."""
    variance = codes[variance_rows].astype(np.float64).var(axis=0, ddof=1)
    active = [d for d in range(codes.shape[1]) if variance[d] > 0 and np.sqrt(variance[d]) >= threshold]
    if not active:
        return 0.0
    tables = {}
    for part, (rows, shared) in votes.items():
        tables[part] = np.zeros((n_factors, codes.shape[1]), int)
        for batch, factor in zip(rows, shared, strict=True):
            local = codes[batch].astype(np.float64).var(axis=0, ddof=1)
            tables[part][factor, min(active, key=lambda d: local[d] / variance[d])] += 1
    correct = 0
    for d in range(codes.shape[1]):
        correct += tables["eval"][int(np.argmax(tables["train"][:, d])), d]
    return correct / tables["eval"].sum()
