"""How far our scores are from the reference implementations' and from the plain ones, as the tables in docs/metrics.md.

python -m benchmarks.precision
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import replace_table
from disbench import score_codes
from disbench.metrics._importance import disentanglement
from disbench.metrics.factor_vae import accuracy_of_votes
from disbench.metrics.images.density_coverage import density_coverage
from disbench.metrics.images.fid import fid
from disbench.metrics.images.kid import kid
from disbench.metrics.images.precision_recall import precision_recall
from disbench.metrics.udr import udr
from tests.golden.comparisons import FOLDER, comparisons, entries
from tests.images.test_pairs import FUNCTIONS as PAIRS
from tests.images.test_pairs import SCIKIT_IMAGE, arrays
from tests.oracles.beside import KINDS, METRICS, both
from tests.oracles.feature_sets import feature_sets
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
    rows = largest(against_libraries())
    table = tabulate(rows, ("value", "against", "on", "cases", "largest difference"), tablefmt="github")
    replace_table(PAGE, "images", table)


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


def against_libraries() -> Iterator[tuple[Row, float]]:
    """Metrics on images: on small sets of features, and on pairs of images with noise."""
    golden = json.loads((FOLDER / "images" / "features.json").read_text())
    for entry in golden["fid"]:
        for name, expected in entry["scores"].items():
            on = "fewer images than features" if name == "few" else "sets of features"
            yield ("`fid`", entry["against"], on), fid(*feature_sets(name)).values["fid"] - expected
    for entry in golden["kid"]:
        for name, expected in entry["scores"].items():
            if "all_images" in expected:
                found = kid(*feature_sets(name), subsets=1, subset_size=2).details["all_images"]
                yield (
                    ("`kid`, of all pairs at once", entry["against"], "sets of features"),
                    found - expected["all_images"],
                )
    for entry in golden["manifolds"]:
        for name, expected in entry["scores"].items():
            for function in (precision_recall, density_coverage):
                for value, number in function(*feature_sets(name), neighbours=entry["neighbours"]).values.items():
                    on = f"sets of features, {entry['neighbours']} neighbours"
                    yield (f"`{value}`", entry["against"], on), number - expected[value.partition(".")[2]]
    for value, number in SCIKIT_IMAGE.items():
        yield (
            (f"`{value}`", "scikit-image 0.26.0", "images with noise"),
            PAIRS[value](*arrays(0)).values[value] - number,
        )


if __name__ == "__main__":
    main()
