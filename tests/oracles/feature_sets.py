"""Pairs of feature sets, real and made, the same wherever numpy runs: what the golden numbers were computed on."""

import numpy as np

PAIRS = {
    # name: (real images, made images, features)
    "shifted": (400, 400, 16),
    "few": (40, 40, 64),
    "unequal": (300, 150, 8),
    "positive": (250, 250, 32),
}


def feature_sets(name: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, d) and (m, d): features of falling variance, mixed; the made ones shifted and a little wider."""
    n, m, d = PAIRS[name]
    random = np.random.RandomState(sorted(PAIRS).index(name))
    scale = 1 / np.sqrt(np.arange(1, d + 1))
    mix = random.standard_normal((d, d)) / np.sqrt(d)
    real = (random.standard_normal((n, d)) * scale) @ mix
    made = (random.standard_normal((m, d)) * scale * 1.2 + 0.2) @ mix
    if name == "positive":
        real, made = np.maximum(real, 0), np.maximum(made, 0)
    return real.astype(np.float32), made.astype(np.float32)
