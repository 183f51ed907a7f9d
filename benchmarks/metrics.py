"""disbench beside what a user would run instead, on the same arrays: the tables in benchmarks/README.md.

    python -m benchmarks.metrics [--only trees|metrics|images|memory] [--stages 5] [--device cpu] [--write]

Codes are a random linear mix of the factors with noise (`linmix`), at the factor sizes of four data sets. What
scikit-learn boosts in an hour is timed over its first stages only. LightGBM and XGBoost are measured where they are
installed: they grow other trees, so their scores differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks import reference
from benchmarks.tables import replace_table
from disbench import registry
from disbench.metrics import dci
from disbench.plan import generator_for, make_plan
from disbench.protocols import PROTOCOLS, resolve
from disbench.types import Draw, Factor, FactorSpace

SIZES = {
    "shapes3d": (10, 10, 10, 8, 4, 15),
    "mpi3d_toy": (6, 6, 2, 3, 3, 40, 40),
    "cars3d": (4, 24, 183),
    "dsprites": (3, 6, 40, 32, 32),
}
LOOPS: dict[str, tuple[str, Callable[[reference.Given], float]]] = {
    "beta_vae": ("beta_vae", reference.beta_vae),
    "factor_vae": ("factor_vae", reference.factor_vae),
    "mig": ("mig", reference.mig),
    "sap": ("sap", reference.sap),
    "modularity": ("modularity", reference.modularity),
    "explicitness": ("explicitness", reference.explicitness),
    "gaussian_total_correlation": ("gaussian_total_correlation", reference.gaussian_total_correlation),
    "gaussian_wasserstein_correlation": (
        "gaussian_wasserstein_correlation",
        reference.gaussian_wasserstein_correlation,
    ),
    "mutual_information": ("mutual_information", reference.mutual_information),
    "infomec": ("infomec.infoe", reference.infomec_infoe),
    "irs": ("irs", reference.irs),
    "sap_continuous": ("sap_continuous", reference.sap_continuous),
    "med": ("med.informativeness", reference.med_informativeness),
    "flatness": ("flatness", reference.flatness),
    "dci_es": ("dci_es.explicitness", reference.dci_es_explicitness),
    "downstream": ("downstream.logistic_10000", reference.downstream_logistic_10000),
}
PAGE = Path(__file__).parent / "README.md"


def linmix(sizes: tuple[int, ...], n_codes: int) -> reference.Given:
    """10,000 training and 5,000 test samples, and the table that they are rows of."""
    rng = np.random.RandomState(0)
    counts = np.array(sizes)
    grid = np.stack(np.unravel_index(np.arange(counts.prod()), sizes), axis=1)
    standard = (grid - (counts - 1) / 2) / np.sqrt((counts**2 - 1) / 12)
    mix = rng.standard_normal((n_codes, len(sizes))) / np.sqrt(len(sizes))
    table = (standard @ mix.T + 0.1 * rng.standard_normal((len(grid), n_codes))).astype(np.float32)
    train, test = (rng.randint(len(grid), size=n) for n in (10_000, 5_000))
    return reference.Given(table[train], grid[train], table[test], grid[test], table, sizes)


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """Seconds, and the result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def space_of(sizes: tuple[int, ...]) -> FactorSpace:
    return FactorSpace(tuple(Factor(str(k), size) for k, size in enumerate(sizes)))


def our_trees(given: reference.Given, stages: int, device: str) -> float:
    codes, factors, test_codes, test_factors = (
        torch.from_numpy(a).to(device) for a in (given.codes, given.factors, given.test_codes, given.test_factors)
    )
    draw = Draw.of_rows(factors, test_factors)
    found = dci.score(torch.cat([codes, test_codes]), draw.to(codes.device), dci.Settings(stages=stages))
    return found.values["dci.disentanglement"]


def other_trees(given: reference.Given, stages: int, kind: str) -> None:
    """Other boosted trees of depth 3, with all threads."""
    for factor in given.factors.T:
        if kind == "LightGBM":
            from lightgbm import LGBMClassifier

            model = LGBMClassifier(n_estimators=stages, max_depth=3, num_leaves=8, verbose=-1)
        else:
            from xgboost import XGBClassifier

            model = XGBClassifier(n_estimators=stages, max_depth=3, learning_rate=0.1, tree_method="hist")
        model.fit(given.codes, factor)


OTHERS = [
    kind for kind, package in (("LightGBM", "lightgbm"), ("XGBoost", "xgboost")) if importlib.util.find_spec(package)
]


def trees_table(stages: int, device: str) -> str:
    """DCI's trees: ours, scikit-learn's and others of equal depth and number."""
    rows = []
    for name, sizes in SIZES.items():
        for n_codes in (10, 20):
            given = linmix(sizes, n_codes)
            our_trees(given, 1, device)
            ours, _ = timed(partial(our_trees, given, 100, device))
            theirs, expected = timed(partial(reference.dci, given, stages))
            difference = our_trees(given, stages, device) - expected
            theirs *= 100 / stages
            others = [timed(partial(other_trees, given, 100, kind))[0] for kind in OTHERS]
            figures = (f"{ours:.2f}", f"{theirs:.0f}", f"{theirs / ours:.0f}", *(f"{s / ours:.1f}" for s in others))
            rows.append((f"{name}, {n_codes} codes", *figures, f"{difference:+.1e}"))
            print(*rows[-1], sep=" | ", flush=True)
    return tabulate(
        rows,
        (
            "codes",
            "disbench, s",
            "scikit-learn, s",
            "scikit-learn / disbench",
            *(f"{kind} / disbench" for kind in OTHERS),
            f"difference of D at {stages} stages",
        ),
        tablefmt="github",
        disable_numparse=True,
    )


