"""UDR, one pair of models at a time."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso

TOLERANCE = 1e-8


def udr(codes: np.ndarray, kl: np.ndarray, settings) -> dict[str, float]:
    """codes (m, n, d) and kl (m, d), unlike the others."""
    scores = pairs(codes, kl, settings)
    models = [np.median(np.delete(scores[:, j], j)) for j in range(len(codes))]
    return {"udr": float(np.median(models))}


def pairs(codes: np.ndarray, kl: np.ndarray, settings) -> np.ndarray:
    """score(i, j) as (m, m)."""
    m = len(codes)
    kept = [
        standard(of.astype(np.float64))[:, above] for of, above in zip(codes, kl > settings.kl_threshold, strict=True)
    ]
    scores = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            if i != j and kept[i].shape[1] and kept[j].shape[1]:
                related = np.abs(similarity(kept[i], kept[j], settings))
                scores[i, j] = (strength(related.T) + strength(related)) / 2
    return scores


def standard(codes: np.ndarray) -> np.ndarray:
    spread = np.where(np.ptp(codes, axis=0) > 0, codes.std(axis=0), 1)
    return np.where(np.ptp(codes, axis=0) > 0, (codes - codes.mean(axis=0)) / spread, 0)


def similarity(a: np.ndarray, b: np.ndarray, settings) -> np.ndarray:
    if settings.similarity == "lasso":
        model = Lasso(alpha=settings.alpha, tol=1e-14, max_iter=1_000_000).fit(a, b)
        return model.coef_.reshape(b.shape[1], a.shape[1]).T
    return np.array([[spearmanr(x, y)[0] if np.ptp(x) and np.ptp(y) else 0.0 for y in b.T] for x in a.T])


def strength(related: np.ndarray) -> float:
    """Mean over rows of the square of the largest over the sum."""
    return float(np.mean([row.max() ** 2 / row.sum() if row.sum() else 0.0 for row in related]))
