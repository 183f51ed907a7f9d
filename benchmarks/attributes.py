"""TAD of all of CelebA beside what a user would run instead: the table `attributes` in benchmarks/README.md.

    python -m benchmarks.attributes [--pairs 40] [--write]

The codes are synthetic: 202,599 samples with 40 attributes of CelebA's sort, some rare and some that go with others,
each in one code with noise. Ours is the whole score: areas of all pairs, label statistics and the sum. The other side
is scikit-learn's `roc_auc_score` for every pair of code and attribute, alone; some pairs are timed, spread over codes
and attributes, and their time is multiplied. One thread.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from tabulate import tabulate

from benchmarks.metrics import timed
from benchmarks.tables import replace_table
from disbench.metrics import tad
from disbench.metrics._ranking import auroc_of_pairs
from disbench.types import Draw

N_SAMPLES, N_ATTRIBUTES = 202_599, 40
PAGE = Path(__file__).parent / "README.md"


def synthetic(n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 (202,599, d) and labels (202,599, 40)."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.02, 0.5, N_ATTRIBUTES)
    labels = rng.random((N_SAMPLES, N_ATTRIBUTES)) < shares
    labels[:, :5] ^= labels[:, 5:10]
    codes = rng.standard_normal((N_SAMPLES, n_codes), dtype=np.float32)
    shown = min(n_codes, N_ATTRIBUTES)
    codes[:, :shown] += 1.5 * labels[:, :shown]
    return codes, labels.astype(np.int64)


def our_score(codes: np.ndarray, labels: np.ndarray) -> float:
    draw = Draw.of_rows(torch.from_numpy(labels))
    return tad.score(torch.from_numpy(codes), draw, tad.Settings()).values["tad"]


def some_pairs(codes: np.ndarray, labels: np.ndarray, n_pairs: int) -> tuple[float, np.ndarray, list[tuple[int, int]]]:
    """Seconds that scikit-learn takes, the areas that it finds, and of which pairs."""
    pairs = [(i * codes.shape[1] // n_pairs, i % N_ATTRIBUTES) for i in range(n_pairs)]
    started = time.perf_counter()
    areas = np.array([roc_auc_score(labels[:, a], codes[:, d]) for d, a in pairs])
    return time.perf_counter() - started, areas, pairs


def attributes_table(n_pairs: int) -> str:
    """Both sides at 20 and 320 codes, and the largest difference of an area."""
    rows = []
    for n_codes in (20, 320):
        codes, labels = synthetic(n_codes)
        our_score(codes[:1_000], labels[:1_000])
        ours, _ = timed(partial(our_score, codes, labels))
        seconds, expected, pairs = some_pairs(codes, labels, n_pairs)
        theirs = seconds / n_pairs * n_codes * N_ATTRIBUTES
        found = auroc_of_pairs(torch.from_numpy(codes), torch.from_numpy(labels == 1)).numpy()
        difference = max(abs(found[pair] - area) for pair, area in zip(pairs, expected, strict=True))
        rows.append((n_codes, f"{ours:.2f}", f"{theirs:.0f}", f"{theirs / ours:.0f}", f"{difference:.1e}"))
        print(*rows[-1], sep=" | ", flush=True)
    headers = ("codes", "disbench, s", "scikit-learn, s", "scikit-learn / disbench", "largest difference of an area")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="that scikit-learn is timed over")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = attributes_table(arguments.pairs)
    print(table)
    if arguments.write:
        replace_table(PAGE, "attributes", table)


if __name__ == "__main__":
    main()