def our_score(name: str, value: str, given: reference.Given, device: str) -> float:
    metric = registry.metrics()[name]
    settings = metric.settings(stages=1) if name == "downstream" else metric.settings()  # its trees are DCI's
    if metric.needs == "samples":
        codes = torch.from_numpy(np.concatenate([given.codes, given.test_codes])).to(device)
        draw = Draw.of_rows(torch.from_numpy(given.factors), torch.from_numpy(given.test_factors))
    else:
        codes = torch.from_numpy(given.table).to(device)
        draw = metric.draw(space_of(given.sizes), settings, generator_for(0, name, metric.version))
    return metric.score(codes, draw.to(codes.device), settings).values[value]


def metrics_table(stages: int, device: str) -> str:
    """Every metric with a loop in `reference.py`, at two sets of sizes, 10 codes; and `locatello2019` as a whole."""
    rows = []
    for dataset in ("shapes3d", "mpi3d_toy"):
        given, together = linmix(SIZES[dataset], 10), np.zeros(2)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as many as the loops have
        for name, (value, loop) in LOOPS.items():
            our_score(name, value, given, device)
            seconds, score = timed(partial(our_score, name, value, given, device))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs, expected = timed(partial(loop, given))
            if name in PROTOCOLS["locatello2019"].settings:
                together += seconds, theirs
            figures = (f"{seconds:.3f}", f"{theirs:.2f}", f"{theirs / seconds:.1f}")
            rows.append((dataset, f"`{value}`", *figures, f"{score - expected:+.1e}"))
            print(*rows[-1], sep=" | ", flush=True)
        torch.set_num_threads(threads)
        ours, _ = timed(partial(our_trees, given, 100, device))
        some, _ = timed(partial(reference.dci, given, stages))
        together += ours, some * 100 / stages
        figures = (f"{together[0]:.1f}", f"{together[1]:.0f}", f"{together[1] / together[0]:.0f}")
        rows.append((dataset, "`locatello2019`, DCI among them", *figures, ""))
        print(*rows[-1], sep=" | ", flush=True)
    headers = ("sizes of", "value", "disbench, s", "loop, s", "loop / disbench", "difference")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def images_table() -> str:
    """How many images the draws of `locatello2019` ask for, and how many of them are encoded."""
    rows = []
    for name, sizes in SIZES.items():
        space = space_of(sizes)
        draws = {
            task.metric.name: task.metric.draw(
                space, task.settings, generator_for(0, task.metric.name, task.metric.version)
            )
            for task in resolve("locatello2019").tasks
        }
        plan = make_plan(draws)
        rows.append((name, f"{len(space):,}", f"{plan.n_asked:,}", f"{len(plan.images):,}"))
    return tabulate(rows, ("sizes of", "images", "asked for", "encoded"), tablefmt="github", disable_numparse=True)


CHILD = """
import resource, sys, time
from benchmarks.metrics import SIZES, linmix
from disbench import score_codes
import torch
given = linmix(SIZES[sys.argv[1]], int(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
arrays = dict(test_codes=given.test_codes, test_factors=given.test_factors)
score_codes(given.codes, given.factors, **arrays, protocol="full", metrics=sys.argv[3])
print(time.perf_counter() - started, before / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def fresh_process(dataset: str, n_codes: int, metrics: str, cache: str | None = None) -> tuple[float, float, float]:
    """Seconds, and the largest resident memory in GB before and after, of metrics in a process of their own."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    command = [sys.executable, "-c", CHILD, dataset, str(n_codes), metrics]
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, before, after = map(float, text.split())
    return seconds, before, after


def memory_table() -> str:
    """Largest resident memory of each metric in a process of its own, and what compiling the first time takes."""
    rows = []
    for name in ("dci", "dci_es", "mig", "sap", "explicitness", "infomec", "med", "downstream", "irs"):
        seconds, before, after = fresh_process("mpi3d_toy", 20, name)
        compiling = "-"
        if name in ("dci", "dci_es", "infomec"):
            with tempfile.TemporaryDirectory() as cache:
                compiling = f"{fresh_process('mpi3d_toy', 20, name, cache)[0] - seconds:.1f}"
        rows.append((f"`{name}`", f"{seconds:.1f}", compiling, f"{before:.2f}", f"{after:.2f}"))
        print(*rows[-1], sep=" | ", flush=True)
    headers = ("metric", "seconds", "compiling at first use, s", "memory before, GB", "largest, GB")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["trees", "metrics", "images", "memory"])
    parser.add_argument("--stages", type=int, default=5, help="that scikit-learn is timed over")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[], str]] = {
        "trees": partial(trees_table, arguments.stages, arguments.device),
        "metrics": partial(metrics_table, arguments.stages, arguments.device),
        "images": images_table,
        "memory": memory_table,
    }
    for name, make in tables.items():
        if arguments.only in (None, name):
            table = make()
            print(table)
            if arguments.write:
                replace_table(PAGE, name, table)


if __name__ == "__main__":
    main()
