"""The representations and samples on which the reference implementations were run, made again from their description.

Over the full grid of factor values F (last factor fastest), standardised to S: `identity` is S; `linmix` a random
linear mix into 10 codes with noise 0.1; `axis_dead` S with noise 0.2 and four dead codes of standard deviation 0.01,
in random order. Training and test samples are what disentanglement_lib draws from RandomState(0).
"""

from functools import cache

import numpy as np

SIZES = {"shapes3d": (10, 10, 10, 8, 4, 15), "mpi3d_toy": (6, 6, 2, 3, 3, 40, 40)}
CASES = [(dataset, name) for dataset in SIZES for name in ("identity", "linmix", "axis_dead")]


@cache
def table(dataset: str, name: str) -> np.ndarray:
    """Codes float32 of every combination of factor values, in the order of the index."""
    sizes = np.array(SIZES[dataset])
    grid = np.stack(np.unravel_index(np.arange(sizes.prod()), tuple(sizes)), axis=1)
    standard = (grid - (sizes - 1) / 2) / np.sqrt((sizes**2 - 1) / 12)
    n, k = standard.shape
    if name == "identity":
        codes = standard
    elif name == "linmix":
        rng = np.random.RandomState(102)
        mix = rng.standard_normal((10, k)) / np.sqrt(k)
        codes = standard @ mix.T + 0.1 * rng.standard_normal((n, 10))
    else:
        rng = np.random.RandomState(103)
        order = rng.permutation(k + 4)
        codes = np.empty((n, k + 4))
        codes[:, order[:k]] = standard + 0.2 * rng.standard_normal((n, k))
        codes[:, order[k:]] = 0.01 * rng.standard_normal((n, 4))
    return codes.astype(np.float32)


@cache
def samples(dataset: str, name: str) -> dict[str, np.ndarray]:
    """codes (10000, d), factors (10000, k), test_codes (5000, d), test_factors (5000, k)."""
    sizes, rng = SIZES[dataset], np.random.RandomState(0)
    found = {}
    for prefix, n in (("", 10_000), ("test_", 5_000)):
        batches = []
        for start in range(0, n, 16):
            size = min(16, n - start)
            batches.append(np.stack([rng.randint(s, size=size) for s in sizes], axis=1))
        factors = np.concatenate(batches)
        found[prefix + "codes"] = table(dataset, name)[np.ravel_multi_index(tuple(factors.T), sizes)]
        found[prefix + "factors"] = factors
    return found
