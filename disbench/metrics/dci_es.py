"""DCI-ES: explicitness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from disbench.metrics._memory import require_memory
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued

DEPTHS = (1, 2, 3, 4, 8, 10, 12, 14, 16, 18, 20, 32)  # the authors'


@dataclass(frozen=True)
class Settings:
    """Sizes of DCI-ES: samples as in the 2019 study, trees as its authors have them."""

    num_train: int = 10_000  # samples that the forests are fitted on
    num_test: int = 5_000  # samples for the loss
    trees: int = 100  # in each forest

    def __post_init__(self) -> None:
        check_numbers(self, "dci_es.")


def dci_es(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    trees: int = 100,
    seed: int = 0,
) -> Score:
    """How simple a predictor of the factors may be and yet do as well as the best of its family.

    The family: random forests of depth c = 1, 2, 3, 4, 8, 10, 12, 14, 16, 18, 20, 32. With loss_k(c) the smallest
    share of wrong predictions of factor k, on test samples, up to depth c:
    explicitness = mean_k 1 - 2 area_k / ((32 - 1) baseline_k), where area_k lies between the curve loss_k(c), drawn
    with straight lines, and its lowest point, and baseline_k = 1 - the share of the factor's largest class in the
    training samples.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        trees: in each forest.
        seed: of the forests; moves values by about 0.01.

    Returns:
        `dci_es.explicitness`, at most 1, higher is better; 0 if the loss falls from the baseline to 0 along a line.
        It says nothing about how low the loss comes: the curve of codes that tell nothing is flat, and they get 1 or
        little less. Read it beside `dci.informativeness`. Details: `depths` (c,), `losses` and `curves` (k, c): before
        and after taking the smallest so far, `baseline` and `explicitness` (k,).

    Undefined when:
        there are no test samples, or a factor takes a single value in the training samples (there is nothing to
        predict). Constant codes are allowed; with all of them constant the curves are flat and explicitness is 1. A
        class that only the test samples have is never predicted.

    Raises:
        DisbenchError: there are so many codes that the forest's copies of them would not fit in memory.

    Source:
        Eastwood et al. 2023, "DCI-ES: An Extended Disentanglement Framework with Connections to Identifiability",
        its explicitness, with random forests as probes.

    Matches:
        the authors' formula on scikit-learn 1.9's RandomForestClassifier, read at each depth, to 1e-9
        (tests/oracles/dci_es.py); its trees are grown alike, split for split.

    Differs from:
        the authors' code (DCI-ES at 9329dae), which fits another forest for every depth: here one is grown to the
        greatest and read at each, the same in distribution. Baseline losses are written into that code, most of them
        1: here they follow from the classes (3/4 for four values alike), which lowers explicitness. It can take ordered
        factors by regression (here all are classes) and larger samples. scikit-learn splits no values that differ by
        less than 1e-7; here codes are brought to a range near 1 first.
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(seed), Settings(trees=trees))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """DCI-ES of the rows of `codes` that the draw's parts `train` and `test` name; see `dci_es`."""
    if reason := _undefined(draw):
        return Score({}, undefined={"dci_es.explicitness": reason})
    from disbench.metrics._forests import losses_by_depth  # brings in the compiler

    n_values = codes.shape[1] * sum(len(draw.indices[part]) for part in ("train", "test"))
    require_memory(40 * n_values, torch.device("cpu"), f"a forest on {codes.shape[1]:,} codes")
    train, test = (codes[draw.indices[part]].cpu().numpy() for part in ("train", "test"))
    factors, test_factors = (draw.labels[part].cpu().numpy() for part in ("train", "test"))
    losses = losses_by_depth(
        train, factors, test, test_factors,
        depths=DEPTHS, trees=settings.trees, seed=draw.seed, n_jobs=torch.get_num_threads(),
    )  # fmt: skip
    curves = np.minimum.accumulate(losses, axis=1)
    baseline = np.array([1 - np.bincount(classes).max() / len(classes) for classes in factors.T])
    explicitness = 1 - 2 * _area_above_lowest(curves) / ((DEPTHS[-1] - DEPTHS[0]) * baseline)
    details = {
        "depths": list(DEPTHS),
        "losses": losses.tolist(),
        "curves": curves.tolist(),
        "baseline": baseline.tolist(),
        "explicitness": explicitness.tolist(),
    }
    return Score({"dci_es.explicitness": float(explicitness.mean())}, details)


def _area_above_lowest(curves: np.ndarray) -> np.ndarray:
    """(k,): between falling curves (k, c) over the depths and their last points, with straight lines."""
    return np.trapezoid(curves - curves[:, -1:], DEPTHS, axis=1)


def _undefined(draw: Draw) -> str:
    if "test" not in draw.indices:
        return "its losses are taken on test samples, and none were given"
    if names := single_valued(draw.labels["train"], draw.factor_names):
        return f"{names} takes a single value here, so there is nothing to predict; leave it out of the factors"
    return ""


METRIC = Metric(
    name="dci_es",
    version=1,
    values=(
        ValueSpec(
            "dci_es.explicitness",
            "a simple predictor of the factors does as well as the best",
            low=-math.inf,
            invariant_to=INVARIANCES - {"adding a dead code"},  # a tree tries the square root of their number at a time
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{eastwood2023dcies, title={{DCI-ES}: An Extended Disentanglement Framework with Connections to "
        'Identifiability}, author={Eastwood, Cian and Nicolicioiu, Andrei Liviu and von K{\\"u}gelgen, Julius and '
        'Keki{\\\'c}, Armin and Tr{\\"a}uble, Frederik and Dittadi, Andrea and Sch{\\"o}lkopf, Bernhard}, '
        "booktitle={ICLR}, year={2023}}"
    ),
    tolerance=0.1,  # bootstrap samples and the codes that a node tries go by place, and few samples make small trees
)
