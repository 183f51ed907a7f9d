"""How far our scores are from the reference implementations' and from the plain ones, as the tables in docs/metrics.md.

python -m benchmarks.precision
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import replace_table
from disbench import score_codes
from disbench.metrics._importance import disentanglement
from disbench.metrics.factor_vae import accuracy_of_votes
from disbench.metrics.udr import udr
from tests.golden.comparisons import FOLDER, comparisons, entries
from tests.oracles.beside import KINDS, METRICS, both
from tests.oracles.representations import samples

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
Row = tuple[str, str, str]


def main() -> None:
    rows = largest(against_references())
    table = tabulate(rows, ("value", "against", "on", "cases", "largest difference"), tablefmt="github")
    replace_table(PAGE, "precision", table)
    rows = [(value, within, cases, size) for value, within, _, cases, size in largest(against_plain())]
    table = tabulate(rows, ("value", "has to be within", "cases", "largest difference"), tablefmt="github")
    replace_table(PAGE, "plain", table)


def largest(differences: Iterator[tuple[Row, float]]) -> list[tuple[str, ...]]:
    """One row for each kind of difference: how many there are, and the largest."""
    found: dict[Row, list[float]] = {}
    for row, difference in differences:
        print(*row, f"{difference:+.2e}", flush=True)
        found.setdefault(row, []).append(abs(difference))
    return [(*row, str(len(sizes)), f"{max(sizes):.1e}") for row, sizes in found.items()]


def against_references() -> Iterator[tuple[Row, float]]:
    matrices = np.load(FOLDER / "matrices.npz")
    for c in comparisons():
        settings = "".join(f", {name} {value}" for name, value in c.settings.items())
        found = c.scores()
        for value, expected in c.expected.items():
            yield (f"`{value}`", c.against, c.on + settings), found[value] - expected
        case = f"{c.dataset}__{c.representation}"
        if c.metric == "dci":
            importance = torch.from_numpy(matrices[f"{case}__importance"])
            for value, matrix in (("dci.disentanglement", importance), ("dci.completeness", importance.T)):
                row = (f"`{value}`", "disentanglement_lib 1.5", "its importances")
                yield row, disentanglement(matrix) - c.expected[value]
            given = samples(c.dataset, c.representation)
            found = score_codes(**given, metrics="dci", eval_seed=1).scores
            for value, expected in c.expected.items():
                yield (f"`{value}`", c.against, "its samples, another seed of ours"), found[value] - expected
        if c.metric == "factor_vae":
            votes = [torch.from_numpy(matrices[f"{case}__votes_{part}"]) for part in ("train", "eval")]
            difference = accuracy_of_votes(votes[0], votes[1])[1] - c.expected["factor_vae"]
            yield ("`factor_vae`", c.against, "its votes"), difference
    models = np.load(FOLDER / "udr.npz")
    for entry in entries():
        if entry["rows"] == "models":
            similarity = entry["settings"]["similarity"]
            found = udr(models["codes"], models["kl"], similarity=similarity).details["pairwise"]
            difference = np.nanmax(np.abs(np.array(found, dtype=float) - models[f"pairwise_{similarity}"]))
            yield ("`udr`", entry["against"], f"every pair of its models, {similarity}"), float(difference)


def against_plain() -> Iterator[tuple[Row, float]]:
    for name in METRICS:
        for kind in KINDS:
            for seed in range(3):
                found, expected, within = both(name, kind, seed)
                for value, number in expected.items():
                    yield (f"`{value}`", f"{within:.0e}", ""), found[value] - number


if __name__ == "__main__":
    main()
