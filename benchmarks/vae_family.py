"""The 2019 study in small: what was measured of the trained VAEs, as the tables of docs/reproducing.md.

    python -m benchmarks.vae_family [--write]

reads the records under leaderboards/results, of models that were trained with three seeds or more.
"""

from __future__ import annotations

import argparse
import math

import pandas as pd
from scipy import stats
from tabulate import tabulate

from benchmarks.tables import ROOT, replace_table
from disbench import records
from disbench.protocols import PROTOCOLS

RESULTS = ROOT / "leaderboards" / "results" / "rooms3d"
MODELS = ("beta_vae", "annealed_vae", "factor_vae", "beta_tcvae", "dip_vae_i", "dip_vae_ii")
SHOWN = ("beta_vae", "factor_vae", "mig", "dci.disentanglement", "modularity", "sap")  # the study's six metrics
ALSO = ("dci.informativeness", "gaussian_total_correlation", "mse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reproducing.md")
    options = parser.parse_args()
    scores = measured()
    tables = {"scores": scores_table(scores), "seeds": seeds_table(scores), "metrics": metrics_table(scores)}
    for name, table in tables.items():
        print(f"{table}\n")
        if options.write:
            replace_table(ROOT / "docs" / "reproducing.md", name, table)


def measured() -> pd.DataFrame:
    """One row per scored model: its kind, its train seed, and its values."""
    rows = []
    for path in sorted(RESULTS.glob("*.jsonl")):
        for record in records.read(path):
            model = record["model"]
            if record["key"]["protocol"] == {"name": "locatello2019", "version": PROTOCOLS["locatello2019"].version}:
                values = {name: value["value"] for name, value in record["scores"].items()}
                rows.append({"model": model["name"].split("-")[0], "name": model["name"], **values})
    return pd.DataFrame(rows)


def runs_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Runs of models that were trained with three seeds or more."""
    runs = scores[scores.name.str.contains("-seed")]
    return runs[runs.groupby("model").name.transform("count") >= 3]


def scores_table(scores: pd.DataFrame) -> str:
    """Mean and standard deviation over train seeds, then what was not trained."""
    shown = [name for name in (*SHOWN, *ALSO) if name in scores]
    rows = []
    runs = runs_of(scores)
    for model in (model for model in MODELS if model in set(runs.model)):
        of_model = runs[runs.model == model]
        rows.append((f"`{model}`", *(f"{of_model[n].mean():.3f} ± {of_model[n].std():.3f}" for n in shown)))
    for name in scores.name[~scores.name.isin(runs.name)]:
        (row,) = scores[scores.name == name].to_dict("records")
        rows.append((f"`{name}`", *("-" if pd.isna(row[n]) else f"{row[n]:.3f}" for n in shown)))
    return tabulate(rows, ("model", *(f"`{name}`" for name in shown)), tablefmt="github", disable_numparse=True)


def seeds_table(scores: pd.DataFrame) -> str:
    """For each metric: the ranking, and how much of the variance between runs is between models."""
    runs = runs_of(scores)
    n_pairs = math.comb(runs.model.nunique(), 2)
    rows = []
    for name in SHOWN:
        groups = runs.groupby("model")[name]
        ranking = groups.mean().sort_values(ascending=False)
        squares = [(values - runs[name].mean()).pow(2).sum() for values in (groups.transform("mean"), runs[name])]
        between = squares[0] / squares[1]
        rows.append(
            (f"`{name}`", " > ".join(ranking.index), f"{between:.2f}", f"{overlapping(runs, name)} of {n_pairs}")
        )
    headers = ("metric", "means, best first", "share of variance between models", "pairs of models whose seeds overlap")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def overlapping(runs: pd.DataFrame, name: str) -> int:
    """How many pairs of models have a seed of the worse one above a seed of the better one."""
    ranges = runs.groupby("model")[name].agg(["min", "max"])
    spans = list(ranges.itertuples(index=False))
    return sum(a.min <= b.max and b.min <= a.max for k, a in enumerate(spans) for b in spans[k + 1 :])


def metrics_table(scores: pd.DataFrame) -> str:
    """Spearman's rank correlation of each pair of metrics over the runs."""
    runs = runs_of(scores)
    rows = [(f"`{a}`", *(f"{stats.spearmanr(runs[a], runs[b]).statistic:.2f}" for b in SHOWN)) for a in SHOWN]
    return tabulate(rows, ("", *(f"`{name}`" for name in SHOWN)), tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
