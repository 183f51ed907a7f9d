"""Metrics on pairs of images, window by window and pixel by pixel."""

import math

import numpy as np


def mse(image: np.ndarray, other: np.ndarray) -> float:
    """Of one image (c, h, w)."""
    total = 0.0
    for a, b in zip(image.ravel(), other.ravel(), strict=True):
        total += (float(a) - float(b)) ** 2
    return total / image.size


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    error = mse(image, other)
    return 10 * math.log10(1 / error) if error else math.inf


def ssim(image: np.ndarray, other: np.ndarray) -> float:
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for a, b in zip(image, other, strict=True):
        for top in range(a.shape[0] - 10):
            for left in range(a.shape[1] - 10):
                x, y = (c[top : top + 11, left : left + 11] for c in (a, b))
                mean_x, mean_y = (window * x).sum(), (window * y).sum()
                var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
                cov = (window * (x - mean_x) * (y - mean_y)).sum()
                found.append(
                    (2 * mean_x * mean_y + 1e-4)
                    * (2 * cov + 9e-4)
                    / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
                )
    return float(np.mean(found))
