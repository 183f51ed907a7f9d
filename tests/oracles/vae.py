"""Loss terms of the VAE family in float64, one image, pair, pixel and code at a time."""

import math
from collections.abc import Sequence

import numpy as np

TOLERANCE = 1e-10


def kl_to_standard_normal(mean: np.ndarray, log_variance: np.ndarray) -> float:
    """From the closed form log(1 / s) + (s^2 + m^2) / 2 - 1 / 2."""
    total = 0.0
    for means, logs in zip(mean, log_variance, strict=True):
        for m, log in zip(means, logs, strict=True):
            deviation = math.sqrt(math.exp(log))
            total += math.log(1 / deviation) + (deviation**2 + m**2) / 2 - 0.5
    return total / len(mean)


def bernoulli_nll(logits: np.ndarray, images: np.ndarray) -> float:
    """From the probabilities themselves."""
    total = 0.0
    for logit, x in zip(logits.ravel(), images.ravel(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        total -= x * math.log(p) + (1 - x) * math.log(1 - p)
    return total / len(images)


def capacity(step: int, maximum: float, ramp_steps: int) -> float:
    return maximum if step > ramp_steps else step / ramp_steps * maximum


def density(code: float, mean: float, log_variance: float) -> float:
    """Of a normal distribution."""
    variance = math.exp(log_variance)
    return math.exp(-((code - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def total_correlation(
    codes: np.ndarray, mean: np.ndarray, log_variance: np.ndarray, weights: Sequence[Sequence[float]]
) -> float:
    """From the sums of weighted densities themselves; `weights[j][i]` of image i in the density of code j."""
    n, n_codes = codes.shape
    total = 0.0
    for j in range(n):
        joint, marginals = 0.0, [0.0] * n_codes
        for i in range(n):
            product = 1.0
            for c in range(n_codes):
                here = density(codes[j, c], mean[i, c], log_variance[i, c])
                product *= here
                marginals[c] += weights[j][i] * here
            joint += weights[j][i] * product
        total += math.log(joint) - sum(math.log(marginal) for marginal in marginals)
    return total / n


def no_weights(n: int, n_images: int) -> list[list[float]]:
    return [[1.0] * n for _ in range(n)]


def weighted(n: int, n_images: int) -> list[list[float]]:
    return [[1 / (n_images * n)] * n for _ in range(n)]


def stratified(n: int, n_images: int) -> list[list[float]]:
    """An image stands for itself alone; m - 1 others for 1 / m each; the next one for what is left."""
    others = n - 1
    rows = []
    for j in range(n):
        row = [0.0] * n
        for ahead in range(n):
            i = (j + ahead) % n
            row[i] = 1 / n_images if ahead == 0 else 1 / others
        row[(j + 1) % n] = 1 - 1 / n_images - (others - 1) / others
        rows.append(row)
    return rows


def permuted(codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """In each column, the code with the smallest key comes first."""
    result = np.empty_like(codes)
    for column in range(codes.shape[1]):
        order = sorted(range(len(codes)), key=lambda row: keys[row, column])
        for place, row in enumerate(order):
            result[place, column] = codes[row, column]
    return result


def probabilities(logits: np.ndarray) -> list[list[float]]:
    """Of the two classes, not clipped."""
    rows = []
    for first, second in logits:
        total = math.exp(first) + math.exp(second)
        rows.append([math.exp(first) / total, math.exp(second) / total])
    return rows


def log_density_ratio(logits: np.ndarray) -> float:
    """Mean of log p0 / p1."""
    return sum(math.log(p0 / p1) for p0, p1 in probabilities(logits)) / len(logits)


def discriminator_loss(logits: np.ndarray, logits_of_permuted: np.ndarray) -> float:
    total = 0.0
    for of, wanted in ((logits, 0), (logits_of_permuted, 1)):
        for row in probabilities(of):
            total -= 0.5 * math.log(min(max(row[wanted], 1e-6), 1 - 1e-6)) / len(of)
    return total


def covariance(codes: np.ndarray) -> np.ndarray:
    """mean(a b) - mean(a) mean(b), one pair of codes at a time."""
    n, n_codes = codes.shape
    matrix = np.zeros((n_codes, n_codes))
    for a in range(n_codes):
        for b in range(n_codes):
            products = sum(codes[row, a] * codes[row, b] for row in range(n)) / n
            matrix[a, b] = products - sum(codes[:, a]) / n * sum(codes[:, b]) / n
    return matrix


def dip_penalties(mean: np.ndarray, log_variance: np.ndarray | None = None) -> tuple[float, float]:
    """Off the diagonal and on it; of DIP-VAE-II with log_variance, else of DIP-VAE-I."""
    matrix = covariance(mean)
    off_diagonal = diagonal = 0.0
    for a in range(len(matrix)):
        for b in range(len(matrix)):
            if a != b:
                off_diagonal += matrix[a, b] ** 2
                continue
            inside = 0.0 if log_variance is None else sum(math.exp(s) for s in log_variance[:, a]) / len(mean)
            diagonal += (matrix[a, a] + inside - 1) ** 2
    return off_diagonal, diagonal


def discriminate(codes: np.ndarray, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> np.ndarray:
    """Logits of a stack of linear layers with leaky rectifiers of slope 0.2 between them."""
    hidden = codes
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight.T + bias
        if k < len(weights) - 1:
            hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    return hidden
