"""Metrics on features of images, beside what a user would run instead: the table in benchmarks/README.md.

    python -m benchmarks.images [--images 10000] [--features 2048] [--write]

One thread. Features are drawn: variances fall as 1/i along random directions, the made ones are shifted and wider by a
tenth. prdc is measured where it is installed; KID has a plain loop over subsets beside it, as torch-fidelity and
clean-fid have it, in float64.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from threadpoolctl import threadpool_limits

from benchmarks.tables import ROOT, replace_table
from disbench.features import Statistics, features_of
from disbench.metrics.images import density_coverage, kid, precision_recall
from disbench.metrics.images._frechet import frechet_distance

Row = tuple[str, str, float, float, float, str]
HEADERS = ("what", "beside", "disbench, s", "the other, s", "other / disbench", "difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="of each set")
    parser.add_argument("--features", type=int, default=2048, help="of each image")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        real, made = drawn(options.images, options.features)
        rows = [*frechet_rows(real, made), kid_row(real, made), *manifold_rows(real, made)]
    table = tabulate(rows, HEADERS, tablefmt="github", floatfmt=("", "", ".2f", ".1f", ".1f", ""))
    print(table)
    if options.write:
        replace_table(ROOT / "benchmarks" / "README.md", "frechet", table)


def drawn(n_images: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, d), real and made."""
    random = np.random.default_rng(0)
    scale = 1 / np.sqrt(np.arange(1, n_features + 1))
    directions = np.linalg.qr(random.standard_normal((n_features, n_features)))[0]
    real = (random.standard_normal((n_images, n_features)) * scale) @ directions
    made = (random.standard_normal((n_images, n_features)) * scale * 1.1 + 0.05) @ directions
    return real.astype(np.float32), made.astype(np.float32)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def row(what: str, beside: str, ours: Callable[[], float], other: Callable[[], float]) -> Row:
    found, seconds = timed(ours)
    expected, others_seconds = timed(other)
    return what, beside, seconds, others_seconds, others_seconds / seconds, f"{found - expected:+.1e}"


def frechet_rows(real: np.ndarray, made: np.ndarray) -> Iterator[Row]:
    n = len(real)
    frechet_distance(*(Statistics.of(torch.from_numpy(f[:50])) for f in (real, made)))  # loads what it imports
    for n_real, n_made in ((n, n), (n // 10, n // 10), (n // 20, n)):
        statistics = [Statistics.of(torch.from_numpy(f)) for f in (real[:n_real], made[:n_made])]
        what = f"Frechet distance, {n_real:,} and {n_made:,} images"
        yield row(
            what, "scipy.linalg.sqrtm", lambda s=statistics: frechet_distance(*s), lambda s=statistics: with_sqrtm(*s)
        )


def with_sqrtm(real: Statistics, made: Statistics) -> float:
    from scipy.linalg import sqrtm

    covariances = [statistics.covariance.numpy() for statistics in (real, made)]
    root = np.trace(sqrtm(covariances[0] @ covariances[1])).real
    shift = (real.mean - made.mean).square().sum().item()
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root)


def kid_row(real: np.ndarray, made: np.ndarray) -> Row:
    features = [features_of(f, keep_rows=True) for f in (real, made)]
    size = min(1_000, len(real))
    settings = kid.Settings(subset_size=size)
    what = f"KID, 100 subsets of {size:,}, and of all {len(real):,} images (disbench only)"
    return row(
        what,
        "a loop over subsets",
        lambda: kid.score(features[0], features[1], settings, 0).values["kid"],
        lambda: looped_kid(real, made, size),
    )


def looped_kid(real: np.ndarray, made: np.ndarray, size: int) -> float:
    random = np.random.default_rng(0)
    d = real.shape[1]
    found = []
    for _ in range(100):
        a, b = (f[random.choice(len(f), size, replace=False)].astype(np.float64) for f in (real, made))
        within = [((f @ f.T / d + 1) ** 3) for f in (a, b)]
        means = [(kernel.sum() - kernel.trace()) / (size * (size - 1)) for kernel in within]
        found.append(means[0] + means[1] - 2 * ((a @ b.T / d + 1) ** 3).mean())
    return float(np.mean(found))


def manifold_rows(real: np.ndarray, made: np.ndarray) -> Iterator[Row]:
    if importlib.util.find_spec("prdc") is None:
        return
    features = [features_of(f, keep_rows=True) for f in (real, made)]
    for module, neighbours, value in ((precision_recall, 3, "precision"), (density_coverage, 5, "density")):
        name = module.METRIC.name

        def ours(module: Any = module, name: str = name, value: str = value) -> float:
            return module.score(features[0], features[1], module.Settings(), 0).values[f"{name}.{value}"]

        def others(neighbours: int = neighbours, value: str = value) -> float:
            from prdc import compute_prdc

            with contextlib.redirect_stdout(io.StringIO()):
                return float(compute_prdc(real, made, neighbours)[value])

        yield row(f"{name}, {len(real):,} images", "prdc (all four values)", ours, others)


if __name__ == "__main__":
    main()
