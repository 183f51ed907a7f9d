"""How far our scores are from the reference implementations', as the table in docs/metrics.md.

    python -m benchmarks.precision [--without-trees]

Fitting DCI's trees on the six cases takes about half an hour on two cores.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import replace_table
from disbench.metrics import factor_vae as factor_vae_module
from disbench.metrics.dci import dci, disentanglement
from disbench.metrics.factor_vae import factor_vae
from disbench.metrics.mig import mig
from tests.oracles.representations import CASES, SIZES, samples, table

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
HEADERS = ("value", "against", "on", "largest difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-trees", action="store_true", help="leave out what takes minutes")
    arguments = parser.parse_args()
    largest: dict[tuple[str, str, str], float] = {}
    for dataset, name in CASES:
        for value, against, on, difference in compare(dataset, name, with_trees=not arguments.without_trees):
            key = (value, against, on)
            largest[key] = max(largest.get(key, 0.0), abs(difference))
            print(dataset, name, value, f"{difference:+.2e}", flush=True)
    rows = [(*key, f"{difference:.1e}") for key, difference in largest.items()]
    print(tabulate(rows, HEADERS, tablefmt="github"))
    if not arguments.without_trees:
        replace_table(ROOT / "docs" / "metrics.md", "precision", tabulate(rows, HEADERS, tablefmt="github"))


def compare(dataset: str, name: str, with_trees: bool) -> Iterator[tuple[str, str, str, float]]:
    """Value, reference, arrays and difference for one case."""
    given = samples(dataset, name)
    expected = json.loads((GOLDEN / "locatello2019.json").read_text())[f"{dataset}/{name}"]
    inner = np.load(GOLDEN / "locatello2019.npz")
    reference = "disentanglement_lib 1.5"

    yield "mig", reference, "its samples", mig(given["codes"], given["factors"]).values["mig"] - expected["mig"]

    votes = [torch.from_numpy(inner[f"{dataset}__{name}__votes_{part}"]) for part in ("train", "eval")]
    accuracy = factor_vae_module.accuracy_of_votes(votes[0], votes[1])[1]
    wanted = expected["factor_vae"]["eval_accuracy"]
    yield "factor_vae", reference, "its votes", accuracy - wanted
    factors = np.stack(np.unravel_index(np.arange(np.prod(SIZES[dataset])), SIZES[dataset]), axis=1)
    own = factor_vae(table(dataset, name), factors).values["factor_vae"]
    yield "factor_vae", reference, "own draws (sampling error .01)", own - wanted

    importance = torch.from_numpy(inner[f"{dataset}__{name}__importance"])
    scores = expected["dci"]
    pairs = (("dci.disentanglement", importance, "disentanglement"), ("dci.completeness", importance.T, "completeness"))
    for value, matrix, key in pairs:
        yield value, reference, "its importances", disentanglement(matrix) - scores[key]
    if with_trees:
        test = {"test_codes": given["test_codes"], "test_factors": given["test_factors"]}
        for seed, which in ((0, "its seed"), (1, "another seed")):
            found = dci(given["codes"], given["factors"], **test, seed=seed).values
            for value, key in (
                ("dci.disentanglement", "disentanglement"),
                ("dci.completeness", "completeness"),
                ("dci.informativeness", "informativeness_test"),
            ):
                yield value, "scikit-learn 1.9.1's trees", f"its samples, {which}", found[value] - scores[key]


if __name__ == "__main__":
    main()
