"""Metrics on features of images, plainly: scipy's matrix square root, loops over pairs, scikit-learn's distances."""

import numpy as np


def covariance(features: np.ndarray) -> np.ndarray:
    centred = [row - features.mean(0) for row in features.astype(np.float64)]
    return sum(np.outer(row, row) for row in centred) / (len(features) - 1)


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    return frechet_of_moments(real.mean(0), covariance(real), made.mean(0), covariance(made))


def frechet_of_moments(
    real_mean: np.ndarray, real_covariance: np.ndarray, made_mean: np.ndarray, made_covariance: np.ndarray
) -> float:
    from scipy.linalg import sqrtm

    root = sqrtm(real_covariance @ made_covariance)
    shift = sum((a - b) ** 2 for a, b in zip(real_mean, made_mean, strict=True))
    return float(shift + np.trace(real_covariance + made_covariance - 2 * np.real(root)))


def frechet_of_features(real: np.ndarray, made: np.ndarray) -> float:
    """From the singular values of all products of centred rows: no covariance, and no trouble with its rank."""
    rows = [(f - f.mean(0)) / np.sqrt(len(f) - 1) for f in (real.astype(np.float64), made.astype(np.float64))]
    shared = np.linalg.svd(rows[0] @ rows[1].T, compute_uv=False).sum()
    shift = ((real.mean(0) - made.mean(0)) ** 2).sum()
    return float(shift + (rows[0] ** 2).sum() + (rows[1] ** 2).sum() - 2 * shared)


def discrepancy(real: np.ndarray, made: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    def within(rows: np.ndarray) -> float:
        return float(np.mean([kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]))

    real, made = real.astype(np.float64), made.astype(np.float64)
    return within(real) + within(made) - 2 * float(np.mean([kernel(a, b) for a in real for b in made]))


def manifolds(real: np.ndarray, made: np.ndarray, neighbours: int) -> dict[str, float]:
    """Precision, recall, density and coverage."""
    from sklearn.metrics import pairwise_distances

    def radius(own: np.ndarray, at: int) -> float:
        return sorted(distance for other, distance in enumerate(own) if other != at)[neighbours - 1]

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return pairwise_distances(a, b, metric="cityblock" if a.shape[1] == 1 else _euclidean)

    real, made = real.astype(np.float64), made.astype(np.float64)
    real_radii = [radius(row, i) for i, row in enumerate(distances(real, real))]
    made_radii = [radius(row, i) for i, row in enumerate(distances(made, made))]
    between = distances(real, made)
    in_real = [[between[i, j] < real_radii[i] for i in range(len(real))] for j in range(len(made))]
    in_made = [[between[i, j] < made_radii[j] for j in range(len(made))] for i in range(len(real))]
    return {
        "precision": float(np.mean([any(balls) for balls in in_real])),
        "recall": float(np.mean([any(balls) for balls in in_made])),
        "density": sum(sum(balls) for balls in in_real) / (neighbours * len(made)),
        "coverage": float(np.mean([any(in_real[j][i] for j in range(len(made))) for i in range(len(real))])),
    }


def _euclidean(a: np.ndarray, b: np.ndarray) -> float:
    """From differences: scikit-learn's own takes products, which lets rounding decide about equal images."""
    return float(np.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True))))
